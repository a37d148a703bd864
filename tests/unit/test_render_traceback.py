"""The text of a dump, literally: what Go's own traceback would print of the same goroutines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest

from spyglass.model import Frame, Snapshot
from spyglass.render.traceback import traceback
from spyglass.wait_graph import Connection
from tests.snapshots import Row, make_snapshot
from tests.traceback_text import goroutines_of_text
from tests.wait_things import Held, Thing, make_graph

MINUTE_NS = 60_000_000_000

PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x500, hidden=True, offset=0xCE)
TAKE = Frame("main.(*Queue[...]).take", "/src/queue.go", 7, 0x401, inlined=True)
WORK = Frame("main.work", "/src/main.go", 15, 0x401, offset=0x1D)
MAIN = Frame("main.main", "/src/main.go", 30, 0x402, offset=0x8A)
EXIT = Frame("runtime.goexit", "/go/src/runtime/asm_amd64.s", 1700, 0x501, hidden=True, offset=1)
PANIC = Frame("runtime.gopanic", "/go/src/runtime/panic.go", 770, 0x502, offset=0x132)
INIT = Frame("runtime.init.6", "/go/src/runtime/proc.go", 310, 0x503, hidden=True, offset=0x1A)


def text(*rows: Row, runtime_frames: bool = False, **changes: object) -> str:
    return text_of(make_snapshot(rows, **changes), runtime_frames=runtime_frames)


def text_of(snapshot: Snapshot, *, runtime_frames: bool = False) -> str:
    rows = np.arange(len(snapshot.goroutines))
    return "".join(traceback(snapshot, rows, runtime_frames=runtime_frames))


def header(**properties: object) -> str:
    row = Row(7, stack=(WORK,), **properties)  # type: ignore[arg-type]
    return text(row).splitlines()[0]


def test_goroutines_are_as_go_prints_them() -> None:
    rows = [
        Row(1, "syscall", stack=(WORK, MAIN, EXIT)),
        Row(7, wait_reason="chan receive", waiting_ns=5 * MINUTE_NS, locked=True,
            stack=(PARK, TAKE, WORK, EXIT), creator=MAIN, creator_id=1),
        Row(8, "runnable", stack=(WORK, EXIT), creator=replace(MAIN, offset=None)),
    ]  # fmt: skip
    assert text(*rows) == dedent(
        """\
        goroutine 1 [syscall]:
        main.work(...)
        \t/src/main.go:15 +0x1d
        main.main(...)
        \t/src/main.go:30 +0x8a

        goroutine 7 [chan receive, 5 minutes, locked to thread]:
        main.(*Queue[...]).take(...)
        \t/src/queue.go:7
        main.work(...)
        \t/src/main.go:15 +0x1d
        created by main.main in goroutine 1
        \t/src/main.go:30 +0x8a

        goroutine 8 [runnable]:
        main.work(...)
        \t/src/main.go:15 +0x1d
        created by main.main
        \t/src/main.go:30

        """
    )


def test_what_go_hides_can_be_shown() -> None:
    row = Row(2, wait_reason="force gc (idle)", stack=(PARK, WORK, EXIT), creator=INIT)
    assert text(row, runtime_frames=True) == dedent(
        """\
        goroutine 2 [force gc (idle)]:
        runtime.gopark(...)
        \t/go/src/runtime/proc.go:402 +0xce
        main.work(...)
        \t/src/main.go:15 +0x1d
        runtime.goexit(...)
        \t/go/src/runtime/asm_amd64.s:1700 +0x1
        created by runtime.init.6
        \t/go/src/runtime/proc.go:310 +0x1a

        """
    )
    assert (
        text(row) == "goroutine 2 [force gc (idle)]:\nmain.work(...)\n\t/src/main.go:15 +0x1d\n\n"
    )


def test_a_stack_of_hidden_frames_alone_is_shown() -> None:
    shown = goroutines_of_text(text(Row(3, stack=(PARK, EXIT))))
    assert shown[0].functions == ["runtime.gopark", "runtime.goexit"]


def test_a_panic_parts_deferred_calls_from_what_panicked() -> None:
    rows = [Row(1, stack=(WORK, PANIC, MAIN)), Row(2, stack=(PARK, PANIC, MAIN))]
    first, second = goroutines_of_text(text(*rows))
    assert first.functions == ["main.work", "panic", "main.main"]
    assert first.frames[1].file == "/go/src/runtime/panic.go"
    assert second.functions == ["main.main"]
    whole = goroutines_of_text(text(*rows, runtime_frames=True))
    assert whole[1].functions == ["runtime.gopark", "panic", "main.main"]


@pytest.mark.parametrize(("status", "mark"), [("running", ""), ("waiting", " (unreadable)")])
def test_without_a_stack(status: str, mark: str) -> None:
    quality = mark.strip(" ()") or "stable"
    row = Row(5, status, creator=MAIN, creator_id=1, quality=quality)
    assert text(row) == (
        f"goroutine 5 [{status}{mark}]:\n"
        "\tgoroutine running on other thread; stack unavailable\n"
        "created by main.main in goroutine 1\n\t/src/main.go:30 +0x8a\n\n"
    )


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"wait_reason": "select", "waiting_ns": MINUTE_NS - 1}, "[select]"),
        ({"wait_reason": "select", "waiting_ns": MINUTE_NS}, "[select, 1 minutes]"),
        ({"wait_reason": "select", "waiting_ns": 0}, "[select]"),
        ({"status": "syscall", "waiting_ns": 61 * MINUTE_NS}, "[syscall, 61 minutes]"),
        ({"wait_reason": "select", "locked": True}, "[select, locked to thread]"),
        ({"status": "leaked", "wait_reason": "chan send"}, "[chan send (leaked)]"),
        ({"wait_reason": "select", "quality": "torn"}, "[select (torn)]"),
        ({"wait_reason": "select", "quality": "moved"}, "[select]"),
        ({"status": "copystack"}, "[copystack]"),
        (
            {"status": "runnable", "quality": "torn", "locked": True},
            "[runnable (torn), locked to thread]",
        ),
        ({"wait_reason": "a\x1b[2Jb"}, r"[a\x1b[2Jb]"),
    ],
)
def test_states(properties: dict[str, object], expected: str) -> None:
    assert header(**properties) == f"goroutine 7 {expected}:"


def test_frames_that_were_left_out_are_counted() -> None:
    stack = (PARK, TAKE, *[replace(WORK, pc=0x600 + i, line=20 + i) for i in range(4)], EXIT)
    shown = text(Row(9, stack=stack), elided={0: (4, 1234)})
    lines = shown.splitlines()
    assert lines[5:9] == ["main.work(...)", "\t/src/main.go:21 +0x1d",
                          "...1234 frames elided...", "main.work(...)"]  # fmt: skip
    goroutine = goroutines_of_text(shown)[0]
    assert goroutine.elided
    assert [frame.line for frame in goroutine.frames] == [7, 20, 21, 22, 23]


def test_a_place_that_is_not_known() -> None:
    frame = Frame("main.stub", None, None, 0x700, offset=0x10)
    assert text(Row(1, stack=(frame,))).splitlines()[1:3] == ["main.stub(...)", "\t?:0 +0x10"]


def test_names_cannot_do_anything_to_a_terminal() -> None:
    bad = Frame("main.\x1b]0;x\x07\n", "/src/\x9b2J\u202e.go", 1, 0x700)
    shown = text(Row(1, stack=(bad,), creator=bad))
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert shown.count("\n") == 6
    assert r"main.\x1b]0;x\x07\x0a(...)" in shown


def test_many_goroutines_come_in_large_pieces_and_whole() -> None:
    rows = [Row(i + 1, stack=(WORK, replace(MAIN, line=i % 5000))) for i in range(20_000)]
    snapshot = make_snapshot(rows)
    pieces = list(traceback(snapshot, np.arange(20_000)))
    assert 10 < len(pieces) < 100
    found = goroutines_of_text("".join(pieces))
    assert [each.id for each in found] == list(range(1, 20_001))
    assert [each.frames[1].line for each in found] == [i % 5000 for i in range(20_000)]


def test_only_what_is_asked_for_in_that_order() -> None:
    snapshot = make_snapshot([Row(i, stack=(WORK,)) for i in (10, 11, 12)])
    found = goroutines_of_text("".join(traceback(snapshot, np.array([2, 0]))))
    assert [each.id for each in found] == [12, 10]


def test_no_goroutine_no_text() -> None:
    assert text() == ""


def with_waits(*rows: Row, things: Sequence[Thing]) -> list[str]:
    """The headers of `rows`."""
    snapshot = make_snapshot(rows, waits=make_graph(things))
    whole = "".join(traceback(snapshot, np.arange(len(rows)), waits=True))
    states = {each.id: each.state for each in goroutines_of_text(whole)}
    assert states == {row.id: row.wait_reason for row in rows}
    return [line for line in whole.splitlines() if line.startswith("goroutine ")]


def test_what_goroutines_wait_for_is_in_the_brackets_where_parsers_skip_it() -> None:
    things = [
        Thing("mutex", [(7, "lock")], [Held(9, grade=2), Held(8), Held(5, grade=4)], "main.(*Pool[int, string]).mu"),
        Thing("fd", [(8, "read")], connection=Connection("socket:tcp", None, "[::1]:5432\x1b"), state={"fd": 3}),
        Thing("channel", [(9, "receive")], type="chan int"),
        Thing("channel", [(9, "send")], type="chan error"),
    ]  # fmt: skip
    rows = [
        Row(7, wait_reason="sync.Mutex.Lock", printed_ns=5 * MINUTE_NS, stack=(WORK,)),
        Row(8, wait_reason="IO wait", stack=(WORK,)),
        Row(9, wait_reason="select", locked=True),
        Row(10, wait_reason="sleep", stack=(WORK,)),
    ]
    assert with_waits(*rows, things=things) == [
        "goroutine 7 [sync.Mutex.Lock, 5 minutes, waits for mutex main.(*Pool(int string)).mu "
        "held by goroutine 8 and 1 more]:",
        r"goroutine 8 [IO wait, waits for a read from (::1):5432\x1b (fd 3) no deadline]:",
        "goroutine 9 [select, locked to thread, waits for a receive from chan int or 1 more]:",
        "goroutine 10 [sleep]:",
    ]


def test_without_the_option_nothing_is_said_of_waits() -> None:
    graph = make_graph([Thing("mutex", [(7, "lock")], name="main.mu")])
    assert "main.mu" not in text(Row(7, wait_reason="sync.Mutex.Lock", stack=(WORK,)), waits=graph)
