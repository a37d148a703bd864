from __future__ import annotations

import pytest

from spyglass import errors
from spyglass.escape import MAX_LINE, one_line, visible
from spyglass.model import Problem

#: What a target may call itself: terminal escapes, several lines, reordered text, bytes that are no text, a megabyte.
HOSTILE = {
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "newlines": "ok\nspyglass: all is well\r\u2028",
    "bidi": "gpj.\u202eexe",
    "no text": "\udcff\ud800\x9b31m",
    "long": "x" * (1 << 20),
    "long and escaped": "\x1b" * (1 << 20),
}
EXCEPTIONS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("main.(*T).Run", "main.(*T).Run"),
        ("日本語/файл.go", "日本語/файл.go"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\tc\r\x00\x7f", r"a\x0ab\x09c\x0d\x00\x7f"),
        ("safe\u202eexe.fdp", r"safe\u202eexe.fdp"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("hangul\u3164filler", r"hangul\u3164filler"),
        ("emoji\ufe0f", r"emoji\ufe0f"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("line\u2028break", r"line\u2028break"),
        ("no\u00a0break", r"no\xa0break"),
        ("byte\udcff", r"byte\xff"),
        ("alone\ud800", r"alone\ud800"),
    ],
)
def test_visible_leaves_nothing_for_the_terminal_to_obey(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_visible_of_every_code_point_is_printable() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert visible(everything).isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_message_is_one_safe_line_however_often_it_is_made(text: str) -> None:
    shown = one_line(f"process 1 ({text}) cannot be read: {text}: why")
    assert shown.isprintable()
    assert len(shown) <= MAX_LINE
    assert shown.startswith("process 1 (")
    assert shown.endswith(": why")
    assert one_line(shown) == shown


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_errors_and_problems_carry_no_raw_text(text: str) -> None:
    for kind in EXCEPTIONS:
        error = kind(1, 2, text) if kind is errors.MemoryFault else kind(text, text)
        assert repr(error).isprintable()
        for words in (str(error), error.message, error.hint or ""):
            assert words.isprintable()
            assert len(words) <= MAX_LINE
    problem = Problem("unknown", text, text)
    assert (problem.subject + problem.detail).isprintable()
    assert len(problem.detail) <= MAX_LINE


def test_an_ordinary_message_is_as_it_was_written() -> None:
    error = errors.SpyglassError("no such file: /tmp/größe", "look again")
    assert (str(error), error.hint) == ("no such file: /tmp/größe", "look again")
    assert Problem("torn", "goroutine 7", "moved").detail == "moved"
