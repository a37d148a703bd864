"""Leaks in the live view: what is kept between two looks through the heap, and how fast they grow."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from spyglass.analysis.findings import Finding
from spyglass.tui.leaks import LeakRates, LeakWatch
from spyglass.wait_graph import LookedAt
from tests.snapshots import TAKEN_AT
from tests.wait_graphs import graph

SECOND_NS = 10**9
MARKED = LookedAt(True, True, 1 << 20, heap_complete=True, marks=2)


def test_the_heap_is_looked_through_now_and_then() -> None:
    watch = LeakWatch()
    assert watch.is_due(0)
    marked = replace(graph([(1, 0)], kinds={0: "channel"}, stuck={1: True}), looked_at=MARKED)
    watch.note(marked, 5 * SECOND_NS, SECOND_NS // 10)
    assert not watch.is_due(14 * SECOND_NS)
    assert watch.is_due(15 * SECOND_NS)
    watch.note(
        marked, 20 * SECOND_NS, SECOND_NS
    )  # it took a second: a twentieth of the time at most
    assert not watch.is_due(39 * SECOND_NS)
    assert watch.is_due(40 * SECOND_NS)


def test_in_between_those_that_still_wait_are_stuck() -> None:
    watch, kinds = LeakWatch(), dict.fromkeys(range(1, 5), "channel")
    waits = [(goid, goid) for goid in (1, 2, 3)]
    stuck = {1: True, 2: True, 3: False}
    watch.note(replace(graph(waits, kinds=kinds, stuck=stuck), looked_at=MARKED), 0, 0)
    kept = watch.note(graph([(2, 2), (3, 3), (4, 4)], kinds=kinds), 1, 0)
    assert kept.stuck.goroutine.tolist() == [2]  # 1 is gone, 3 could be woken, 4 is new
    assert kept.looked_at == MARKED
    assert kept.waits.goroutine.tolist() == [2, 3, 4]


def leak(number: int) -> Finding:
    return Finding("leak", "warning", f"{number} leaked", goroutines=number, functions=("main.f",))


def test_growth_is_counted_from_the_first_time() -> None:
    rates = LeakRates()
    other = Finding("deadlock", "critical", "two")
    assert [each.title for each in rates.added([other, leak(10)], TAKEN_AT)] == ["two", "10 leaked"]
    later = TAKEN_AT + timedelta(seconds=20)
    assert rates.added([leak(20)], later)[0].title == "20 leaked (+30 a minute)"
    after = later + timedelta(seconds=9)  # the heap was not looked through since
    assert rates.added([leak(20)], after)[0].title == "20 leaked (+30 a minute)"
    assert rates.added([leak(10)], later)[0].title == "10 leaked"
