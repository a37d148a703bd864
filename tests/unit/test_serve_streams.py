"""Streams of events: how many there are, whenever their clients leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from spyglass.process_list import ProcessList
from spyglass.serve import page_streams
from spyglass.serve.operations import Asked
from spyglass.serve.problems import Refusal
from spyglass.serve.service import Service
from tests.serving import SETTINGS
from tests.unit.test_serve_page import STARTED

SCOPE = {"type": "http", "asgi": {"version": "3.0"}, "method": "GET", "path": "/page/processes"}


def run(test: Callable[[Service], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `test` with a server of a host without processes, which has one live view at most."""
    monkeypatch.setattr("spyglass.processes.go_processes", lambda **_: ProcessList(STARTED, (), ()))

    async def within() -> None:
        service = Service(replace(SETTINGS, streams=1))
        async with service.running():
            await test(service)

    asyncio.run(asyncio.wait_for(within(), 60))


async def left(service: Service, messages: int) -> list[Any]:
    """What a client got that leaves after so many messages."""
    response = await page_streams.host(service, Asked((), {}))
    assert service.streams == 1
    sent: list[Any] = []
    enough = asyncio.Event()

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # as while a client does not take what it gets
        sent.append(message)
        if len(sent) == messages:
            enough.set()

    async def receive() -> Any:
        if messages:
            await enough.wait()
        return {"type": "http.disconnect"}

    await response(SCOPE, receive, send)
    return sent


@pytest.mark.parametrize("messages", [0, 1, 2])
def test_a_client_that_leaves_is_counted_no_more(
    messages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(service: Service) -> None:
        for _ in range(3):
            assert len(await left(service, messages)) >= messages
            assert service.streams == 0

    run(test, monkeypatch)


def test_more_streams_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service) -> None:
        await page_streams.host(service, Asked((), {}))
        with pytest.raises(Refusal, match="too many live views"):
            await page_streams.host(service, Asked((), {}))
        assert service.streams == 1

    run(test, monkeypatch)
