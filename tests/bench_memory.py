"""Measures what the account of memory costs; part of tests/bench.py."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable

import spyglass
from spyglass.runtime.heap.span_table import read_span_table
from tests.children import in_child
from tests.support import NEWEST, Flavour, GoProcess, start

__all__ = ["MEMORY_GOALS", "bench_memory"]

#: Seconds at most.
MEMORY_GOALS = {
    "memory: the command": {0: 0.3},
    "memory: 300,000 spans": {0: 0.5},
    "memory: account of 10 GiB": {0: 1.0},
}
_GIB = 1 << 30
#: Objects of 1 KiB, eight in a span.
_SPANS_MIB = 2350
_LARGE_GIB = 10

#: Takes a number, name, seconds, peak in MB, and a remark.
Row = Callable[[int, str, float, float, str], None]
#: The seconds of a whole command, and its peak in MB.
Command = Callable[[list[str], int], tuple[float, float]]


def bench_memory(command: Command, repeat: int, row: Row) -> None:
    """The command on a small program, very many spans, and as much resident memory as there is room for."""
    with _places() as process:
        seconds, peak = command(["memory", "--pid", str(process.pid)], repeat)
        row(0, "memory: the command", seconds, peak, "")
    with _places() as process:
        process.ask(f"live {_SPANS_MIB}", 300)
        spans = in_child(lambda: _measured(process.pid, repeat, spans=True))
        row(0, "memory: 300,000 spans", *spans, "")
        row(0, "memory: account of 2.3 GiB", *in_child(lambda: _measured(process.pid, repeat)), "")
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < (_LARGE_GIB + 2) * _GIB:
        return
    with _places() as process:
        process.ask(f"kept {_LARGE_GIB * 1024}", 300)
        row(0, "memory: account of 10 GiB", *in_child(lambda: _measured(process.pid, repeat)), "")


def _places() -> GoProcess:
    return start("places_metrics", NEWEST, Flavour.STRIPPED)


def _measured(pid: int, repeat: int, *, spans: bool = False) -> tuple[float, float]:
    """The least seconds for an account, or for reading `spans`, and the most memory in MB."""
    found = []
    with spyglass.attach(pid) as program:
        for _ in range(repeat):
            gc.collect()
            began = time.perf_counter()
            read_span_table(program.runtime) if spans else program.memory_account()
            found.append(time.perf_counter() - began)
    return min(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
