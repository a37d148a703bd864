"""What runs: children that keep a processor busy, and goroutines on their threads."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from spyglass.inspector import Inspector
from spyglass.runtime.goroutines.decode import g_pointers
from spyglass.runtime.scheduler.sched import read_ms

__all__ = ["IN_SYSTEM_CALL", "RUNNING", "Goroutine", "goroutines_by_tid", "running", "spinning"]


@contextmanager
def running(function: Callable[[], object]) -> Iterator[int]:
    """The pid of a child that does nothing but `function`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of numpy
        pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _spin() -> None:
    while True:
        pass


@contextmanager
def spinning(count: int = 1) -> Iterator[list[int]]:
    """The pids of children that do nothing but run."""
    with ExitStack() as children:
        yield [children.enter_context(running(_spin)) for _ in range(count)]


class Goroutine(NamedTuple):
    address: int
    low: int
    high: int


RUNNING, IN_SYSTEM_CALL = 2, 3


def goroutines_by_tid(inspector: Inspector, status: int = RUNNING) -> dict[int, Goroutine]:
    """The goroutine that each thread has (``m.procid``, ``m.curg``), as the runtime knows it."""
    runtime = inspector.runtime
    dtype = runtime.layouts["g"]
    pointers = g_pointers(runtime)
    rows = runtime.memory.gather(pointers, dtype.itemsize).rows(dtype)
    wanted = rows["atomicstatus"] & 0xFFF == status
    stacks = {
        int(address): (int(low), int(high))
        for address, low, high in zip(
            pointers[wanted],
            rows["stack"]["lo"][wanted],
            rows["stack"]["hi"][wanted],
            strict=True,
        )
    }
    ms = read_ms(runtime).rows
    found = zip(ms["procid"].tolist(), ms["curg"].tolist(), strict=True)
    return {tid: Goroutine(g, *stacks[g]) for tid, g in found if g in stacks}
