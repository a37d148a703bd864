"""The account of a process's memory: what is resident of what, and what the runtime accounts for."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter_ns
from typing import TYPE_CHECKING

from spyglass.memory_account import MemoryAccount
from spyglass.runtime.heap.classes import read_gc, read_go_memory

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
    go = read_go_memory(runtime, taken_at, before, read_gc(runtime, now_ns()))
    return MemoryAccount(
        process=process,
        taken_at=taken_at,
        took_ns=perf_counter_ns() - began_ns,
        rss_bytes=None,
        resident=(),
        go=go,
        problems=tuple(runtime.problems),
    )
