"""Readings of `spyglass serve`: how many at once, of what, and who shares them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from tests.serving import SETTINGS


def run(test: Callable[[Readings], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def within() -> None:
        await test(Readings(replace(SETTINGS, **settings)))

    asyncio.run(asyncio.wait_for(within(), 60))


class Gate:
    """Work that goes on until it is opened, and counts how many there are at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.now = self.most = self.calls = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.now, self.calls = self.now + 1, self.calls + 1
            self.most = max(self.most, self.now)
        self.open.wait(60)
        with self._lock:
            self.now -= 1
        return self.calls

    async def entered(self, calls: int) -> None:
        while self.calls < calls:
            await asyncio.sleep(0.001)


def test_those_who_ask_for_the_same_share_one_reading() -> None:
    async def test(readings: Readings) -> None:
        gate = Gate()
        asking = [asyncio.ensure_future(readings.share(1, "summary", gate)) for _ in range(1000)]
        await gate.entered(1)
        gate.open.set()
        assert await asyncio.gather(*asking) == [1] * 1000
        assert await readings.share(1, "summary", gate) == 2  # a later one is read anew

    run(test)


def test_there_is_one_reading_of_a_process_at_a_time() -> None:
    async def test(readings: Readings) -> None:
        gate = Gate()
        asking = [asyncio.ensure_future(readings.share(1, key, gate)) for key in range(5)]
        await gate.entered(1)
        assert readings.is_busy(1)
        gate.open.set()
        await asyncio.gather(*asking)
        assert (gate.most, gate.calls) == (1, 5)
        await asyncio.sleep(0)
        assert not readings.is_busy(1)

    run(test)


def test_there_are_only_so_many_readings_at_once() -> None:
    async def test(readings: Readings) -> None:
        gate = Gate()
        asking = [asyncio.ensure_future(readings.share(pid, "", gate)) for pid in range(9)]
        await gate.entered(3)
        await asyncio.sleep(0.02)
        assert gate.calls == 3
        gate.open.set()
        await asyncio.gather(*asking)
        assert (gate.most, gate.calls) == (3, 9)

    run(test, readings=3)


def test_more_than_may_wait_are_refused() -> None:
    async def test(readings: Readings) -> None:
        gate = Gate()
        asking = [asyncio.ensure_future(readings.share(pid, "", gate)) for pid in range(4)]
        await gate.entered(1)
        with pytest.raises(Refusal) as refused:
            await readings.share(5, "", gate)
        assert refused.value.status == 503
        assert refused.value.headers == {"retry-after": "5"}
        gate.open.set()
        await asyncio.gather(*asking)

    run(test, waiting=4, readings=1)


def test_one_that_hangs_does_not_keep_others_waiting() -> None:
    async def test(readings: Readings) -> None:
        hanging, quick = Gate(), Gate()
        quick.open.set()
        with pytest.raises(Refusal) as late:
            await readings.share(1, "", hanging)
        assert late.value.status == 504
        assert await readings.share(2, "", quick) == 1  # the only place is free again
        assert readings.is_busy(1)
        with pytest.raises(Refusal):  # but not for a second one of the same process
            await readings.share(1, "other", quick)
        assert quick.calls == 1
        hanging.open.set()
        while readings.is_busy(1):
            await asyncio.sleep(0.001)
        assert await readings.share(1, "other", quick) == 2

    run(test, readings=1, limit_s=0.1)


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    async def test(readings: Readings) -> None:
        gate, other = Gate(), Gate()
        first = asyncio.ensure_future(readings.share(1, "", gate))
        await gate.entered(1)
        second = asyncio.ensure_future(readings.share(1, "other", other))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait({second})
        gate.open.set()
        await first
        await asyncio.sleep(0)
        assert other.calls == 0
        assert not readings.is_busy(1)

    run(test)


def test_an_error_reaches_all_who_share() -> None:
    def fails() -> None:
        raise StopIteration("broken")

    async def test(readings: Readings) -> None:
        asking = [asyncio.ensure_future(readings.share(1, "", fails)) for _ in range(3)]
        for each in asking:
            with pytest.raises(RuntimeError, match="broken"):
                await each

    run(test)


def test_readings_wait_when_their_processor_time_is_used_up() -> None:
    def spins() -> None:
        begin = threading.Event()
        while not begin.is_set():
            if sum(range(20_000)):
                begin.set()

    async def test(readings: Readings) -> None:
        budget = readings._budget
        assert budget.pause_s() == 0
        budget.spend(5.2)
        assert 1.5 < budget.pause_s() <= 2.0
        budget.spend(-10)
        await readings.share(1, "", spins)
        assert budget._left_s < 5.0

    run(test, max_cpu=0.1)
