"""Goroutines that wait for a processor, and threads that pile up."""

from __future__ import annotations

from collections.abc import Iterator

from spyglass.analysis.findings.finding import Findable, Finding, Place
from spyglass.analysis.findings.thresholds import (
    RUNNABLE_COUNT,
    RUNNABLE_PER_P,
    SYSCALL_COUNT,
    SYSCALL_PER_P,
)
from spyglass.words.units import count, plural

__all__ = ["scheduling_findings"]


def scheduling_findings(findable: Findable) -> Iterator[Finding]:
    """Long run queues, and many system calls or calls of C."""
    if not findable.is_whole:
        return
    snapshot = findable.snapshot
    ps = snapshot.scheduler.gomaxprocs or len(snapshot.processors) or 1
    runnable = [place for place in findable.places if place.status == "runnable"]
    number = sum(len(place.rows) for place in runnable)
    if number >= max(RUNNABLE_COUNT, RUNNABLE_PER_P * ps):
        yield _runnable(findable, runnable[0], number, ps)
    calls = [place for place in findable.places if place.status == "syscall"]
    number = sum(len(place.rows) for place in calls)
    if number >= max(SYSCALL_COUNT, SYSCALL_PER_P * ps):
        yield _calls(findable, calls[0], number)
    yield from _locked(findable)


def _locked(findable: Findable) -> Iterator[Finding]:
    """Goroutines that are locked to a thread (``runtime.LockOSThread``): that runs nothing else."""
    snapshot, rows = findable.snapshot, findable.rows
    locked = rows[snapshot.goroutines.locked[rows]]
    if not len(locked):
        return
    frame = snapshot.frame(int(snapshot.goroutines.where[locked[0]]))
    where = "" if frame is None else f", the first at {frame.function}"
    verb = "is" if len(locked) == 1 else "are"
    yield Finding(
        kind="locked-thread",
        severity="info",
        title=f"{plural(len(locked), 'goroutine')} {verb} locked to a thread{where}",
        goroutines=len(locked),
        examples=findable.examples(locked),
        functions=() if frame is None else (frame.function,),
        next=findable.command("summary", "--list"),
    )


def _runnable(findable: Findable, largest: Place, number: int, ps: int) -> Finding:
    processors = findable.snapshot.processors
    busy = sum(processor.status != "idle" for processor in processors)
    all_busy = ", all busy" if processors and busy == len(processors) else ""
    most, functions = _most(largest)
    return Finding(
        kind="runnable",
        severity="warning",
        title=f"{count(number)} runnable at this moment, {plural(ps, 'P')}{all_busy}{most}",
        goroutines=len(largest.rows),
        examples=findable.examples(largest.rows),
        functions=functions,
        next=findable.command("dump", "--group", "function", "--state", "runnable"),
    )


def _calls(findable: Findable, largest: Place, number: int) -> Finding:
    most, functions = _most(largest)
    threads = len(findable.snapshot.threads)
    return Finding(
        kind="threads",
        severity="warning",
        title=f"{count(number)} goroutines in system calls or C, each on a thread of its own "
        f"({plural(threads, 'thread')}){most}",
        goroutines=len(largest.rows),
        examples=findable.examples(largest.rows),
        functions=functions,
        next=findable.command("dump", "--group", "function", "--state", "syscall"),
    )


def _most(place: Place) -> tuple[str, tuple[str, ...]]:
    """The largest part of them, in words and as functions."""
    if place.where is None:
        return "", ()
    function = place.where.function
    return f"; {count(len(place.rows))} at {function}", (function,)
