"""Readings of `spyglass serve`: how many at once, of what, and who shares them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from spyglass import processes
from spyglass.process_list import GoProcess, ProcessList
from spyglass.serve import page_streams
from spyglass.serve.mcp.tools import TOOLS, call
from spyglass.serve.operations import Asked
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.rounds import Rounds
from spyglass.serve.service import Service
from spyglass.serve.table import OPERATIONS
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


STARTED = datetime(2026, 1, 1, tzinfo=UTC)
PROCESS = GoProcess(
    4_190_000, "root", None, None, None, None, STARTED, 1, 1, 1, (), "/bin/x", False, False, None
)


async def listed_for_requests(service: Service) -> object:
    (operation,) = [each for each in OPERATIONS if each.name == "processes"]
    assert operation.handle is not None
    return (await operation.handle(service, Asked(("processes",), {"sort": "pid"}))).body


async def listed_for_assistants(service: Service) -> object:
    (tool,) = [each for each in TOOLS if each.name == "list_processes"]
    return await call(service, tool, {})


async def listed_for_the_page(service: Service) -> object:
    response = await page_streams.host(service, Asked(("host",), {}))
    assert isinstance(response, StreamingResponse)
    async for event in response.body_iterator:
        return event
    return None


async def listed_for_metrics(service: Service) -> object:
    await service.scraper.look_for_processes(60)
    return service.scraper._listed


async def listed_for_rounds(service: Service) -> object:
    return await Rounds(service.readings, 60, (), nothing, nothing)._chosen()


async def nothing(*_: object) -> None: ...


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

    run(test, readings=1, limit_s=2)


def test_one_that_ends_just_at_its_limit_is_answered_or_refused() -> None:
    def work() -> int:
        time.sleep(0.02)
        return 7

    async def test(readings: Readings) -> None:
        asked = asyncio.ensure_future(readings.share(1, None, work))
        await asyncio.sleep(0.01)
        time.sleep(0.5)  # the server is busy: the limit is over, and the answer is there
        (found,) = await asyncio.gather(asked, return_exceptions=True)
        assert found == 7 or isinstance(found, Refusal), repr(found)

    run(test, limit_s=0.1)


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
        budget = readings._all.budget
        assert budget.pause_s() == 0
        budget.spend(5.2)
        assert 1.5 < budget.pause_s() <= 2.0
        budget.spend(-10)
        await readings.share(1, "", spins)
        assert budget._left_s < 5.0

    run(test, max_cpu=0.1)


def test_light_readings_wait_for_no_others_and_take_from_their_processor_time() -> None:
    async def test(readings: Readings) -> None:
        held, light = Gate(), Gate()
        reading = asyncio.ensure_future(readings.share(1, "", held))
        await held.entered(1)
        readings._all.budget.spend(1e6)
        readings._overdue = 1000
        light.open.set()
        assert await readings.share("list", "", light, light=True) == 1
        readings._light.budget.spend(105)
        assert 1800 < readings._light.budget.pause_s() <= 2002  # half of what all may take
        readings._light.budget.spend(-1000)
        left = readings._all.budget._left_s
        await readings.share("list", "", lambda: sum(range(1_000_000)), light=True)
        assert readings._all.budget._left_s < left
        readings._overdue = 0
        held.open.set()
        await reading

    run(test, readings=1, max_cpu=0.1)


@pytest.mark.parametrize(
    "lists",
    [
        listed_for_requests,
        listed_for_assistants,
        listed_for_the_page,
        listed_for_metrics,
        listed_for_rounds,
    ],
)
def test_processes_are_listed_while_reading_one_takes_long(
    lists: Callable[[Service], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ProcessList(STARTED, (PROCESS,), ())
    monkeypatch.setattr(processes, "go_processes", lambda **_: found)

    async def test() -> None:
        service = Service(replace(SETTINGS, readings=1, limit_s=10, max_cpu=0.3))
        held = Gate()
        async with service.running():
            reading = asyncio.ensure_future(service.readings.share(1, "", held))
            await held.entered(1)
            service.readings._all.budget.spend(1e6)
            assert str(PROCESS.pid) in str(await lists(service))
            held.open.set()
            with suppress(Refusal):  # it took too long
                await reading

    asyncio.run(test())
