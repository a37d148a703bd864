"""Open inspectors of processes, each used by one reading at a time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from spyglass.errors import NoMatch, ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.inspector import Inspector, attach
from spyglass.memory.allocator import return_freed_memory
from spyglass.serve.problems import Refusal
from spyglass.serve.readings import Readings
from spyglass.serve.settings import Settings

__all__ = ["Pool"]

_T = TypeVar("_T")


@dataclass
class _Open:
    """An inspector, and when it was used last (CLOCK_MONOTONIC, s)."""

    inspector: Inspector
    used: float


class Pool:
    """Inspectors by pid. One whose process ended, runs another program, or gave its pid to another is closed, and the
    process that has the pid now is attached to (`spyglass.procfs.identity`)."""

    def __init__(self, settings: Settings, readings: Readings) -> None:
        self._settings = settings
        self._readings = readings
        self._open: dict[int, _Open] = {}
        #: Whether one was closed since garbage was collected last.
        self._has_closed = False

    def __len__(self) -> int:
        return len(self._open)

    async def read(self, pid: int, key: Hashable, work: Callable[[Inspector], _T]) -> _T:
        """What `work` makes of process `pid`, in a thread; raises as `Readings.share` and `spyglass.attach`."""
        return await self._readings.share(pid, key, lambda: self._with_inspector(pid, work))

    def close_idle(self) -> None:
        """Close what nobody has used for long, or has ended, and the oldest if there are too many; what is being read
        stays."""
        now, limit = time.monotonic(), self._settings
        idle = sorted(
            ((each.used, pid) for pid, each in list(self._open.items())
             if not self._readings.is_busy(pid)),
        )  # fmt: skip
        extra = len(self._open) - limit.inspectors
        closed = [
            pid
            for number, (used, pid) in enumerate(idle)
            if number < extra or now - used > limit.idle_s or self._has_ended(pid)
        ]
        for pid in closed:
            self._close(pid)
        if self._has_closed:  # here, or by a reading that failed
            self._has_closed = False
            gc.collect()  # some parts of an inspector, with megabytes of types, refer to each other
            return_freed_memory()

    def close(self) -> None:
        """Close all that is not being read."""
        for pid in list(self._open):
            if not self._readings.is_busy(pid):
                self._close(pid)

    def _with_inspector(self, pid: int, work: Callable[[Inspector], _T]) -> _T:
        """Called in a thread; never twice at once for one pid, which `Readings` takes care of."""
        inspector = self._inspector(pid)
        try:
            return work(inspector)
        except (NoMatch, Refusal):
            raise
        except BaseException:  # what the inspector knows may be what is wrong
            self._close(pid)
            raise
        finally:
            if pid in self._open:
                self._open[pid].used = time.monotonic()

    def _inspector(self, pid: int) -> Inspector:
        known = self._open.get(pid)
        if known is not None:
            try:
                known.inspector.check()
                return known.inspector
            except (ProcessChanged, ProcessNotFound):
                self._close(pid)
        inspector = attach(pid)
        self._open[pid] = _Open(inspector, time.monotonic())
        return inspector

    def _has_ended(self, pid: int) -> bool:
        try:
            self._open[pid].inspector.check()
        except SpyglassError:
            return True
        return False

    def _close(self, pid: int) -> None:
        known = self._open.pop(pid, None)
        if known is not None:
            known.inspector.close()
            self._has_closed = True
