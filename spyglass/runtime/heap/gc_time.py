"""How many garbage collections there were, and how much time of Ps they took.

Knowledge: src/runtime/mgc.go (``gcMarkTermination``), mstats.go (``cpuStats.accumulate``), proc.go
(``procresize``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spyglass.errors import BadDataError
from spyglass.runtime.heap.memstats import read_stats

if TYPE_CHECKING:
    from spyglass.runtime.context import Runtime

__all__ = ["GcTime", "read_gc_time"]

_MAX_TRIES = 5
_FRACTION = "gc_cpu_fraction"


@dataclass(frozen=True, slots=True)
class GcTime:
    """Until a moment: `count` collections ended, the last at `ended_ns` by the clock of ``nanotime``, with pauses of
    `pause_ns` in all. `cpu_ns`: time of Ps that they took, without idle ones, as the runtime counts it; it is wrong if `gomaxprocs`
    changed since. None: not known."""

    count: int
    ended_ns: int
    pause_ns: int
    cpu_ns: int | None
    gomaxprocs: int | None


def read_gc_time(runtime: Runtime) -> GcTime:
    """What is known now. Raises `BadDataError`, `MemoryFault`, `MissingInfo`.

    At its end a collection notes which part of all processor time collections used so far
    (``memstats.gc_cpu_fraction``), counted from the start of the program with GOMAXPROCS Ps.
    """
    for _ in range(_MAX_TRIES):
        stats, available_ns = read_stats(runtime), _available_ns(runtime)
        again = read_stats(runtime)
        if all(stats[name] == again[name] for name in _compared(stats)):
            return GcTime(
                count=int(stats["numgc"]),
                ended_ns=int(stats["last_gc_nanotime"]),
                pause_ns=int(stats["pause_total_ns"]),
                cpu_ns=_cpu_ns(stats, available_ns),
                gomaxprocs=None if available_ns is None else available_ns[2],
            )
    raise BadDataError("collections ended during every read")


def _compared(stats: Any) -> list[str]:
    names = ("numgc", "last_gc_nanotime", "pause_total_ns", _FRACTION)
    return [name for name in names if name in stats.dtype.names]


def _available_ns(runtime: Runtime) -> tuple[int, int, int] | None:
    """``sched.totaltime``, ``sched.procresizetime`` and GOMAXPROCS; None where this version's are not known."""
    layouts = runtime.layouts
    if not all(layouts.has("schedt", name) for name in ("totaltime", "procresizetime")):
        return None
    row = runtime.memory.array(runtime.address("sched"), layouts["schedt"], 1)[0]
    ps = int(runtime.memory.array(runtime.address("gomaxprocs"), "<i4", 1)[0])
    return int(row["totaltime"]), int(row["procresizetime"]), ps


def _cpu_ns(stats: Any, available: tuple[int, int, int] | None) -> int | None:
    """The fraction of the time that was available until the last collection ended.

    ``procresize``, which adds up the available time, runs whenever the world is started again, mostly after that.
    """
    if stats["numgc"] == 0:
        return 0
    if available is None or _FRACTION not in stats.dtype.names:
        return None
    before_ns, since_ns, ps = available
    ended_ns, fraction = int(stats["last_gc_nanotime"]), float(stats[_FRACTION])
    until_ns = before_ns + (ended_ns - since_ns) * ps
    if until_ns < 0 or not (math.isfinite(fraction) and 0 <= fraction <= 1):
        return None
    return round(fraction * until_ns)
