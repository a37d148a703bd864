"""What the scheduler did between two readings (`Snapshot.window`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spyglass.analysis.findings.cpu import available_cores, used_cores
from spyglass.analysis.findings.crowds import is_blocked
from spyglass.analysis.findings.finding import Findable, Finding, Place
from spyglass.analysis.findings.thresholds import (
    CROWD_COUNT,
    CROWD_SHARE,
    GC_CORES,
    GC_CPU_SHARE,
    HOST_DELAY,
    IDLE_CORES,
    KEPT_CPU_NS,
    KEPT_NS,
    LOCK_BOUND_SHARE,
    LOCK_WAITERS,
    LONG_CALLS,
    MIN_LOOKS,
    MIN_WINDOW_NS,
    RUN_WAIT_MEAN_NS,
    RUN_WAIT_P99_NS,
    SPINNING_MS,
    SPINNING_SHARE,
)
from spyglass.analysis.findings.waits import is_lock
from spyglass.model import NONE, Frame
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor
from spyglass.words.units import count, duration, plural

__all__ = ["window_findings"]

#: Places that a finding names.
_SHOWN = 3


class _Watched(NamedTuple):
    """A snapshot with a window, and the processors that were used in it (None: not known)."""

    findable: Findable
    window: SchedulerWindow
    cores: float | None

    @property
    def ps(self) -> int:
        return self.findable.snapshot.scheduler.gomaxprocs or len(self.window.processors) or 1

    @property
    def wanted(self) -> float | None:
        """The processors that were used and those that threads waited for; the runtime cannot tell these apart."""
        if self.cores is None:
            return None
        return self.cores + (self.window.run_delay_ns or 0) / self.window.window_ns


def window_findings(findable: Findable) -> Iterator[Finding]:
    """What hinders goroutines from running, and what uses the processors instead."""
    window, use = findable.snapshot.window, findable.snapshot.cpu
    if window is None or window.window_ns < MIN_WINDOW_NS:
        return
    watched = _Watched(findable, window, None if use is None else used_cores(use))
    if findable.is_whole:
        yield from _idle(watched)
        yield from _lock_bound(watched)
    yield from _kept(watched)
    yield from _run_wait(watched)
    yield from _long_calls(watched)
    yield from _gc(watched)
    yield from _spinning(watched)
    yield from _host(watched)


def _kept(watched: _Watched) -> Iterator[Finding]:
    """Ps whose goroutine ran on without a call of the scheduler, which preempts it every 10 ms."""
    findable, window = watched.findable, watched.window
    if window.window_ns < KEPT_NS:
        return
    kept = [each for each in window.processors if (each.kept_cpu_ns or 0) >= KEPT_CPU_NS]
    rows = _rows(findable, [each.kept_by for each in kept if each.kept_by is not None])
    for each in kept:
        if each.kept_by in rows:
            yield _never_yields(watched, each, rows[each.kept_by])


def _never_yields(watched: _Watched, p: WindowProcessor, row: int) -> Finding:
    findable, window = watched.findable, watched.window
    frame = _where(findable, row)
    at = "" if frame is None else f" at {frame.function}"
    is_stop = window.stopping_looks is not None and window.stopping_looks >= window.looks > 0
    stop = "; stopping the world waits for it, and so does all else" if is_stop else ""
    return Finding(
        kind="never-yields",
        severity="critical" if is_stop else "warning",
        title=f"goroutine {p.kept_by} has kept P {p.id} for the whole {duration(window.window_ns)}{at}: the "
        f"scheduler could not preempt it{stop}",
        goroutines=1,
        examples=(p.kept_by or 0,),
        functions=() if frame is None else (frame.function,),
        next=findable.command("dump", "--goroutine", str(p.kept_by)),
    )


def _run_wait(watched: _Watched) -> Iterator[Finding]:
    """Goroutines that are ready to run wait long for a P."""
    findable, window = watched.findable, watched.window
    queue, p99_ns = window.run_queue_mean, window.run_wait_p99_ns
    if queue is None or queue < watched.ps:
        return
    is_mean = window.scheduled and window.looks >= MIN_LOOKS
    mean_ns = queue * window.window_ns / (window.scheduled or 1) if is_mean else None
    if (p99_ns or 0) < RUN_WAIT_P99_NS and (mean_ns or 0) < RUN_WAIT_MEAN_NS:
        return
    measured = "" if mean_ns is None else f", {duration(int(mean_ns))} on average"
    if p99_ns is not None:
        half = duration(window.run_wait_median_ns)
        measured = f": half of them up to {half}, 99 % up to {duration(p99_ns)}"
    yield Finding(
        kind="run-wait",
        severity="warning",
        title=f"goroutines wait for a P{measured}; {_queue_text(window, queue)}, {plural(watched.ps, 'P')}",
        next=findable.command("dump", "--group", "function", "--state", "runnable"),
    )


def _queue_text(window: SchedulerWindow, mean: float) -> str:
    if window.looks < MIN_LOOKS:
        return f"{count(window.run_queue_max)} in the run queues"
    return f"{mean:.1f} in the run queues on average (at most {count(window.run_queue_max)})"


def _long_calls(watched: _Watched) -> Iterator[Finding]:
    """Many threads in calls that last, and threads that the kernel cannot interrupt."""
    findable, window = watched.findable, watched.window
    by_place: dict[str, list[tuple[LongCall, int]]] = {}
    rows = _rows(findable, [call.goroutine for call in window.calls])
    for call in window.calls:
        frame = _where(findable, rows[call.goroutine]) if call.goroutine in rows else None
        if frame is not None:
            by_place.setdefault(frame.function, []).append((call, rows[call.goroutine]))
    for function, calls in sorted(by_place.items(), key=lambda item: -len(item[1])):
        asleep = sum(call.os_state == "disk sleep" and not call.cpu_ns for call, _ in calls)
        if len(calls) >= LONG_CALLS or asleep:
            yield _long_call(watched, function, calls, asleep)


def _long_call(
    watched: _Watched, function: str, calls: list[tuple[LongCall, int]], asleep: int
) -> Finding:
    findable, window = watched.findable, watched.window
    rows = np.array([row for _, row in calls])
    known_ns = int(findable.snapshot.goroutines.waiting_ns[rows].max())
    deep = f"; {count(asleep)} in uninterruptible sleep" if asleep else ""
    verb = "is" if len(calls) == 1 else "are"
    return Finding(
        kind="long-calls",
        severity="warning",
        title=f"{plural(len(calls), 'thread')} {verb} in {_call_text(calls[0][0])} called by {function} for at least "
        f"{duration(max(known_ns, window.window_ns))}{deep}",
        goroutines=len(calls),
        examples=findable.examples(rows),
        functions=(function,),
        next=findable.command("dump", "--group", "function", "--state", "syscall"),
    )


def _call_text(call: LongCall) -> str:
    """``read of a pipe``, ``C (nanosleep)``."""
    name = call.system_call or ("code" if call.in_c else "a system call")
    of = "" if call.target is None else f" of a {call.target}"
    return f"C ({name}{of})" if call.in_c else f"{name}{of}"


def _spinning(watched: _Watched) -> Iterator[Finding]:
    """Threads that look for work use a good part of the processors."""
    mean, wanted = watched.window.spinning_ms_mean, watched.wanted
    if mean is None or wanted is None or watched.window.looks < MIN_LOOKS:
        return
    if mean < max(SPINNING_MS, SPINNING_SHARE * wanted):
        return
    yield Finding(
        kind="spinning",
        severity="warning",
        title=f"on average {mean:.1f} of the {wanted:.1f} threads that run or wait for a processor look for goroutines "
        "to run",
        next=watched.findable.command("top"),
    )


def _gc(watched: _Watched) -> Iterator[Finding]:
    """The collector's share of the processor time."""
    window, wanted = watched.window, watched.wanted
    if not (window.gc_cpu_ns and window.gc_span_ns and window.gc_count and wanted):
        return
    collecting = window.gc_cpu_ns / window.gc_span_ns
    if collecting < max(GC_CORES, GC_CPU_SHARE * wanted):
        return
    stopped = 100 * (window.gc_pause_ns or 0) // window.window_ns
    yield Finding(
        kind="gc-cpu",
        severity="warning",
        title=f"garbage collection takes {min(100 * collecting / wanted, 100):.0f} % of the time that threads run or "
        f"wait for a processor; {plural(window.gc_count, 'collection')}, the world stopped for {stopped} % of the time",
        next=watched.findable.command("summary", "--verbose"),
    )


def _host(watched: _Watched) -> Iterator[Finding]:
    """Threads wait for a processor of the host more than they run. Where a quota throttles them, that is said."""
    window, cores, use = watched.window, watched.cores, watched.findable.snapshot.cpu
    throttling = None if use is None else use.throttling
    if window.run_delay_ns is None or cores is None or (throttling and throttling.recent_throttled):
        return
    delayed = window.run_delay_ns / window.window_ns
    if delayed < max(HOST_DELAY, cores):
        return
    yield Finding(
        kind="host-cpu",
        severity="warning",
        title=f"on average {delayed:.2f} threads could run and waited for a processor of this host, while "
        f"{cores:.2f} ran",
    )


def _lock_bound(watched: _Watched) -> Iterator[Finding]:
    """Goroutines wait for locks while processors are free, and the locks change hands."""
    findable, window, cores = watched.findable, watched.window, watched.cores
    free = None if findable.snapshot.cpu is None else available_cores(findable.snapshot.cpu)
    places = [place for place in findable.places if is_lock(place)]
    waiting = sum(len(place.rows) for place in places)
    if cores is None or free is None or waiting < max(LOCK_WAITERS, watched.ps):
        return
    could_use = min(free, watched.ps)
    if not IDLE_CORES < cores < LOCK_BOUND_SHARE * could_use:
        return
    mean = None if window.mutex_wait_ns is None else window.mutex_wait_ns / window.window_ns
    if mean is not None and mean < LOCK_WAITERS:
        return
    # Each wait counts whole when it ends, if it began long before.
    took = duration(window.mutex_wait_ns)
    ended = f"; waits that ended meanwhile took about {took} in all" if window.mutex_wait_ns else ""
    functions = _functions(places[:1])
    yield Finding(
        kind="lock-bound",
        severity="warning",
        title=f"{count(waiting)} goroutines wait for locks while {cores:.2f} of {could_use:g} cores are in use"
        + (f"; most at {functions[0]}" if functions else "")
        + ended,
        goroutines=waiting,
        examples=findable.examples(np.concatenate([place.rows for place in places])),
        functions=functions,
        next=findable.command("waits"),
    )


def _idle(watched: _Watched) -> Iterator[Finding]:
    """Nothing runs, and many goroutines wait for something else than work."""
    findable, cores, total = watched.findable, watched.cores, len(watched.findable.rows)
    if cores is None or cores > IDLE_CORES:
        return
    places = [place for place in findable.places if is_lock(place) or is_blocked(place)]
    waiting = sum(len(place.rows) for place in places)
    if waiting < max(CROWD_COUNT, CROWD_SHARE * total):
        return
    shown = ", ".join(_place_text(place) for place in places[:_SHOWN])
    yield Finding(
        kind="idle",
        severity="warning",
        title=f"{cores:.2f} cores in use for {duration(watched.window.window_ns)}, and {count(waiting)} of "
        f"{plural(total, 'goroutine')} do not wait for work: {shown}",
        goroutines=waiting,
        examples=findable.examples(np.concatenate([place.rows for place in places])),
        functions=_functions(places[:_SHOWN]),
        next=findable.command("waits"),
    )


def _place_text(place: Place) -> str:
    at = "" if place.where is None else f" at {place.where.function}"
    return f"{count(len(place.rows))} in {place.state}{at}"


def _functions(places: list[Place]) -> tuple[str, ...]:
    return tuple(place.where.function for place in places if place.where is not None)


def _rows(findable: Findable, goids: list[int]) -> dict[int, int]:
    """The rows of `goids` by id, without those that are none of the user's goroutines, or have ended."""
    if not goids:
        return {}
    ids = findable.snapshot.goroutines.id[findable.rows]
    found = findable.rows[np.isin(ids, np.array(goids, np.uint64))]
    return dict(zip(findable.snapshot.goroutines.id[found].tolist(), found.tolist(), strict=True))


def _where(findable: Findable, row: int) -> Frame | None:
    where = int(findable.snapshot.goroutines.where[row])
    return None if where == NONE else findable.snapshot.frames[where]
