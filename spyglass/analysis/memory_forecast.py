"""When a limit of memory is met: an interval, from several readings of one process.

What a limit sees goes up in steps: Go's heap grows to its goal with garbage in it, is collected, and then reuses the
memory that it has. So the goal is extrapolated, with everything that is not heap. Where GOMEMLIMIT keeps the process
below the limit the goal says nothing, because the runtime lowers it: then what is alive is extrapolated, which the runtime cannot
free. Without a collection between the readings, and for memory that is not Go's, it is what the kernel counts.

Page cache of files is never counted: the kernel drops it before it kills.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from spyglass.analysis.growth import Growth, Point, growth
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryReading

__all__ = ["forecast"]

#: A forecast reaches so many times as far as the readings go back.
_HORIZON = 100
#: Growth that is less than this share of the limit is not told from the ups and downs of any program.
_LEAST_GROWTH = 0.005
#: How much the allocation rate may change.
_MARGIN = 0.2
#: What is allocated in one collection while Go collects all the time counts beside what is alive.
_ALIVE = 0.95
#: Before it kills, the kernel takes back what it can, the program's own code too.
_RECLAIM_SECONDS = 1.0
#: Collections in the later half of the time that make a line of goals. With fewer, memory that grows evenly tells more;
#: below GOMEMLIMIT only if there are hardly any, since with them it grows no more in the end.
_COLLECTIONS, _COLLECTIONS_BELOW_LIMIT = 3, 2
_EVEN = 0.75
_ENDING = ("kill", "slow", "refuse")


@dataclass(frozen=True, slots=True)
class _Interval:
    earliest: float
    latest: float
    rule: str


def forecast(readings: Sequence[MemoryReading]) -> MemoryForecast | str:
    """When the first limit is met, in seconds after the last of `readings` (ascending) that is
    complete, or why nothing can be said."""
    if len(readings) < 2:
        return "one reading tells nothing of growth; --watch takes more"
    # What changed while it was read is missing in some readings of a busy program.
    whole = [reading for reading in readings if _has_heap(reading)]
    readings = whole if len(whole) > len(readings) // 2 and len(whole) > 1 else readings
    last = readings[-1]
    span = (last.at_ns - readings[0].at_ns) / 1e9
    if span <= 0:
        return "the readings are of one moment"
    found: list[MemoryForecast] = []
    for index, limit in enumerate(last.limits.rows):
        series = _Series.of(readings, limit) if limit.effect in _ENDING else None
        interval = series.interval() if series is not None else None
        if interval is not None and interval.earliest <= _HORIZON * span:
            found.append(_forecast(index, interval, span))
    if not found:
        return _why_none(readings)
    return min(found, key=lambda each: each.earliest_in_seconds)


def _has_heap(reading: MemoryReading) -> bool:
    known = (
        reading.heap_ready_bytes, reading.heap_live_bytes, reading.heap_goal_bytes, reading.gc_at_ns,
    )  # fmt: skip
    return None not in known


def _forecast(index: int, interval: _Interval, span: float) -> MemoryForecast:
    latest = None if interval.latest == inf else interval.latest + _RECLAIM_SECONDS
    return MemoryForecast(index, interval.earliest, latest, interval.rule, span)  # type: ignore[arg-type]


def _why_none(readings: Sequence[MemoryReading]) -> str:
    nearest = readings[-1].limits.nearest
    if nearest is None:
        return "no limit is known"
    return f"what counts toward {nearest.name} does not grow steadily"


@dataclass(frozen=True, slots=True)
class _Series:
    """The readings of one limit: its row in each of `readings`."""

    readings: Sequence[MemoryReading]
    rows: Sequence[MemoryLimit]
    level: int
    swap: int

    @classmethod
    def of(cls, readings: Sequence[MemoryReading], limit: MemoryLimit) -> _Series | None:
        """None if the limit's use is not known, or it was another one before."""
        key = (limit.kind, limit.name, limit.path, limit.bytes)
        rows = [
            row
            for reading in readings
            for row in reading.limits.rows
            if (row.kind, row.name, row.path, row.bytes) == key and row.held_bytes is not None
        ]
        if limit.bytes is None or len(rows) != len(readings):
            return None
        has_swap = limit.kind != "rlimit" and "memsw" not in limit.name
        swap = readings[-1].limits.swap_free_bytes or 0 if has_swap else 0
        return cls(readings, rows, limit.bytes, swap)

    def interval(self) -> _Interval | None:
        """When the limit is met, in seconds from the last reading; None: it does not grow."""
        used = self._growth([(self._at(i), row.held_bytes or 0) for i, row in enumerate(self.rows)])
        found = next(self._used(used), None)
        if self.rows[-1].kind == "rlimit" or not all(map(_has_heap, self.readings)):
            return found
        is_protected = self._is_protected()
        few = _COLLECTIONS_BELOW_LIMIT if is_protected else _COLLECTIONS
        is_even = self._late_collections() < few and used.least > _EVEN * used.most
        if is_protected:
            # Otherwise what is used grows only up to GOMEMLIMIT.
            return self._live() or (found if is_even else None)
        return self._goal(used, is_even) or found

    def _at(self, index: int) -> float:
        return self.readings[index].at_ns / 1e9

    def _growth(self, pairs: Sequence[tuple[float, float]]) -> Growth:
        return growth([Point(*pair) for pair in pairs], self._at(-1))

    def _enough(self, by: float) -> bool:
        return by >= _LEAST_GROWTH * self.level

    def _used(self, used: Growth) -> Iterator[_Interval]:
        """By what the kernel counts."""
        if self._enough(used.by) and used.most > 0:
            yield self._crossing(used, self.level, self.level + self.swap, "used")

    def _crossing(self, of: Growth, level: float, late: float, rule: str) -> _Interval:
        """When `of` comes to between `level` and `late`, at the top of a tooth, which few readings hit."""
        earliest = max(max(level - of.now, 0) / of.most - of.pause / 2, 0)
        latest = max(late - of.now, 0) / of.least + of.pause if of.least > 0 else inf
        return _Interval(earliest, latest, rule)

    def _is_protected(self) -> bool:
        """Whether the process stays below the limit as long as Go keeps to GOMEMLIMIT."""
        limit = self.readings[-1].go_limit_bytes
        late = [*zip(self.readings, self.rows, strict=True)][len(self.rows) // 2 :]
        # The two are not read at one moment: the least difference is the truest.
        outside = [
            (row.held_bytes or 0) - reading.go_bytes
            for reading, row in late
            if reading.go_bytes is not None
        ]
        return limit is not None and bool(outside) and min(outside) + limit <= self.level

    def _rest(self) -> Growth:
        """Everything but the objects of the heap: what is lost to fragmentation is part of it."""
        pairs = []
        for index, (reading, row) in enumerate(zip(self.readings, self.rows, strict=True)):
            heap = (reading.heap_ready_bytes or 0) - (reading.heap_unused_bytes or 0)
            pairs.append((self._at(index), float((row.held_bytes or 0) - heap)))
        return self._growth(pairs)

    def _at_collections(self, name: str) -> Growth:
        """The growth of a value that each collection sets."""
        values: dict[int | None, tuple[float, float]] = {}
        for reading in self.readings:
            pair = (reading.gc_at_ns or 0) / 1e9, float(getattr(reading, name))
            values.setdefault(reading.gc_count, pair)
        return self._growth(sorted(values.values()))

    def _goal(self, used: Growth, is_even: bool) -> _Interval | None:
        """When the heap's goal and the rest come to the limit, and the heap has then grown up to it.

        The collection at which that is so is up to one cycle later, and the heap grows from what is alive then to the
        limit at the rate of allocation.
        """
        rest, goal = self._rest(), self._at_collections("heap_goal_bytes")
        both, rate = rest + goal, self._allocation_rate()
        if rest.now + (self.readings[-1].heap_goal_bytes or 0) >= self.level:
            return self._before_collection(rest, rate, used)
        if is_even:
            return None
        if not self._enough(both.by) or both.most <= 0:
            return None
        last = self.readings[-1]
        alive = (last.heap_live_bytes or 0) / max(last.heap_goal_bytes or 1, 1)
        fill = (self.level - rest.now) * max(1 - alive, 0) / rate if rate else 0.0
        crossing = self._crossing(both, self.level, self.level + self.swap, "goal")
        latest = [crossing.latest + 2 * fill * (1 + _MARGIN)]
        latest += [each.latest for each in self._used(used) if each.latest != inf]
        return _Interval(crossing.earliest + fill * (1 - _MARGIN), max(latest), "goal")

    def _late_collections(self) -> int:
        """How many ended in the later half of the time."""
        half = (self._at(0) + self._at(-1)) / 2
        ends = {reading.gc_count: reading.gc_at_ns or 0 for reading in self.readings}
        return sum(end / 1e9 > half for end in ends.values())

    def _before_collection(self, rest: Growth, rate: float, used: Growth) -> _Interval | None:
        """The heap meets the limit before it is collected: when it does at the rate of allocation."""
        now = self.readings[-1].heap_now_bytes
        found = list(self._used(used))
        if rate and now is not None:
            left = max(self.level - rest.now - now, 0)
            late = (left + self.swap) / rate * (1 + _MARGIN)
            found.append(_Interval(left / rate * (1 - _MARGIN), late, "goal"))
        if not found:
            return None
        known = [each.latest for each in found if each.latest != inf]
        return _Interval(min(each.earliest for each in found), max(known, default=inf), "goal")

    def _live(self) -> _Interval | None:
        """When what is alive and the rest come to the limit: before, Go collects all the time to keep to GOMEMLIMIT."""
        both = self._rest() + self._at_collections("heap_live_bytes")
        if not self._enough(both.by) or both.most <= 0:
            return None
        return self._crossing(both, _ALIVE * self.level, self.level + self.swap, "live")

    def _allocation_rate(self) -> float:
        """Bytes that are allocated in a second, 0 if not known."""
        first, last = self.readings[0], self.readings[-1]
        if first.allocated_bytes is None or last.allocated_bytes is None:
            return 0.0
        return max(last.allocated_bytes - first.allocated_bytes, 0) / (self._at(-1) - self._at(0))
