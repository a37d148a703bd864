"""Rounds of all Go processes of the host, or of those with some names: each is read once in every interval.

A round begins at a random part of the interval, and its processes are spread over the interval: many hosts that were started together
do not write at once, and no host works in bursts. One that takes longer than the interval delays the next.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.process_list import GoProcess
from spyglass.serve.problems import Refusal, log
from spyglass.serve.readings import Readings

if TYPE_CHECKING:
    from spyglass.fleet.delivery import DeliveryState

__all__ = ["Rounds", "health_line", "state_document"]


@dataclass
class Rounds:
    """Calls `read` with each process, and `ended` after each round. `names`: of processes, as in ``--name``; none: all.

    The counts: `rounds`; `late`: rounds that were left out because one took too long; `processes` of the last round;
    `done` and `failed` readings, not counted those of processes that had just ended, and the last `error`.
    """

    readings: Readings
    every_s: float
    names: tuple[str, ...]
    read: Callable[[GoProcess], Awaitable[None]]
    ended: Callable[[], Awaitable[None]]
    rounds: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    processes: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    error: str | None = field(default=None, init=False)

    async def run(self) -> None:
        """Go on until cancelled."""
        due = time.monotonic() + random.uniform(0, self.every_s)
        while True:
            await _until(due)
            await self._round(due)
            missed = int(max(time.monotonic() - due, 0) // self.every_s)
            self.late += missed
            due = max(due + self.every_s, time.monotonic())

    async def _round(self, began: float) -> None:
        chosen = await self._chosen()
        self.processes = len(chosen)
        for number, process in enumerate(chosen):
            await _until(began + number * self.every_s / len(chosen))
            await self._read(process)
        await self._guarded(self.ended())
        self.rounds += 1

    async def _chosen(self) -> list[GoProcess]:
        try:
            work = partial(_chosen, self.names)
            return await self.readings.share("rounds", self.names, work, light=True)
        except Refusal as refusal:
            self._note(refusal.message)
            return []

    async def _read(self, process: GoProcess) -> None:
        try:
            await self.read(process)
            self.done += 1
        except (ProcessChanged, ProcessNotFound):
            return
        except Refusal as refusal:
            self._note(refusal.message)
        except SpyglassError as error:
            self._note(error.message)
        except Exception as error:
            log(error)
            self._note("internal error")

    async def _guarded(self, ending: Awaitable[None]) -> None:
        try:
            await ending
        except Refusal as refusal:
            self._note(refusal.message)
        except Exception as error:
            log(error)
            self._note("internal error")

    def _note(self, error: str) -> None:
        self.failed += 1
        self.error = error


def state_document(rounds: Rounds, state: DeliveryState) -> dict[str, Any]:
    """How `rounds` and the delivery of their files go, in values that JSON knows."""
    return {
        "every_ns": int(rounds.every_s * 1e9), "rounds": rounds.rounds, "late": rounds.late,
        "processes": rounds.processes, "failed": rounds.failed, "reading_error": rounds.error,
        "files_waiting": state.waiting, "bytes_waiting": state.waiting_bytes,
        "files_delivered": state.delivered, "files_dropped": state.dropped,
        "delivered_at": state.delivered_at and state.delivered_at.isoformat(),
        "store_error": state.error,
    }  # fmt: skip


def health_line(name: str, state: DeliveryState) -> str:
    """Whether the store takes what it gets, without names."""
    words = "ok" if state.error is None else "the store is away"
    return f"{name}: {words}, {state.waiting} files wait, {state.dropped} dropped"


async def _until(moment: float) -> None:
    """Sleep until `time.monotonic` is `moment`."""
    await asyncio.sleep(max(moment - time.monotonic(), 0))


def _chosen(names: Iterable[str]) -> list[GoProcess]:
    """The chosen Go processes that run now, but for this one, by pid."""
    from spyglass.processes import go_processes, named

    lists = [named(name) for name in names] if names else [go_processes()]
    found = {each.pid: each for listing in lists for each in listing.processes}
    return [found[pid] for pid in sorted(found) if pid != os.getpid()]
