from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis.groups import Group, groups
from spyglass.model import NONE, Frame, Goroutines
from tests.snapshots import Row, frame, make_snapshot

MAIN = frame("main.main", line=30)
RECEIVE = frame("main.receive", line=12)
SEND = frame("main.send", line=15)


def brief(group: Group) -> tuple[int, str, str | None, int | None, list[int]]:
    where = group.where.function if group.where else None
    return group.count, group.state, where, group.longest_wait_ns, group.rows.tolist()


def test_largest_first_then_in_the_order_they_came() -> None:
    rows = [
        Row(1, wait_reason="chan send", where=SEND, creator=MAIN),
        Row(2, wait_reason="chan receive", where=RECEIVE, creator=MAIN),
        Row(3, "running", where=SEND, creator=MAIN),
        Row(4, wait_reason="chan receive", where=RECEIVE, creator=MAIN),
    ]
    assert [brief(g) for g in groups(make_snapshot(rows))] == [
        (2, "chan receive", "main.receive", None, [1, 3]),
        (1, "chan send", "main.send", None, [0]),
        (1, "running", "main.send", None, [2]),
    ]


@pytest.mark.parametrize(
    "other",
    [
        Row(2, "running", where=RECEIVE, creator=MAIN),
        Row(2, wait_reason="select", where=RECEIVE, creator=MAIN),
        Row(2, wait_reason="chan receive", where=SEND, creator=MAIN),
        Row(2, wait_reason="chan receive", where=frame("main.receive", line=13), creator=MAIN),
        Row(2, wait_reason="chan receive", where=RECEIVE, creator=RECEIVE),
        Row(2, wait_reason="chan receive", where=RECEIVE),
        Row(2, wait_reason="chan receive", creator=MAIN),
        Row(2, wait_reason="chan receive", start=RECEIVE, creator=MAIN),
    ],
)
def test_state_place_and_creator_each_tell_groups_apart(other: Row) -> None:
    one = Row(1, wait_reason="chan receive", where=RECEIVE, creator=MAIN)
    assert [g.count for g in groups(make_snapshot([one, other]))] == [1, 1]


def test_one_line_is_one_place_whatever_the_pc() -> None:
    rows = [
        Row(1, wait_reason="select", where=frame("main.f", line=7, pc=pc), creator=MAIN)
        for pc in (0x1000, 0x1010, 0x1000)
    ]
    assert [g.count for g in groups(make_snapshot(rows))] == [3]


def test_where_it_began_stands_in_for_an_unknown_place() -> None:
    rows = [Row(1, "running", start=RECEIVE), Row(2, "running", start=SEND), Row(3, "running")]
    found = groups(make_snapshot(rows))
    assert [(g.where, g.start) for g in found] == [(None, RECEIVE), (None, SEND), (None, None)]


def test_where_it_began_does_not_part_a_group_whose_place_is_known() -> None:
    rows = [Row(1, "running", where=SEND, start=RECEIVE), Row(2, "running", where=SEND, start=MAIN)]
    (group,) = groups(make_snapshot(rows))
    assert (group.count, group.where, group.start) == (2, SEND, None)


def test_longest_wait_is_of_those_that_are_known() -> None:
    rows = [
        Row(1, wait_reason="select", waiting_ns=None),
        Row(2, wait_reason="select", waiting_ns=5_000_000_000),
        Row(3, wait_reason="select", waiting_ns=7),
        Row(4, wait_reason="sleep", waiting_ns=None),
        Row(5, wait_reason="IO wait", waiting_ns=0),
    ]
    found = groups(make_snapshot(rows))
    assert {g.state: g.longest_wait_ns for g in found} == {
        "select": 5_000_000_000,
        "sleep": None,
        "IO wait": 0,
    }


def test_doubtful_rows_are_counted() -> None:
    rows = [Row(i, quality=q) for i, q in enumerate(["stable", "moved", "torn", "unreadable"])]
    (group,) = groups(make_snapshot(rows))
    assert (group.count, group.doubtful) == (4, 2)


def test_system_goroutines_when_asked_and_dead_ones_never() -> None:
    rows = [Row(1, "dead"), Row(2, system=True), Row(3, "running"), Row(4, "dead", system=True)]
    snapshot = make_snapshot(rows)
    assert [g.rows.tolist() for g in groups(snapshot)] == [[2]]
    assert [g.rows.tolist() for g in groups(snapshot, system=True)] == [[1], [2]]


def test_a_group_has_one_called_function_on_whichever_line_of_it() -> None:
    lock, unlock = (frame(f"sync.(*Mutex).{name}", "mutex.go", 9) for name in ("Lock", "Unlock"))
    rows = [Row(1, where=SEND, call=lock), Row(2, where=SEND, call=unlock), Row(3, where=SEND)]
    rows += [Row(4, where=SEND, call=replace(lock, line=10)), Row(5, start=SEND)]
    found = groups(make_snapshot(rows))
    assert [(g.call, g.rows.tolist()) for g in found] == [
        (lock, [0, 3]),
        (unlock, [1]),
        (None, [2]),
        (None, [4]),
    ]


def test_no_goroutines_no_groups() -> None:
    assert groups(make_snapshot([])) == []
    assert groups(make_snapshot([Row(1, "dead")])) == []


def test_a_million_goroutines() -> None:
    n = 1_000_000
    frames = tuple(Frame(f"main.f{i}", "/src/main.go", i % 10, 0x1000 + i) for i in range(100))
    numbers = np.arange(n)
    snapshot = make_snapshot([], frames=frames, wait_reasons=("select", "sleep"))
    columns = Goroutines.of(
        n,
        id=numbers.astype(np.uint64),
        status=np.full(n, 4, np.uint8),
        wait_reason=(numbers % 2).astype(np.int16),
        waiting_ns=numbers,
        printed_ns=numbers,
        stack=np.full(n, NONE, np.int32),
        where=(numbers % 100).astype(np.int32),
        call=np.full(n, NONE, np.int32),
        start=np.full(n, NONE, np.int32),
        creator=np.full(n, NONE, np.int32),
        creator_id=np.full(n, NONE, np.int64),
        m=np.full(n, NONE, np.int64),
        locked=np.zeros(n, np.bool_),
        system=np.zeros(n, np.bool_),
        labels=np.full(n, NONE, np.int32),
        quality=np.zeros(n, np.uint8),
        stops=np.zeros(n, np.int16),
    )
    found = groups(
        make_snapshot([], frames=frames, wait_reasons=snapshot.wait_reasons, goroutines=columns)
    )
    assert len(found) == 100
    assert {g.count for g in found} == {10_000}
    assert [g.rows[0] for g in found] == list(range(100))
    assert found[3].state == "sleep"
    assert found[3].where == frames[3]
    assert found[3].longest_wait_ns == 999_903
    assert np.array_equal(found[3].rows, np.arange(3, n, 100))
