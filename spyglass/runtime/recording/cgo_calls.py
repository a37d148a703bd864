"""Which goroutine's a sample in C is: the one whose call the thread was in before it and is in behind it.

While a goroutine is in C its ``m`` keeps it as ``curg``, its status is syscall, and ``syscallsp`` and ``syscallpc``
say where its stack stands still (``runtime/cgocall.go: cgocall``, ``runtime/proc.go: reentersyscall``). Every
call adds one to ``m.ncgocall``, which is never set back while the thread lives. Two readings of one
goroutine in ``runtime.cgocall`` on one ``m`` with equal ``ncgocall`` are therefore of one call: had it returned
between them, another would have had to begin. So all that the thread ran in C between the readings, the
sample too, was for this goroutine, called from this stack.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from spyglass.errors import BadDataError, MemoryFault
from spyglass.runtime.goroutines.decode import SCAN, SYSCALL
from spyglass.runtime.recording.owners import Words
from spyglass.runtime.scheduler.sched import read_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spyglass.runtime.context import Runtime

__all__ = ["CgoCall", "CgoCalls"]

_M_FIELDS = ("curg", "ncgocall", "procid")
_G_FIELDS = (
    "goid",
    "m",
    "atomicstatus",
    "stack.lo",
    "stack.hi",
    "syscallsp",
    "syscallpc",
    "labels",
)
_CGOCALL = "runtime.cgocall"
_MAX_STACK_BYTES = 1 << 18
#: Threads whose last call is kept; Ms are listed for a thread that is new, so often at most.
_MAX_THREADS = 1 << 14
_LIST_SECONDS = 0.1


class CgoCall(NamedTuple):
    """A call of C that thread's ``m`` is in: the number of its calls, the goroutine (address of its ``g``, goid,
    the end of its stack, labels), and where that stack stands still (`pc`, `sp`)."""

    m: int
    number: int
    pointer: int
    goid: int
    high: int
    labels: int
    pc: int
    sp: int


class CgoCalls:
    """Reads the calls of C that threads are in. `outer_tids`: as `TargetProcess.outer_tids`."""

    def __init__(
        self, runtime: Runtime, outer_tids: Callable[[], Mapping[int, int] | None]
    ) -> None:
        self._runtime = runtime
        self._outer_tids = outer_tids
        has = runtime.layouts.has
        self._known = has("m", "ncgocall") and all(has("g", name) for name in _G_FIELDS)
        if self._known:
            self._m = Words(runtime.layouts["m"], _M_FIELDS)
            self._g = Words(runtime.layouts["g"], _G_FIELDS)
        #: By thread id, the address of its ``m`` and its ``procid``.
        self._ms: dict[int, tuple[int, int]] = {}
        self._next_list = 0.0
        #: By thread, the call that it was in when it was last read, and when it was first seen in it.
        self._before: dict[int, tuple[CgoCall, int]] = {}
        self._in_cgocall: dict[int, bool] = {}

    def at(self, tid: int, time_ns: int) -> tuple[CgoCall, bytes] | None:
        """The call that thread `tid` was in at `time_ns` (CLOCK_MONOTONIC), which is past, and the goroutine's stack
        from where it stands still; None if it was in none, or that is not known."""
        if not self._known:
            return None
        try:
            now = self._current(tid)
        except (MemoryFault, BadDataError):
            now = None
        if now is None:
            self._before.pop(tid, None)
            return None
        before = self._before.get(tid)
        if before is None or before[0] != now[0]:
            if len(self._before) >= _MAX_THREADS:
                self._before.clear()
            self._before[tid] = now[0], time.monotonic_ns()
            return None
        return now if before[1] <= time_ns else None

    def goroutine_of(self, tid: int) -> int:
        """The address of the ``g`` of the goroutine that thread `tid` runs, also while it is on the system stack; 0 if
        there is none, or that is not known."""
        if not self._known:
            return 0
        try:
            m, procid = self._m_of(tid)
            pointer, _, own_procid = self._m.read(self._runtime.memory, m) if m else (0, 0, 0)
        except (MemoryFault, BadDataError):
            return 0
        return pointer if own_procid == procid else 0

    def _current(self, tid: int) -> tuple[CgoCall, bytes] | None:
        """The call that `tid` is in now, and the goroutine's stack; None if there is none."""
        m, procid = self._m_of(tid)
        call = self._read(m, procid) if m else None
        if call is None:
            return None
        stack = self._runtime.memory.read(call.sp, min(call.high - call.sp, _MAX_STACK_BYTES))
        return (call, stack) if self._read(m, procid) == call else None

    def _read(self, m: int, procid: int) -> CgoCall | None:
        """The call that the ``m`` is in, if it has not begun another while it was read."""
        memory = self._runtime.memory
        words = self._m.read(memory, m)
        pointer, number, own_procid = words
        if not pointer or pointer % 8 or own_procid != procid:
            return None
        goid, own_m, status, low, high, sp, pc, labels = self._g.read(memory, pointer)
        if own_m != m or status & ~SCAN != SYSCALL or not low <= sp < high or sp % 8:
            return None
        if not self._is_cgocall(pc) or self._m.read(memory, m) != words:
            return None
        return CgoCall(m, number, pointer, goid, high, labels, pc, sp)

    def _is_cgocall(self, pc: int) -> bool:
        known = self._in_cgocall.get(pc)
        if known is None:
            if len(self._in_cgocall) >= _MAX_THREADS:
                self._in_cgocall.clear()
            function = self._runtime.functions.at(pc)
            known = self._in_cgocall[pc] = function is not None and function.name == _CGOCALL
        return known

    def _m_of(self, tid: int) -> tuple[int, int]:
        """The address of the ``m`` of thread `tid`, 0 if that is not known, and its ``procid``."""
        if tid not in self._ms and time.monotonic() >= self._next_list:
            began = time.monotonic()
            ms, outer = read_ms(self._runtime.for_reading()), self._outer_tids()
            procids = ms.rows["procid"].tolist()
            tids = procids if outer is None else [outer.get(procid, 0) for procid in procids]
            places = zip(ms.addresses.tolist(), procids, strict=True)
            self._ms = dict(zip(tids, places, strict=True))
            now = time.monotonic()
            self._next_list = now + max(_LIST_SECONDS, 50 * (now - began))
        return self._ms.get(tid, (0, 0))
