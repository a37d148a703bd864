"""Watch the scheduler: two readings of it, looks in between, and what changed.

Knowledge: src/runtime/proc.go (``execute`` counts ``p.schedtick``, ``reentersyscall`` and ``exitsyscall`` count
``p.syscalltick`` and keep it in ``m.syscalltick``, ``retake`` preempts what runs for 10 ms), runtime2.go.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spyglass.errors import TargetError
from spyglass.procfs.sockets import read_connections
from spyglass.procfs.system_calls import system_call, wait_channel
from spyglass.runtime.goroutines.decode import (
    MAX_GOROUTINES,
    RUNNING,
    SYSCALL,
    columns_of,
    g_status,
)
from spyglass.runtime.heap.gc_time import GcTime, read_gc_time
from spyglass.runtime.scheduler.run_waits import counts_of, quantile_ns
from spyglass.runtime.scheduler.sched import (
    P_RUNNING,
    Ms,
    checked_sched,
    read_ms,
    read_ps,
)
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Problem
    from spyglass.procfs import CpuReading
    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target
    from spyglass.targets.live_cpu import LiveCpu

__all__ = ["SchedulerWatch"]

#: The mean time between two looks: of less than a millisecond each.
_LOOK_SECONDS = 0.05
#: Long calls that are described; each takes some tens of microseconds.
_MAX_CALLS = 1024
_TICKS = 1 << 32
#: More than any time or count.
_MOST = 1 << 62
#: Fields of ``g`` that do not change while it is in one call, as far as this version has them.
_OF_CALL = ("goid", "syscallsp", "syscallpc", "trackingSeq")

T = TypeVar("T")


@dataclass(frozen=True)
class _Reading:
    """The scheduler at one moment. `gs`: the ``g`` that each of `ms` runs, zeros for none. None: could not be read."""

    cpu: CpuReading
    sched: Any | None
    ps: NDArray[Any] | None
    ms: Ms
    gs: NDArray[Any]
    gc: GcTime | None


@dataclass
class _Looks:
    """Sums over the looks, by name, and how many there were of each."""

    sums: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    longest_queue: int = 0
    number: int = 0

    def add(self, name: str, value: int) -> None:
        if not 0 <= value <= MAX_GOROUTINES:  # nothing there are so many of
            return
        self.sums[name] = self.sums.get(name, 0) + value
        self.counts[name] = self.counts.get(name, 0) + 1

    def add_queue(self, length: int) -> None:
        self.add("queued", length)
        self.longest_queue = max(self.longest_queue, min(length, MAX_GOROUTINES))

    def mean(self, name: str) -> float | None:
        return self.sums[name] / self.counts[name] if self.counts.get(name) else None


class SchedulerWatch:
    """Watches the scheduler of a live process from now on, until `window`.

    `cpu`: the processor time at the beginning. Raises `TargetError` for a core.
    """

    def __init__(self, target: Target, runtime: Runtime) -> None:
        if target.process.cpu is None:
            raise TargetError("a core cannot be watched: nothing of it runs")
        self._target, self._process_cpu = target, target.process.cpu
        self._runtime = runtime.for_reading()
        self._looks = _Looks()
        self._first = self._read(self._process_cpu)

    @property
    def cpu(self) -> CpuReading:
        """The processor time that the process had used when the watch began."""
        return self._first.cpu

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read, each once."""
        return tuple(dict.fromkeys(self._runtime.problems))

    def run(self, seconds: float) -> None:
        """Look again and again until `seconds` have passed since the watch began. Raises `ProcessChanged`."""
        until = self._first.cpu.at_ns / 1e9 + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, random.uniform(0.5, 1.5) * _LOOK_SECONDS))
            self._target.process.check()
            self.look()

    def look(self) -> None:
        """Read run queues and counters."""
        sched, ps = self._part(self._counters), self._part(lambda: read_ps(self._runtime))
        self._looks.number += 1
        if sched is not None:
            self._looks.add("idle", int(sched["npidle"]))
            self._looks.add("spinning", int(sched["nmspinning"]))
            if self._runtime.layouts.has("schedt", "gcwaiting"):
                self._looks.add("stopping", int(sched["gcwaiting"] != 0))
        if sched is not None and ps is not None:
            self._looks.add_queue(int(sched["runq"]["size"]) + _queued(ps))

    def window(self) -> SchedulerWindow:
        """What happened since the watch began; looks once more."""
        self.look()
        before, now, looks = self._first, self._read(self._process_cpu), self._looks
        gc = _collected(before.gc, now.gc)
        return SchedulerWindow(
            window_ns=now.cpu.at_ns - before.cpu.at_ns,
            looks=looks.number,
            run_queue_mean=looks.mean("queued"),
            run_queue_max=looks.longest_queue if "queued" in looks.sums else None,
            idle_ps_mean=looks.mean("idle"),
            spinning_ms_mean=looks.mean("spinning"),
            stopping_looks=looks.sums.get("stopping"),
            mutex_wait_ns=self._mutex_wait_ns(before, now),
            run_delay_ns=now.cpu.delay_since(before.cpu),
            processors=_processors(before, now),
            calls=self._calls(before, now),
            **self._run_waits(before, now),
            **gc,
        )

    def _counters(self) -> Any | None:
        """``runtime.sched``, if it was found to be right when the watch began."""
        if self._first.sched is None:
            return None
        runtime = self._runtime
        return runtime.memory.array(runtime.address("sched"), runtime.layouts["schedt"], 1)[0]

    def _part(self, read: Callable[[], T]) -> T | None:
        return self._runtime.part("scheduler", read, None)

    def _read(self, cpu: LiveCpu) -> _Reading:
        runtime = self._runtime
        ms = read_ms(runtime)
        outer_tids = self._target.process.outer_tids()
        if outer_tids is not None:
            ms = ms.with_outer_tids(outer_tids)
        return _Reading(
            cpu=cpu.read(),
            sched=self._part(lambda: checked_sched(runtime, ms)),
            ps=self._part(lambda: read_ps(runtime)),
            ms=ms,
            gs=_current_gs(runtime, ms),
            gc=runtime.part("memory", lambda: read_gc_time(runtime), None, "collections"),
        )

    def _mutex_wait_ns(self, before: _Reading, now: _Reading) -> int | None:
        if not self._runtime.layouts.has("schedt", "totalMutexWaitTime"):
            return None
        return _difference(before.sched, now.sched, "totalMutexWaitTime")

    def _run_waits(self, before: _Reading, now: _Reading) -> dict[str, int | None]:
        """How long goroutines waited in run queues that were put on a P in the window."""
        if not self._runtime.layouts.has("schedt", "timeToRun.counts"):
            return {}
        if before.sched is None or now.sched is None:
            return {}
        first, last = (counts_of(row["timeToRun"]["counts"]) for row in (before.sched, now.sched))
        if first is None or last is None or (last < first).any():
            return {}
        counts = last - first
        return {
            "run_waits": _plausible(int(counts.sum())),
            "run_wait_median_ns": quantile_ns(counts, 0.5),
            "run_wait_p99_ns": quantile_ns(counts, 0.99),
        }

    def _calls(self, before: _Reading, now: _Reading) -> tuple[LongCall, ...]:
        """The calls that lasted for the whole window, by goroutine."""
        used = now.cpu.threads_since(before.cpu)
        states = {thread.tid: thread.os_state for thread in self._target.process.threads()}
        first, last = _same_ms(before.ms, now.ms)
        lasts = _is_same_call(before, now, first, last)
        found = [
            self._call(now, row, used, states)
            for row in last[lasts].tolist()[:_MAX_CALLS]
            if int(now.ms.rows["procid"][row]) in states
        ]
        return tuple(sorted(found, key=lambda each: each.goroutine))

    def _call(
        self, now: _Reading, row: int, used: dict[int, int], states: dict[int, str | None]
    ) -> LongCall:
        pid, m = self._target.process.pid, now.ms.rows[row]
        tid = int(m["procid"])
        call = system_call(pid, tid)
        fd = None if call is None else call.fd
        connection = None if fd is None else read_connections(pid, [fd]).get(fd)
        return LongCall(
            goroutine=int(now.gs["goid"][row]),
            tid=tid,
            in_c=bool(m["incgo"]) if "incgo" in (now.ms.rows.dtype.names or ()) else None,
            cpu_ns=used.get(tid),
            os_state=states[tid],
            system_call=None if call is None else call.name,
            fd=fd,
            target=None if connection is None else connection.target,
            wchan=wait_channel(pid, tid),
        )


def _queued(ps: NDArray[Any]) -> int:
    """Goroutines in the queues of all Ps."""
    lengths = (ps["runqtail"].astype(np.int64) - ps["runqhead"]) % _TICKS
    return int(np.minimum(lengths, 256).sum() + (ps["runnext"] != 0).sum())


def _current_gs(runtime: Runtime, ms: Ms) -> NDArray[Any]:
    """The ``g`` that each of `ms` runs; one that cannot be read is all zeros."""
    kind = columns_of(runtime.layouts["g"], ["atomicstatus", *_OF_CALL])
    rows = np.zeros(len(ms.rows), kind)
    there = np.flatnonzero((ms.rows["curg"] != 0) & (ms.rows["curg"] % 8 == 0))
    gathered = runtime.memory.gather(ms.rows["curg"][there].astype(np.uint64), kind.itemsize)
    rows[there[gathered.ok]] = gathered.rows(kind)[gathered.ok]
    return rows


def _difference(before: Any | None, now: Any | None, name: str) -> int | None:
    if before is None or now is None:
        return None
    return _plausible(int(now[name]) - int(before[name]))


def _plausible(value: int) -> int | None:
    """`value`, if it can be a count or a time of this window."""
    return value if 0 <= value <= _MOST else None


def _collected(before: GcTime | None, now: GcTime | None) -> dict[str, int | None]:
    """The fields of `SchedulerWindow` about collections."""
    if before is None or now is None or now.count < before.count:
        return {}
    known = None not in (before.cpu_ns, now.cpu_ns) and before.gomaxprocs == now.gomaxprocs
    known = known and before.count > 0
    return {
        "gc_count": now.count - before.count,
        "gc_span_ns": _plausible(now.ended_ns - before.ended_ns) if before.count else None,
        "gc_cpu_ns": _plausible((now.cpu_ns or 0) - (before.cpu_ns or 0)) if known else None,
        "gc_pause_ns": _plausible(now.pause_ns - before.pause_ns),
    }


def _processors(before: _Reading, now: _Reading) -> tuple[WindowProcessor, ...]:
    """The Ps of both readings; the runtime keeps a P's number and ticks when GOMAXPROCS changes."""
    if before.ps is None or now.ps is None:
        return ()
    both = min(len(before.ps), len(now.ps))
    first, last = before.ps[:both], now.ps[:both]
    scheduled = (last["schedtick"].astype(np.int64) - first["schedtick"]) % _TICKS
    kept = (
        (scheduled == 0) & (first["status"] == P_RUNNING) & (last["status"] == P_RUNNING)
        & (first["m"] == last["m"])
    )  # fmt: skip
    used = now.cpu.threads_since(before.cpu)
    found = []
    for number, ticks in enumerate(scheduled.tolist()):
        by = _kept_by(before, now, int(last["m"][number])) if kept[number] else None
        goid, tid = by or (None, 0)
        found.append(WindowProcessor(number, ticks, goid, used.get(tid)))
    return tuple(found)


def _kept_by(before: _Reading, now: _Reading, m: int) -> tuple[int, int] | None:
    """The id of the goroutine that the M at `m` ran in both readings, and of its thread; None if there is none."""
    first, last = before.ms.index.get(m), now.ms.index.get(m)
    if first is None or last is None:
        return None
    gs = np.stack((before.gs[first], now.gs[last]))
    goid = int(gs["goid"][0])
    runs = bool((g_status(gs) == RUNNING).all()) and goid == int(gs["goid"][1])
    runs = runs and 0 < goid < _MOST
    return (goid, int(now.ms.rows["procid"][last])) if runs else None


def _same_ms(before: Ms, now: Ms) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of the Ms that are in both, in each of them."""
    _, first, last = np.intersect1d(before.addresses, now.addresses, return_indices=True)
    return first, last


def _is_same_call(
    before: _Reading, now: _Reading, first: NDArray[np.intp], last: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Which of the Ms in both readings, in these rows of each, were in one system call or call of C meanwhile.

    ``m.syscalltick`` is a copy of the count of its P when the call began, and the P counts on when it ends.
    """
    ms, gs = (before.ms.rows[first], now.ms.rows[last]), (before.gs[first], now.gs[last])
    same: NDArray[np.bool_] = (g_status(gs[0]) == SYSCALL) & (g_status(gs[1]) == SYSCALL)
    same &= (gs[1]["goid"] != 0) & (gs[1]["goid"] < _MOST)
    for rows, names in ((ms, ("id", "curg", "procid", "syscalltick", "incgo")), (gs, _OF_CALL)):
        known = [set(each.dtype.names or ()) for each in rows]  # a list of Ms that is empty has few
        for name in known[0].intersection(known[1], names):
            same &= rows[0][name] == rows[1][name]
    return same
