"""Goroutines in groups: what each group has in common, and how it is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis.group_by import groups_by
from spyglass.model import Frame, Snapshot
from spyglass.render.group_blocks import group_lines
from tests.snapshots import Row, frame, make_snapshot

PARK = replace(frame("runtime.gopark", "/go/src/runtime/proc.go", 402), hidden=True)
SELECT = replace(frame("runtime.selectgo", "/go/src/runtime/select.go", 327), hidden=True)
EXIT = replace(frame("runtime.goexit", "/go/src/runtime/asm.s", 1), hidden=True)
TAKE = Frame("main.(*Pool[...]).take", "/src/pool.go", 7, 0x401, offset=0x1D)
WORK = Frame("main.work", "/src/main.go", 15, 0x402, offset=0x2D)
MAIN, BOOT = frame("main.main", line=30), frame("main.boot", line=40)
SPIN = frame("main.spin", line=9)

MINUTE_NS = 60_000_000_000
BLUE, RED = {"tenant": "blue"}, {"tenant": "red", "a": "b"}

SNAPSHOT = make_snapshot(
    [
        Row(10, "running", start=SPIN, creator=BOOT, m=3, labels=BLUE),
        Row(11, wait_reason="chan receive", waiting_ns=2 * MINUTE_NS, where=TAKE, creator=MAIN,
            stack=(PARK, TAKE, WORK, EXIT), labels=BLUE),
        Row(12, wait_reason="select", waiting_ns=300 * MINUTE_NS, where=TAKE, creator=MAIN,
            stack=(PARK, SELECT, TAKE, WORK, EXIT), labels=RED),
        Row(13, wait_reason="chan receive", where=TAKE, creator=BOOT, quality="torn",
            stack=(PARK, replace(TAKE, pc=0x500, offset=0x9F), WORK, EXIT)),
        Row(14, wait_reason="sleep", where=WORK, creator=MAIN, stack=(PARK, WORK, EXIT), labels=None),
    ]
)  # fmt: skip


def ids(snapshot: Snapshot, by: str, *, runtime_frames: bool = False) -> list[list[int]]:
    every = np.arange(len(snapshot.goroutines))
    found = groups_by(snapshot, every, by, runtime_frames=runtime_frames)
    return [snapshot.goroutines.id[rows].tolist() for rows in found]


def shown(by: str, width: int | None = None, *, runtime_frames: bool = False) -> str:
    every = np.arange(len(SNAPSHOT.goroutines))
    found = groups_by(SNAPSHOT, every, by, runtime_frames=runtime_frames)
    lines = group_lines(SNAPSHOT, found, by, width=width, runtime_frames=runtime_frames)
    return "".join(f"{line.plain}\n" for line in lines)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        # Neither the runtime's frames nor the instruction within a line make a difference.
        ("stack", [[11, 12, 13], [10], [14]]),
        ("function", [[11, 12, 13], [10], [14]]),
        ("creator", [[11, 12, 14], [10, 13]]),
        ("state", [[11, 13], [10], [12], [14]]),
        ("label:tenant", [[10, 11], [12], [13], [14]]),
        ("label:a", [[10, 11, 13], [12], [14]]),
    ],
)
def test_what_they_have_in_common(by: str, expected: list[list[int]]) -> None:
    assert ids(SNAPSHOT, by) == expected


def test_with_the_frames_of_the_runtime_more_stacks_differ() -> None:
    assert ids(SNAPSHOT, "stack", runtime_frames=True) == [[11, 13], [10], [12], [14]]


def test_where_a_goroutine_is_and_where_one_began_are_two_things() -> None:
    snapshot = make_snapshot([Row(1, where=SPIN), Row(2, "running", start=SPIN)])
    assert ids(snapshot, "function") == [[1], [2]]


def test_functions_that_called_different_ones_are_two_groups() -> None:
    lock, wait = frame("sync.(*Mutex).Lock", line=9), frame("sync.(*WaitGroup).Wait", line=9)
    rows = [Row(1, where=SPIN, call=lock), Row(2, where=SPIN, call=wait), Row(3, where=SPIN)]
    rows.append(Row(4, where=replace(SPIN, line=99), call=replace(lock, line=10)))
    assert ids(make_snapshot(rows), "function") == [[1, 4], [2], [3]]


def test_unknown_stacks_are_told_apart_by_where_they_began() -> None:
    rows = [Row(1, "running", start=SPIN), Row(2, "running", start=WORK), Row(3, start=SPIN)]
    assert ids(make_snapshot(rows), "stack") == [[1, 3], [2]]


def test_only_the_rows_that_were_given() -> None:
    found = groups_by(SNAPSHOT, np.array([2, 4]), "state")
    assert [rows.tolist() for rows in found] == [[2], [4]]
    assert groups_by(SNAPSHOT, np.array([], np.int64), "stack") == []


def test_stacks_are_shown_once() -> None:
    assert (
        shown("stack")
        == """\
3          chan receive 2  select 1  waiting 2m to 5h  doubtful 1  ids 11, 12, 13
           main.(*Pool[...]).take
               /src/pool.go:7
           main.work
               /src/main.go:15
           created by main.main /src/main.go:30 (2)
           created by main.boot /src/main.go:40 (1)

1          running  id 10
           stack not known
           started in main.spin /src/main.go:9
           created by main.boot /src/main.go:40

1          sleep  id 14
           main.work
               /src/main.go:15
           created by main.main /src/main.go:30

"""
    )


def test_hidden_frames_are_shown_when_asked_for() -> None:
    lines = shown("stack", runtime_frames=True).splitlines()
    assert lines[1:3] == ["           runtime.gopark", "               /go/src/runtime/proc.go:402"]


@pytest.mark.parametrize(
    ("by", "titles"),
    [
        ("function", ["main.(*Pool[...]).take", "main.spin (start)", "main.work"]),
        ("creator", ["main.main", "main.boot"]),
        ("state", ["chan receive", "running", "select", "sleep"]),
        ("label:tenant", ["tenant=blue", "tenant=red", "(no label tenant)", "unreadable labels"]),
    ],
)  # fmt: skip
def test_what_each_has_in_common_is_said(by: str, titles: list[str]) -> None:
    firsts = [block.splitlines()[0] for block in shown(by).split("\n\n") if block]
    assert [line[11:].split("  ")[0] for line in firsts] == titles


def test_what_differs_is_counted() -> None:
    assert (
        shown("creator").split("\n\n")[0]
        == """\
3          main.main  chan receive 1  select 1  sleep 1  waiting 2m to 5h  ids 11, 12, 14
           created by main.main /src/main.go:30
           at main.(*Pool[...]).take /src/pool.go:7 (2)
           at main.work /src/main.go:15 (1)"""
    )


def test_what_they_share_is_said_once() -> None:
    assert (
        shown("state").split("\n\n")[0]
        == """\
2          chan receive  waiting 2m  doubtful 1  ids 11, 13
           at main.(*Pool[...]).take /src/pool.go:7
           created by main.main /src/main.go:30 (1)
           created by main.boot /src/main.go:40 (1)"""
    )


@pytest.mark.parametrize(("count", "ids"), [(5, "1, 2, 3, 4, 5"), (6, "1, 2, 3, 4, 5, …")])
def test_some_ids_are_named(count: int, ids: str) -> None:
    snapshot = make_snapshot([Row(i + 1, "runnable") for i in range(count)])
    first, *_ = group_lines(snapshot, [np.arange(count)], "state")
    assert first.plain == f"{count}          runnable  ids {ids}"


def test_of_what_differs_much_the_most_frequent_is_shown() -> None:
    rows = [
        Row(i + 1, wait_reason=f"r{i % 9}", where=frame("f", line=i % 7 + 1)) for i in range(63)
    ]
    snapshot = make_snapshot(rows)
    found = groups_by(snapshot, np.arange(63), "label:x")
    lines = [line.plain for line in group_lines(snapshot, found, "label:x")]
    assert (
        lines[0]
        == "63         (no label x)  r0 7  r1 7  r2 7  r3 7  r4 7  others 28  ids 1, 2, 3, 4, 5, …"
    )
    assert lines[1:-1] == [
        "           at f /src/main.go:1 (9)",
        "           at f /src/main.go:2 (9)",
        "           at f /src/main.go:3 (9)",
        "           at 4 more places",
    ]


def test_frames_that_were_left_out_are_counted() -> None:
    snapshot = make_snapshot([Row(1, stack=(PARK, WORK, MAIN, EXIT))], elided={0: (2, 12345)})
    lines = [line.plain.strip() for line in group_lines(snapshot, [np.array([0])], "stack")]
    assert lines[1:6] == ["main.work", "/src/main.go:15", "...12,345 frames elided...", "main.main", "/src/main.go:30"]  # fmt: skip


def test_facts_are_wrapped_to_the_terminal() -> None:
    lines = shown("stack", 40).splitlines()
    assert lines[:3] == [
        "3          chan receive 2  select 1",
        "           waiting 2m to 5h  doubtful 1",
        "           ids 11, 12, 13",
    ]


@pytest.mark.parametrize("by", ["stack", "function", "creator", "state", "label:tenant"])
@pytest.mark.parametrize("width", [12, 30, 60])
def test_no_line_is_longer_than_the_terminal(by: str, width: int) -> None:
    place = frame("example.com/some/where.(*Pool[...]).take", "/a/long/way/to/日本語/pool.go", 1234)
    rows = [
        Row(i, where=place, start=place, creator=place, stack=(place,) * (i % 2)) for i in range(9)
    ]
    snapshot = make_snapshot([replace(row, stack=row.stack or None) for row in rows])
    lines = group_lines(snapshot, groups_by(snapshot, np.arange(9), by), by, width=width)
    assert max(line.cell_len for line in lines) <= width


def test_in_a_narrow_terminal_the_ends_of_names_are_kept() -> None:
    assert shown("stack", 44).splitlines()[3:8] == [
        "           main.(*Pool[...]).take",
        "               /src/pool.go:7",
        "           main.work",
        "               /src/main.go:15",
        "           created by …ain …c/main.go:30 (2)",
    ]


def test_names_cannot_do_anything_to_a_terminal() -> None:
    bad = "\x1b]0;x\x07\n\u202e"
    place = frame(f"main.{bad}", f"/{bad}.go", 1)
    row = Row(1, wait_reason=bad, where=place, start=place, creator=place, stack=(place,), labels={bad: bad})  # fmt: skip
    snapshot = make_snapshot([row, Row(2, "running", start=place)])
    for by in ("stack", "function", "creator", "state", f"label:{bad}"):
        lines = group_lines(snapshot, groups_by(snapshot, np.arange(2), by), by)
        assert all(line.plain.isprintable() for line in lines)


def test_blocks_of_functions_name_the_call() -> None:
    lock = frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
    rows = [Row(1, wait_reason="sync.Mutex.Lock", where=WORK, call=lock), Row(2, where=WORK)]
    lines = "".join(
        f"{line.plain}\n"
        for line in group_lines(
            make_snapshot(rows),
            groups_by(make_snapshot(rows), np.arange(2), "function"),
            "function",
        )
    )
    assert (
        lines
        == """\
1          main.work in sync.(*Mutex).Lock  sync.Mutex.Lock  id 1
           at main.work /src/main.go:15
           in sync.(*Mutex).Lock /go/src/sync/mutex.go:46

1          main.work  waiting  id 2
           at main.work /src/main.go:15

"""
    )
