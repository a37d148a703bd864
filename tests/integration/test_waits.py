"""How long goroutines wait: what is said is never more than the truth."""

from __future__ import annotations

import time

import pytest

import spyglass
from tests.support import MATRIX, Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

SECOND_NS = 10**9


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
