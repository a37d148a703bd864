"""Samples of every thread of a process at a rate of its processor time, for as long as they are wanted.

No thread is stopped and no signal is sent. Each thread has an event of its own, which follows it over all
processors: inherited events cannot be (perf_event_open(2): inherit with cpu -1 has no ring). Threads that
begin later are found in /proc. Of a process with very many threads, where that is allowed, all that runs on
each processor is sampled, and samples of other processes are dropped.
"""

from __future__ import annotations

import errno
import os
import random
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from spyglass.errors import ProcessNotFound, TargetError
from spyglass.procfs.access import refusals
from spyglass.threads.architecture import own_architecture
from spyglass.threads.perf import Event, Sample, Sampling
from spyglass.threads.permission import read_caller, why_refused
from spyglass.threads.priority import Hurry

__all__ = ["RecorderCounts", "ThreadRecorder"]

#: Stack bytes in a sample: of most programs no stack is larger than the first; queries of Prometheus have 21 KB.
_STACK_BYTES, _LARGE_STACK_BYTES = 1 << 14, 1 << 15
#: Large copies are taken if a ring holds those of so many seconds.
_RING_SECONDS = 0.1
#: Sizes of a ring, tried in this order: what may be locked into memory is limited (perf_event_mlock_kb).
#: The largest holds 30 large samples, or 60 others, for a reader that has to wait for a processor.
_RINGS_BYTES = (1 << 20, 1 << 17, 1 << 16, 1 << 15)
#: Of so many threads each has the largest ring, if the limit does not hold for this user.
_FEW_THREADS = 32
#: From this many threads on each processor has an event, not each thread.
_MANY_THREADS = 300
_LOOK_SECONDS = 0.05
_NS = 1_000_000_000


@dataclass(slots=True)
class RecorderCounts:
    """Samples `lost` because the ring was full, how often the kernel suspended sampling (`throttled`),
    threads that were sampled (`seen`), and those that ended before they could be (`missed`)."""

    lost: int = 0
    throttled: int = 0
    seen: int = 0
    missed: int = 0


class ThreadRecorder:
    """Samples process `pid` from now on, `rate_hz` times in each second of a thread's CPU time. Close it.

    `kernel_chain`: with the kernel's part of call chains, where that is allowed.
    `hurry`: wait, and look at what the samples are of, in a with statement of it.
    `kernel`: whether samples in system calls are counted. `refused`: why some threads are not sampled, None
    if all are. Raises `TargetError` if the kernel refuses all of them, `ProcessNotFound` if it has ended.
    """

    def __init__(self, pid: int, rate_hz: float, kernel_chain: bool = False) -> None:
        self._pid = pid
        self._architecture = own_architecture()
        self._sampling = Sampling(
            max(int(_NS / rate_hz), 1), _STACK_BYTES, True, _RINGS_BYTES[1],
            recording=True, kernel_chain=kernel_chain,
        )  # fmt: skip
        self.hurry = Hurry()
        self.counts = RecorderCounts()
        self.refused: str | None = None
        self._poll = select.poll()
        self._events: dict[int, Event] = {}
        #: Events that are in their first period.
        self._beginning: set[int] = set()
        #: Threads that have an event, or cannot have one; those announced and not found yet.
        self._known: set[int] = set()
        self._announced: set[int] = set()
        self._counted = 0
        self._next_look = 0.0
        self._whole_host = False
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def kernel(self) -> bool:
        """Whether samples that fall into system calls are counted."""
        return self._sampling.kernel

    def wait(self, seconds: float) -> list[Sample]:
        """The samples that are there after at most `seconds`, as soon as there are any."""
        until = min(time.monotonic() + seconds, self._next_look)
        ready = self._poll.poll(max(until - time.monotonic(), 0) * 1000)
        samples: list[Sample] = []
        for descriptor, what in ready:
            samples += self._take(descriptor)
            if what & (select.POLLHUP | select.POLLERR):
                self._close(descriptor)
        if time.monotonic() >= self._next_look:
            for descriptor in list(self._events):
                samples += self._take(descriptor)
            if self._announced or self._thread_count() != self._counted:
                self._look()
            self._next_look = time.monotonic() + _LOOK_SECONDS
        return samples

    def close(self) -> None:
        """End the sampling."""
        self.hurry.restore()
        for descriptor in list(self._events):
            self._close(descriptor)

    def _begin(self) -> None:
        tids = self._threads()
        if len(tids) <= _FEW_THREADS and read_caller().privileged:
            self._set_ring(_RINGS_BYTES[0])
        if len(tids) >= _MANY_THREADS and self._open_processors():
            self._whole_host = True
        self._look(tids)
        if not self._events:
            if self.refused is None:
                raise ProcessNotFound(f"process {self._pid} has ended")
            raise TargetError(self.refused, "--mode wall works without it")

    def _set_ring(self, ring_bytes: int) -> None:
        """Use rings of `ring_bytes` from now on, and copies of stacks that fit."""
        large = ring_bytes / _LARGE_STACK_BYTES * self._sampling.period_ns >= _RING_SECONDS * _NS
        stack_bytes = _LARGE_STACK_BYTES if large else _STACK_BYTES
        self._sampling = replace(self._sampling, ring_bytes=ring_bytes, stack_bytes=stack_bytes)

    def _threads(self) -> list[int]:
        with refusals(self._pid):
            return [int(name) for name in os.listdir(f"/proc/{self._pid}/task")]

    def _thread_count(self) -> int:
        """A number that changes with the number of threads: the links to their directory
        (``fs/proc/base.c: proc_task_getattr``), for a tenth of what listing them takes."""
        try:
            return os.stat(f"/proc/{self._pid}/task").st_nlink
        except OSError:
            return 0

    def _look(self, tids: Iterable[int] | None = None) -> None:
        """Begin to sample the threads that are not sampled yet."""
        self._counted = self._thread_count()
        try:
            now = set(self._threads() if tids is None else tids)
        except ProcessNotFound:
            now = set()
        self.counts.missed += len(self._announced - self._known - now)
        self._announced = set()
        new = now - self._known
        self._known &= now
        for tid in new:
            if self._whole_host or self._open(tid):
                self.counts.seen += 1
            self._known.add(tid)

    def _open_processors(self) -> bool:
        """Sample every processor; False if that is refused."""
        try:
            for cpu in os.sched_getaffinity(0):
                self._start(Event(self._architecture, -1, self._sampling, cpu))
        except OSError:
            for descriptor in list(self._events):
                self._close(descriptor)
            return False
        return True

    def _open(self, tid: int) -> bool:
        """Sample thread `tid`; False if it ended, or if that is refused."""
        while True:
            try:
                first = replace(self._sampling, period_ns=self._first_period_ns())
                event = Event(self._architecture, tid, first)
                self._beginning.add(event.descriptor)
                self._start(event)
                return True
            except OSError as error:
                if not self._retry(tid, error):
                    return False

    def _first_period_ns(self) -> int:
        """A part of a period: with whole ones, a thread that uses less than one would never be sampled, and of
        all others half a period would be missing."""
        return max(int(random.random() * self._sampling.period_ns), self._sampling.period_ns // 16)

    def _settled(self, descriptor: int, samples: list[Sample]) -> list[Sample]:
        """The first of `samples`, the first ones of an event: those behind it came before the whole period was
        set."""
        self._beginning.discard(descriptor)
        with suppress(OSError):  # its thread has ended
            self._events[descriptor].set_period(self._sampling.period_ns)
        return samples[:1]

    def _retry(self, tid: int, error: OSError) -> bool:
        """Whether to try again after `error`, with less than before."""
        if error.errno == errno.ESRCH:
            self.counts.missed += 1
            return False
        smaller = [size for size in _RINGS_BYTES if size < self._sampling.ring_bytes]
        if error.errno == errno.EACCES and self._sampling.kernel:
            self._sampling = replace(self._sampling, kernel=False)
            return True
        if error.errno == errno.EPERM and smaller:
            self._set_ring(smaller[0])
            return True
        try:
            self.refused = why_refused(tid, error)
        except ProcessNotFound:
            self.counts.missed += 1
        return False

    def _start(self, event: Event) -> None:
        self._events[event.descriptor] = event
        self._poll.register(event.descriptor, select.POLLIN)
        event.start()

    def _take(self, descriptor: int) -> list[Sample]:
        """The samples of one event."""
        records = self._events[descriptor].records()
        if records is None:
            return []
        if records.new_threads:
            self._announced |= {tid for pid, tid in records.new_threads if pid == self._pid}
        samples = [sample for sample in records.samples if sample.pid == self._pid]
        if descriptor in self._beginning:
            return self._settled(descriptor, samples) if samples else []
        self.counts.lost += records.lost
        self.counts.throttled += records.throttled
        return samples

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._beginning.discard(descriptor)
        self._events.pop(descriptor).close()
