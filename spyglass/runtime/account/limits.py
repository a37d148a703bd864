"""The limits of a process's memory with GOMEMLIMIT, and readings of how it grows toward them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from spyglass.errors import TargetError
from spyglass.memory_limits import MemoryLimit, MemoryLimits, MemoryReading
from spyglass.runtime.heap.classes import read_classes, read_gc, read_go_memory
from spyglass.runtime.heap.memstats import read_heap

if TYPE_CHECKING:
    from spyglass.memory_account import GoMemory
    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["read_memory_reading", "with_go_limit"]

_TRIES = 3


def with_go_limit(limits: MemoryLimits | None, go: GoMemory) -> MemoryLimits | None:
    """`limits` with GOMEMLIMIT, if there is one, before the host's."""
    if limits is None or go.memory_limit_bytes is None:
        return limits
    limit = MemoryLimit(
        "gomemlimit", "GOMEMLIMIT", "collect",
        bytes=go.memory_limit_bytes, used_bytes=go.limited_bytes,
    )  # fmt: skip
    others = [row for row in limits.rows if row.kind != "host"]
    return replace(limits, rows=(*others, limit, *limits.rows[len(others) :]))


def read_memory_reading(target: Target, runtime: Runtime) -> MemoryReading:
    """The heap and the limits now. Raises `TargetError` for a core: it has no limits.

    It is read again if a collection ended meanwhile: what that sets would be taken for the one before.
    """
    for _ in range(_TRIES):
        reading = _reading(target, runtime)
        if read_gc(runtime, None).cycles == reading.gc_count:
            break
    return reading


def _reading(target: Target, runtime: Runtime) -> MemoryReading:
    at_ns, taken_at = time.monotonic_ns(), target.process.taken_at()
    counters = read_gc(runtime, at_ns)
    limits = target.process.memory_limits()
    if limits is None:
        raise TargetError("a core has no limits of memory: nothing of it runs")
    classes = runtime.part("memory", lambda: read_classes(runtime), {}, "classes")
    go = read_go_memory(runtime, taken_at, classes, (counters, counters))
    last_at = go.gc.last_at
    gc_ago_ns = None if last_at is None else int((taken_at - last_at).total_seconds() * 1e9)
    return MemoryReading(
        at_ns=at_ns,
        limits=limits,
        heap_ready_bytes=runtime.part("memory", lambda: _ready(runtime), None, "heap"),
        heap_unused_bytes=go.classes.get("heap/unused"),
        heap_now_bytes=go.heap_now_bytes,
        heap_live_bytes=go.heap_live_bytes,
        heap_goal_bytes=go.heap_goal_bytes,
        go_bytes=go.limited_bytes,
        go_limit_bytes=go.memory_limit_bytes,
        allocated_bytes=counters.allocated_bytes,
        gc_count=counters.cycles,
        gc_at_ns=None if gc_ago_ns is None else at_ns - gc_ago_ns,
    )


def _ready(runtime: Runtime) -> int:
    heap = read_heap(runtime)
    return heap.in_use + heap.idle - heap.released
