"""What a running server has: its settings, readings, inspectors, recordings and kept snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from spyglass.serve.kept import Kept
from spyglass.serve.operations import Asked
from spyglass.serve.overviews import Overviews
from spyglass.serve.pool import Pool
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.recordings import Recordings
from spyglass.serve.scrape import Scraper
from spyglass.serve.settings import Settings

if TYPE_CHECKING:
    from spyglass.serve.archive import Archiver
    from spyglass.serve.push import ProfilePusher

__all__ = ["Service"]

_T = TypeVar("_T")

_SWEEP_SECONDS = 5.0
_CANCEL_SECONDS = 0.5


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel `tasks`, and wait for their end.

    Up to Python 3.11 `asyncio.wait_for` loses a cancellation that comes together with the result that it waits for
    (bpo-37658): what goes on is cancelled again.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_SECONDS)


class Service:
    """One server. `closing` is set when it is asked to end: streams end then."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.readings = Readings(settings)
        self.pool = Pool(settings, self.readings)
        self.scraper = Scraper(settings, self.readings, self.pool)
        self.closing = asyncio.Event()
        self.recordings = Recordings(settings)
        self.overviews = Overviews(settings, self.pool)
        self.kept: dict[str, Kept] = {}
        self.streams = 0
        self._background: set[asyncio.Task[None]] = set()
        self.archiver = self._archiver()
        self.pusher = self._pusher()

    def _pusher(self) -> ProfilePusher | None:
        if self.settings.push is None:
            return None
        from spyglass.serve.push import ProfilePusher

        return ProfilePusher(self.settings.push, self.readings, self.pool, self.recordings)

    @property
    def _periodic(self) -> list[Archiver | ProfilePusher]:
        return [each for each in (self.archiver, self.pusher) if each is not None]

    def _archiver(self) -> Archiver | None:
        if self.settings.archive is None:
            return None
        from spyglass.serve.archive import Archiver

        return Archiver(self.settings.archive, self.readings, self.pool)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close what is idle now and then, and everything at the end."""
        jobs = [self._sweep()]
        jobs += [each.rounds.run() for each in self._periodic]
        tasks = [asyncio.get_running_loop().create_task(job) for job in jobs]
        try:
            yield
        finally:
            self.closing.set()
            self.recordings.close()
            self.scraper.close()
            self.overviews.close()
            await _cancelled(tasks)
            await asyncio.gather(*(each.close() for each in self._periodic))
            await asyncio.gather(*self._background, return_exceptions=True)
            self.pool.close()

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Do `work`, which ends soon after `closing` is set."""
        self._background.add(asyncio.get_running_loop().create_task(work))

    async def apart(self, asked: Asked, work: Callable[[], _T]) -> _T:
        """The result of `work`, which reads no process with an inspector."""
        return await self.readings.share(asked.key, None, work)

    async def health(self) -> list[str]:
        """A line for each thing that has a state of its own."""
        return [await each.health() for each in self._periodic]

    def open_stream(self) -> None:
        """Count a stream, which its `EventStream` counts out; raises `Refusal` if there are too many."""
        if self.streams >= self.settings.streams:
            raise Refusal(503, "too many live views at once", headers={"retry-after": "10"})
        self.streams += 1

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.pool.close_idle()
