from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from spyglass.words.units import age, count, duration, moment, plural, signed, size


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


def test_a_change_has_a_sign() -> None:
    assert [signed(n) for n in (1234, -5, 0, None)] == ["+1,234", "-5", "0", "?"]


def test_a_noun_is_in_the_plural_unless_there_is_one() -> None:
    assert [plural(n, "group") for n in (0, 1, 1234)] == ["0 groups", "1 group", "1,234 groups"]
