"""``/metrics``: what Prometheus is told of all Go processes of the host, in the time that it gives.

Each process is read in a task of its own, which goes on when the time is over: then its last values are shown, with their
age. Those that were read longest ago come first.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.responses import Response

from spyglass.errors import SpyglassError
from spyglass.inspector import Inspector
from spyglass.serve.look import look
from spyglass.serve.operations import Asked
from spyglass.serve.parameters import Parameter
from spyglass.serve.pool import Pool
from spyglass.serve.problems import Refusal, log
from spyglass.serve.readings import Readings
from spyglass.serve.settings import Settings

if TYPE_CHECKING:
    from spyglass.export.metrics import Families, Looked
    from spyglass.process_list import GoProcess
    from spyglass.serve.service import Service

__all__ = ["CONTENT_TYPE", "TIMEOUT", "Scraper", "metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4"
_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
#: The time for an answer where no header says it: Prometheus's own default of `scrape_timeout`.
_DEFAULT_SECONDS = 10.0
#: The part of the time that reading may take; the rest is for writing the page and sending it.
_FOR_READING = 0.8
_EXTRA = "pip install 'spyglass[metrics]' installs what it needs"

#: A process: its pid, and when it started, for pids are given to others.
_Key = tuple[int, datetime | None]


def _seconds(text: str) -> float:
    seconds = float(text[:64])
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError("must be a number of seconds")
    return seconds


TIMEOUT = Parameter(
    _HEADER, "How long the caller waits. What cannot be read in that time has its last values, and their age.",
    {"type": "number", "exclusiveMinimum": 0, "default": _DEFAULT_SECONDS}, _seconds, _DEFAULT_SECONDS,
)  # fmt: skip


@dataclass(frozen=True)
class _Last:
    """The metrics of a process with their common `labels`, and when reading them began (CLOCK_MONOTONIC, s)."""

    families: Families
    labels: dict[str, str]
    at: float


class Scraper:
    """Reads all Go processes for one scrape after the other, and remembers the metrics of each."""

    def __init__(self, settings: Settings, readings: Readings, pool: Pool) -> None:
        self._settings = settings
        self._readings = readings
        self._pool = pool
        self._last: dict[_Key, _Last] = {}
        self._running: dict[_Key, asyncio.Task[None]] = {}
        #: Others shall come in between, even if there are more processes than readings may wait.
        self._slots = asyncio.Semaphore(max(1, settings.readings // 2))
        self._listing: asyncio.Task[None] | None = None
        self._listed: tuple[GoProcess, ...] = ()
        self._done = self._failed = 0

    async def look_for_processes(self, seconds: float) -> None:
        """Look which processes there are, and wait for that so long; until it is known they are as they were."""
        if self._listing is None or self._listing.done():
            self._listing = asyncio.get_running_loop().create_task(self._look_for_processes())
        await asyncio.wait({self._listing}, timeout=seconds)

    async def _look_for_processes(self) -> None:
        with suppress(Refusal):
            self._listed = await self._readings.share("scraped", None, _go_processes, light=True)

    async def read(self, until: float) -> None:
        """Read the listed ones, as many as can be until then (`time.monotonic`)."""
        keys = {_key(each): each for each in self._listed}
        for key in self._last.keys() - keys.keys():
            del self._last[key]
        idle = [key for key in keys if key not in self._running]
        for key in sorted(idle, key=self._age, reverse=True):
            task = asyncio.get_running_loop().create_task(self._read(keys[key]))
            self._running[key] = task
            task.add_done_callback(lambda _, key=key: self._running.pop(key))  # type: ignore[misc]
        waited = [self._running[key] for key in keys]
        if waited:
            await asyncio.wait(waited, timeout=max(0.0, until - time.monotonic()))

    def known(self) -> list[Families]:
        """The metrics of the listed ones, with their age; what was never read has only the metric that says so."""
        from spyglass.export.metrics import reading_counts

        return [*map(self._known, self._listed), reading_counts(self._done, self._failed)]

    def close(self) -> None:
        """Give up all readings."""
        for task in (*self._running.values(), self._listing):
            if task is not None:
                task.cancel()

    def _age(self, key: _Key) -> float:
        return time.monotonic() - self._last[key].at if key in self._last else math.inf

    def _known(self, process: GoProcess) -> Families:
        from spyglass.export.metrics import aged, families

        last = self._last.get(_key(process))
        if last is None:
            return families(_failed(process, 0.0, "it was not read yet"))
        return aged(last.families, last.labels, time.monotonic() - last.at)

    async def _read(self, process: GoProcess) -> None:
        """Read `process`; what it was before stays if there was no turn for it."""
        top, heap = self._settings.top_groups, self._settings.heap_metrics
        async with self._slots:
            began = time.monotonic()
            try:
                found = await self._pool.read(
                    process.pid, "metrics", lambda program: _look(program, process, top, heap=heap)
                )
            except Refusal:
                return
            except Exception as error:
                if not isinstance(error, SpyglassError):
                    log(error)
                found = _last(_failed(process, time.monotonic() - began, str(error)), top)
                self._failed += 1
        self._done += 1
        self._last[_key(process)] = found


async def metrics(service: Service, asked: Asked) -> Response:
    """The page for Prometheus."""
    within_s = min(asked.values[_HEADER], service.settings.limit_s) * _FOR_READING
    until, scraper = time.monotonic() + within_s, service.scraper
    try:
        await asyncio.to_thread(import_module, "spyglass.export.metrics")
    except ImportError as error:
        raise Refusal(501, f"{error.name} is not installed", _EXTRA) from None
    await scraper.look_for_processes((until - time.monotonic()) / 2)
    await scraper.read(until)
    text = await asyncio.to_thread(_page, scraper.known())
    return Response(text, media_type=CONTENT_TYPE)


def _page(known: list[Families]) -> bytes:
    from prometheus_client import ProcessCollector

    from spyglass.export.metrics import page

    return page(known, [ProcessCollector(registry=None)])  # of spyglass itself: it has no labels


def _go_processes() -> tuple[GoProcess, ...]:
    from spyglass.processes import go_processes

    return tuple(each for each in go_processes().processes if each.pid != os.getpid())


def _look(program: Inspector, process: GoProcess, top: int, *, heap: bool) -> _Last:
    began = time.perf_counter()
    looked = look(program, process.pid, _program(process), began, heap=heap)
    return _last(replace(looked, place=_place(process)), top)


def _last(looked: Looked, top: int) -> _Last:
    from spyglass.export.metrics import families

    return _Last(families(looked, top), looked.labels, time.monotonic() - looked.seconds)


def _failed(process: GoProcess, seconds: float, error: str) -> Looked:
    from spyglass.export.metrics import Looked

    return Looked(process.pid, _program(process), seconds, error=error, place=_place(process))


def _place(process: GoProcess) -> dict[str, str]:
    from spyglass.export.metrics import place_labels
    from spyglass.process_list import Names

    names = Names(process.container_name, process.pod, process.namespace)
    return place_labels(process.container, names)


def _program(process: GoProcess) -> str:
    return os.path.basename(process.exe or "") or "?"


def _key(process: GoProcess) -> _Key:
    return process.pid, process.started_at
