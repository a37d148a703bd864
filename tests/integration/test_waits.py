"""How long goroutines wait: what is said is never more than the truth."""

from __future__ import annotations

import time

import pytest

import spyglass
from spyglass.runtime.waiting.options import WaitOptions
from tests.support import ALL_MINORS, MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

SECOND_NS = 10**9
_WITH_COROUTINES = [minor for minor in MATRIX if minor in ALL_MINORS[ALL_MINORS.index("1.23") :]]


@pytest.mark.parametrize("minor", MATRIX)
def test_a_wait_is_at_least_what_is_said(minor: str) -> None:
    """Collections and waits take turns: Go itself says of most that they began one collection earlier."""
    with (
        start("waits", minor, Flavour.STRIPPED) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        process.ask("gc")
        began_ns, noticed_ns = [], []
        for _ in range(4):
            time.sleep(0.4)
            began_ns.append(int(process.ask("wait")))
            time.sleep(0.2)
            noticed_ns.append(int(process.ask("gc")))
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        waiting = [
            goroutine
            for goroutine in inspector.snapshot()
            if goroutine.where and goroutine.where.function == "main.wait"
        ]
    assert len(waiting) == len(began_ns)
    waiting.sort(key=lambda goroutine: -(goroutine.waiting_ns or 0))  # ids are not in order
    slack_ns = SECOND_NS // 10
    printed_too_much = 0
    for goroutine, began, noticed in zip(waiting, began_ns, noticed_ns, strict=True):
        assert goroutine.waiting_ns is not None
        assert goroutine.waiting_ns <= now_ns - began + slack_ns
        assert goroutine.waiting_ns >= now_ns - noticed - slack_ns
        assert goroutine.printed_ns is not None
        printed_too_much += goroutine.printed_ns > now_ns - began + 3 * slack_ns
    assert printed_too_much == len(began_ns)  # else this test tells nothing


@pytest.mark.parametrize("minor", _WITH_COROUTINES)
def test_nothing_is_said_of_the_waits_of_coroutines(minor: str) -> None:
    """They run without the runtime forgetting what it noted of the wait before."""
    with (
        start("coroutines", minor, Flavour.STRIPPED) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        snapshot = inspector.snapshot(waits=WaitOptions(heap=False))
    found = {
        goroutine.where.function: goroutine
        for goroutine in snapshot
        if goroutine.where and goroutine.status == "waiting"
    }
    assert found["main.plain"].waiting_ns is not None
    few = [found[f"main.{name}"] for name in ("maker", "body", "others", "holder")]
    assert [each.waiting_ns for each in few] == [None] * 4
    assert few[0].printed_ns is not None  # else this test tells nothing
    assert few[1].printed_ns is not None
    assert few[3].printed_ns is not None


@pytest.mark.parametrize("minor", _WITH_COROUTINES)
def test_a_coroutine_that_gave_way_holds_a_lock_only_if_the_program_stands_still(
    minor: str,
) -> None:
    """Else it may have run while it was read, and nothing tells."""
    options = WaitOptions(heap=False)
    with (
        start("coroutines", minor, Flavour.STRIPPED) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        moving, stopped = (inspector.snapshot(waits=options, stop=stop) for stop in (False, True))
    assert moving.waits is not None
    assert stopped.waits is not None
    assert not len(moving.waits.holders)
    assert len(stopped.waits.holders) == 1
