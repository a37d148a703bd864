"""A snapshot as Arrow tables, ``spyglass.fleet/1`` (`spyglass.fleet.schema`)."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spyglass.analysis.findings import written_findings
from spyglass.analysis.selection import selected
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.fleet.group_rows import FrameColumns, group_columns, stuck_of
from spyglass.fleet.identity import Identity
from spyglass.fleet.memory_rows import memory_row
from spyglass.fleet.schema import SNAPSHOT_COLUMNS, TABLES
from spyglass.fleet.stack_ids import stack_ids
from spyglass.fleet.texts import clean
from spyglass.fleet.wait_rows import wait_rows
from spyglass.model import CpuUse, Snapshot
from spyglass.words.population import Population

if TYPE_CHECKING:
    from spyglass.analysis.wait_verdicts import WaitVerdicts

__all__ = ["fleet_tables"]


def fleet_tables(
    snapshot: Snapshot, who: Identity, written: Container[str] = ()
) -> dict[str, pa.Table]:
    """The tables of `snapshot` by their names. Of stacks, those that are among `written` already are left out."""
    known = verdicts(snapshot)
    names = stack_ids(snapshot, snapshot.goroutines.stack[selected(snapshot.goroutines)])
    frames = FrameColumns(snapshot)
    waits, left_out = wait_rows(snapshot, known)
    return {
        "processes": _of_process("processes", who, [_process(snapshot, known, left_out)]),
        "groups": _groups(snapshot, who, group_columns(snapshot, frames, names, known)),
        "stacks": _stacks(snapshot, frames, names, written),
        "waits": _of_process("waits", who, waits),
        "memory": _of_process("memory", who, [memory_row(snapshot)]),
    }


def _common(who: Identity, count: int) -> dict[str, pa.Array]:
    """The first columns of `count` rows."""
    values = (
        who.snapshot_id,
        who.taken_at,
        int(who.taken_at.timestamp()),
        who.instance,
        clean(who.host),
        clean(who.version),
    )
    return {
        name: pa.repeat(pa.scalar(value, kind), count)
        for (name, kind), value in zip(SNAPSHOT_COLUMNS, values, strict=True)
    }


def _of_process(table: str, who: Identity, rows: list[dict[str, Any]]) -> pa.Table:
    common = _common(who, len(rows))
    columns = [
        common[each.name]
        if each.name in common
        else pa.array([row[each.name] for row in rows], each.type)
        for each in TABLES[table]
    ]
    return pa.Table.from_arrays(columns, schema=TABLES[table])


def _groups(snapshot: Snapshot, who: Identity, columns: dict[str, Any]) -> pa.Table:
    schema = TABLES["groups"]
    columns |= _common(who, len(columns["count"]))
    arrays = [pa.array(columns[each.name], each.type) for each in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _stacks(
    snapshot: Snapshot, frames: FrameColumns, names: dict[int, str], written: Container[str]
) -> pa.Table:
    """A row for each stack that has not been written; equal ones are one row."""
    chosen = {name: stack for stack, name in names.items() if name not in written}
    stacks = np.fromiter(chosen.values(), np.int64, len(chosen))
    sizes = np.diff(snapshot.stack_offsets)[stacks]
    ends = np.concatenate(([0], np.cumsum(sizes)))
    rows = [
        snapshot.stack_frames[snapshot.stack_offsets[each] : snapshot.stack_offsets[each + 1]]
        for each in stacks.tolist()
    ]
    indices = np.concatenate(rows) if rows else np.zeros(0, np.int32)
    fields = list(TABLES["stacks"].field("frames").type.value_type)
    taken = pa.StructArray.from_arrays(
        [frames.taken(each.name, indices) for each in fields], fields=fields
    )
    elided = [snapshot.elided.get(each) for each in stacks.tolist()]
    columns = [
        pa.array(list(chosen), pa.string()),
        pa.ListArray.from_arrays(pa.array(ends, pa.int32()), taken),
        pa.array([each and each[0] for each in elided], pa.int32()),
        pa.array([each and each[1] for each in elided], pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=TABLES["stacks"])


def _process(snapshot: Snapshot, known: WaitVerdicts | None, left_out: int) -> dict[str, Any]:
    process, scheduler = snapshot.process, snapshot.scheduler
    population = Population.whole(snapshot)
    stuck, looked_at = stuck_of(snapshot, known)
    return {
        "took_ns": snapshot.took_ns,
        "source": snapshot.source.kind,
        "redacted": snapshot.redacted,
        "pid": process.pid,
        "exe": clean(process.exe),
        "cmdline": [clean(each) for each in process.cmdline],
        "started_at": process.started_at,
        "uptime_seconds": process.uptime_seconds,
        "go_version": clean(process.go_version),
        "module": clean(process.module),
        "module_version": clean(process.module_version),
        "build_id": clean(process.build_id),
        "arch": process.arch,
        "container": clean(process.container),
        "container_name": clean(process.container_name),
        "pod": clean(process.pod),
        "namespace": clean(process.namespace),
        "pod_uid": clean(process.pod_uid),
        "goroutines": population.user,
        "system_goroutines": population.system,
        "stuck": int(stuck.sum()) if looked_at.any() else None,
        "threads": len(snapshot.threads),
        "gomaxprocs": scheduler.gomaxprocs,
        "run_queue": _run_queue(snapshot),
        "cpu_cores": _cores(snapshot.cpu),
        "cpu_limit_cores": snapshot.cpu.limit_cores if snapshot.cpu else None,
        "findings": [
            {"severity": each.severity, "kind": each.kind, "title": clean(each.title)}
            for each in written_findings(snapshot)
        ],
        "problems": len(snapshot.problems),
        "waits_left_out": left_out,
    }


def _run_queue(snapshot: Snapshot) -> int | None:
    """How many goroutines wait for a P, in all queues."""
    queue = snapshot.scheduler.run_queue
    return None if queue is None else queue + sum(each.run_queue for each in snapshot.processors)


def _cores(cpu: CpuUse | None) -> float | None:
    if cpu is None or not cpu.window_ns or cpu.used_ns is None:
        return None
    return cpu.used_ns / cpu.window_ns
