"""Measures recordings: what they cost, and how much is known; part of tests/bench.py.

``python -m tests.bench_record`` counts wrong and certain samples, by default 100,000 of them: ten minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import spyglass
from spyglass.memory.allocator import keep_freed_memory
from spyglass.procfs.cpu_times import process_times
from spyglass.profile import Profile
from tests.burnt import burn
from tests.children import in_child, wait_until
from tests.support import NEWEST, Flavour, GoProcess, start

__all__ = ["bench_record"]

#: Takes goroutines, name, seconds, peak in MB, and a remark.
Row = Callable[[int, str, float, float, str], None]

#: What spyglass takes of a processor for two busy threads, by rate; for all goroutines ten times a second.
_OWN_GOALS = {99: 0.03, 999: 0.25}
_WALL_GOAL, _WALL_GOROUTINES = 0.1, 10_000
#: What a busy thread may lose at 99 Hz. Its loss is measured at a rate where it is more than the noise.
_COST_GOAL, _COST_RATE_HZ, _COST_TRIES = 0.005, 4999, 7
_THREADS = 200
#: When memory is read: 999 Hz gives in that time ten times the samples of 99 Hz.
_MEMORY_SECONDS = (6, 60)
LIVES = ("100us", "1ms", "10ms", "100ms")
#: The share of the samples whose goroutine must be known, by how long goroutines live.
CERTAIN_GOALS = {"1ms": 0.8, "10ms": 0.97, "100ms": 0.97}
#: How the goroutines are begun; "equal" ones all in the same way, to run the same functions.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "plain": (), "arguments": ("-arguments",), "equal": ("-equal", "-arguments"),
}  # fmt: skip
_MINORS = ("1.15", "1.19", "1.27")
_MAX_RATE_HZ = 999


def main() -> int:
    """Count samples that were given to a wrong goroutine, and those whose goroutine is known; 1 if any is wrong."""
    parser = argparse.ArgumentParser(description="Count wrong and certain samples.")
    parser.add_argument("samples", nargs="?", type=int, default=100_000)
    wanted = parser.parse_args().samples
    counts: Counter[str] = Counter()
    parts = [(m, life, kind) for m in _MINORS for life in LIVES for kind in _ARGUMENTS]
    while counts["samples"] < wanted:
        for minor, life, kind in parts:
            found = _counted(minor, life, kind, 10)
            counts += found
            counts += Counter({f"{life} {name}": count for name, count in found.items()})
            print(minor, life, kind, dict(found), "sum", counts["samples"], flush=True)
    for life in LIVES:
        share = counts[f"{life} certain"] / counts[f"{life} samples"]
        print(f"{life}: {counts[f'{life} samples']:,} samples, certain {share:.1%}")
    wrong = counts["wrong"] + counts["wrong labels"]
    print(f"{counts['samples']:,} samples, certain {counts['certain']:,}, of these wrong {wrong}")
    return int(wrong > 0)


def _counted(minor: str, life: str, kind: str, seconds: float) -> Counter[str]:
    """The samples of one recording, how many are certain, and how many of these are wrong."""
    with tempfile.TemporaryDirectory() as folder:
        burnt = burn(
            minor, "-life", life, *_ARGUMENTS[kind],
            seconds=seconds, rate_hz=_MAX_RATE_HZ, path=Path(folder) / "lives",
        )  # fmt: skip
    samples = len(burnt.samples)
    return Counter({
        "samples": samples, "certain": round(burnt.certain * samples), "wrong": len(burnt.wrong()),
        "wrong labels": burnt.wrong_labels().total(),
    })  # fmt: skip


def bench_record(row: Row) -> None:
    """What recordings cost, and how much they know."""
    with start("burners", NEWEST, Flavour.EXE, "-life", "10ms") as process:
        for rate_hz in _OWN_GOALS:
            _bench_own(process, rate_hz, row)
        _bench_perf(process, row)
    with start("shares", NEWEST, Flavour.EXE, "-busy") as process:
        _bench_memory(process, row)
    _bench_cost(row)
    _bench_threads(row)
    for life in LIVES:
        found = in_child(lambda life=life: _counted(NEWEST, life, "plain", 3))  # type: ignore[misc]
        goal = f", goal {CERTAIN_GOALS[life]:.0%}" if life in CERTAIN_GOALS else ""
        certain = found["certain"] / max(found["samples"], 1)
        wrong = found["wrong"] + found["wrong labels"]
        words = f"{certain:.1%} certain{goal}; {wrong} of {found['certain']:,} wrong"
        row(0, f"record: goroutines that live {life}", 3, 0, words)
    with start("park", NEWEST, Flavour.EXE, "-n", str(_WALL_GOROUTINES)) as process:
        _bench_wall(process, row)


def _recorded(process: GoProcess, seconds: float, **options: Any) -> tuple[Profile, float]:
    """A recording in a child, and the most memory that it used, in MB."""

    def record() -> tuple[Profile, float]:
        keep_freed_memory()  # as every command that attaches to a process
        with spyglass.attach(process.pid) as program:
            profile = program.record(seconds, **options)
        return profile, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    return in_child(record)


def _own(profile: Profile) -> float:
    """What spyglass took of a processor."""
    return (profile.account.own_cpu_ns or 0) / profile.duration_ns


def _bench_own(process: GoProcess, rate_hz: int, row: Row) -> None:
    profile, peak = _recorded(process, 8, rate_hz=rate_hz)
    account = profile.account
    words = (
        f"{_own(profile):.1%} of a processor, goal {_OWN_GOALS[rate_hz]:.0%}; coverage"
        f" {account.coverage or 0:.1%}, lost {account.lost}"
    )
    row(
        0,
        f"record: {rate_hz} Hz, {account.samples:,} samples",
        profile.duration_ns / 1e9,
        peak,
        words,
    )


def _bench_perf(process: GoProcess, row: Row) -> None:
    """The same with perf(1), which writes samples to a file and reads nothing of them."""
    perf = shutil.which("perf")
    if perf is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [perf, "record", "-g", "-e", "cpu-clock", "-F", "99", "-p", str(process.pid)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "-o", f"{folder}/perf.data", "sleep", "8"], check=False, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row(0, "perf record -g -F 99", 8, 0, f"{used / 8:.1%} of a processor")


def _bench_memory(process: GoProcess, row: Row) -> None:
    def record() -> list[float]:
        keep_freed_memory()
        found = []
        with (
            spyglass.attach(process.pid) as program,
            program.recording(rate_hz=_MAX_RATE_HZ) as recording,
        ):
            for seconds in _MEMORY_SECONDS:
                while recording.progress().elapsed_ns < seconds * 1e9:
                    recording.step()
                found.append(_resident_mb())
        return found

    early, late = in_child(record)
    words = f"{early:.0f} MB after {_MEMORY_SECONDS[0]} s at {_MAX_RATE_HZ} Hz, then {late:.0f}; goal: flat"
    row(0, "record: memory", _MEMORY_SECONDS[-1], late, words)


def _bench_wall(process: GoProcess, row: Row) -> None:
    """What wall mode takes once all stacks are known: the first reading takes as long as ten others."""

    def record() -> tuple[float, float]:
        keep_freed_memory()
        found: list[tuple[float, float, float]] = []
        with (
            spyglass.attach(process.pid) as program,
            program.recording(mode="wall", rate_hz=10) as recording,
        ):
            for seconds in (2, 12):
                while recording.progress().elapsed_ns < seconds * 1e9:
                    recording.step()
                profile = recording.so_far()
                readings = profile.rate_hz * profile.duration_ns / 1e9
                found.append((profile.duration_ns / 1e9, readings, time.process_time()))
        seconds, readings, used = (late - early for early, late in zip(*found, strict=True))
        return used / seconds, readings / seconds

    used, rate_hz = in_child(record)
    words = f"{used:.1%} of a processor, goal {_WALL_GOAL:.0%}, {rate_hz:.1f} Hz"
    row(_WALL_GOROUTINES, "record: wall, 10 Hz", 10, 0, words)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _bench_cost(row: Row) -> None:
    """What a busy thread does in a second of its processor time, recorded and not, in turns."""
    losses = []
    spinning = start("threads", NEWEST, Flavour.EXE, "-spin")
    with spinning as process, spyglass.attach(process.pid) as program:
        for _ in range(_COST_TRIES):
            alone = _speed(process, time.sleep)
            with program.recording(rate_hz=_COST_RATE_HZ) as recording:
                recorded = _speed(process, recording.step)
            losses.append(1 - recorded / alone)
    cost = median(losses) * 99 / _COST_RATE_HZ
    spread = (max(losses) - min(losses)) / 2 * 99 / _COST_RATE_HZ
    words = f"{cost:.2%} +- {spread:.2%} of a busy thread at 99 Hz, goal {_COST_GOAL:.1%}"
    row(0, f"record: cost, from {_COST_RATE_HZ} Hz", 2 * _COST_TRIES, 0, words)


def _speed(process: GoProcess, act: Callable[[float], object]) -> float:
    """Turns in a ns of processor time during a second of `act`."""
    turns, used_ns = int(process.ask("turns")), process_times([process.pid])[process.pid].used_ns
    act(1)
    turns = int(process.ask("turns")) - turns
    return turns / (process_times([process.pid])[process.pid].used_ns - used_ns)


def _bench_threads(row: Row) -> None:
    with start("threads", NEWEST, Flavour.EXE, "-n", str(_THREADS)) as process:
        wait_until(lambda: int(process.ask("begun")) == _THREADS)
        profile, peak = _recorded(process, 5, rate_hz=99)
    account = profile.account
    words = (
        f"lost {account.lost}, goal 0; {account.threads_seen} threads, coverage {account.coverage or 0:.1%},"
        f" {_own(profile):.1%} of a processor"
    )
    row(0, f"record: {_THREADS} threads, 99 Hz", profile.duration_ns / 1e9, peak, words)


if __name__ == "__main__":
    sys.exit(main())
