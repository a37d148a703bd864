from __future__ import annotations

import pytest

from spyglass.words.escape import visible


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
