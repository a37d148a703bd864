"""Which goroutines are chosen, and what is left of a snapshot of them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis.filters import Filter, matching
from spyglass.analysis.subset import subset
from spyglass.model import Snapshot
from tests.snapshots import Row, frame, make_snapshot

MAIN, SERVE = frame("main.main", line=30), frame("net/http.(*Server).Serve", line=3086)
TAKE, PARK = frame("main.(*Pool).take", line=7), frame("runtime.gopark", line=402)
SPIN = frame("main.spin", line=9)

SECOND_NS = 1_000_000_000

SNAPSHOT = make_snapshot(
    [
        Row(1, wait_reason="chan receive", waiting_ns=90 * SECOND_NS, stack=(PARK, TAKE, MAIN)),
        Row(2, wait_reason="select", waiting_ns=5 * SECOND_NS, stack=(PARK, MAIN), creator=MAIN),
        Row(3, "running", start=SPIN, creator=SERVE, labels={"tenant": "blue", "request": "42"}),
        Row(4, "syscall", stack=(SERVE, MAIN), creator=SERVE, labels={"tenant": "blue"}),
        Row(5, "runnable", stack=(TAKE,), creator=MAIN, labels=None),
        Row(6, "leaked", wait_reason="Chan Receive", stack=(PARK, TAKE, MAIN)),
    ]
)


def ids(snapshot: Snapshot, **wanted: object) -> list[int]:
    every = np.arange(len(snapshot.goroutines))
    rows = matching(snapshot, every, Filter(**wanted))  # type: ignore[arg-type]
    found: list[int] = snapshot.goroutines.id[rows].tolist()
    return found


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"ids": (4, 1, 99)}, [1, 4]),
        ({"states": ("chan receive",)}, [1, 6]),
        ({"states": ("CHAN receive", "Running")}, [1, 3, 6]),
        ({"states": ("waiting",)}, [1, 2]),
        ({"states": ("chan",)}, [1, 6]),
        ({"states": ("RUNN",)}, [3, 5]),
        ({"states": ("Receive (leaked)",)}, [6]),
        ({"states": ("mutex",)}, []),
        ({"function": re.compile("take")}, [1, 5, 6]),
        ({"function": re.compile(r"^main\.main$")}, [1, 2, 4, 6]),
        ({"function": re.compile("gopark")}, [1, 2, 6]),
        ({"function": re.compile("spin")}, [3]),
        ({"function": re.compile("nothing")}, []),
        ({"creator": re.compile("Server")}, [3, 4]),
        ({"creator": re.compile("")}, [2, 3, 4, 5]),
        ({"labels": (("tenant", "blue"),)}, [3, 4]),
        ({"labels": (("tenant", "blue"), ("request", "42"))}, [3]),
        ({"labels": (("tenant", "red"),)}, []),
        ({"min_wait_ns": 5 * SECOND_NS}, [1, 2]),
        ({"min_wait_ns": 5 * SECOND_NS + 1}, [1]),
        ({"min_wait_ns": 0}, [1, 2]),
        ({"function": re.compile("take"), "states": ("chan receive", "select")}, [1, 6]),
        ({"ids": (1, 2, 3), "creator": re.compile("main"), "min_wait_ns": 1}, [2]),
    ],
)
def test_all_that_is_asked_for_must_hold(wanted: dict[str, object], expected: list[int]) -> None:
    assert ids(SNAPSHOT, **wanted) == expected


def test_only_rows_that_were_given_and_in_their_order() -> None:
    rows = matching(SNAPSHOT, np.array([4, 0, 2]), Filter(function=re.compile("take")))
    assert rows.tolist() == [4, 0]


def test_where_only_tops_of_stacks_were_read_those_are_looked_at() -> None:
    snapshot = make_snapshot([Row(1, where=TAKE, start=MAIN), Row(2, where=SERVE, start=SPIN)])
    assert ids(snapshot, function=re.compile("take")) == [1]
    assert ids(snapshot, function=re.compile("spin")) == [2]


def test_an_empty_filter_is_none() -> None:
    assert not Filter()
    assert Filter(min_wait_ns=0)
    assert Filter(ids=(1,))


def test_nothing_to_choose_from() -> None:
    wanted = {"ids": (1,), "states": ("idle",), "labels": (("a", "b"),), "min_wait_ns": 1}
    assert ids(make_snapshot(), **wanted, function=re.compile(""), creator=re.compile("")) == []


def test_a_part_has_what_its_goroutines_have_and_no_more() -> None:
    part = subset(SNAPSHOT, np.array([4, 2, 0]))
    assert list(part) == [SNAPSHOT.goroutine(row) for row in (4, 2, 0)]
    assert (part.matched_of, SNAPSHOT.matched_of) == (6, None)
    assert len(part.stack_offsets) - 1 == 2
    assert set(part.frames) == {PARK, TAKE, MAIN, SPIN, SERVE}
    assert (part.scheduler, part.threads) == (SNAPSHOT.scheduler, SNAPSHOT.threads)


def test_a_part_of_nothing() -> None:
    part = subset(SNAPSHOT, np.array([], np.int64))
    assert (list(part), part.frames, part.stack_offsets.tolist()) == ([], (), [0])


def test_every_part_is_whole() -> None:
    everything = subset(SNAPSHOT, np.arange(6))
    assert list(everything) == list(SNAPSHOT)


def test_stacks_that_lack_their_middle_still_do() -> None:
    snapshot = replace(SNAPSHOT, elided={1: (1, 70), 3: (1, 900)})
    part = subset(snapshot, np.array([4]))
    assert part.elided == {0: (1, 900)}
    assert part.stack(0) == (TAKE,)


def test_stacks_that_were_not_read() -> None:
    snapshot = make_snapshot([Row(1, where=TAKE), Row(2, where=SERVE)])
    part = subset(snapshot, np.array([1]))
    assert [each.where for each in part] == [SERVE]


def test_threads_keep_their_stacks() -> None:
    first, *others = SNAPSHOT.threads
    taken = next(i for i, each in enumerate(SNAPSHOT.frames) if each == SPIN)
    busy = replace(first, runs="goroutine", stack=(taken, 0, taken))
    snapshot = replace(SNAPSHOT, threads=(busy, *others))
    part = subset(snapshot, np.array([0]))
    found = part.threads[0].stack
    assert found is not None
    assert [part.frames[i] for i in found] == [SPIN, SNAPSHOT.frames[0], SPIN]
    assert part.threads[1:] == SNAPSHOT.threads[1:]


def test_without_stacks_functions_are_those_of_where_of_call_and_of_start() -> None:
    snapshot = make_snapshot([Row(1, where=MAIN, call=TAKE, start=SPIN), Row(2, where=SERVE)])
    for name, expected in (("main.main", [1]), ("take", [1]), ("spin", [1]), ("Serve", [2])):
        assert ids(snapshot, function=re.compile(name)) == expected


def test_a_subset_keeps_what_its_goroutines_called() -> None:
    snapshot = make_snapshot([Row(1, where=MAIN, call=PARK), Row(2, where=SERVE, call=TAKE)])
    (kept,) = subset(snapshot, np.array([1]))
    assert (kept.where, kept.call) == (SERVE, TAKE)
