"""A fleet of the size that is meant: how large its files are, and how long questions take.

python -m tests.bench_fleet_large [PROCESSES [HOURS]] (default: 1,000 processes, one hour of 60 snapshots each, in 10 services). The rows
of one hour are made as spyglass makes them, once; each process has them with its own names, times and waits.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spyglass.fleet.identity import identity
from spyglass.fleet.query import Fleet, Window
from spyglass.fleet.questions import QUESTIONS
from spyglass.fleet.tables import fleet_tables
from tests.bench_fleet import moved, snapshot_of_groups
from tests.fleets import BEGAN

_LOOKS, _SERVICES = 60, 10
_START = BEGAN - timedelta(hours=12)

Tables = dict[str, pa.Table]


def main(processes: int, hours: int) -> None:
    """Make the files, and ask all questions: of the whole, and of one service."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sizes = _write(Path(folder), processes, hours)
        print(f"made in {time.perf_counter() - began:.0f} s")
        whole = 1000 * 24 / (processes * hours)
        for table, size in sizes.items():
            # Stacks grow with the number of processes alone.
            day = size * (1000 / processes if table == "stacks" else whole)
            print(
                f"{table:>10}  {size / 1e6:9.1f} MB   1,000 processes for a day {day / 1e9:6.1f} GB"
            )
        for window in (Window(), Window("service0")):
            with Fleet(folder, window) as fleet:
                _ask(fleet, window.service or "all", hours)


def _ask(fleet: Fleet, about: str, hours: int) -> None:
    rows = fleet.ask("SELECT count(*) FROM groups").rows[0][0]
    print(f"{about}: {rows:,} rows of groups")
    for question in QUESTIONS.values():
        parameters = dict(question.parameters)
        if question.name == "changes":
            parameters["since_s"] = int(_START.timestamp()) + hours * 1800
        began = time.perf_counter()
        answer = fleet.ask(question.sql, parameters, 20)
        seconds = time.perf_counter() - began
        print(f"  {question.name:>10}  {seconds:7.1f} s  {len(answer.rows)} rows", flush=True)


def _write(folder: Path, processes: int, hours: int) -> dict[str, int]:
    """The bytes of each table."""
    sizes, random = dict[str, int](), np.random.default_rng(1)
    hour, looks = _hour(random)
    for number in range(processes):
        service = f"service{number % _SERVICES}"
        for at in range(hours):
            for name, table in hour.items():
                if name == "stacks" and at:
                    continue
                rows = table if name == "stacks" else _of(table, looks[name], number, at, random)
                path = folder / name / f"date={_START:%Y-%m-%d}" / f"service={service}"
                path.mkdir(parents=True, exist_ok=True)
                file = path / f"web{number}-{at}.parquet"
                pq.write_table(rows, file, compression="zstd", compression_level=3, store_schema=False)  # fmt: skip
                sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return sizes


def _hour(random: np.random.Generator) -> tuple[Tables, dict[str, np.ndarray]]:
    """The tables of an hour of one process, and for each of their rows the number of its snapshot."""
    made, tables, written = snapshot_of_groups(), dict[str, list[pa.Table]](), set[str]()
    for minute in range(_LOOKS):
        snapshot = moved(made, 1, minute, random)
        for name, rows in fleet_tables(snapshot, identity(snapshot, "x"), written).items():
            tables.setdefault(name, []).append(rows)
            if name == "stacks":
                written.update(rows.column("stack_id").to_pylist())
    looks = {name: np.repeat(np.arange(_LOOKS), [len(each) for each in parts]) for name, parts in tables.items()}  # fmt: skip
    joined = {name: pa.concat_tables(parts) for name, parts in tables.items() if sum(map(len, parts))}  # fmt: skip
    return joined, looks


def _of(
    table: pa.Table, looks: np.ndarray, number: int, hour: int, random: np.random.Generator
) -> pa.Table:
    """`table` of process `number`, `hour` hours later."""
    seconds = int(_START.timestamp()) + hour * 3600 + looks * 60
    values = {
        "snapshot_id": pa.array([f"{number:08x}{hour:04x}{look:04x}" for look in range(_LOOKS)]).take(pa.array(looks)),
        "taken_s": pa.array(seconds),
        "taken_at": pa.array(seconds * 10**6).cast(pa.timestamp("us", tz="UTC")),
        "instance": pa.array([f"{number:016x}"] * len(table)),
        "host": pa.array([f"web{number}"] * len(table)),
    }  # fmt: skip
    if "longest_wait_ns" in table.column_names:
        values["longest_wait_ns"] = pa.array(random.integers(0, 10**12, len(table)))
    for name, column in values.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 1,
    )
