"""Numbers with units: counts, sizes, time spans, points in time. None, an unknown value, is ``?``."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["UNKNOWN", "age", "count", "duration", "moment", "plural", "signed", "size"]

#: Stands for a value that is not known.
UNKNOWN = "?"

_SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def count(number: int | None) -> str:
    """1234567 as ``1,234,567``."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """``1 goroutine``, ``2,000 goroutines``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def signed(change: int | None) -> str:
    """A change with its sign: ``+1,234``, ``-5``, ``0``."""
    if change is None:
        return UNKNOWN
    return f"{change:+,}" if change else "0"


def size(size_bytes: int | None) -> str:
    """A number of bytes in binary units with one decimal: ``12.3 MiB``."""
    if size_bytes is None:
        return UNKNOWN
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, unit = size_bytes / 1024, 0
    while value >= 1023.95 and unit < len(_SIZE_UNITS) - 1:  # 1023.95 rounds to 1024.0
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_SIZE_UNITS[unit]}"


def duration(duration_ns: int | None) -> str:
    """A time span in ns with its one or two largest units: ``350ms``, ``12s``, ``5m``, ``1h 2m``."""
    if duration_ns is None:
        return UNKNOWN
    if duration_ns < 1_000_000_000:
        return _below_a_second(duration_ns)
    seconds = duration_ns // 1_000_000_000
    if seconds < 60:
        return f"{seconds}s"
    return _two_units(seconds)


def _below_a_second(duration_ns: int) -> str:
    for unit_ns, unit in ((1_000_000, "ms"), (1_000, "us")):
        if duration_ns >= unit_ns:
            return f"{duration_ns // unit_ns}{unit}"
    return f"{duration_ns}ns" if duration_ns else "0s"


def _two_units(seconds: int) -> str:
    for unit_seconds, unit, part_seconds, part in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if seconds >= unit_seconds:
            whole, rest = divmod(seconds, unit_seconds)
            parts = rest // part_seconds
            return f"{whole}{unit} {parts}{part}" if parts else f"{whole}{unit}"
    return f"{seconds}s"


def age(seconds: float | None) -> str:
    """A time span given in seconds, without its fraction: ``1h 20m``."""
    return UNKNOWN if seconds is None else duration(max(0, int(seconds)) * 1_000_000_000)


def moment(when: datetime | None) -> str:
    """A point in time in UTC, to the second: ``2026-11-20 05:00:00Z``."""
    if when is None:
        return UNKNOWN
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
