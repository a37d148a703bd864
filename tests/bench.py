"""What spyglass costs, and what the target notices of it: ``make bench``.

Everything is measured in one run, and shown as ratios to the floor: reading the same bytes with
process_vm_readv and doing nothing with them. Whole commands are started from a shell, as users do.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import spyglass
from spyglass.memory.process import ProcessMemory
from spyglass.runtime.goroutines import fields_of, g_pointers
from tests.finished import running
from tests.support import Flavour, GoProcess, start

SIZES = (1_000, 100_000, 1_000_000)
#: What the issue that began this project asks of `summary`, in seconds.
GOALS = {1_000: 0.25, 100_000: 0.8, 1_000_000: 6.0}
_HEARTBEAT_TRIES = 5
_STACK_BYTES = 1 << 10
_BATCH = 1 << 14


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description="Measure spyglass.")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of goroutines")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    console = Console()
    console.print(
        f"{_machine()}\nbest of {arguments.repeat}; floor: reading the same bytes and nothing else\n"
    )
    table = Table(
        "goroutines",
        "command",
        "seconds",
        "goal",
        "floor",
        "ratio",
        "peak MB",
        "longest gap of a 1 ms heartbeat",
    )
    for size in arguments.sizes:
        with start("park", "1.27", Flavour.EXE, "-n", str(size)) as process:
            _bench_size(table, process, size, arguments.repeat)
    _bench_large(table, arguments.repeat)
    console.print(table)
    return 0


def _bench_size(table: Table, process: GoProcess, size: int, repeat: int) -> None:
    floor = min(_floor_seconds(process.pid) for _ in range(repeat))
    seconds, peak = _best_command(["summary", "--pid", str(process.pid)], repeat)
    before = _longest_gap(process, lambda: time.sleep(seconds))
    during = _longest_gap(process, lambda: _run(["summary", "--pid", str(process.pid)]))
    table.add_row(
        f"{size:,}", "summary", f"{seconds:.2f}", f"{GOALS.get(size, 0):.2f}", f"{floor:.3f}",
        f"{seconds / floor:.1f}", f"{peak:.0f}", f"{before:.1f} ms alone, {during:.1f} ms inspected",
    )  # fmt: skip
    json_seconds, peak = _best_command(
        ["summary", "--pid", str(process.pid), "--json"], max(repeat // 2, 1)
    )
    table.add_row(
        "", "summary --json", f"{json_seconds:.2f}", "", f"{floor:.3f}", f"{json_seconds / floor:.1f}",
        f"{peak:.0f}", "",
    )  # fmt: skip


def _bench_large(table: Table, repeat: int) -> None:
    """A large stripped executable with few goroutines, as Debian ships it."""
    with running("prometheus-trixie") as process:
        size = os.stat(f"/proc/{process.pid}/exe").st_size / 1e6
        seconds, peak = _best_command(["summary", "--pid", str(process.pid)], repeat)
        table.add_row(
            "few",
            f"summary of a stripped program of {size:.0f} MB",
            f"{seconds:.2f}",
            "0.30",
            "",
            "",
            f"{peak:.0f}",
            "",
        )


def _floor_seconds(pid: int) -> float:
    """How long it takes to read every g and the top of every stack, and nothing else."""
    with spyglass.attach(pid) as inspector:
        runtime = inspector.runtime
        dtype = fields_of(runtime.layouts["g"])
        pointers = g_pointers(runtime)
        rows = [
            runtime.memory.gather(pointers[i : i + _BATCH], dtype.itemsize).rows(dtype)
            for i in range(0, len(pointers), _BATCH)
        ]
    memory = ProcessMemory(pid)
    tops = [
        (row["sched"]["sp"], np.minimum(row["stack"]["hi"] - row["sched"]["sp"], _STACK_BYTES))
        for row in rows
    ]
    begin = time.perf_counter()
    for i, (tops_of, sizes) in zip(range(0, len(pointers), _BATCH), tops, strict=True):
        memory.gather(pointers[i : i + _BATCH], dtype.itemsize)
        memory.gather(tops_of, np.where(tops_of > 0, sizes, 0))
    return time.perf_counter() - begin


def _best_command(arguments: list[str], repeat: int) -> tuple[float, float]:
    """Seconds of the fastest of `repeat` runs, and the most memory that one of them used, in MB."""
    runs = [_run(arguments) for _ in range(repeat)]
    return min(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def _run(arguments: list[str]) -> tuple[float, float]:
    command = [str(Path(sys.executable).with_name("spyglass")), *arguments]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def _longest_gap(process: GoProcess, act: Callable[[], object]) -> float:
    """The median over some tries of the target's longest gap, in ms, while `act` runs."""
    gaps = []
    for _ in range(_HEARTBEAT_TRIES):
        process.ask("gap")
        act()
        gaps.append(int(process.ask("gap")) / 1e6)
    return float(np.median(gaps))


def _machine() -> str:
    with open("/proc/cpuinfo") as stream:
        models = [
            line.partition(":")[2].strip() for line in stream if line.startswith("model name")
        ]
    pages = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() / (1 << 30)
    return (
        f"{len(models)} x {models[0] if models else platform.processor()}, {pages:.0f} GB, "
        f"Linux {platform.release()}, CPython {platform.python_version()}, numpy {np.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
