"""What a process uses of the processors: two readings of its times, and samples of its running threads.

The times are the kernel's (`spyglass.procfs.read_cpu`), the samples those of the threads that ran
(`spyglass.threads.CpuSampler`), unwound like the stacks of running goroutines.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spyglass.model import CpuSample, CpuUse, Thread, Throttling

if TYPE_CHECKING:
    from spyglass.procfs import CpuQuota, CpuReading
    from spyglass.runtime.scheduler.thread_stacks import ThreadStacks
    from spyglass.targets import OsThread
    from spyglass.targets.live_cpu import LiveCpu
    from spyglass.threads import Registers

__all__ = ["CpuWatch", "counted_samples"]

#: The least time that threads are sampled for: some 25 samples of a thread that never stops.
_MIN_SAMPLING_NS = 25_000_000
#: Share of the window that a thread must have run to be sampled.
_BUSY_SHARE = 0.1


class CpuWatch:
    """Observes what a live process uses of the processors, from the reading `start` until `use`.

    Those of `os_threads` that run now, or ran for a tenth of the time since `start`, are sampled from now on;
    unless the process is `stopped`: then its times are read now. Close it.
    """

    def __init__(
        self, cpu: LiveCpu, start: CpuReading, os_threads: Sequence[OsThread], *, stopped: bool
    ) -> None:
        self._cpu = cpu
        self._start = start
        self._now = cpu.read()
        self._is_stopped = stopped
        self._began_ns = time.monotonic_ns()
        self._sampler = cpu.sample([] if stopped else self._busy(os_threads))

    def _busy(self, os_threads: Sequence[OsThread]) -> list[int]:
        """The ids of the threads to sample, those that ran longest first."""
        recent = self._now.threads_since(self._start)
        enough_ns = (self._now.at_ns - self._start.at_ns) * _BUSY_SHARE
        busy = [
            thread.tid
            for thread in os_threads
            if thread.os_state == "running" or recent.get(thread.tid, 0) > enough_ns
        ]
        return sorted(busy, key=lambda tid: -recent.get(tid, 0))

    def samples(self) -> list[Registers]:
        """The samples since the watch was made, at least `_MIN_SAMPLING_NS` of a busy process."""
        left_ns = self._began_ns + _MIN_SAMPLING_NS - time.monotonic_ns()
        if len(self._sampler) and left_ns > 0:
            time.sleep(left_ns / 1e9)
        return self._sampler.stop()

    def use(
        self, threads: Sequence[Thread], samples: tuple[CpuSample, ...]
    ) -> tuple[CpuUse, list[Thread]]:
        """What was used since the start, with `samples`; and `threads` with their times."""
        before, now = self._start, self._now if self._is_stopped else self._cpu.read()
        recent = now.threads_since(before)
        sampled = self._sampler.tids
        use = CpuUse(
            window_ns=now.at_ns - before.at_ns,
            used_ns=max(now.process_ns - before.process_ns, 0),
            lifetime_ns=now.process_ns,
            processors=self._cpu.processors(),
            limit_cores=now.quota.cores if now.quota else None,
            throttling=_throttling(before.quota, now.quota),
            samples=samples,
            sampled_threads=len(sampled),
            sampled_ns=sum(recent.get(tid, 0) for tid in sampled),
        )
        return use, [
            replace(
                thread, cpu_ns=now.threads_ns.get(thread.tid), recent_cpu_ns=recent.get(thread.tid)
            )
            for thread in threads
        ]

    def close(self) -> None:
        """End the sampling."""
        self._sampler.close()


def _throttling(before: CpuQuota | None, now: CpuQuota | None) -> Throttling | None:
    """The counts of `now`, and how they changed since `before`, of which a group may have been another's."""
    if now is None:
        return None
    start = now if before is None or before.periods > now.periods else before
    return Throttling(
        now.periods,
        now.throttled,
        now.throttled_ns,
        now.periods - start.periods,
        max(now.throttled - start.throttled, 0),
        max(now.throttled_ns - start.throttled_ns, 0),
    )


def counted_samples(
    samples: Sequence[Registers], threads: Sequence[Thread], stacks: ThreadStacks
) -> tuple[CpuSample, ...]:
    """What `samples` of `threads` were doing, the most frequent first.

    A stack that reaches beyond what its sample holds has no `where`: memory is of another moment.
    """
    by_tid = {thread.tid: thread for thread in threads}
    known = [sample for sample in samples if sample.tid in by_tid]
    found = Counter(stacks.places([(by_tid[sample.tid], sample) for sample in known]))
    return tuple(CpuSample(where, runs, number) for (where, runs), number in found.most_common())
