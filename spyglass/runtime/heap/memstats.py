"""The runtime's memory statistics: heap, stacks, and the garbage collector.

The values have the meaning of ``runtime.MemStats``, but are read without stopping the world and
flushing the caches of the Ps, as runtime.ReadMemStats does.

Knowledge: src/runtime/mstats.go (``readmemstats_m``, ``consistentHeapStats``), mgcpacer.go
(``heapGoalInternal``, ``memoryLimitHeapGoal``), mgc.go (``gcMarkTermination``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.model import RECENT_GC_SECONDS, MemoryStats
from spyglass.runtime.discovery.layouts import GoVersion
from spyglass.runtime.discovery.required_fields import limit_headroom_percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = [
    "read_collection_ends",
    "read_heap",
    "read_memory",
    "read_pacer",
    "read_stats",
    "settled_deltas",
]

#: The runtime's own pages (malloc.go), which heap and stacks are made of.
_PAGE_BYTES = 8192
_GENERATIONS = 3
_PAUSES = 256
_MAX_TRIES = 5
#: What ``heapGoalInternal`` computes the goal from.
_GOAL_FIELDS = {
    "gcPercentHeapGoal", "memoryLimit", "sweepDistMinTrigger", "triggered", "heapMarked", "heapFree",
    "totalAlloc", "totalFree", "mappedReady",
}  # fmt: skip
_NO_TRIGGER = (1 << 64) - 1
#: ``math.MaxInt64``: no memory limit (``readGOMEMLIMIT``). A heap goal of that size is none either.
_NO_LIMIT = (1 << 63) - 1
_NO_GOAL = 1 << 62
_GC_OFF = -1
_MIN_RUNWAY = 64 << 10
_MIN_HEADROOM = 1 << 20
#: The year 2200, in nanoseconds since 1970.
_MAX_UNIX_NS = 7_258_118_400 * 10**9

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Heap:
    in_use: int
    idle: int
    released: int
    stacks_in_use: int


def read_memory(runtime: Runtime, taken_at: datetime) -> MemoryStats:
    """The runtime's memory statistics at `taken_at`; a value that cannot be read is None, and a problem says why.

    The heap goal is None too when the collector is off.
    """
    stats = _known(runtime, "heap and collections", read_stats)
    heap = _known(runtime, "heap", read_heap) if stats is not None else None
    pacer = _known(runtime, "collector", read_pacer)
    limit = _limit(pacer)
    return MemoryStats(
        heap_in_use_bytes=heap.in_use if heap else None,
        heap_idle_bytes=heap.idle if heap else None,
        heap_released_bytes=heap.released if heap else None,
        stacks_in_use_bytes=heap.stacks_in_use if heap else None,
        heap_goal_bytes=_known(runtime, "heap goal", lambda r: _read_goal(r, pacer, stats)),
        gc_count=int(stats["numgc"]) if stats is not None else None,
        gc_pause_total_ns=int(stats["pause_total_ns"]) if stats is not None else None,
        last_gc_at=_known(runtime, "last GC", lambda _: _last_gc_at(stats)),
        last_gc_pause_ns=_last_pause_ns(stats),
        gogc_percent=_known(runtime, "GOGC", lambda r: _gogc(r, pacer)),
        memory_limit_bytes=limit if limit != _NO_LIMIT else None,
        recent_gc_count=_recent_count(stats, taken_at),
    )


def _known(runtime: Runtime, what: str, read: Callable[[Runtime], T]) -> T | None:
    """What `read` returns; None, and a problem about memory, if it cannot."""
    return runtime.part("memory", lambda: read(runtime), None, what)


def _one(runtime: Runtime, struct: str, variable: str) -> Any:
    return runtime.memory.array(runtime.address(variable), runtime.layouts[struct], 1)[0]


def read_stats(runtime: Runtime) -> Any:
    """``runtime.memstats``, checked against its invariants, because its address may be a candidate only."""
    stats = _one(runtime, "mstats", "memstats")
    if stats["enablegc"] != 1 or (stats["numgc"] > 0 and stats["last_gc_unix"] == 0):
        raise BadDataError("implausible values in runtime.memstats")
    return stats


def read_heap(runtime: Runtime) -> _Heap:
    """What the heap and stacks have. Raises `BadDataError`, `MemoryFault`, `MissingInfo`."""
    if all(runtime.layouts.has("mstats", path) for path in ("heapStats.stats", "heapStats.gen")):
        heap = _sum_up(settled_deltas(runtime))
    else:
        heap = _plain_heap(runtime)
    if min(heap.in_use, heap.idle, heap.released, heap.stacks_in_use) < 0 or (
        heap.in_use % _PAGE_BYTES or heap.stacks_in_use % _PAGE_BYTES
    ):
        raise BadDataError("implausible heap statistics")
    return heap


def _plain_heap(runtime: Runtime) -> _Heap:
    """Go up to 1.15 keeps the statistics themselves."""
    for name in ("heap_inuse", "heap_idle", "heap_released", "stacks_inuse"):
        if not runtime.layouts.has("mstats", name):
            raise MissingInfo(f"runtime.mstats has no {name} in this version")
    stats = _one(runtime, "mstats", "memstats")
    return _Heap(
        in_use=int(stats["heap_inuse"]),
        idle=int(stats["heap_idle"]),
        released=int(stats["heap_released"]),
        stacks_in_use=int(stats["stacks_inuse"]),
    )


def settled_deltas(runtime: Runtime) -> NDArray[Any]:
    """The three ``heapStatsDelta`` of ``memstats.heapStats``, at a moment when they can be added up.

    One is being written to, one holds everything older, and the one that is to be written next is
    clear; only while the runtime itself adds them up (``consistentHeapStats.read``) is it not.
    """
    kind = runtime.layouts["heapStatsDelta"]
    for _ in range(_MAX_TRIES):
        stats = _one(runtime, "mstats", "memstats")["heapStats"]
        raw = stats["stats"].tobytes()
        if len(raw) != _GENERATIONS * kind.itemsize:
            raise BadDataError("the heap statistics are not three")
        deltas = np.frombuffer(raw, kind)
        following = deltas[(int(stats["gen"]) + 1) % _GENERATIONS]
        if not any(following[name].any() for name in kind.names or ()):
            return deltas
    raise BadDataError("the heap statistics changed during every read")


def _sum_up(deltas: NDArray[Any]) -> _Heap:
    """What ``readmemstats_m`` says, from what it checks its own numbers against."""
    total = {name: int(deltas[name].sum()) for name in deltas.dtype.names or ()}
    manual = total["inStacks"] + total["inWorkBufs"] + total.get("inPtrScalarBits", 0)
    free = total["committed"] - manual - total["inHeap"]
    return _Heap(
        in_use=total["inHeap"],
        idle=free + total["released"],
        released=total["released"],
        stacks_in_use=total["inStacks"],
    )


def read_pacer(runtime: Runtime) -> dict[str, int]:
    """The fields of ``runtime.gcController`` that this version has; it has few before Go 1.17."""
    if "gcControllerState" not in runtime.layouts and "gcpercent" in runtime.globals:
        return {}
    if doubt := runtime.layouts.doubts.get("gcControllerState"):
        raise MissingInfo(f"the layout of runtime.gcControllerState is not certain: {doubt}")
    row = _one(runtime, "gcControllerState", "gcController")
    return {name: int(row[name]) for name in row.dtype.names}


def _gogc(runtime: Runtime, pacer: dict[str, int] | None) -> int | None:
    """GOGC, -1 for off; None if the pacer could not be read, which has its own problem."""
    if pacer is None:
        return None
    if "gcPercent" in pacer:
        percent = pacer["gcPercent"]
    else:
        percent = int(runtime.memory.array(runtime.address("gcpercent"), "<i4", 1)[0])
    if percent < _GC_OFF:
        raise BadDataError(f"it cannot be {percent}")
    return percent


def _limit(pacer: dict[str, int] | None) -> int | None:
    return pacer.get("memoryLimit") if pacer is not None else None


def _read_goal(runtime: Runtime, pacer: dict[str, int] | None, stats: Any) -> int | None:
    """The size at which the heap is to be collected; None if it is not."""
    if pacer is not None and pacer.keys() >= _GOAL_FIELDS:
        goal = _computed_goal(runtime)
    elif pacer is not None and "heapGoal" in pacer:
        goal = pacer["heapGoal"]
    elif stats is not None and "next_gc" in stats.dtype.names:
        goal = int(stats["next_gc"])
    elif pacer is None or stats is None:
        return None
    else:
        raise MissingInfo("where this version keeps it is not known")
    return goal if goal < _NO_GOAL else None


def _computed_goal(runtime: Runtime) -> int:
    """``heapGoalInternal`` of mgcpacer.go, since Go 1.19."""
    pacer = _settled_pacer(runtime)
    goal, limited = pacer["gcPercentHeapGoal"], _limit_goal(runtime, pacer)
    if limited < goal:
        return limited
    goal = max(goal, pacer["sweepDistMinTrigger"])
    if pacer["triggered"] != _NO_TRIGGER:
        goal = max(goal, pacer["triggered"] + _MIN_RUNWAY)
    return goal


def _settled_pacer(runtime: Runtime) -> dict[str, int]:
    """The pacer's fields, read until they are consistent, as ``memoryLimitHeapGoal`` does."""
    for _ in range(_MAX_TRIES):
        pacer = read_pacer(runtime)
        if pacer["heapFree"] + _allocated(pacer) <= pacer["mappedReady"]:
            return pacer
    raise BadDataError("the pacer changed during every read")


def _allocated(pacer: dict[str, int]) -> int:
    return (pacer["totalAlloc"] - pacer["totalFree"]) & ((1 << 64) - 1)


def _limit_goal(runtime: Runtime, pacer: dict[str, int]) -> int:
    """``memoryLimitHeapGoal`` of mgcpacer.go: the goal that keeps the program below its limit."""
    limit, ready = pacer["memoryLimit"], pacer["mappedReady"]
    not_heap = ready - pacer["heapFree"] - _allocated(pacer)
    beyond = not_heap + max(ready - limit, 0)
    if beyond >= limit:
        return pacer["heapMarked"]
    goal = limit - beyond
    version = GoVersion.parse(runtime.go_version)
    percent = limit_headroom_percent((version.major, version.minor) if version else None)
    headroom = max(goal // 100 * percent, _MIN_HEADROOM)
    return max(goal - headroom if goal >= 2 * headroom else headroom, pacer["heapMarked"])


def _last_gc_at(stats: Any) -> datetime | None:
    """When the last collection ended; None before the first one."""
    if stats is None or stats["last_gc_unix"] == 0:
        return None
    ns = int(stats["last_gc_unix"])
    if ns > _MAX_UNIX_NS:
        raise BadDataError(f"it cannot have ended {ns} ns after 1970")
    return datetime.fromtimestamp(ns / 1e9, UTC)


def read_collection_ends(runtime: Runtime) -> NDArray[np.int64]:
    """When the last collections ended (int64, ns, ascending, 256 at most), by the clock of ``nanotime``.

    Empty if it cannot be read, of which `read_memory` makes a problem. The ring has wall-clock times; the last
    collection is noted by both clocks (``mgc.go: gcMarkTermination``).
    """
    try:
        stats = read_stats(runtime)
    except (BadDataError, MemoryFault, MissingInfo):
        return np.zeros(0, np.int64)
    offset_ns = int(stats["last_gc_unix"]) - int(stats["last_gc_nanotime"])
    ends: NDArray[np.uint64] = stats["pause_end"][: min(int(stats["numgc"]), _PAUSES)]
    known = ends[(ends < _MAX_UNIX_NS) & (ends > 0)].astype(np.int64)
    return np.sort(known - offset_ns) if abs(offset_ns) < _MAX_UNIX_NS else known[:0]


def _recent_count(stats: Any, taken_at: datetime) -> int | None:
    """How many collections ended in the last `RECENT_GC_SECONDS`, 256 at most; None if not known.

    ``gcMarkTermination`` (mgc.go) notes when each pause ended, in ns since 1970, in a ring.
    """
    if stats is None:
        return None
    since_ns = (taken_at.timestamp() - RECENT_GC_SECONDS) * 1e9
    kept = stats["pause_end"][: min(int(stats["numgc"]), _PAUSES)]
    return int((kept > since_ns).sum())


def _last_pause_ns(stats: Any) -> int | None:
    """Duration of the last stop-the-world pause in ns; None before the first collection."""
    if stats is None or stats["numgc"] == 0:
        return None
    return int(stats["pause_ns"][(int(stats["numgc"]) + _PAUSES - 1) % _PAUSES])
