"""Forecasts from synthetic readings whose future is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest

from spyglass.analysis.growth import Point, growth
from spyglass.analysis.memory_forecast import forecast
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits, MemoryReading

MIB = 1 << 20
LIMIT = 400 * MIB
REST = 10 * MIB
Curve = Callable[[float], float]


def points(curve: Curve, until: float, count: int = 20) -> list[Point]:
    return [Point(until * i / (count - 1), curve(until * i / (count - 1))) for i in range(count)]


def crossing(curve: Curve, level: float) -> float:
    """When `curve` first reaches `level`."""
    at = 0.0
    while curve(at) < level:
        at += 0.01
    return at


def noisy(curve: Curve, amount: float, seed: int) -> Curve:
    chosen = random.Random(seed)
    return lambda t: curve(t) + chosen.uniform(-amount, amount)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [8, 20, 100])
def test_the_peaks_of_a_noisy_line_grow_as_the_line_does(seed: int, count: int) -> None:
    found = growth(points(noisy(lambda t: 50 + 3 * t, 4, seed), 60, count), 60)
    assert found.least <= 3 <= found.most
    assert found.now == pytest.approx(230, abs=8)


@pytest.mark.parametrize("period", [3.1, 7.0, 11.9])
@pytest.mark.parametrize("phase", [0.0, 0.4, 0.9])
def test_the_teeth_of_a_saw_are_not_taken_for_growth_nor_for_decline(
    period: float, phase: float
) -> None:
    def saw(t: float) -> float:
        return 40 * ((t / period + phase) % 1)

    rising = growth(points(lambda t: 2 * t + saw(t), 60, 120), 60)
    assert rising.least <= 2 <= rising.most
    level = growth(points(lambda t: 100 + saw(t), 60, 120), 60)
    assert level.by < 8


@pytest.mark.parametrize(
    "curve", [lambda t: 7.0, lambda t: 100 - t, lambda t: min(t, 20.0), lambda t: abs(t - 30)]
)
def test_what_stands_falls_or_has_stopped_does_not_grow(curve: Curve) -> None:
    assert growth(points(curve, 60), 60).most == 0


def test_growth_that_slows_down_may_end() -> None:
    found = growth(points(lambda t: t**0.5, 60), 60)
    assert (found.least, found.most > 0) == (0, True)


def test_growth_that_speeds_up_may_go_on_to_do_so() -> None:
    found = growth(points(lambda t: t * t, 60), 60)
    assert found.most >= 2 * 60


def test_between_the_tops_of_a_saw_there_is_a_pause() -> None:
    saw = growth(points(lambda t: 2 * t + 40 * ((t / 7) % 1), 60, 241), 60)
    assert saw.pause == pytest.approx(40 / (2 + 40 / 7), abs=0.5)  # until it is as high again
    line = growth(points(lambda t: 2 * t, 60, 241), 60)
    assert line.pause == pytest.approx(0.25)
    assert (saw + line).pause == saw.pause


def test_a_tooth_in_each_part_is_enough() -> None:
    """One that is low otherwise, where its tops rise."""
    rising = [Point(at, 10 * at if at % 5 == 2 else 1) for at in range(25)]
    found = growth(rising, 24)
    assert found.least <= 10 <= found.most
    assert found.by == 10 * (22 - 2)


@pytest.mark.parametrize("count", range(6))
def test_few_points(count: int) -> None:
    found = growth([Point(i, 2 * i) for i in range(count)], 5)
    assert (found.most > 0) == (count >= 2)
    assert growth([Point(1, i) for i in range(count)], 1).most == 0


# Programs


def nothing(_: float) -> float:
    return 0.0


@dataclass
class Program:
    """A Go program that keeps `keep` bytes a second, and allocates `waste` more that is garbage; all that it ever
    used stays resident. `limit`: GOMEMLIMIT."""

    keep: float
    waste: float
    limit: int | None = None
    cache: float = 0
    live: Curve = nothing
    resident: float = 0.0
    killed_at: float | None = None

    def run(self, seconds: float, every: float) -> list[MemoryReading]:
        """A reading every so many seconds, until it is killed or so many have passed."""
        step, heap, marked, allocated = 0.02, 0.0, 2.0 * MIB, 0.0
        collected, collections = 0.0, 0
        readings: list[MemoryReading] = []
        for number in range(int(seconds / step)):
            t = number * step
            alive = 2 * MIB + self.keep * t + self.live(t)
            heap += (self.keep + self.waste) * step
            allocated += (self.keep + self.waste) * step
            if heap >= self._goal(marked):
                heap = marked = alive
                collected, collections = t, collections + 1
            heap = max(heap, alive)
            self.resident = max(self.resident, heap)
            if self.resident + REST >= LIMIT:
                self.killed_at = t
                return readings
            if number % round(every / step) == 0:
                readings.append(self._reading(t, heap, marked, allocated, collected, collections))
        return readings

    def _goal(self, marked: float) -> float:
        goal = max(2 * marked, 4 * MIB)
        return goal if self.limit is None else max(min(goal, self.limit - REST), marked)

    def _reading(
        self,
        t: float,
        heap: float,
        marked: float,
        allocated: float,
        collected: float,
        collections: int,
    ) -> MemoryReading:
        cache = int(self.cache * t)
        used = int(self.resident) + REST + cache
        row = MemoryLimit(
            "cgroup", "memory.max", "kill", "/a", bytes=LIMIT, used_bytes=min(used, LIMIT),
            reclaimable_bytes=min(cache, LIMIT - int(self.resident) - REST),
        )  # fmt: skip
        return MemoryReading(
            at_ns=int(t * 1e9) + 10**12,
            limits=MemoryLimits((row,)),
            heap_ready_bytes=int(self.resident),
            heap_unused_bytes=0,
            heap_now_bytes=int(heap),
            heap_live_bytes=int(marked),
            heap_goal_bytes=int(self._goal(marked)),
            go_bytes=int(self.resident) + REST // 2,
            go_limit_bytes=self.limit,
            allocated_bytes=int(allocated),
            gc_count=collections,
            gc_at_ns=int(collected * 1e9) + 10**12,
        )


def tooth(size: float, period: float) -> Curve:
    return lambda t: size * ((t % period) / period)


PROGRAMS = {
    "leak": Program(2 * MIB, 0),
    "leak and garbage": Program(2 * MIB, 40 * MIB),
    "much garbage": Program(1 * MIB, 400 * MIB),
    "leak below GOMEMLIMIT": Program(2 * MIB, 40 * MIB, limit=360 * MIB),
    "GOMEMLIMIT above the limit": Program(2 * MIB, 40 * MIB, limit=2 * LIMIT),
    "saw": Program(2 * MIB, 40 * MIB, live=tooth(30 * MIB, 9)),
    "saw below GOMEMLIMIT": Program(2 * MIB, 40 * MIB, limit=360 * MIB, live=tooth(30 * MIB, 9)),
    "leak and page cache": Program(2 * MIB, 40 * MIB, cache=20 * MIB),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
def test_the_moment_of_the_kill_lies_in_the_interval(name: str, part: float) -> None:
    readings, killed_at = ran(name)
    until = killed_at * part
    seen = [reading for reading in readings if reading.at_ns <= until * 1e9 + 10**12]
    found = forecast(seen)
    assert isinstance(found, MemoryForecast)
    now = (seen[-1].at_ns - 10**12) / 1e9
    assert found.latest_in_seconds is not None
    assert now + found.earliest_in_seconds <= killed_at <= now + found.latest_in_seconds
    # And it says something.
    width = found.latest_in_seconds - found.earliest_in_seconds
    assert width <= 0.6 * (killed_at - now) + 0.2 * killed_at


@cache
def ran(name: str) -> tuple[list[MemoryReading], float]:
    """The readings of a program of `PROGRAMS`, a second apart, and when it was killed."""
    program = replace(PROGRAMS[name])
    readings = program.run(300, 1.0)
    assert program.killed_at is not None
    return readings, program.killed_at


STEADY = {
    "garbage": Program(0, 60 * MIB),
    "page cache alone": Program(0, 0, cache=30 * MIB),
    "page cache and garbage": Program(0, 60 * MIB, cache=30 * MIB),
    "saw": Program(0, 60 * MIB, live=tooth(60 * MIB, 5)),
    "idle": Program(0, 0),
    "saw below GOMEMLIMIT": Program(0, 60 * MIB, limit=300 * MIB, live=tooth(60 * MIB, 5)),
}


@pytest.mark.parametrize("name", STEADY)
def test_nothing_is_forecast_for_what_does_not_grow(name: str) -> None:
    readings = replace(STEADY[name]).run(200, 1.0)
    # A saw is told from a leak only after some teeth.
    for count in (30 if "saw" in name else 10, 60, 200):
        assert isinstance(forecast(readings[:count]), str)


def test_one_reading_tells_nothing() -> None:
    readings = ran("leak")[0][:60]
    assert "one reading" in str(forecast(readings[:1]))
    assert "one reading" in str(forecast([]))
    assert "one moment" in str(forecast(readings[:1] * 2))


def test_two_readings_are_enough_for_a_rough_one() -> None:
    readings = ran("leak and garbage")[0][:60]
    found = forecast([readings[20], readings[50]])
    assert isinstance(found, MemoryForecast)
    assert found.window_seconds == 30


def test_the_limit_that_is_met_first_is_named() -> None:
    readings = ran("leak")[0][:100]
    above = [
        replace(r, limits=MemoryLimits((*r.limits.rows, replace(r.limits.rows[0], path="/", bytes=LIMIT * 3 // 4))))
        for r in readings
    ]  # fmt: skip
    found = forecast(above)
    assert isinstance(found, MemoryForecast)
    assert found.limit == 1


def test_a_limit_that_was_changed_meanwhile_is_not_extrapolated() -> None:
    readings = ran("leak")[0][:60]
    other = replace(readings[0].limits.rows[0], bytes=LIMIT - 1)
    changed = [replace(readings[0], limits=MemoryLimits((other,))), *readings[1:]]
    assert isinstance(forecast(changed), str)


def test_soft_limits_and_unknown_numbers_are_not_extrapolated() -> None:
    readings = ran("leak")[0][:60]

    def with_row(**changes: object) -> list[MemoryReading]:
        rows = [replace(reading.limits.rows[0], **changes) for reading in readings]  # type: ignore[arg-type]
        pairs = zip(readings, rows, strict=True)
        return [replace(reading, limits=MemoryLimits((row,))) for reading, row in pairs]

    assert isinstance(forecast(with_row(effect="collect")), str)
    assert isinstance(forecast(with_row(bytes=None)), str)
    assert isinstance(forecast(with_row(used_bytes=None)), str)
    assert isinstance(forecast(with_row(effect="slow")), MemoryForecast)


def test_teeth_make_it_later() -> None:
    """The top of a tooth meets the limit, and the readings may have missed the one before."""
    row = MemoryLimit("cgroup", "memory.max", "kill", bytes=1000 * MIB)

    def reading(at: float, used: float) -> MemoryReading:
        rows = (replace(row, used_bytes=int(used * MIB)),)
        return MemoryReading(int(at * 1e9) + 1, MemoryLimits(rows))

    times = [at / 2 for at in range(241)]
    plain = forecast([reading(at, 100 + 4 * at) for at in times])
    saw = forecast([reading(at, 60 + 4 * at + 40 * ((at / 15) % 1)) for at in times])
    assert isinstance(plain, MemoryForecast)
    assert isinstance(saw, MemoryForecast)
    assert (saw.latest_in_seconds or 0) >= (plain.latest_in_seconds or 0) + 5


def test_free_swap_makes_it_later() -> None:
    readings = ran("leak and garbage")[0][:90]
    swapping = [replace(r, limits=replace(r.limits, swap_free_bytes=LIMIT)) for r in readings]
    soon, late = forecast(readings), forecast(swapping)
    assert isinstance(soon, MemoryForecast)
    assert isinstance(late, MemoryForecast)
    assert late.earliest_in_seconds == soon.earliest_in_seconds
    assert (late.latest_in_seconds or 0) > 1.5 * (soon.latest_in_seconds or 0)


def test_without_go_s_own_numbers_what_is_used_is_extrapolated() -> None:
    readings = [replace(r, heap_ready_bytes=None) for r in ran("leak")[0][:100]]
    found = forecast(readings)
    assert isinstance(found, MemoryForecast)
    assert found.rule == "used"


def test_readings_that_lack_a_number_are_left_out() -> None:
    readings = ran("leak below GOMEMLIMIT")[0][:80]
    torn = [replace(r, heap_live_bytes=None) if i % 9 == 3 else r for i, r in enumerate(readings)]
    found = forecast(torn)
    assert isinstance(found, MemoryForecast)
    assert found.rule == "live"
