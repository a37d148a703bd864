"""Readings of processes: a bounded number at once, one of each process, shared by all who ask for the same.

A reading runs in a thread of its own, so that the server goes on answering. A thread cannot be ended from outside: one that
takes too long keeps its process, so that there is no second one of it, but not its place among the readings.

What only looks which processes there are is light: it waits for no reading of a process, nor for the processor time that
these have spent, but has places and processor time of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from spyglass.serve.problems import Refusal
from spyglass.serve.settings import Settings

__all__ = ["Readings"]

_T = TypeVar("_T")

#: Readings that did not end in time and still run, beyond which no others begin.
_MAX_OVERDUE = 8
#: The processor time that readings may take at once, in seconds, after a time of rest.
_BURST_S = 5.0
#: The part of the processor time that light readings may take; it is taken from that of the others.
_LIGHT_SHARE = 0.5


class _Budget:
    """Processor time to spend: `share` of a second in each second, saved up to `_BURST_S`."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left_s = _BURST_S
        self._at = time.monotonic()

    def pause_s(self) -> float:
        """How long to wait until there is some left."""
        now = time.monotonic()
        self._left_s = min(self._left_s + (now - self._at) * self._share, _BURST_S)
        self._at = now
        return max(0.0, -self._left_s / self._share)

    def spend(self, seconds: float) -> None:
        """Take `seconds` of it, even more than is left."""
        self._left_s -= seconds


class _Lane:
    """Readings that wait for each other alone: at most `places` at once, which take a `share` of a processor."""

    def __init__(self, places: int, share: float) -> None:
        self.places = asyncio.Semaphore(places)
        self.budget = _Budget(share)


@dataclass
class _Shared:
    """A reading that some requests wait for."""

    task: asyncio.Task[Any]
    waiters: int = 0
    begun: bool = False


@dataclass
class _Subject:
    """What there is one reading of at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    readings: int = 0


class Readings:
    """Runs readings within the limits of `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._all = _Lane(settings.readings, settings.max_cpu)
        self._light = _Lane(settings.readings, settings.max_cpu * _LIGHT_SHARE)
        self._shared: dict[Hashable, _Shared] = {}
        self._subjects: dict[Hashable, _Subject] = {}
        self._overdue = 0

    def is_busy(self, subject: Hashable) -> bool:
        """Whether there is a reading of `subject`, or one that waits for its turn."""
        return subject in self._subjects

    async def share(
        self, subject: Hashable, key: Hashable, work: Callable[[], _T], *, light: bool = False
    ) -> _T:
        """The result of `work`, called in a thread, or of an equal call (by `subject` and `key`) that is not over.
        `light`: it reads no process, and has few different keys.

        Raises what `work` raises, and `Refusal` when too many wait, or it takes longer than the limit.
        """
        shared = self._shared.get((subject, key))
        if shared is None:
            shared = self._begin(subject, key, work, light=light)
        shared.waiters += 1
        try:
            limit_s = self._settings.limit_s
            return cast(_T, await asyncio.wait_for(asyncio.shield(shared.task), limit_s))
        except TimeoutError:
            if shared.task.done():  # just now, or it has failed so itself
                return cast(_T, shared.task.result())
            raise Refusal(
                504, f"no answer within {self._settings.limit_s:g} s", "ask again, or for less"
            ) from None
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.begun:
                shared.task.cancel()

    def _begin(
        self, subject: Hashable, key: Hashable, work: Callable[[], Any], *, light: bool
    ) -> _Shared:
        is_full = len(self._shared) >= self._settings.waiting or self._overdue >= _MAX_OVERDUE
        if is_full and not light:
            raise Refusal(
                503, "too many readings wait for their turn", headers={"retry-after": "5"}
            )
        turn = self._take_turn(subject, key, work, self._light if light else self._all)
        task = asyncio.get_running_loop().create_task(turn)
        shared = self._shared[subject, key] = _Shared(task)
        task.add_done_callback(lambda _: self._end(subject, key))
        return shared

    def _end(self, subject: Hashable, key: Hashable) -> None:
        shared = self._shared.pop((subject, key))
        if not shared.task.cancelled():
            shared.task.exception()  # or asyncio complains that nobody asked

    async def _take_turn(
        self, subject: Hashable, key: Hashable, work: Callable[[], _T], lane: _Lane
    ) -> _T:
        turn = self._subjects.setdefault(subject, _Subject())
        turn.readings += 1
        try:
            async with turn.lock:
                async with lane.places:
                    while pause_s := lane.budget.pause_s():
                        await asyncio.sleep(pause_s)
                    self._shared[subject, key].begun = True
                    running = self._in_thread(work, lane)
                    await asyncio.wait({running}, timeout=self._settings.limit_s)
                return await self._late(running)
        finally:
            turn.readings -= 1
            if not turn.readings:
                del self._subjects[subject]

    async def _late(self, running: asyncio.Future[_T]) -> _T:
        """The result of `running`, which is overdue if it is not done."""
        if running.done():
            return running.result()
        self._overdue += 1
        try:
            return await running
        finally:
            self._overdue -= 1

    def _in_thread(self, work: Callable[[], _T], lane: _Lane) -> asyncio.Future[_T]:
        """The result of `work`, called in a daemon thread: one that hangs does not keep the server from ending."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def settle(result: _T | None, error: BaseException | None, seconds: float) -> None:
            for budget in {self._all.budget, lane.budget}:
                budget.spend(seconds)
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast(_T, result))

        def run() -> None:
            result: _T | None = None
            error: BaseException | None = None
            began = time.thread_time()
            try:
                result = work()
            except StopIteration as stop:  # which a future does not take
                error = RuntimeError(str(stop))
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, result, error, time.thread_time() - began)

        threading.Thread(target=run, name="spyglass-reading", daemon=True).start()
        return future
