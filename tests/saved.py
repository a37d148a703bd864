"""Snapshots that were saved, and whether what is read back is the same.

Columns hold numbers of things, which each snapshot numbers in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from spyglass.analysis.selection import selected
from spyglass.export import document
from spyglass.memory_account import (
    CLASSES,
    GcStats,
    GoMemory,
    MemoryAccount,
    ResidentMapping,
    ResidentPart,
)
from spyglass.memory_limits import MemoryLimit, MemoryLimits, MemoryPressure
from spyglass.model import NONE, UNREAD, Frame, Goroutines, Problem, Snapshot, Source
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor
from spyglass.wait_graph import Connection, LookedAt, WaitGraph
from tests.snapshots import PROCESS, TAKEN_AT, Row, frame, make_snapshot
from tests.wait_things import Held, Thing, make_graph

__all__ = [
    "ACCOUNT",
    "INLINED",
    "MAIN",
    "ROWS",
    "START",
    "WORK",
    "differences",
    "text_of",
    "with_everything",
]

MAIN, WORK = frame("main.main", line=30), frame("main.work", line=15)
PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x43210, hidden=True, offset=206)
TAKE = frame("queue.Take", "/go/src/queue/queue.go", 9)
START = frame("runtime.main", "/go/src/runtime/proc.go", 147)
INLINED = Frame("main.step", "/src/main.go", 15, 0x400900, inlined=True)

ROWS = [
    Row(1, wait_reason="chan receive", where=MAIN, call=TAKE, start=START, stack=(PARK, MAIN)),
    Row(
        17, "running", where=INLINED, start=WORK, creator=MAIN, creator_id=1, m=2, locked=True,
        quality="torn", stack=(INLINED, WORK), labels={"tenant": "blue", "request": "\x1b[31m"},
    ),
    Row(18, wait_reason="select", waiting_ns=2**63 - 1, start=WORK, creator=MAIN, stack=(PARK, MAIN)),
    Row(2, wait_reason="force gc (idle)", system=True, quality="unreadable", labels=None),
    Row(2**48, "syscall", m=0, labels={"tenant": "blue"}),
    Row(99, "dead"),
]  # fmt: skip

WAITS = make_graph(
    [
        Thing(
            "mutex", [(1, "lock"), (18, "lock")], [Held(2**48, "write", 2, INLINED), Held(17, "read", 5)],
            "main.(*pool).mu", "main.pool",
            state={"address": 0xC000012345, "locked": 1, "waiters_state": 2, "left_locked": 0},
        ),
        Thing(
            "fd", [(2**48, "read")],
            connection=Connection("socket:tcp", "127.0.0.1:80", "10.0.3.7:5432", "ESTABLISHED", 0, 12),
            state={"fd": 7, "deadline_in_ns": -5, "address": 1},
        ),
        Thing("waitgroup", state={"counter": -1, "due_in_ns": 9, "length": 0, "capacity": 10, "closed": 0, "readers": 3}),
    ],
    stuck=(1,), alive=(18, 17), unresolved=[(2, "moved while it was read")],
    looked_at=LookedAt(True, True, 4096, False, 2),
)  # fmt: skip


WINDOW = SchedulerWindow(
    2_000_000_000, 41, 0.25, 17, 0.5, 0.0, 2, 1201, 12_000, 14_000_000, 5_000_000, 3, 1_900_000_000, 7_000, 900,
    1_000_000, (WindowProcessor(0, 12), WindowProcessor(1, 0, 17, 1_990_000)),
    (LongCall(2**48, 1240, True, 0, "sleeping", "read", 7, "pipe", "pipe_read"), LongCall(18, 1236, *[None] * 7)),
)  # fmt: skip


LIMITS = MemoryLimits(
    rows=(
        MemoryLimit("cgroup", "memory.max", "kill", "/pod/a", 10_000, 990, 30, 970, 995, 5, 0),
        MemoryLimit("rlimit", "RLIMIT_AS", "refuse", bytes=2000),
    ),
    pressure=(MemoryPressure("/pod/a", (12.5, 3.0, 0.0), (1.0, 0.0, 0.0)),),
    swap_free_bytes=0,
    oom_score_adj=-1000,
)


ACCOUNT = MemoryAccount(
    PROCESS, TAKEN_AT, 5_000_000, 3000,
    (
        ResidentPart("go_heap_objects", 1000, "pages of spans", 8),
        ResidentPart("go_heap_free", 500, "pages of spans", 0, 400),
        ResidentPart("files", 1500, "mappings"),
    ),
    GoMemory(
        {name: number or None for number, name in enumerate(CLASSES)}, 900, 950, 1800, None, 100, None,
        GcStats(7, TAKEN_AT, 90, (30, 60), (2, 1), 2, 0.25, 60_000_000, 1, 4096),
    ),
    (
        ResidentMapping("files", "/srv/secret/data.db", 0x7000_0000_0000, 4096, 1500, 12, 2),
        ResidentMapping("c", "", 0x7100_0000_0000, 8192, 0),
        ResidentMapping("c", "[anon:customer]", 0x7200_0000_0000, 8192, 0),
    ),
    12, 0, 4, 400, LIMITS,
)  # fmt: skip


def with_everything() -> Snapshot:
    """A small snapshot that has something of everything that one can have."""
    made = make_snapshot(ROWS)
    first, second, *others = made.threads
    second = replace(second, runs="goroutine", stack=(2, 0))
    return replace(
        made,
        threads=(first, second, *others),
        source=Source("process", True, 1_500_000),
        elided={1: (1, 900)},
        matched_of=7,
        matched_of_system=2,
        problems=(Problem("torn", "goroutine 17", "moved"),),
        host="web-3",
        redacted=True,
        timings_ns={"stacks": 5},
        limits=LIMITS,
        account=replace(ACCOUNT, process=made.process),
        window=WINDOW,
        waits=WAITS,
    )


def text_of(snapshot: Snapshot) -> bytes:
    """Its document."""
    return json.dumps(document(snapshot)).encode()


#: What is not about the program but about how its snapshot is kept.
_NOT_COMPARED = {"waits", "goroutines", "wait_reasons", "label_sets", "frames", "file"}
#: Of two snapshots of one process: no document has it.
_NOT_SAVED = {"stops", "stack_bytes"}
_STACKS = {"stack_offsets", "stack_frames", "elided"}


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """The parts and the columns in which they differ; dead goroutines, which no document has, apart."""
    names = [field.name for field in fields(Snapshot)]
    parts = [name for name in names if name not in _NOT_COMPARED | _STACKS]
    found = [name for name in parts if getattr(one, name) != getattr(other, name)]
    found += ["waits"] if _waits(one.waits) != _waits(other.waits) else []
    found += [
        f"goroutines.{field.name}"
        for field in fields(Goroutines)
        if field.name not in _NOT_SAVED and _column(one, field.name) != _column(other, field.name)
    ]
    if [_stack(one, i) for i in _stacks(one)] != [_stack(other, i) for i in _stacks(other)]:
        found.append("stacks")
    return found


def _waits(graph: WaitGraph | None) -> Any:
    """A graph as values that can be compared; numbers of names, connections and frames looked up."""
    if graph is None:
        return None
    parts = (graph.objects, graph.waits, graph.holders, graph.unresolved, graph.stuck)
    found = {
        (type(part).__name__, name): getattr(part, name).tolist()
        for part in parts
        for name in type(part).columns()
    }
    for part, name, values in (
        ("WaitObjects", "name", graph.names),
        ("WaitObjects", "type", graph.names),
        ("WaitObjects", "connection", graph.connections),
        ("Holders", "frame", graph.frames),
    ):
        found[part, name] = [values[i] if i != NONE else None for i in found[part, name]]
    return found, graph.looked_at


def _column(snapshot: Snapshot, name: str) -> list[Any]:
    """The values of column `name`, looked up where they are numbers of something."""
    rows = selected(snapshot.goroutines, system=True)
    meaning: Callable[[Snapshot, Any], Any] = _MEANINGS.get(name, _itself)
    return [meaning(snapshot, value) for value in getattr(snapshot.goroutines, name)[rows].tolist()]


def _stacks(snapshot: Snapshot) -> range:
    return range(len(snapshot.stack_offsets) - 1)


def _stack(snapshot: Snapshot, index: int) -> Any:
    return snapshot.stack(index), snapshot.elided.get(index)


def _itself(_snapshot: Snapshot, value: Any) -> Any:
    return value


def _frame(snapshot: Snapshot, index: int) -> Frame | None:
    return snapshot.frame(index)


def _labels(snapshot: Snapshot, index: int) -> Mapping[str, str] | None:
    if index == UNREAD:
        return None
    return {} if index == NONE else dict(snapshot.label_sets[index])


_MEANINGS: dict[str, Callable[[Snapshot, int], Any]] = {
    "wait_reason": lambda snapshot, i: snapshot.wait_reasons[i] if i != NONE else None,
    "labels": _labels,
    **dict.fromkeys(("where", "start", "creator"), _frame),
}
