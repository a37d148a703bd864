"""A series of numbers as a line of bars."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

__all__ = ["sparkline"]

_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


def sparkline(
    values: Sequence[float],
    width: int | None = None,
    *,
    from_zero: bool = False,
    ascii_only: bool = False,
) -> str:
    """`values` as at most `width` bars, each the peak of the values that share it.

    The bars span from the lowest value to the highest; there are none if all values are equal. With
    `from_zero` they span from 0, which is a space.
    """
    if not values or width == 0 or (not from_zero and len(set(values)) < 2):
        return ""
    share = 1 if width is None else -(-len(values) // width)
    peaks = [max(values[first : first + share]) for first in range(0, len(values), share)]
    low = 0 if from_zero else min(values)
    span, bars = (max(peaks) - low) or 1, _ASCII_BARS if ascii_only else _BARS
    levels = [max(ceil((peak - low) * len(bars) / span) - 1, 0) for peak in peaks]
    return "".join(
        " " if from_zero and not peak else bars[level]
        for peak, level in zip(peaks, levels, strict=True)
    )
