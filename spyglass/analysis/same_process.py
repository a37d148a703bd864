"""Whether two snapshots are of one program, and of one process of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from spyglass.model import Process, Snapshot

__all__ = ["caveats", "is_same_process", "other_program"]

#: The clock may be set between two snapshots, and the time of a start is known by that clock.
_CLOCK_SET = timedelta(seconds=5)


def other_program(one: Process, other: Process) -> str | None:
    """Why they cannot be the same program; None if they can."""
    if one.build_id is not None and one.build_id == other.build_id:
        return None
    for what, its, others in (
        ("module", one.module, other.module),
        ("program", _name(one), _name(other)),
    ):
        if its and others and its != others:
            return f"{what} {its} is not {what} {others}"
    return None


def is_same_process(one: Snapshot, other: Snapshot) -> bool:
    """Whether `other`, the later one, is known to be of the process that `one` is of.

    Only then do equal goroutine ids mean one goroutine. A process is known by its pid and the time of
    its start: without that time (a core that another program wrote) it is not known, because in a
    container every program has the pid 1.
    """
    if one.process.pid != other.process.pid:
        return False
    if None not in (one.host, other.host) and one.host != other.host:
        return False
    started, again = one.process.started_at, other.process.started_at
    if started is None or again is None:
        return False
    return abs(again - started) < _CLOCK_SET and again <= one.taken_at


def caveats(one: Snapshot, other: Snapshot) -> Iterator[str]:
    """Sentences that a reader of the comparison of `one` and `other` must know."""
    if not is_same_process(one, other):
        yield f"{_processes(one, other)}: goroutines are not compared one by one"
    if None not in (one.process.build_id, other.process.build_id) and (
        one.process.build_id != other.process.build_id
    ):
        yield "they are of two builds of the program: lines of code may have moved"
    if one.matched_of is not None or other.matched_of is not None:
        yield "not all goroutines were saved"
    if one.redacted != other.redacted:
        yield "one of them is redacted: both are compared as if they were"


def _processes(one: Snapshot, other: Snapshot) -> str:
    """Why goroutine ids of the two snapshots cannot be compared."""
    pid = one.process.pid
    if pid != other.process.pid:
        return f"they are of two processes, {pid} and {other.process.pid}"
    if None in (one.process.started_at, other.process.started_at):
        return f"it is not known when process {pid} started, so it may be two processes"
    return f"they are of two processes, both with the pid {pid}"


def _name(process: Process) -> str | None:
    return process.exe and process.exe.rpartition("/")[2]
