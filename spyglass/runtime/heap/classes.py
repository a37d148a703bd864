"""What the runtime accounts for, by the classes of ``runtime/metrics``, and its garbage collections.

Knowledge: ``runtime/metrics.go`` (``initMetrics``, ``heapStatsAggregate.compute``, ``sysStatsAggregate.compute``),
``mstats.go`` (``consistentHeapStats``), ``mgcpacer.go`` (``gcControllerState``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.memory_account import CLASSES, GcStats, GoMemory
from spyglass.runtime.heap import memstats

if TYPE_CHECKING:
    from spyglass.model import MemoryStats
    from spyglass.runtime.context import Runtime

__all__ = ["CLASS_SIZES", "GcReading", "read_classes", "read_gc", "read_go_memory"]

#: ``SizeClassToSize`` (sizeclasses.go) since Go 1.16.
CLASS_SIZES = (
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384,
    416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072,
    3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568,
    14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
)  # fmt: skip
_PAUSES = 256
_SUMS = frozenset(("committed", "released", "inHeap", "inStacks", "inWorkBufs", "inPtrScalarBits"))
#: No process has so much memory.
_MOST = 1 << 56


class GcReading(NamedTuple):
    """Counters at a moment of ``nanotime``: collections that ended, and bytes allocated since the start."""

    at_ns: int | None
    cycles: int | None
    allocated_bytes: int | None


class _Mapped(NamedTuple):
    """What is mapped for the heap and stacks: by classes, in all, and for the collector's own buffers."""

    classes: dict[str, int | None]
    total: int
    system: int


def read_go_memory(
    runtime: Runtime,
    taken_at: datetime,
    classes: Mapping[str, int | None],
    readings: tuple[GcReading, GcReading],
) -> GoMemory:
    """What the runtime accounts for at `taken_at`, beside its `classes`, and what it did between two readings; what
    cannot be read is None, and a problem says why."""
    stats = memstats.read_memory(runtime, taken_at)
    live, now, gogc_goal = runtime.part(
        "memory", lambda: _live(runtime), (None, None, None), "live heap"
    )
    return GoMemory(
        classes={name: classes.get(name) for name in CLASSES},
        heap_live_bytes=live,
        heap_now_bytes=now,
        heap_goal_bytes=stats.heap_goal_bytes,
        gogc_goal_bytes=gogc_goal,
        gogc_percent=stats.gogc_percent,
        memory_limit_bytes=stats.memory_limit_bytes,
        gc=_gc(runtime, stats, *readings),
    )


def read_classes(runtime: Runtime) -> dict[str, int | None]:
    """Bytes by the names of `CLASSES`; None where this version does not keep what they are computed from.

    Raises `BadDataError`, `MemoryFault`, `MissingInfo`.
    """
    mapped = _mapped_deltas(runtime) if _has_deltas(runtime) else _mapped_heap(runtime)
    known = {**mapped.classes, **_system_classes(runtime, mapped)}
    found = {name: known.get(name) for name in CLASSES}
    if any(value is not None and not 0 <= value < _MOST for value in found.values()):
        raise BadDataError("implausible numbers in runtime.memstats")
    return found


def _has_deltas(runtime: Runtime) -> bool:
    return all(runtime.layouts.has("mstats", f"heapStats.{name}") for name in ("stats", "gen"))


def _mapped_heap(runtime: Runtime) -> _Mapped:
    """Up to Go 1.15. What objects use is known there only while the caches of the Ps are flushed."""
    heap = memstats.read_heap(runtime)
    classes: dict[str, int | None] = {
        "heap/free": heap.idle - heap.released,
        "heap/released": heap.released,
        "heap/stacks": heap.stacks_in_use,
    }
    return _Mapped(classes, heap.in_use + heap.idle + heap.stacks_in_use, 0)


def _mapped_deltas(runtime: Runtime) -> _Mapped:
    deltas = memstats.settled_deltas(runtime)
    names = set(deltas.dtype.names or ())
    total = {name: int(deltas[name].sum()) for name in _SUMS & names}
    system = total["inWorkBufs"] + total.get("inPtrScalarBits", 0)
    allocated = _allocations(deltas)
    objects = None if allocated is None else (allocated[0] - allocated[1]) % (1 << 64)
    classes = {
        "heap/free": total["committed"] - total["inHeap"] - total["inStacks"] - system,
        "heap/objects": objects,
        "heap/unused": None if objects is None else total["inHeap"] - objects,
        "heap/released": total["released"],
        "heap/stacks": total["inStacks"],
    }
    return _Mapped(classes, total["committed"] + total["released"], system)


def _allocations(deltas: Any) -> tuple[int, int] | None:
    """Bytes allocated and freed since the start, modulo 2**64."""
    small, large = ("smallAllocCount", "smallFreeCount"), ("largeAlloc", "largeFree")
    if not {*small, *large} <= set(deltas.dtype.names):
        return None
    if deltas["smallAllocCount"].shape[1:] != (len(CLASS_SIZES),):
        return None
    sizes = np.array(CLASS_SIZES, np.uint64)
    allocated, freed = (
        int((deltas[few].sum(axis=0, dtype=np.uint64) * sizes).sum(dtype=np.uint64))
        + int(deltas[many].sum(dtype=np.uint64))
        for few, many in zip(small, large, strict=True)
    )
    return allocated, freed


def _system_classes(runtime: Runtime, heap: _Mapped) -> dict[str, int | None]:
    """What is mapped for the runtime itself; nothing where this version's numbers are not known."""
    stats = memstats.read_stats(runtime)
    names = ("mspan_sys", "mcache_sys", "stacks_sys", "buckhash_sys", "gcMiscSys", "other_sys")
    if any(name not in stats.dtype.names for name in names):
        return {}
    mspan, mcache, stacks, buckets, collector, other = (int(stats[name]) for name in names)
    spans_used, caches_used = _in_use(runtime)
    return {
        "metadata/mspan/inuse": spans_used,
        "metadata/mspan/free": _less(mspan, spans_used),
        "metadata/mcache/inuse": caches_used,
        "metadata/mcache/free": _less(mcache, caches_used),
        "metadata/other": collector + heap.system,
        "os-stacks": stacks,
        "other": other,
        "profiling/buckets": buckets,
        "total": heap.total + stacks + mspan + mcache + buckets + collector + other,
    }


def _less(mapped: int, used: int | None) -> int | None:
    return None if used is None else mapped - used


def _in_use(runtime: Runtime) -> tuple[int | None, int | None]:
    """What is used of the memory for ``mspan`` and ``mcache``."""
    layouts = runtime.layouts
    if not all(layouts.has("mheap", f"{name}.inuse") for name in ("spanalloc", "cachealloc")):
        return None, None
    heap = runtime.memory.array(runtime.address("mheap_"), layouts["mheap"], 1)[0]
    return int(heap["spanalloc"]["inuse"]), int(heap["cachealloc"]["inuse"])


def _live(runtime: Runtime) -> tuple[int | None, int | None, int | None]:
    """What the last collection marked; that and what was allocated since; and the goal that GOGC makes of it."""
    pacer, stats = memstats.read_pacer(runtime), memstats.read_stats(runtime)
    goal = pacer.get("gcPercentHeapGoal")
    live = pacer.get("heapMarked", _field(stats, "heap_marked"))
    now = pacer.get("heapLive", _field(stats, "heap_live"))
    if any(value is not None and not 0 <= value < _MOST for value in (live, now)):
        raise BadDataError("it cannot be so large")
    return live, now, goal if goal is not None and goal < _MOST else None


def _field(row: Any, name: str) -> int | None:
    return int(row[name]) if name in row.dtype.names else None


def read_gc(runtime: Runtime, now_ns: int | None) -> GcReading:
    """The counters at `now_ns`; what cannot be read is None."""
    try:
        stats = memstats.read_stats(runtime)
        allocated = None
        if _has_deltas(runtime) and (known := _allocations(memstats.settled_deltas(runtime))):
            allocated = known[0] % (1 << 64)
        return GcReading(now_ns, int(stats["numgc"]), allocated)
    except (BadDataError, MemoryFault, MissingInfo):
        return GcReading(None, None, None)


def _gc(runtime: Runtime, stats: MemoryStats, before: GcReading, after: GcReading) -> GcStats:
    ring = runtime.part("memory", lambda: _pauses(runtime), _NO_PAUSES, "pauses")
    window = _less(after.at_ns, before.at_ns) if after.at_ns is not None else None
    allocated = (
        None
        if after.allocated_bytes is None
        else _less(after.allocated_bytes, before.allocated_bytes)
    )
    return GcStats(
        cycles=stats.gc_count,
        last_at=stats.last_gc_at,
        pause_total_ns=stats.gc_pause_total_ns,
        pauses_ns=ring.ns,
        pause_ends_ns=ring.ends_ns,
        recent_cycles=stats.recent_gc_count,
        cpu_fraction=ring.cpu_fraction,
        window_ns=window,
        collections=None if after.cycles is None else _less(after.cycles, before.cycles),
        allocated_bytes=None if allocated is None else allocated % (1 << 64),
    )


class _Pauses(NamedTuple):
    ns: tuple[int, ...]
    ends_ns: tuple[int, ...]
    cpu_fraction: float | None


_NO_PAUSES = _Pauses((), (), None)


def _pauses(runtime: Runtime) -> _Pauses:
    """The rings of pauses, the latest first (``mgc.go: gcMarkTermination``), and the share of time of collections."""
    stats = memstats.read_stats(runtime)
    number = int(stats["numgc"])
    order = (number - 1 - np.arange(min(number, _PAUSES))) % _PAUSES
    fraction = float(stats["gc_cpu_fraction"]) if "gc_cpu_fraction" in stats.dtype.names else None
    if fraction is not None and not 0 <= fraction <= 1:
        fraction = None
    return _Pauses(
        tuple(stats["pause_ns"][order].tolist()),
        tuple(stats["pause_end"][order].tolist()),
        fraction,
    )
