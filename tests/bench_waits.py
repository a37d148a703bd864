"""Measures what reading waits adds to a snapshot, and marking the heap; part of tests/bench.py."""

from __future__ import annotations

import gc
import time

import spyglass
from spyglass.memory.allocator import keep_freed_memory
from spyglass.runtime.waiting.options import WaitOptions

__all__ = ["waits_seconds"]


def waits_seconds(pid: int, options: WaitOptions, repeat: int) -> float:
    """The least of what reading waits with `options` takes on top of a snapshot."""
    keep_freed_memory()
    found = []
    with spyglass.attach(pid) as program:
        for _ in range(repeat):
            gc.collect()
            began = time.perf_counter()
            snapshot = program.snapshot(waits=options)
            whole = time.perf_counter() - began
            found.append((snapshot.timings_ns["waits"] / 1e9, whole))
    return min(seconds for seconds, _ in found)
