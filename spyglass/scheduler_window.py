"""What the scheduler did between two readings, as plain data.

`SchedulerWindow` is made by `spyglass.runtime.scheduler_watch`. The JSON form is described in
``export/snapshot.schema.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LongCall", "SchedulerWindow", "WindowProcessor"]


@dataclass(frozen=True, slots=True)
class WindowProcessor:
    """A P in the window: `scheduled` goroutines were put on it (``p.schedtick``).

    `kept_by`: the goroutine that ran on it in both readings while nothing was scheduled, with the processor time
    `kept_cpu_ns` of its thread meanwhile (None: not known); else None.
    """

    id: int
    scheduled: int
    kept_by: int | None = None
    kept_cpu_ns: int | None = None


@dataclass(frozen=True, slots=True)
class LongCall:
    """A goroutine that was in one system call or call of C for the whole window, on thread `tid`.

    `in_c`: it is a call of C (``m.incgo``). `cpu_ns`: processor time that the thread used meanwhile. `os_state`:
    as in `spyglass.model.Thread`. `system_call`: what the thread waits in ("read", or a number as text), `fd`
    its file descriptor, if it has one, and `target` what that is of (as `spyglass.wait_graph.Connection`);
    `wchan`: the kernel's function. None: not known, or nothing.
    """

    goroutine: int
    tid: int
    in_c: bool | None
    cpu_ns: int | None
    os_state: str | None
    system_call: str | None
    fd: int | None
    target: str | None
    wchan: str | None


@dataclass(frozen=True, slots=True)
class SchedulerWindow:
    """The scheduler between two readings, and in `looks` at it in between. None: not known in this program.

    Means are over the looks: `run_queue_mean` of goroutines that were ready to run and did not (all queues),
    `idle_ps_mean` of Ps without work, `spinning_ms_mean` of threads that looked for work (``sched.nmspinning``);
    `stopping_looks` is in how many the world was stopped or about to be (``sched.gcwaiting``).

    `run_waits` starts of goroutines had their time in the run queues measured by the runtime, which does so for one
    of eight (``sched.timeToRun``, since Go 1.17); half of them waited at most `run_wait_median_ns`, 99 % at most
    `run_wait_p99_ns`. `mutex_wait_ns`: waits for mutexes that ended in the window, all goroutines together, from one
    of eight (``sched.totalMutexWaitTime``, since Go 1.20).

    `gc_count` collections ended; between the last that ended before each of the readings, `gc_span_ns` passed and
    the collector took `gc_cpu_ns` of the time of Ps, without idle ones (``memstats.gc_cpu_fraction``): more than it
    used of processors where its threads waited for one of the host. `gc_pause_ns`: stop-the-world pauses.

    `run_delay_ns`: how long threads that could run waited for a processor of the host, all of them together
    (/proc/PID/schedstat).
    """

    window_ns: int
    looks: int
    run_queue_mean: float | None = None
    run_queue_max: int | None = None
    idle_ps_mean: float | None = None
    spinning_ms_mean: float | None = None
    stopping_looks: int | None = None
    run_waits: int | None = None
    run_wait_median_ns: int | None = None
    run_wait_p99_ns: int | None = None
    mutex_wait_ns: int | None = None
    gc_count: int | None = None
    gc_span_ns: int | None = None
    gc_cpu_ns: int | None = None
    gc_pause_ns: int | None = None
    run_delay_ns: int | None = None
    processors: tuple[WindowProcessor, ...] = ()
    calls: tuple[LongCall, ...] = ()

    @property
    def scheduled(self) -> int | None:
        """How many times goroutines were put on a P; None if no P could be read."""
        return sum(each.scheduled for each in self.processors) if self.processors else None
