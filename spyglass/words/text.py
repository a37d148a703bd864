"""Words for people: strings from a target made safe, and numbers with units.

Whatever comes from a target (names, paths, command lines, labels) goes through `visible` before a
terminal gets it.
"""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["UNKNOWN", "age", "count", "duration", "moment", "size", "visible"]

#: Stands for a value that is not known.
UNKNOWN = "?"

#: Printable in Unicode's sense, and yet nothing is seen: fillers, joiners, variation selectors
#: (``DerivedCoreProperties.txt``, Default_Ignorable_Code_Point, less what `str.isprintable` knows).
_INVISIBLE = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    )
)

_SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def visible(text: str) -> str:
    r"""`text` with everything that a terminal would obey, reorder or hide written as an escape.

    Control characters, escape sequences, bidirectional overrides, zero-width characters, odd spaces
    and unassigned code points become ``\x1b`` or ``\u202e``; a byte that was not UTF-8 (a surrogate
    that `os.fsdecode` made) becomes that byte, ``\xff``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if character.isprintable() and code not in _INVISIBLE:
        return character
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def count(number: int | None) -> str:
    """1234567 as ``1,234,567``."""
    return UNKNOWN if number is None else f"{number:,}"


def size(size_bytes: int | None) -> str:
    """A number of bytes in binary units with one decimal: ``12.3 MiB``."""
    if size_bytes is None:
        return UNKNOWN
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, unit = size_bytes / 1024, 0
    while value >= 1023.95 and unit < len(_SIZE_UNITS) - 1:  # it would be shown as 1024.0
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_SIZE_UNITS[unit]}"


def duration(duration_ns: int | None) -> str:
    """A time span with its one or two largest units: ``350ms``, ``12s``, ``5m``, ``1h 2m``."""
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
