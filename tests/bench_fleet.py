"""How large the files of a fleet are, and how long questions take: a part is made and measured, and the whole is extrapolated.

The whole is 1,000 processes with 1,000 groups each, once a minute for a day: 1.44 thousand million rows. The part has `_PROCESSES` of
them for `_LOOKS` minutes. Bytes of groups, waits, memory and processes grow with the number of snapshots, those of stacks with the
number of processes; the time of a question grows with the rows that it reads, of which it reads all.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from spyglass.fleet.archive import Archive
from spyglass.fleet.local_store import LocalStore
from spyglass.fleet.query import Fleet
from spyglass.fleet.questions import QUESTIONS
from spyglass.model import Snapshot
from tests.fleets import BEGAN, PARK
from tests.snapshots import Row, frame, make_snapshot

__all__ = ["bench_fleet", "moved", "snapshot_of_groups"]

_PROCESSES, _LOOKS, _GROUPS, _DEPTH = 20, 60, 1_000, 20
_WHOLE = 1_000 * 24 * 60 / (_PROCESSES * _LOOKS)
_WHOLE_PROCESSES = 1_000 / _PROCESSES
_BATCH = 60

#: Takes what was measured, a number, its unit, and a remark.
FleetRow = Callable[[str, float, str, str], None]


def bench_fleet(row: FleetRow) -> None:
    """Write the files of a part of a fleet, and ask all questions."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sizes = _write(Path(folder))
        seconds = time.perf_counter() - began
        snapshots = _PROCESSES * _LOOKS
        row("writing a snapshot of 1,000 groups", seconds / snapshots * 1e3, "ms", "")
        for table, size in sizes.items():
            factor = _WHOLE_PROCESSES if table == "stacks" else _WHOLE
            row(table, size / 1e6, "MB", f"whole: {size * factor / 1e9:.1f} GB")
        with Fleet(folder) as fleet:
            for question in QUESTIONS.values():
                parameters = question.parameters | ({"since_s": int(BEGAN.timestamp()) + 1800} if question.name == "changes" else {})  # fmt: skip
                began = time.perf_counter()
                fleet.ask(question.sql, parameters, 20)
                seconds = time.perf_counter() - began
                row(question.name, seconds, "s", f"whole: {seconds * _WHOLE:,.0f} s")


def _write(folder: Path) -> dict[str, int]:
    """The bytes of each table."""
    store, sizes, made = LocalStore(folder), dict[str, int](), snapshot_of_groups()
    random = np.random.default_rng(1)
    for pid in range(_PROCESSES):
        archive = Archive("orders", _BATCH)
        for minute in range(_LOOKS):
            files = archive.add(moved(made, pid, minute, random))
            for file in [*files, *(archive.rest() if minute == _LOOKS - 1 else ())]:
                table = file.name.partition("/")[0]
                sizes[table] = sizes.get(table, 0) + len(file.data)
                store.write(file.name, file.data)
    return sizes


def snapshot_of_groups() -> Snapshot:
    """1,000 groups of one to three goroutines; stacks of 20 frames, of which half are shared."""
    shared = tuple(
        frame(f"server.(*Handler).step{at}", f"/src/server/step{at}.go", at) for at in range(10)
    )
    rows: list[Row] = []
    for group in range(_GROUPS):
        own = tuple(
            frame(f"pkg{group % 50}.(*Worker).work{group}_{at}", f"/src/pkg{group % 50}/work.go", group + at)
            for at in range(_DEPTH - 11)
        )  # fmt: skip
        for member in range(1 + group % 3):
            rows.append(
                Row(len(rows) + 1, wait_reason=("select", "chan receive", "IO wait")[group % 3], waiting_ns=10**9 * (group + member),
                    where=own[0], start=shared[-1], creator=shared[0], stack=(PARK, *own, *shared))
            )  # fmt: skip
    return make_snapshot(rows)


def moved(made: Snapshot, pid: int, minute: int, random: np.random.Generator) -> Snapshot:
    """`made` of process `pid`, a `minute` later: with other waits, and a tenth of its goroutines gone."""
    g = made.goroutines
    kept = random.random(len(g)) > 0.1
    waits = random.integers(0, 10**12, int(kept.sum()))
    goroutines = replace(g.select(kept), waiting_ns=waits)
    process = replace(made.process, pid=pid)
    at = BEGAN - timedelta(hours=6) + timedelta(minutes=minute, microseconds=pid)
    return replace(made, goroutines=goroutines, process=process, taken_at=at, host=f"web{pid}")
