"""What spyglass costs, and what the target notices of it: ``make bench``.

Everything is measured in one run, and shown as ratios to the floor: reading the same bytes with
process_vm_readv and doing nothing with them. Whole commands are started as from a shell.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import spyglass
from spyglass.memory.allocator import keep_freed_memory
from spyglass.memory.process import ProcessMemory
from spyglass.runtime.goroutines.decode import fields_of, g_pointers
from tests.bench_fleet import bench_fleet
from tests.bench_memory import MEMORY_GOALS, MemoryBench
from tests.bench_record import bench_record
from tests.bench_waits import WAITS_GOALS, bench_heap, bench_waits
from tests.browser import browser
from tests.children import in_child
from tests.command import SPYGLASS
from tests.cores import gcore
from tests.finished import running
from tests.support import NEWEST, Flavour, GoProcess, start
from tests.terminal import on_screen

PARTS = ("goroutines", "heap", "record", "memory", "different", "programs", "fleet")
CORE_SIZE = 10_000
SIZES = (1_000, 10_000, 100_000, 1_000_000)
#: Seconds at most, by command and number of goroutines.
GOALS = {
    "summary": {1_000: 0.25, 100_000: 0.8, 1_000_000: 6.0},
    "attach + snapshot, all stacks": {1_000: 0.04, 100_000: 0.35, 1_000_000: 1.3},
    "dump --json": {1_000: 0.3, 100_000: 1.5, 1_000_000: 15.0},
    "snapshot": {100_000: 1.5},
    "summary of a saved file": {100_000: 2.0},
    "diff of two saved files": {100_000: 3.0},
    "report": {100_000: 3.0},
    "report in a browser": {100_000: 1.0},
    "refresh of top by function": {100_000: 0.5},
    "refresh of top by stack": {100_000: 0.5},
    "summary of a whole core": {CORE_SIZE: 1.0},
    "summary of a whole core, uncached": {CORE_SIZE: 1.0},
    **WAITS_GOALS,
    **MEMORY_GOALS,
}
#: Goroutines of which no two have the same stack, or the same labels.
DIFFERENT = 100_000
DIFFERENT_GOALS = {
    "different stacks: attach + snapshot": 1.0,
    "different stacks: dump --json": 1.5,
    "different stacks: report": 2.5,
    "different labels: dump --json": 1.0,
}
LARGE_GOAL = 0.3
#: Of one processor, by number of goroutines.
TOP_GOALS = {10_000: 0.1, 100_000: 0.4}
_TOP_SECONDS = 10
_HEARTBEAT_TRIES = 5
_BATCH = 1 << 14
_TOP_BYTES = 1 << 12
_WHOLE_STACK_BYTES = 1 << 30


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description="Measure spyglass.")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of goroutines")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", action="append", choices=PARTS, help="measure a part alone")
    arguments = parser.parse_args()
    # Without compiled files, which some environments forbid, start-up would be measured wrongly.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    console = Console(width=120)
    console.print(_machine())
    console.print(f"best of {arguments.repeat}; floor: reading the same bytes and nothing else\n")
    table = Table("goroutines", "what", "seconds", "goal", "floor", "ratio", "peak MB", "heartbeat")
    for part in arguments.only or PARTS:
        _measure(part, table, arguments.sizes, arguments.repeat)
    if table.rows:
        console.print(table)
    if "fleet" in (arguments.only or PARTS):
        console.print(_fleet())
    console.print("heartbeat: the longest gap of a 1 ms heartbeat in the target, alone / inspected")
    return 0


def _measure(part: str, table: Table, sizes: Sequence[int], repeat: int) -> None:
    """Add the rows of one of `PARTS` that are of seconds."""
    row = partial(_plain_row, table)
    match part:
        case "goroutines":
            for size in sizes:
                with start("park", NEWEST, Flavour.EXE, "-n", str(size)) as process:
                    _bench_size(table, process, size, repeat)
        case "heap":
            bench_heap(repeat, row)
        case "record":
            bench_record(row)
        case "memory":
            MemoryBench(_best_command, _heartbeats, repeat, row).run()
        case "different":
            _bench_different(table, repeat)
        case "programs":
            _bench_whole_core(table, repeat)
            _bench_large(table, repeat)


def _fleet() -> Table:
    table = Table("of a fleet", "measured", "unit", "")
    bench_fleet(
        lambda name, number, unit, remark: table.add_row(name, f"{number:.3f}", unit, remark)
    )
    return table


def _bench_size(table: Table, process: GoProcess, size: int, repeat: int) -> None:
    # In children, for the memory of this program would count as that of the commands it starts.
    floors = in_child(lambda: _Floors.of(process.pid, repeat))
    target = ["--pid", str(process.pid)]
    for command, floor in (
        (["summary", *target], floors.top),
        (["summary", *target, "--json"], floors.top),
        (["dump", *target], floors.whole),
        (["dump", *target, "--json"], floors.whole),
    ):
        name = " ".join(word for word in command if word not in target)
        seconds, peak = _best_command(command, repeat if size <= 100_000 else 2)
        beats = _heartbeats(process, command, seconds) if name in GOALS else ""
        _row(table, size, name, seconds, floor, peak=peak, beats=beats)
    seconds = in_child(lambda: min(_snapshot_seconds(process.pid) for _ in range(repeat)))
    _row(table, size, "attach + snapshot, all stacks", seconds, floors.whole)
    bench_waits(process, size, repeat, partial(_plain_row, table))
    with tempfile.TemporaryDirectory() as folder:
        _bench_files(table, process, size, Path(folder), repeat, floors.whole)
        _bench_report(table, process, size, Path(folder) / "report.html", floors.whole)
        _bench_small_core(table, process, size, Path(folder) / "core", floors.whole)
    _bench_top(table, process, size)


def _bench_report(table: Table, process: GoProcess, size: int, page: Path, floor: float) -> None:
    """Writing a report, and how long a browser takes until all of it can be used."""
    seconds, peak = _best_command(["report", "--pid", str(process.pid), "-o", str(page)], 2)
    saved = f"{os.path.getsize(page) / 1e6:.2f} MB page"
    _row(table, size, "report", seconds, floor, peak=peak, beats=saved)
    if not shutil.which("chromedriver"):
        return
    with browser() as window:
        window.open(page)
        _row(table, size, "report in a browser", window.seconds_to_load())


def _bench_top(table: Table, process: GoProcess, size: int) -> None:
    """How much of a processor the live view takes, at its default interval of a second, and how long a
    refresh takes."""
    target = ["-p", str(process.pid)]
    for by in ("function", "stack"):
        with on_screen(*target, "--group", by, width=160, height=45) as screen:
            screen.until("main.")
            screen.read_for(3)  # importing, and the first tick
            before = screen.cpu_seconds()
            screen.read_for(_TOP_SECONDS)
            share = (screen.cpu_seconds() - before) / _TOP_SECONDS
        goal = TOP_GOALS.get(size)
        words = f"{share:.0%} of a processor" + (f", goal {goal:.0%}" if goal else "")
        command = [*SPYGLASS, "top", *target, "--group", by, "--json", "--count", "5"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took = [json.loads(line)["took_ns"] / 1e9 for line in lines.splitlines()]
        _row(table, size, f"refresh of top by {by}", float(np.median(took[1:])), beats=words)


def _bench_files(
    table: Table, process: GoProcess, size: int, folder: Path, repeat: int, floor: float
) -> None:
    """Saving, loading and comparing; a file is to have less than 30 bytes for a goroutine."""
    files = [str(folder / name) for name in ("one.json.gz", "two.json.gz")]
    target = ["--pid", str(process.pid)]
    _run(["snapshot", *target, "-o", files[1]])
    repeat = repeat if size <= 100_000 else 1
    seconds, peak = _best_command(["snapshot", *target, "-o", files[0]], repeat)
    saved = f"{os.path.getsize(files[0]) / 1e6:.2f} MB file"
    _row(table, size, "snapshot", seconds, floor, peak=peak, beats=saved)
    for name, command in (
        ("summary of a saved file", ["summary", files[0]]),
        ("diff of two saved files", ["diff", *files]),
    ):
        seconds, peak = _best_command(command, repeat)
        _row(table, size, name, seconds, peak=peak)


def _bench_small_core(
    table: Table, process: GoProcess, size: int, path: Path, floor: float
) -> None:
    """Saving what is looked at of a process, and looking at that."""
    seconds, peak = _best_command(["core", "--pid", str(process.pid), "-o", str(path)], 2)
    saved = f"{os.path.getsize(path) / 1e6:.0f} MB file"
    _row(table, size, "core", seconds, floor, peak=peak, beats=saved)
    seconds, peak = _best_command(["summary", "--core", str(path)], 2)
    _row(table, size, "summary of a small core", seconds, peak=peak)


def _row(
    table: Table,
    size: int,
    name: str,
    seconds: float,
    floor: float | None = None,
    *,
    peak: float | None = None,
    beats: str = "",
) -> None:
    goal = GOALS.get(name, {}).get(size) or DIFFERENT_GOALS.get(name)
    table.add_row(
        f"{size:,}", name, f"{seconds:.3f}", f"{goal:.2f}" if goal else "",
        f"{floor:.3f}" if floor else "", f"{seconds / floor:.1f}" if floor else "",
        f"{peak:.0f}" if peak is not None else "", beats,
    )  # fmt: skip


def _plain_row(
    table: Table, size: int, name: str, seconds: float, peak: float, remark: str
) -> None:
    _row(table, size, name, seconds, peak=peak, beats=remark)


def _bench_different(table: Table, repeat: int) -> None:
    """What is needed for each stack, and for each set of labels, when none is shared."""
    for what, program, option in (("stacks", "paths", "-n"), ("labels", "labels", "-sets")):
        with start(program, NEWEST, Flavour.EXE, option, str(DIFFERENT)) as process:
            _bench_different_kind(table, process, f"different {what}", repeat)


def _bench_different_kind(table: Table, process: GoProcess, kind: str, repeat: int) -> None:
    pid = process.pid
    floor = in_child(lambda: _Floors.of(pid, repeat)).whole
    seconds = in_child(lambda: min(_snapshot_seconds(pid) for _ in range(repeat)))
    _row(table, DIFFERENT, f"{kind}: attach + snapshot", seconds, floor)
    with tempfile.TemporaryDirectory() as folder:
        page = str(Path(folder) / "report.html")
        for name, command in (
            ("dump --json", ["dump", "--json"]),
            ("report", ["report", "-o", page]),
        ):
            seconds, peak = _best_command([*command, "--pid", str(pid)], min(repeat, 3))
            _row(table, DIFFERENT, f"{kind}: {name}", seconds, floor, peak=peak)


def _bench_large(table: Table, repeat: int) -> None:
    """A large stripped executable with few goroutines, as Debian ships it."""
    with running("prometheus-trixie") as process:
        size = os.stat(f"/proc/{process.pid}/exe").st_size / 1e6
        seconds, peak = _best_command(["summary", "--pid", str(process.pid)], repeat)
    name = f"summary, stripped program of {size:.0f} MB"
    table.add_row("few", name, f"{seconds:.3f}", f"{LARGE_GOAL:.2f}", "", "", f"{peak:.0f}", "")


def _bench_whole_core(table: Table, repeat: int) -> None:
    """A core of a whole process of 1 GB; the first time when the kernel has nothing of it."""
    if not shutil.which("gcore"):
        return
    name = "summary of a whole core"
    with tempfile.TemporaryDirectory() as folder:
        with start("park", NEWEST, Flavour.EXE, "-n", str(CORE_SIZE), "-heap", "1000") as process:
            path = gcore(process.pid, Path(folder))
        command = ["summary", "--core", str(path)]
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        blocks = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
        seconds, peak = _run(command)
        read = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - blocks) * 512 / 1e6
        words = f"{read:.0f} of {os.path.getsize(path) / 1e6:,.0f} MB read"
        _row(table, CORE_SIZE, f"{name}, uncached", seconds, peak=peak, beats=words)
        seconds, peak = _best_command(command, repeat)
        _row(table, CORE_SIZE, name, seconds, peak=peak)


@dataclass
class _Floors:
    """Seconds that reading every g and the top of every stack takes, or all of every stack."""

    top: float
    whole: float

    @classmethod
    def of(cls, pid: int, repeat: int) -> _Floors:
        pointers, size, rows = _goroutines(pid)
        return cls(
            *(
                min(_floor_seconds(pid, pointers, size, rows, most) for _ in range(repeat))
                for most in (_TOP_BYTES, _WHOLE_STACK_BYTES)
            )
        )


def _goroutines(pid: int) -> tuple[np.ndarray, int, np.ndarray]:
    """The addresses of all goroutines, how much is read of each, and its sp and stack's end."""
    with spyglass.attach(pid) as inspector:
        runtime = inspector.runtime
        dtype, pointers = fields_of(runtime.layouts["g"]), g_pointers(runtime)
        parts = [
            runtime.memory.gather(pointers[i : i + _BATCH], dtype.itemsize).rows(dtype)
            for i in range(0, len(pointers), _BATCH)
        ]
    rows = np.concatenate([np.stack([p["sched"]["sp"], p["stack"]["hi"]]) for p in parts], axis=1)
    return pointers, dtype.itemsize, rows


def _floor_seconds(
    pid: int, pointers: np.ndarray, g_size: int, rows: np.ndarray, most: int
) -> float:
    sp, high = rows
    sizes = np.where(sp > 0, np.minimum(high - sp, most), 0)
    memory = ProcessMemory(pid)
    begin = time.perf_counter()
    for i in range(0, len(pointers), _BATCH):
        memory.gather(pointers[i : i + _BATCH], g_size)
        memory.gather(sp[i : i + _BATCH], sizes[i : i + _BATCH])
    return time.perf_counter() - begin


def _snapshot_seconds(pid: int) -> float:
    keep_freed_memory()  # as every command that attaches to a process
    gc.collect()
    begin = time.perf_counter()
    with spyglass.attach(pid) as inspector:
        inspector.snapshot("full")
    return time.perf_counter() - begin


def _best_command(arguments: list[str], repeat: int) -> tuple[float, float]:
    """Seconds of the fastest of `repeat` runs, and the most memory that one of them used, in MB."""
    runs = [_run(arguments) for _ in range(repeat)]
    return min(seconds for seconds, _ in runs), max(peak for _, peak in runs)


def _run(arguments: list[str]) -> tuple[float, float]:
    """Run a command with its output to a file; its seconds, and its peak memory in MB, which is never
    less than that of this program when it starts it."""
    command = [str(Path(sys.executable).with_name("spyglass")), *arguments]
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return seconds, usage.ru_maxrss / 1024


def _heartbeats(process: GoProcess, command: list[str], seconds: float) -> str:
    alone = _longest_gap(process, lambda: time.sleep(seconds))
    inspected = _longest_gap(process, lambda: _run(command))
    return f"{alone:.1f} / {inspected:.1f} ms"


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
        lines = [line for line in stream if line.startswith("model name")]
    model = lines[0].partition(":")[2].strip() if lines else platform.processor()
    pages = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() / (1 << 30)
    return (
        f"{os.cpu_count()} x {model}, {pages:.0f} GB, Linux {platform.release().split('-')[0]}, "
        f"CPython {platform.python_version()}, numpy {np.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
