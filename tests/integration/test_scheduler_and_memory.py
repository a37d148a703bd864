"""The scheduler and memory sections are what the program itself counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from spyglass.inspector import attach
from spyglass.model import MemoryStats, Snapshot
from tests.support import Flavour, Truth, start

pytestmark = pytest.mark.live

T = TypeVar("T")
FLAVOURS = pytest.mark.parametrize(
    "flavour",
    [Flavour.EXE, Flavour.STRIPPED, Flavour.STRIPPED_PIE, Flavour.CGO],
    ids=lambda f: f.value,
)
NO_GOAL = 1 << 62


def until(agreed: Callable[[T], bool], look: Callable[[], T]) -> T:
    """What `look` sees when it is as it should be, or in the end.

    A program at rest is not quite still: the runtime gives memory back and ticks in the background.
    """
    for _ in range(40):
        seen = look()
        if agreed(seen):
            break
        time.sleep(0.05)
    return seen


def account(memory: MemoryStats) -> dict[str, int | None]:
    return {
        "heap_inuse_bytes": memory.heap_in_use_bytes,
        "heap_idle_bytes": memory.heap_idle_bytes,
        "heap_released_bytes": memory.heap_released_bytes,
        "stack_inuse_bytes": memory.stacks_in_use_bytes,
        "next_gc_bytes": memory.heap_goal_bytes,
        "num_gc": memory.gc_count,
        "pause_total_ns": memory.gc_pause_total_ns,
        "last_pause_ns": memory.last_gc_pause_ns,
        "last_gc_unix_ms": round(memory.last_gc_at.timestamp() * 1e3)
        if memory.last_gc_at
        else None,
        "gogc_percent": memory.gogc_percent,
        "memory_limit_bytes": memory.memory_limit_bytes,
    }


def said(truth: Truth, has_limit: bool) -> dict[str, int | None]:
    goal = truth.next_gc_bytes
    return {
        "heap_inuse_bytes": truth.heap_inuse_bytes,
        "heap_idle_bytes": truth.heap_idle_bytes,
        "heap_released_bytes": truth.heap_released_bytes,
        "stack_inuse_bytes": truth.stack_inuse_bytes,
        "next_gc_bytes": goal if 0 <= goal < NO_GOAL else None,
        "num_gc": truth.num_gc,
        "pause_total_ns": truth.pause_total_ns,
        "last_pause_ns": truth.last_pause_ns,
        "last_gc_unix_ms": round(truth.last_gc_unix_ns / 1e6),
        "gogc_percent": truth.gogc_percent,
        "memory_limit_bytes": truth.memory_limit_bytes if has_limit else None,
    }


@FLAVOURS
@pytest.mark.parametrize(
    ("gogc", "limit"),
    [("100", None), ("37", None), ("-1", None), ("-1", "300000000"), ("50", "100000000")],
)
def test_memory_is_what_the_program_accounts_for(
    minor: str, flavour: Flavour, gogc: str, limit: str | None
) -> None:
    environment = {"GOMEMLIMIT": limit} if limit else {}
    has_limit = int(minor.split(".")[1]) >= 19
    with (
        start("truth", minor, flavour, f"-gogc={gogc}", env=environment) as process,
        attach(process.pid) as inspector,
    ):

        def look() -> tuple[dict[str, int | None], dict[str, int | None], Snapshot]:
            truth = process.truth()
            snapshot = inspector.snapshot("top")
            return said(truth, has_limit), account(snapshot.memory), snapshot

        theirs, ours, snapshot = until(lambda seen: seen[0] == seen[1], look)
    assert ours == theirs
    assert snapshot.problems == ()


@FLAVOURS
def test_the_scheduler_counts_as_the_program_does(minor: str, flavour: Flavour) -> None:
    with start("truth", minor, flavour) as process, attach(process.pid) as inspector:
        truth = process.truth()
        snapshot = until(_at_rest, lambda: inspector.snapshot("top"))
    scheduler = snapshot.scheduler
    assert (scheduler.gomaxprocs, scheduler.goroutines) == (truth.gomaxprocs, truth.num_goroutine)
    assert scheduler.system_goroutines is not None
    alive = len(snapshot.goroutines)
    assert alive == truth.num_goroutine + scheduler.system_goroutines - _extra(flavour)
    assert (scheduler.run_queue, scheduler.spinning_ms, scheduler.freed_ms) == (0, 0, 0)
    assert scheduler.gc_waiting is False
    assert [p.id for p in snapshot.processors] == list(range(truth.gomaxprocs))
    assert scheduler.idle_ps == sum(p.status == "idle" for p in snapshot.processors)
    assert all(p.schedtick > 0 for p in snapshot.processors[:1])


def _extra(flavour: Flavour) -> int:
    """With C there is a dead goroutine for the first thread of C's that calls Go; it counts as system."""
    return 1 if flavour is Flavour.CGO else 0


def _at_rest(snapshot: Snapshot) -> bool:
    idle = sum(p.status == "idle" for p in snapshot.processors)
    return snapshot.scheduler.idle_ps == idle and snapshot.scheduler.spinning_ms == 0


@FLAVOURS
def test_threads_are_the_kernels_and_know_their_goroutines(minor: str, flavour: Flavour) -> None:
    with start("truth", minor, flavour, "-n", "3") as process, attach(process.pid) as inspector:
        truth = process.truth()
        before = _kernels_threads(process.pid)  # they may become more, and never fewer
        snapshot = inspector.snapshot("top")
        after = _kernels_threads(process.pid)
    threads = snapshot.threads
    assert before <= {thread.tid for thread in threads} <= after
    ms = [thread.m for thread in threads]
    assert None not in ms
    assert len(set(ms)) == len(ms)
    locked = {each.id for each in truth.goroutines if each.locked_to_thread}
    assert len(locked) == 3
    system = {
        each.id for each in snapshot if each.system
    }  # one of them serves signals on its thread
    assert {t.locked_goroutine for t in threads} - system - {None} == locked
    blocked = {each.id for each in truth.goroutines if "main.readBlocking" in each.functions}
    assert {t.goroutine for t in threads} >= blocked
    assert all(t.os_state == "sleeping" for t in threads if t.goroutine in blocked)


def _kernels_threads(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()}


def test_a_busy_program_shows_who_runs_where(minor: str) -> None:
    with (
        start("truth", minor, Flavour.EXE, "-spin=5", env={"GOMAXPROCS": "2"}) as process,
        attach(process.pid) as inspector,
    ):
        snapshot = until(_both_run, lambda: inspector.snapshot("top"))
    spinning = _spinning(snapshot)
    assert len(spinning) == 5
    assert _both_run(snapshot)
    by_tid = {thread.tid: thread for thread in snapshot.threads}
    for processor in snapshot.processors:
        assert processor.tid is not None
        thread = by_tid[processor.tid]
        assert (thread.m, thread.p) == (processor.m, processor.id)
        assert thread.goroutine in spinning
    assert _queued(snapshot) == 3


def _spinning(snapshot: Snapshot) -> set[int]:
    return {each.id for each in snapshot if each.status in ("running", "runnable")}


def _both_run(snapshot: Snapshot) -> bool:
    """Whether it was read between two moves of the scheduler, which never rests here."""
    spinning = _spinning(snapshot)
    running = [t for t in snapshot.threads if t.goroutine in spinning and t.p is not None]
    linked = {(t.m, t.p) for t in running} == {(p.m, p.id) for p in snapshot.processors}
    return len(spinning) == 5 and len(running) == 2 and linked and _queued(snapshot) == 3


def _queued(snapshot: Snapshot) -> int:
    return (snapshot.scheduler.run_queue or 0) + sum(p.run_queue for p in snapshot.processors)


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED], ids=lambda f: f.value)
def test_many_processors_are_all_shown(minor: str, flavour: Flavour) -> None:
    with (
        start("truth", minor, flavour, env={"GOMAXPROCS": "37"}) as process,
        attach(process.pid) as inspector,
    ):
        snapshot = inspector.snapshot("top")
    assert snapshot.scheduler.gomaxprocs == 37
    assert [processor.id for processor in snapshot.processors] == list(range(37))
