"""Measures what reading waits takes on top of a snapshot, and looking through the heap; part of tests/bench.py."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import spyglass
from spyglass.memory.allocator import keep_freed_memory
from spyglass.runtime.waiting.options import WaitOptions
from tests.children import in_child
from tests.support import NEWEST, Flavour, GoProcess, start

__all__ = ["WAITS_GOALS", "bench_heap", "bench_waits"]

#: Seconds at most on top of a snapshot, by number of goroutines.
WAITS_GOALS = {
    "waits: objects": {100_000: 0.35, 1_000_000: 3.0},
    "waits: objects, one channel": {100_000: 0.35},
}
_OBJECTS, _HOLDERS = WaitOptions(holders=False, heap=False), WaitOptions(heap=False)
#: Waiters of one channel.
_ONE_CHANNEL = 100_000
_HEAP_MIB = 1024
#: How long the target is observed alone, and how often.
_SECONDS, _TRIES = 5, 3

#: Takes goroutines, name, seconds, peak in MB, and a remark.
Row = Callable[[int, str, float, float, str], None]


def bench_waits(process: GoProcess, size: int, repeat: int, row: Row) -> None:
    """What goroutines wait on, and who holds it."""
    for name, options in (("objects", _OBJECTS), ("objects, holders", _HOLDERS)):
        seconds, peak = _on_top(process.pid, options, repeat)
        row(size, f"waits: {name}", seconds, peak, "on top of a snapshot")


def bench_heap(repeat: int, row: Row) -> None:
    """One channel with many waiters; a heap of 1 GiB that holds pointers, with the target's heartbeat."""
    with start("park", NEWEST, Flavour.STRIPPED, "-n", str(_ONE_CHANNEL), "-one") as process:
        seconds, peak = _on_top(process.pid, _OBJECTS, repeat)
        row(_ONE_CHANNEL, "waits: objects, one channel", seconds, peak, "on top of a snapshot")
    with start("heaps", NEWEST, Flavour.STRIPPED, "-mib", str(_HEAP_MIB)) as process:
        gaps = [_longest_gap_ms(process, act) for act in (_wait, partial(_look, process.pid))]
        seconds, peak = _on_top(process.pid, WaitOptions(holders=False), 2)
        remark = f"{gaps[0]:.1f} / {gaps[1]:.1f} ms"
        row(0, f"waits: heap of {_HEAP_MIB} MiB", seconds, peak, remark)


def _longest_gap_ms(process: GoProcess, act: Callable[[], object]) -> float:
    """The median over some tries of the longest time that the target was held up while `act` ran."""
    gaps = []
    for _ in range(_TRIES):
        process.ask("gap")
        act()
        gaps.append(int(process.ask("gap")) / 1000)
    return median(gaps)


def _wait() -> None:
    time.sleep(_SECONDS)


def _look(pid: int) -> None:
    _on_top(pid, WaitOptions(holders=False), 1)


def _on_top(pid: int, options: WaitOptions, repeat: int) -> tuple[float, float]:
    """The least seconds that reading waits takes on top of a snapshot, and the most memory in MB."""

    def measure() -> tuple[float, float]:
        keep_freed_memory()
        found = []
        with spyglass.attach(pid) as program:
            for _ in range(repeat):
                gc.collect()
                found.append(program.snapshot(waits=options).timings_ns["waits"] / 1e9)
        return min(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    return in_child(measure)
