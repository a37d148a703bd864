from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from spyglass.words.text import age, count, duration, moment, size, visible


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


@pytest.mark.parametrize(
    ("duration_ns", "words"),
    [
        (None, "?"),
        (0, "0s"),
        (999, "999ns"),
        (1_000, "1us"),
        (999_999, "999us"),
        (350_000_000, "350ms"),
        (999_999_999, "999ms"),
        (1_000_000_000, "1s"),
        (59_999_999_999, "59s"),
        (60_000_000_000, "1m"),
        (61_000_000_000, "1m 1s"),
        (300_000_000_000, "5m"),
        (3_720_000_000_000, "1h 2m"),
        (3_600_000_000_000, "1h"),
        (86_400_000_000_000, "1d"),
        (90_000_000_000_000, "1d 1h"),
        (400 * 86_400_000_000_000, "400d"),
    ],
)
def test_duration(duration_ns: int | None, words: str) -> None:
    assert duration(duration_ns) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_897_485, "12.3 MiB"),
        (1_048_575, "1.0 MiB"),
        (100 * 2**30, "100.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_size(size_bytes: int | None, words: str) -> None:
    assert size(size_bytes) == words


def test_age_has_no_fraction_and_is_never_negative() -> None:
    assert age(4800.1) == "1h 20m"
    assert age(0.9) == "0s"
    assert age(-3.0) == "0s"
    assert age(None) == "?"


def test_count_separates_thousands() -> None:
    assert count(1_234_567) == "1,234,567"
    assert count(None) == "?"


def test_moment_is_in_utc() -> None:
    noon = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=7)))
    assert moment(noon) == "2026-11-20 05:00:00Z"
    assert moment(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01 00:00:00Z"
    assert moment(None) == "?"
