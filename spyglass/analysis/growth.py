"""How fast something grows that rises and falls on the way: the slope of its peaks, as an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Growth", "Point", "growth"]

#: Parts of the time of which the peaks are compared.
_PARTS = 5
#: How much a slope may be wrong that two points give, and one that many give.
_FEW_MARGIN, _MARGIN = 0.25, 0.1
#: Growth that is this much slower in the later part, or in any part, may end.
_SLOWING, _STALLING = 0.7, 0.25


class Point(NamedTuple):
    """A value at a time, in seconds."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Growth:
    """A value of `now` grows by `least` to `most` in a second; `least` is 0 if it may stop.

    `by`: how much it grew. `pause`: for how many seconds it was not higher than before, at most: the length of a
    tooth, or of a step.
    """

    now: float
    least: float = 0.0
    most: float = 0.0
    by: float = 0.0
    pause: float = 0.0

    def __add__(self, other: Growth) -> Growth:
        return Growth(
            self.now + other.now,
            self.least + other.least,
            self.most + other.most,
            self.by + other.by,
            max(self.pause, other.pause),
        )


def growth(points: Sequence[Point], now: float) -> Growth:
    """The growth of the peaks of `points` (ascending times) as of the time `now`; no growth if they do not rise.

    The time is divided into parts, and the highest point of each is its peak. One of ten pairs of peaks may be in
    the wrong order. The slopes of the first half, the second half and all of them make the interval, wider by a margin; if
    growth speeds up, it may go on to do so.
    """
    peaks = _peaks(points)
    if len(peaks) < 2 or not _rises(peaks):
        return Growth(max((point.value for point in points[-1:]), default=0.0))
    tops = _tops(points)
    tops = tops if len(tops) > _PARTS else peaks
    half = len(tops) // 2 + 1
    slopes = first, last, whole = _slope(tops[:half]), _slope(tops[-half:]), _slope(tops)
    if last <= 0 or whole <= 0:
        return Growth(points[-1].value)
    margin = _FEW_MARGIN if len(peaks) < 3 else _MARGIN
    rising = [slope for slope in slopes if slope > 0]
    most = max(*rising, 2 * last - first) * (1 + margin)
    may_end = last < _SLOWING * first or min(rising) < _STALLING * whole
    least = 0.0 if may_end else min(rising) * (1 - margin)
    value = peaks[-1].value + whole * (now - peaks[-1].at)
    return Growth(value, least, most, peaks[-1].value - peaks[0].value, _pause(points))


def _peaks(points: Sequence[Point]) -> list[Point]:
    """The highest point of each part of the time."""
    if len(points) <= _PARTS:
        return list(points)
    begin, span = points[0].at, points[-1].at - points[0].at
    peaks: dict[int, Point] = {}
    for point in points:
        part = min(int((point.at - begin) / span * _PARTS), _PARTS - 1) if span > 0 else 0
        if part not in peaks or point.value >= peaks[part].value:
            peaks[part] = point
    return list(peaks.values())


def _tops(points: Sequence[Point]) -> list[Point]:
    """The tops of teeth that are higher than all before; all points if there are no teeth."""
    found, highest = [], float("-inf")
    is_saw = any(b.value < a.value for a, b in pairwise(points))
    for point, following in zip(points, [*points[1:], None], strict=True):
        is_top = not is_saw or (following is not None and following.value < point.value)
        if is_top and point.value > highest:
            found.append(point)
        highest = max(highest, point.value)
    return found


def _rises(peaks: list[Point]) -> bool:
    """Whether later peaks are higher, with one exception among five."""
    pairs = [(a, b) for i, a in enumerate(peaks) for b in peaks[i + 1 :]]
    wrong = sum(b.value <= a.value for a, b in pairs)
    return wrong <= (len(peaks) >= _PARTS) and peaks[-1].value > peaks[0].value


def _pause(points: Sequence[Point]) -> float:
    """The longest time between a point and the next one that is higher than all before."""
    highest, longest = points[0], 0.0
    for point in points[1:]:
        if point.value > highest.value:
            highest, longest = point, max(longest, point.at - highest.at)
    return max(longest, points[-1].at - highest.at)


def _slope(points: Sequence[Point]) -> float:
    """The slope of the line through `points` with the least squares."""
    at = sum(point.at for point in points) / len(points)
    value = sum(point.value for point in points) / len(points)
    spread = sum((point.at - at) ** 2 for point in points)
    if spread <= 0:
        return 0.0
    return sum((point.at - at) * (point.value - value) for point in points) / spread
