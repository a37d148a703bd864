"""Measures what the account of memory costs; part of tests/bench.py."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import spyglass
from spyglass.inspector import Inspector
from spyglass.memory.allocator import keep_freed_memory
from spyglass.runtime.heap.span_table import read_span_table
from tests.children import in_child
from tests.finished import running
from tests.support import NEWEST, Flavour, GoProcess, start

__all__ = ["MEMORY_GOALS", "MemoryBench"]

#: Seconds at most.
MEMORY_GOALS = {
    "memory: the command": {0: 0.3},
    "memory: the command with --heap": {0: 0.5},
    "memory: --heap, stripped program of 89 MB": {0: 0.5},
    "memory: 300,000 spans": {0: 0.5},
    "memory: --spans of 300,000": {0: 0.5},
    "memory: a reading of --watch": {0: 0.02},
    "memory: --types, 500,000 headers": {0: 1.0},
    "memory: --retain of 500,000 objects": {0: 2.0},
    "memory: account of 10 GiB": {0: 1.0},
}
_GIB = 1 << 30
#: Objects of 1 KiB, eight in a span.
_SPANS_MIB = 2350
_LARGE_GIB = 10
#: Objects of 640 bytes that begin with their type.
_HEADERS = 500_000

#: Takes a number, name, seconds, peak in MB, and a remark.
Row = Callable[[int, str, float, float, str], None]
#: The seconds of a whole command, and its peak in MB.
Command = Callable[[list[str], int], tuple[float, float]]
#: The longest gaps in the heartbeat of a process while it is left alone, for so many seconds, and while a command looks at it.
Beats = Callable[[GoProcess, list[str], float], str]
Read = Callable[[Inspector], object]


@dataclass(frozen=True)
class MemoryBench:
    """Measures a `command`, or what it calls, `repeat` times on Go programs that answer "beat" and "gap"; adds a `row` for each."""

    command: Command
    beats: Beats
    repeat: int
    row: Row

    def run(self) -> None:
        """The command on small programs, very many spans and objects, and as much resident memory as there is room for."""
        self._commands()
        self._spans()
        self._objects()
        if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >= (_LARGE_GIB + 2) * _GIB:
            with _beating("places_metrics") as process:
                process.ask(f"kept {_LARGE_GIB * 1024}", 300)
                self._read(process, "account of 10 GiB", Inspector.memory_account)

    def _commands(self) -> None:
        with _beating("places_metrics") as process:
            self._whole(process, "the command", beats=True)
        with start("allocs", NEWEST, Flavour.STRIPPED) as process:
            self._whole(process, "the command with --heap", "--heap")
        with running("prometheus-trixie") as process:
            self._whole(process, "--heap, stripped program of 89 MB", "--heap")

    def _spans(self) -> None:
        with _beating("places_metrics") as process:
            process.ask(f"live {_SPANS_MIB}", 300)
            self._read(process, "300,000 spans", _span_table)
            self._read(process, "--spans of 300,000", Inspector.heap_spans, "--spans")
            self._read(process, "account of 2.3 GiB", Inspector.memory_account)
            self._read(process, "a reading of --watch", Inspector.memory_reading, "--watch", "2s")

    def _objects(self) -> None:
        with _beating("objects", "-items", str(_HEADERS)) as process:
            kind = "main.item"
            self._read(process, "--types, 500,000 headers", Inspector.heap_types, "--types")
            self._read(
                process,
                "--retain of 500,000 objects",
                lambda program: program.retention(kind),
                *("--retain", kind),
            )

    def _whole(self, process: GoProcess, name: str, *options: str, beats: bool = False) -> None:
        command = ["memory", "--pid", str(process.pid), *options]
        seconds, peak = self.command(command, self.repeat)
        found = self.beats(process, command, seconds) if beats else ""
        self.row(0, f"memory: {name}", seconds, peak, found)

    def _read(self, process: GoProcess, name: str, read: Read, *options: str) -> None:
        """What `read` takes in a process of its own, and what the command with `options` does to the heartbeat."""
        seconds, peak = in_child(lambda: _measured(process.pid, self.repeat, read))
        command = ["memory", "--pid", str(process.pid), *options]
        whole, _ = self.command(command, 1)
        self.row(0, f"memory: {name}", seconds, peak, self.beats(process, command, whole))


@contextmanager
def _beating(program: str, *arguments: str) -> Iterator[GoProcess]:
    with start(program, NEWEST, Flavour.STRIPPED, *arguments) as process:
        process.ask("beat")
        yield process


def _span_table(program: Inspector) -> object:
    return read_span_table(program.runtime)


def _measured(pid: int, repeat: int, read: Read) -> tuple[float, float]:
    """The least seconds of `read`, and the most memory in MB."""
    keep_freed_memory()  # as the command
    found = []
    with spyglass.attach(pid) as program:
        for _ in range(repeat):
            gc.collect()
            began = time.perf_counter()
            read(program)
            found.append(time.perf_counter() - began)
    return min(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
