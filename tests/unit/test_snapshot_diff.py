"""What changed between snapshots, on small ones of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from spyglass.analysis.metric_changes import (
    memory_changes,
    resident_changes,
    scheduler_changes,
    thread_changes,
)
from spyglass.analysis.same_process import caveats, is_same_process, other_program
from spyglass.analysis.shown_frames import shown_frames
from spyglass.analysis.snapshot_diff import Difference, Growth, difference
from spyglass.analysis.stack_matching import StackMatcher
from spyglass.memory_account import ResidentPart
from spyglass.model import Frame, Snapshot, Thread
from spyglass.wait_graph import LookedAt
from tests.saved import ACCOUNT
from tests.snapshots import MEMORY, PROCESS, SCHEDULER, TAKEN_AT, Row, frame, make_snapshot
from tests.wait_graphs import graph

SECOND_NS = 1_000_000_000
MINUTE = timedelta(minutes=1)
#: Waits since `TAKEN_AT`.
SINCE_THEN = -1.0

MAIN = frame("main.main", line=30)
WORK, ASK = frame("main.work", line=15), frame("main.ask", line=8)
RECEIVE, SEND = frame("main.receive", line=50), frame("main.send", line=60)
PARK = replace(frame("runtime.gopark", "/go/src/runtime/proc.go", 402), hidden=True)
GOEXIT = replace(frame("runtime.goexit", "/go/src/runtime/asm.s", 1), hidden=True)
PANIC = frame("runtime.gopanic", "/go/src/runtime/panic.go", 884)


def waiting(
    goid: int,
    *stack: Frame,
    creator: Frame | None = MAIN,
    wait: float | None = SINCE_THEN,
    **others: Any,
) -> Row:
    """A goroutine that waits at `stack`, for `wait` seconds; None: that is not known."""
    where = next((each for each in stack if not each.hidden), None)
    return Row(
        goid, wait_reason="select", stack=stack or None, where=where, start=WORK, creator=creator,
        waiting_ns=None if wait is None else int(wait * SECOND_NS), **others,
    )  # fmt: skip


def at(minutes: float, rows: Sequence[Row], **changes: object) -> Snapshot:
    """A snapshot taken so many minutes later."""
    since_then = int(SINCE_THEN * SECOND_NS)
    rows = [
        replace(row, waiting_ns=int(minutes * 60 * SECOND_NS))
        if row.waiting_ns == since_then
        else row
        for row in rows
    ]
    return make_snapshot(rows, taken_at=TAKEN_AT + minutes * MINUTE, **changes)


def ids(snapshot: Snapshot, rows: Any) -> list[int]:
    found: list[int] = snapshot.goroutines.id[rows].tolist()
    return found


def function(growth: Growth) -> str | None:
    where = growth.snapshot.goroutine(growth.row).where
    return where.function if where else None


def growths(found: Difference) -> list[tuple[str | None, tuple[int, ...]]]:
    return [(function(each), each.counts) for each in found.by_stack]


def test_born_gone_and_stuck() -> None:
    before = at(0, [waiting(1, RECEIVE), waiting(2, RECEIVE), waiting(3, SEND), waiting(4, SEND)])
    after = at(2, [waiting(9, SEND), waiting(4, SEND), waiting(3, RECEIVE), waiting(1, RECEIVE)])
    found = difference([before, after])
    assert (found.counts, found.elapsed_ns) == ((4, 4), 120 * SECOND_NS)
    assert ids(after, found.created) == [9]
    assert ids(before, found.exited) == [2]
    assert ids(after, found.stuck) == [4, 1]
    assert found.stuck_ns is not None
    assert found.stuck_ns.tolist() == [120 * SECOND_NS] * 2
    assert found.caveats == ()


def test_groups_are_ordered_by_growth() -> None:
    before = at(
        0, [*(waiting(i, RECEIVE) for i in range(1, 6)), waiting(6, SEND), waiting(7, WORK)]
    )
    after = at(
        0.5, [*(waiting(i, SEND) for i in (6, 10, 11, 12)), waiting(1, RECEIVE), waiting(7, WORK)]
    )
    found = difference([before, after])
    assert growths(found) == [
        ("main.send", (1, 4)),
        ("main.work", (1, 1)),
        ("main.receive", (5, 1)),
    ]
    send, work, receive = found.by_stack
    assert (send.created, send.exited, send.stuck, send.longest_stuck_ns) == (
        3,
        0,
        1,
        30 * SECOND_NS,
    )
    assert (receive.created, receive.exited, receive.stuck) == (0, 4, 1)
    assert (work.difference, work.stuck) == (0, 1)
    assert found.per_minute(send.difference) == 6.0
    assert found.stuck_in is not None
    places = dict(zip(ids(after, found.stuck), found.stuck_in.tolist(), strict=True))
    assert places == {6: 0, 7: 1, 1: 2}


@pytest.mark.parametrize("marks", [0, 2])
def test_what_can_never_be_woken_is_counted_where_the_heap_was_looked_through(marks: int) -> None:
    before = at(0, [waiting(1, SEND)])
    waits = graph(
        [(goid, goid) for goid in (1, 2, 3)],
        kinds=dict.fromkeys((1, 2, 3), "channel"),
        stuck={1: True, 2: False, 3: True},
    )
    waits = replace(waits, looked_at=LookedAt(True, True, 1, heap_complete=True, marks=marks))
    rows = [waiting(1, SEND), waiting(2, SEND), waiting(3, RECEIVE)]
    found = difference([before, at(1, rows, waits=waits)])
    counts = {function(each): each.never for each in found.by_stack}
    assert counts == ({"main.send": 1, "main.receive": 1} if marks else dict.fromkeys(counts))
    assert {each.never for each in found.by_creator} == ({2} if marks else {None})


def test_by_creator() -> None:
    before = at(
        0, [waiting(1, SEND, creator=None), waiting(2, SEND), waiting(3, SEND, creator=ASK)]
    )
    asked = [waiting(i, SEND, creator=ASK) for i in (3, 4, 5)]
    after = at(1, [waiting(1, SEND, creator=None), waiting(2, RECEIVE), *asked])
    found = difference([before, after])
    creators = [each.snapshot.goroutine(each.row).created_by for each in found.by_creator]
    assert creators == [ASK, None, MAIN]
    assert [each.counts for each in found.by_creator] == [(1, 3), (1, 1), (1, 1)]
    assert [each.stuck for each in found.by_creator] == [1, 1, 0]


# Which stacks are the same.


def same_stack(one: Row, other: Row) -> bool:
    found = difference([at(0, [one]), at(1, [other])])
    return len(found.by_stack) == 1


def test_lines_make_a_stack_not_pcs() -> None:
    elsewhere = replace(RECEIVE, pc=0x999999, offset=7, inlined=True)
    assert same_stack(waiting(1, RECEIVE, MAIN), waiting(1, elsewhere, MAIN))
    assert not same_stack(waiting(1, RECEIVE, MAIN), waiting(1, replace(RECEIVE, line=51), MAIN))
    assert not same_stack(waiting(1, RECEIVE, MAIN), waiting(1, replace(RECEIVE, file="/b"), MAIN))
    assert not same_stack(waiting(1, RECEIVE, MAIN), waiting(1, RECEIVE))
    assert not same_stack(waiting(1, RECEIVE, MAIN), waiting(1, MAIN, RECEIVE))


def test_what_is_not_shown_tells_nothing_apart() -> None:
    assert same_stack(waiting(1, PARK, RECEIVE, GOEXIT), waiting(1, RECEIVE))
    assert same_stack(waiting(1, PANIC, RECEIVE), waiting(1, RECEIVE))
    assert not same_stack(waiting(1, PARK), waiting(1, GOEXIT))
    assert not same_stack(waiting(1, PARK), waiting(1, PARK, GOEXIT))


def test_where_no_stack_is_known_a_place_stands_for_it() -> None:
    no_stack = Row(1, "running", where=RECEIVE, start=WORK)
    assert same_stack(no_stack, replace(no_stack, id=2))
    assert not same_stack(no_stack, replace(no_stack, where=SEND))
    began = replace(no_stack, where=None)
    assert same_stack(began, replace(began, id=2))
    assert not same_stack(began, replace(began, start=ASK))
    assert not same_stack(began, replace(no_stack, where=WORK))
    assert same_stack(replace(began, start=None), replace(began, start=None, id=7))


def test_left_out_frames_are_part_of_a_stack() -> None:
    rows = [waiting(1, RECEIVE, MAIN)]
    deep = at(1, rows, elided={0: (1, 900)})
    assert len(difference([at(0, rows), deep]).by_stack) == 2
    assert len(difference([at(0, rows, elided={0: (1, 900)}), deep]).by_stack) == 1


def test_a_snapshot_of_tops_is_compared_by_tops() -> None:
    full = at(0, [waiting(1, RECEIVE, MAIN), waiting(2, RECEIVE, WORK), waiting(3, SEND, MAIN)])
    top = at(1, [replace(waiting(i, RECEIVE), stack=None) for i in (1, 2, 3)])
    found = difference([full, top])
    assert growths(found) == [("main.receive", (2, 3)), ("main.send", (1, 0))]
    assert ids(top, found.stuck) == [1, 2]


def test_stacks_are_shown_as_a_dump_shows_them() -> None:
    """The numbers of lines are made without a loop over stacks; what a person is shown decides."""
    pool = [PARK, GOEXIT, PANIC, RECEIVE, SEND, MAIN]
    generator = np.random.default_rng(4)
    stacks = [
        tuple(pool[i] for i in generator.integers(0, len(pool), generator.integers(1, 6)))
        for _ in range(300)
    ]
    snapshot = make_snapshot([waiting(i + 1, *stack) for i, stack in enumerate(stacks)])
    numbers = StackMatcher([snapshot]).stacks(snapshot)
    shown = [
        tuple(shown_frames(snapshot, int(stack))) for stack in snapshot.goroutines.stack.tolist()
    ]
    for one in range(len(stacks)):
        for other in range(one):
            assert (numbers[one] == numbers[other]) == (shown[one] == shown[other])
    assert len(set(shown)) > 50


# Who is stuck.


def stuck(one: Row, other: Row, minutes: float = 2) -> list[float]:
    found = difference([at(0, [one]), at(minutes, [other])])
    assert found.stuck_ns is not None
    return [wait_ns / SECOND_NS for wait_ns in found.stuck_ns.tolist()]


def test_for_how_long() -> None:
    assert stuck(waiting(1, SEND), waiting(1, SEND)) == [120]
    assert stuck(waiting(1, SEND, wait=600), waiting(1, SEND, wait=720)) == [720]
    assert stuck(waiting(1, SEND, wait=None), waiting(1, SEND, wait=500)) == [500]


def test_of_whom_no_wait_was_recorded_it_is_not_known() -> None:
    assert stuck(waiting(1, SEND, wait=None), waiting(1, SEND, wait=None)) == []
    assert (
        stuck(waiting(1, SEND, wait=None), waiting(1, SEND, wait=5)) == []
    )  # may have moved before
    no_bound = waiting(1, SEND, wait=None, printed_ns=500 * SECOND_NS)
    assert stuck(waiting(1, SEND, wait=None), no_bound) == []
    assert stuck(waiting(1, SEND), replace(no_bound, printed_ns=120 * SECOND_NS)) == [120]


def test_whose_recorded_wait_is_gone_has_moved() -> None:
    assert stuck(waiting(1, SEND, wait=600), waiting(1, SEND, wait=None)) == []


def test_who_waits_since_later_has_moved() -> None:
    assert stuck(waiting(1, SEND, wait=600), waiting(1, SEND, wait=100)) == []
    assert stuck(waiting(1, SEND, wait=600), waiting(1, SEND, wait=719.5)) == [720]  # clocks differ
    assert stuck(waiting(1, SEND, wait=0), waiting(1, SEND, wait=5)) == []


@pytest.mark.parametrize("status", ["running", "runnable"])
def test_who_works_is_not_stuck(status: str) -> None:
    assert stuck(waiting(1, SEND), replace(waiting(1, SEND), status=status, wait_reason=None)) == []
    assert stuck(replace(waiting(1, SEND), status=status), waiting(1, SEND)) == [120]


def test_of_whom_it_is_not_known_where_is_not_stuck() -> None:
    began = waiting(1)
    assert stuck(began, began) == []
    assert stuck(replace(began, start=None), replace(began, start=None)) == []
    assert stuck(replace(began, where=SEND), replace(began, where=SEND)) == [120]


def test_in_a_series_it_was_there_all_the_time() -> None:
    rows = [waiting(1, SEND), waiting(2, SEND), waiting(3, SEND)]
    between = [waiting(1, SEND), waiting(2, RECEIVE)]
    found = difference([at(0, rows), at(1, between), at(2, rows)])
    assert ids(found.last, found.stuck) == [1]
    assert growths(found) == [("main.send", (3, 1, 3)), ("main.receive", (0, 1, 0))]
    assert found.counts == (3, 2, 3)
    assert (ids(found.last, found.created), ids(found.first, found.exited)) == ([], [])


def test_system_and_dead_goroutines() -> None:
    rows = [
        waiting(1, SEND),
        waiting(2, SEND, system=True),
        replace(waiting(3, SEND), status="dead"),
    ]
    assert difference([at(0, rows), at(1, rows)]).counts == (1, 1)
    assert difference([at(0, rows), at(1, rows)], system=True).counts == (2, 2)


def test_nothing_in_common_and_nothing_at_all() -> None:
    nobody, two = at(0, []), at(1, [waiting(1, SEND), waiting(2, SEND)])
    found = difference([nobody, two])
    assert growths(found) == [("main.send", (0, 2))]
    assert (ids(two, found.created), ids(nobody, found.exited), ids(two, found.stuck)) == (
        [1, 2],
        [],
        [],
    )
    gone = difference([at(0, [waiting(1, SEND)]), at(1, [])])
    assert growths(gone) == [("main.send", (1, 0))]
    assert difference([nobody, at(1, [])]).by_stack == ()
    returned = difference([at(0, [waiting(1, SEND)]), at(1, []), at(2, [waiting(1, SEND)])])
    assert ids(returned.last, returned.stuck) == []


def test_the_same_moment() -> None:
    rows = [waiting(1, SEND)]
    found = difference([at(0, rows), at(0, rows)])
    assert (found.elapsed_ns, found.per_minute(3)) == (0, None)


def test_ids_that_are_there_twice_and_claims_beyond_reason() -> None:
    """A file says what it likes."""
    rows = [waiting(7, SEND, wait=9e9), waiting(7, RECEIVE, wait=9e9), waiting(2**63 - 1, SEND)]
    first, last = (
        make_snapshot(
            rows,
            taken_at=TAKEN_AT.replace(year=year),
            took_ns=2**63 - 1,
            process=replace(PROCESS, started_at=TAKEN_AT.replace(year=1)),
        )
        for year in (1, 9999)
    )
    found = difference([first, last])
    assert found.counts == (3, 3)
    assert found.stuck_ns is not None
    assert (found.stuck_ns > 0).all()


# In which order, and of which processes.


def test_time_goes_one_way() -> None:
    before, after = at(0, [waiting(1, SEND)]), at(1, [waiting(1, SEND), waiting(2, SEND)])
    found = difference([after, before])
    assert found.counts == (1, 2)
    assert found.caveats == ("they are compared in the order in which they were taken",)


def other(minutes: float, **changes: Any) -> Snapshot:
    return at(minutes, [waiting(1, SEND), waiting(2, SEND)], process=replace(PROCESS, **changes))


def test_of_two_processes_only_groups_are_compared() -> None:
    before = at(0, [waiting(1, SEND)])
    found = difference([before, other(1, pid=4321)])
    assert growths(found) == [("main.send", (1, 2))]
    growth = found.by_stack[0]
    assert (growth.created, growth.exited, growth.stuck, growth.longest_stuck_ns) == (None,) * 4
    assert (found.created, found.exited, found.stuck, found.stuck_ns, found.stuck_in) == (None,) * 5
    assert found.caveats == (
        "they are of two processes, 1234 and 4321: goroutines are not compared one by one",
    )


STARTED = PROCESS.started_at
assert STARTED is not None


@pytest.mark.parametrize(
    ("changes", "host", "is_same"),
    [
        ({}, "web-3", True),
        ({"started_at": STARTED + timedelta(seconds=1)}, "web-3", True),
        ({"started_at": STARTED + timedelta(seconds=30)}, "web-3", False),
        ({"started_at": STARTED - timedelta(seconds=30)}, "web-3", False),
        ({"started_at": None}, "web-3", False),
        ({"pid": 4321}, "web-3", False),
        ({}, "web-4", False),
        ({}, None, True),
    ],
)
def test_one_process(changes: dict[str, Any], host: str | None, is_same: bool) -> None:
    before = at(0, [], host="web-3")
    after = replace(other(1, **changes), host=host)
    assert is_same_process(before, after) is is_same
    assert (list(caveats(before, after)) == []) is is_same


def test_a_process_that_started_after_the_first_look_is_another() -> None:
    """In a container each has the pid 1, and may have lived but a second."""
    young = replace(PROCESS, started_at=TAKEN_AT - timedelta(seconds=1))
    again = replace(PROCESS, started_at=TAKEN_AT + timedelta(seconds=2))
    before, after = at(0, [], process=young), at(1, [], process=again)
    assert not is_same_process(before, after)
    assert next(caveats(before, after)).startswith(
        "they are of two processes, both with the pid 1234:"
    )


def test_cores_of_pid_1_are_not_compared_by_goroutine_ids_without_a_start_time() -> None:
    """A core of gcore or the kernel has neither a host name nor a start time."""
    foreign = replace(PROCESS, pid=1, started_at=None)
    before, after = (
        replace(at(minute, [waiting(1, SEND)], process=foreign), host=None) for minute in (0, 1)
    )
    found = difference([before, after])
    assert (found.created, found.exited, found.stuck) == (None, None, None)
    assert found.caveats == (
        "it is not known when process 1 started, so it may be two processes:"
        " goroutines are not compared one by one",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"exe": "/opt/prometheus", "build_id": "other"}, None),
        ({"exe": "/usr/bin/renamed"}, None),
        ({"build_id": "other"}, None),
        ({"build_id": "other", "exe": None, "module": None}, None),
        ({"build_id": "other", "module": "x"}, "module github.com/prometheus/prometheus is not module x"),
        ({"build_id": None, "exe": "/usr/bin/promtool"}, "program prometheus is not program promtool"),
    ],
)  # fmt: skip
def test_other_programs(changes: dict[str, Any], why: str | None) -> None:
    assert other_program(PROCESS, replace(PROCESS, **changes)) == why


def test_doubts() -> None:
    before = at(0, [])
    after = replace(other(1, build_id="other"), redacted=True, matched_of=9)
    assert list(caveats(before, after)) == [
        "they are of two builds of the program: lines of code may have moved",
        "not all goroutines were saved",
        "one of them is redacted: both are compared as if they were",
    ]


def test_a_redacted_snapshot_is_compared_all_the_same() -> None:
    from spyglass.analysis.redaction import redacted

    rows = [waiting(1, frame("example.com/x.F", "/home/alice/x/f.go", 3))]
    found = difference([redacted(at(0, rows)), at(1, rows)])
    assert [each.counts for each in found.by_stack] == [(1, 1)]
    assert found.stuck is not None
    assert len(found.stuck) == 1


# Figures.


def test_changes() -> None:
    before = at(0, [])
    after = at(
        1, [],
        scheduler=replace(SCHEDULER, goroutines=50, gc_waiting=None),
        memory=replace(MEMORY, gc_count=143),
        process=replace(PROCESS, rss_bytes=5),
        threads=(*before.threads, Thread(7, "x", "disk sleep", None, None, None, False, None)),
    )  # fmt: skip
    assert scheduler_changes(before, after) == {"goroutines": (44, 50), "gc_waiting": (False, None)}
    assert memory_changes(before, after) == {"rss_bytes": (104857600, 5), "gc_count": (142, 143)}
    assert thread_changes(before, after) == {"total": (3, 4), "disk sleep": (0, 1)}
    assert scheduler_changes(before, before) == {}


def test_parts_of_resident_memory() -> None:
    c = ResidentPart("c", 5 << 20, "")
    before = at(
        0,
        [],
        account=replace(ACCOUNT, rss_bytes=c.bytes + 9, resident=(c, ResidentPart("files", 9, ""))),
    )
    grown = replace(c, bytes=6 << 20)
    after = at(1, [], account=replace(ACCOUNT, rss_bytes=grown.bytes, resident=(grown,)))
    assert resident_changes(before, after) == {
        "rss": ((5 << 20) + 9, 6 << 20), "c": (5 << 20, 6 << 20), "files": (9, 0),
    }  # fmt: skip
    less = replace(
        ACCOUNT, rss_bytes=grown.bytes - 1, resident=(replace(c, bytes=grown.bytes - 1),)
    )
    assert resident_changes(after, at(2, [], account=less)) == {}
    assert resident_changes(before, at(1, [])) == resident_changes(at(0, []), after) == {}
    assert resident_changes(before, at(1, [], account=replace(ACCOUNT, rss_bytes=None))) == {}
