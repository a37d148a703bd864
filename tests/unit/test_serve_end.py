"""The server ends, whatever its own tasks do."""

from __future__ import annotations

import asyncio

import pytest

from spyglass.serve import service


def test_a_task_that_loses_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_CANCEL_SECONDS", 0.01)
    lost: list[int] = []

    async def run() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    async def work() -> bool:
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(run()),
            asyncio.create_task(asyncio.sleep(0)),
        ]
        await asyncio.sleep(0)
        await service._cancelled(tasks)
        await service._cancelled([])
        return all(task.done() for task in tasks)

    async def ends() -> bool:
        done, _ = await asyncio.wait({asyncio.create_task(work())}, timeout=20)
        return any(each.result() for each in done)  # none is done: it waits for ever

    assert asyncio.run(ends())
    assert lost
