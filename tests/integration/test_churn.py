"""Goroutines that come and go while they are read: what is not marked as doubtful must be true."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

import spyglass
from spyglass.model import QUALITIES, Goroutine, Snapshot
from tests.agreement import never
from tests.support import GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go]

_LEVEL = re.compile(r"main\.(even|odd)(\d+|Root)$")


def test_no_stack_is_false_while_goroutines_come_and_go(minor: str) -> None:
    with start("churn", minor) as process:
        _watch(process, seconds=3)


def test_no_stack_is_false_when_batches_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that a thread reads ahead, and stacks are recognised that were walked before."""
    monkeypatch.setattr("spyglass.runtime.goroutines.goroutine_reader._BATCH", 256)
    monkeypatch.setattr("spyglass.runtime.goroutines.goroutine_reader._BATCHES_WORTH_A_THREAD", 2)
    monkeypatch.setattr("spyglass.runtime.stacks.unwinder._MANY", 16)
    with start("churn") as process:
        _watch(process, seconds=3)


@pytest.mark.slow
def test_no_stack_is_false_for_a_minute() -> None:
    with start("churn") as process:
        began = int(process.ask("count"))
        qualities = _watch(process, seconds=60)
        ended = int(process.ask("count")) - began
    assert ended > 60 * 50_000, "too slow a program to prove anything"
    assert qualities["torn"] < 0.01 * qualities.total()


def _watch(process: GoProcess, seconds: float) -> Counter[str]:
    """How many goroutines of each quality are in snapshots that are taken for so long, at least four of them;
    fails at the first stack that cannot have been."""
    qualities: Counter[str] = Counter()
    taken, until = 0, time.monotonic() + seconds
    with spyglass.attach(process.pid) as inspector:
        while taken < 4 or time.monotonic() < until:
            snapshot = inspector.snapshot()
            taken += 1
            qualities.update(QUALITIES[q] for q in snapshot.goroutines.quality.tolist())
            never(_false_stacks(snapshot))
    assert qualities["stable"] > 0
    return qualities


def _false_stacks(snapshot: Snapshot) -> list[Goroutine]:
    return [
        goroutine
        for goroutine in snapshot
        if goroutine.quality in ("stable", "moved") and not _can_be_true(goroutine)
    ]


def _can_be_true(goroutine: Goroutine) -> bool:
    """Whether this is a stack that churn.go makes: one family, from some depth down to its root."""
    if goroutine.stack is None or goroutine.start is None:
        return goroutine.status in ("running", "syscall")
    levels = [match.groups() for f in goroutine.stack if (match := _LEVEL.match(f.function))]
    families = {family for family, _ in levels}
    downwards = [str(level) for level in range(len(levels) - 2, -1, -1)] + ["Root"]
    functions = {frame.function for frame in goroutine.stack}
    # One that has returned from its first function may still be stopped on its way out.
    begun = goroutine.start.function in functions
    return (
        goroutine.stack[-1].function == "runtime.goexit"
        and (begun or (not levels and "runtime.goexit1" in functions))
        and len(families) <= 1
        and (not levels or [level for _, level in levels] == downwards)
    )
