"""Processor time of a process and of its threads, in two readings.

Imports nothing heavy: the first reading is taken before a command imports anything heavy, so that the
run time of the command lies between the two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from spyglass.errors import BadDataError, SpyglassError
from spyglass.procfs.access import refusals
from spyglass.procfs.cgroups import CpuQuota, cpu_quota
from spyglass.procfs.files import read, split_stat

__all__ = ["MAX_THREADS", "CpuReading", "ProcessTime", "process_times", "processors", "read_cpu"]

#: Threads of which the time is read, about 10 us each; of a process with more only its own time is.
MAX_THREADS = 4096

_MAX_STAT_BYTES = 1 << 13
_MAX_SCHEDSTAT_BYTES = 1 << 8
_NS_PER_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
#: The clock of a process's CPU time (``CPUCLOCK_SCHED``, include/linux/posix-timers_types.h).
_CPUCLOCK_SCHED = 2
#: utime and stime in what follows the name in /proc/PID/stat (proc_pid_stat(5)).
_UTIME, _STIME = 11, 12


@dataclass(frozen=True, slots=True)
class CpuReading:
    """The processor time that a process used until `at_ns` (CLOCK_MONOTONIC), all of them in ns.

    `process_ns` counts threads that have ended too. `threads_ns`: by thread id, empty if there are more
    than `MAX_THREADS`; in steps of 1, or of the kernel's clock tick. `quota`: None if there is none.
    `delays_ns`: by thread id, how long each could run and waited for a processor; empty if the kernel does not say.
    """

    at_ns: int
    process_ns: int
    threads_ns: dict[int, int] = field(default_factory=dict)
    quota: CpuQuota | None = None
    delays_ns: dict[int, int] = field(default_factory=dict)

    def threads_since(self, before: CpuReading) -> dict[int, int]:
        """By thread id, the time in ns that each thread of both readings used between them."""
        return {
            tid: max(used - before.threads_ns[tid], 0)
            for tid, used in self.threads_ns.items()
            if tid in before.threads_ns
        }

    def delay_since(self, before: CpuReading) -> int | None:
        """How long threads of both readings, which could run, waited for a processor in between, in ns; None if
        the kernel does not say."""
        both = self.delays_ns.keys() & before.delays_ns.keys()
        if not both:
            return None
        return sum(max(self.delays_ns[tid] - before.delays_ns[tid], 0) for tid in both)


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """The processor time `used_ns` of a process, with threads that have ended, until `at_ns`
    (CLOCK_MONOTONIC)."""

    at_ns: int
    used_ns: int


def process_times(pids: Iterable[int]) -> dict[int, ProcessTime]:
    """The time of each of the processes `pids` that there is, about 2 us each."""
    found = {}
    for pid in pids:
        try:
            found[pid] = ProcessTime(time.monotonic_ns(), _process_ns(pid))
        except (OSError, OverflowError, SpyglassError):
            continue
    return found


def read_cpu(pid: int) -> CpuReading:
    """What process `pid` used until now. `ProcessNotFound` if it has ended.

    The time of the process is its CPU-time clock (clock_getcpuclockid(3)), exact to a ns; that of a
    thread is in /proc/PID/task/TID/schedstat if the kernel has it (CONFIG_SCHED_INFO), else in ticks.
    """
    with refusals(pid):
        at_ns, process_ns = time.monotonic_ns(), _process_ns(pid)
        threads_ns, delays_ns = _thread_times(pid)
    return CpuReading(at_ns, process_ns, threads_ns, cpu_quota(pid), delays_ns)


def _thread_times(pid: int) -> tuple[dict[int, int], dict[int, int]]:
    """`CpuReading.threads_ns` and `CpuReading.delays_ns`."""
    has_delays = os.path.exists("/proc/self/schedstat")
    read_thread = _schedstat_ns if has_delays else _stat_ns
    directory = os.open(f"/proc/{pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tids = [int(name) for name in os.listdir(directory)]
        if len(tids) > MAX_THREADS:
            return {}, {}
        times = {tid: read_thread(directory, tid) for tid in tids}
        known = {tid: each for tid, each in times.items() if each is not None}
        used_ns = {tid: used for tid, (used, _) in known.items()}
        return used_ns, {tid: delay for tid, (_, delay) in known.items()} if has_delays else {}
    finally:
        os.close(directory)


def processors(pid: int) -> int:
    """The number of processors on which process `pid` may run (sched_getaffinity(2))."""
    with refusals(pid):
        return len(os.sched_getaffinity(pid))


def _process_ns(pid: int) -> int:
    """The CPU-time clock of process `pid`; ``MAKE_PROCESS_CPUCLOCK`` in the same header."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:  # EINVAL: no such process; or a kernel without these clocks
        return _ticks_ns(read(f"/proc/{pid}/stat", _MAX_STAT_BYTES))


def _schedstat_ns(directory: int, tid: int) -> tuple[int, int] | None:
    """Processor time and delay of a thread (proc_pid_schedstat(5): "time spent on the cpu", "on a runqueue")."""
    try:
        fields = read(f"{tid}/schedstat", _MAX_SCHEDSTAT_BYTES, dir_fd=directory).split()
        return int(fields[0]), int(fields[1])
    except (OSError, ValueError, IndexError):  # ended meanwhile
        return None


def _stat_ns(directory: int, tid: int) -> tuple[int, int] | None:
    """The same without a delay, which this file does not have."""
    try:
        return _ticks_ns(read(f"{tid}/stat", _MAX_STAT_BYTES, dir_fd=directory)), 0
    except OSError:
        return None


def _ticks_ns(stat: bytes) -> int:
    fields = split_stat(stat)[1].split()
    try:
        return (int(fields[_UTIME]) + int(fields[_STIME])) * _NS_PER_TICK
    except (ValueError, IndexError):
        raise BadDataError("a stat line is malformed") from None
