"""What a running server has: its settings, readings, inspectors, recordings and kept snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from spyglass.serve.kept import Kept
from spyglass.serve.operations import Asked
from spyglass.serve.pool import Pool
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.recordings import Recordings
from spyglass.serve.settings import Settings

__all__ = ["Service"]

_T = TypeVar("_T")

_SWEEP_SECONDS = 5.0


class Service:
    """One server. `closing` is set when it is asked to end: streams end then."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.readings = Readings(settings)
        self.pool = Pool(settings, self.readings)
        self.closing = asyncio.Event()
        self.recordings = Recordings(settings)
        self.kept: dict[str, Kept] = {}
        self.streams = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close what is idle now and then, and everything at the end."""
        sweeper = asyncio.get_running_loop().create_task(self._sweep())
        try:
            yield
        finally:
            self.closing.set()
            self.recordings.close()
            sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await sweeper
            self.pool.close()

    async def apart(self, asked: Asked, work: Callable[[], _T]) -> _T:
        """The result of `work`, which reads no process with an inspector."""
        return await self.readings.share(asked.key, None, work)

    def open_stream(self) -> None:
        """Count a stream, which counts itself out; raises `Refusal` if there are too many."""
        if self.streams >= self.settings.streams:
            raise Refusal(503, "too many live views at once", headers={"retry-after": "10"})
        self.streams += 1

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.pool.close_idle()
