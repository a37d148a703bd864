"""The account of a process's memory: what is resident of what, and what the runtime accounts for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import perf_counter_ns
from typing import TYPE_CHECKING

from spyglass.memory_account import CLASSES, MemoryAccount
from spyglass.runtime.account.residency import read_residency
from spyglass.runtime.heap.classes import read_classes, read_gc, read_go_memory

if TYPE_CHECKING:
    from spyglass.model import Process
    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["read_memory_account"]


def read_memory_account(
    target: Target, runtime: Runtime, process: Process, taken_at: datetime
) -> MemoryAccount:
    """The account of `target` at `taken_at`. What cannot be read is None or left out, and a problem says why."""
    began_ns, now_ns = perf_counter_ns(), target.process.now_ns
    before = read_gc(runtime, now_ns())
    classes = runtime.part("memory", lambda: read_classes(runtime), {}, "classes")
    residency = None
    if target.process.kind == "process":
        residency = read_residency(target, runtime, _system_bytes(classes))
    go = read_go_memory(runtime, taken_at, classes, (before, read_gc(runtime, now_ns())))
    return MemoryAccount(
        process=process,
        taken_at=taken_at,
        took_ns=perf_counter_ns() - began_ns,
        rss_bytes=residency.rss_bytes if residency else None,
        resident=residency.parts if residency else (),
        go=go,
        mappings=residency.mappings if residency else (),
        swap_bytes=residency.swap_bytes if residency else None,
        huge_bytes=residency.huge_bytes if residency else None,
        hugetlb_bytes=residency.hugetlb_bytes if residency else None,
        lazy_free_bytes=residency.lazy_free_bytes if residency else None,
        problems=tuple(runtime.problems),
    )


def _system_bytes(classes: Mapping[str, int | None]) -> int | None:
    """What the runtime has mapped for itself; the collector's buffers lie in the heap and count, too."""
    heap = ("heap/free", "heap/objects", "heap/released", "heap/stacks", "heap/unused", "total")
    known = [classes.get(name) for name in CLASSES if name not in heap]
    return None if None in known else sum(each for each in known if each is not None)
