"""Which goroutines nothing can wake, compared with what is known of the program, and with Go's own verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import spyglass
from spyglass.model import Goroutine, Snapshot
from spyglass.runtime.waiting.graph import WaitOptions
from tests.support import GoProcess, build

pytestmark = [pytest.mark.go, pytest.mark.live]


@pytest.fixture(scope="module")
def program(minor: str) -> Iterator[GoProcess]:
    with GoProcess([build("leaks", minor)]) as process:
        yield process


def verdicts(snapshot: Snapshot) -> dict[int, bool]:
    assert snapshot.waits is not None
    stuck = snapshot.waits.stuck
    return dict(zip(stuck.goroutine.tolist(), stuck.stuck.tolist(), strict=True))


def fates(snapshot: Snapshot) -> dict[str, list[Goroutine]]:
    """The goroutines by the label that says what becomes of them."""
    found: dict[str, list[Goroutine]] = {"leaked": [], "live": []}
    for goroutine in snapshot:
        fate = dict(goroutine.labels or {}).get("fate")
        if fate is not None:
            found[fate].append(goroutine)
    return found


@pytest.mark.parametrize("stop", [False, True], ids=["running", "stopped"])
def test_nothing_that_can_be_woken_is_stuck(program: GoProcess, stop: bool) -> None:
    with spyglass.attach(program.pid) as inspector:
        snapshot = inspector.snapshot(waits=WaitOptions(), stop=stop)
    stuck = verdicts(snapshot)
    found = fates(snapshot)
    assert len(found["live"]) > 100
    assert [goroutine for goroutine in found["live"] if stuck.get(goroutine.id)] == []
    assert snapshot.waits is not None
    assert snapshot.waits.looked_at.heap_complete
    assert snapshot.waits.looked_at.marks == (1 if stop else 2)
