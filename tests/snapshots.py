"""Snapshots built from rows, for tests of what is made out of snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from spyglass.model import (
    NONE,
    QUALITIES,
    STATUSES,
    UNREAD,
    Frame,
    Goroutines,
    MemoryStats,
    Process,
    Processor,
    Scheduler,
    Snapshot,
    Source,
    Thread,
)

T = TypeVar("T")

TAKEN_AT = datetime(2026, 11, 20, 6, 20, 0, 123456, tzinfo=UTC)

PROCESS = Process(
    pid=1234,
    exe="/usr/bin/prometheus",
    cmdline=("prometheus", "--config.file=p.yml"),
    started_at=datetime(2026, 11, 20, 5, 0, 0, tzinfo=UTC),
    uptime_seconds=4800.1,
    go_version="go1.24.4",
    module="github.com/prometheus/prometheus",
    module_version="v3.1.0",
    build_id="0123456789abcdef0123456789abcdef01234567",
    arch="amd64",
    stripped=True,
    pie=False,
    cgo=True,
    rss_bytes=104857600,
    container=None,
    memory_limit_bytes=None,
)

#: The same in a container of a pod.
CONTAINED = replace(
    PROCESS, container="c0ffee" * 10, container_name="cart", pod="cart-1", namespace="shop", pod_uid="8d9b0a77"
)  # fmt: skip

SCHEDULER = Scheduler(
    gomaxprocs=2,
    goroutines=44,
    system_goroutines=5,
    run_queue=0,
    idle_ps=1,
    idle_ms=2,
    spinning_ms=0,
    freed_ms=0,
    gc_waiting=False,
)

PROCESSORS = (
    Processor(id=0, status="idle", schedtick=642, syscalltick=81, run_queue=0, m=None, tid=None),
    Processor(id=1, status="running", schedtick=7001, syscalltick=9, run_queue=3, m=2, tid=1236),
)

THREADS = (
    Thread(1234, "prometheus", "sleeping", 0, None, None, False, None),
    Thread(1236, "prometheus", "running", 2, 17, 1, False, 17),
    Thread(1240, "c-worker", "sleeping", None, None, None, False, None),
)

MEMORY = MemoryStats(
    heap_in_use_bytes=12_897_485,
    heap_idle_bytes=4 * 2**20,
    heap_released_bytes=2**20,
    stacks_in_use_bytes=1_258_291,
    heap_goal_bytes=20 * 2**20,
    gc_count=142,
    gc_pause_total_ns=30_123_456,
    last_gc_at=datetime(2026, 11, 20, 6, 19, 48, tzinfo=UTC),
    last_gc_pause_ns=120_000,
    gogc_percent=100,
    memory_limit_bytes=None,
)


@dataclass(frozen=True)
class Row:
    """One goroutine, in the words of `spyglass.model.Goroutine`."""

    id: int
    status: str = "waiting"
    wait_reason: str | None = None
    waiting_ns: int | None = None
    #: None: as long as it has waited at least.
    printed_ns: int | None = None
    where: Frame | None = None
    call: Frame | None = None
    start: Frame | None = None
    creator: Frame | None = None
    creator_id: int | None = None
    m: int | None = None
    locked: bool = False
    system: bool = False
    quality: str = "stable"
    stack: tuple[Frame, ...] | None = None
    #: None: they could not be read.
    labels: Mapping[str, str] | None = field(default_factory=dict)
    stops: int | None = None


def frame(
    function: str, file: str | None = "/src/main.go", line: int | None = 1, pc: int = 0
) -> Frame:
    """A frame; without `pc` its line stands for it."""
    return Frame(function, file, line, pc or 0x400000 + (line or 0))


class _Interned(Generic[T]):
    """Things with their numbers, in the order they came."""

    def __init__(self) -> None:
        self.numbers: dict[T, int] = {}

    def number(self, thing: T | None) -> int:
        return NONE if thing is None else self.numbers.setdefault(thing, len(self.numbers))


def make_snapshot(rows: Iterable[Row] = (), **changes: object) -> Snapshot:
    """A snapshot of a small server with `rows` as its goroutines; `changes` replace its parts."""
    rows = list(rows)
    frames: _Interned[Frame] = _Interned()
    reasons: _Interned[str] = _Interned()
    stacks: _Interned[tuple[Frame, ...]] = _Interned()
    labels: _Interned[tuple[tuple[str, str], ...]] = _Interned()
    goroutines = replace(_columns(rows, frames, reasons, stacks), labels=_labels(rows, labels))
    offsets, stack_frames = _flat(list(stacks.numbers), frames)
    snapshot = Snapshot(
        taken_at=TAKEN_AT,
        took_ns=12_345_678,
        source=Source("process"),
        process=PROCESS,
        scheduler=SCHEDULER,
        processors=PROCESSORS,
        threads=THREADS,
        memory=MEMORY,
        goroutines=goroutines,
        wait_reasons=tuple(reasons.numbers),
        frames=tuple(frames.numbers),
        stack_offsets=offsets,
        stack_frames=stack_frames,
        label_sets=tuple(dict(pairs) for pairs in labels.numbers),
    )
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def _printed(row: Row) -> int:
    return _number(row.waiting_ns if row.printed_ns is None else row.printed_ns)


def _columns(
    rows: Sequence[Row],
    frames: _Interned[Frame],
    reasons: _Interned[str],
    stacks: _Interned[tuple[Frame, ...]],
) -> Goroutines:
    return Goroutines.of(
        len(rows),
        id=np.array([r.id for r in rows], np.uint64),
        status=np.array([STATUSES.index(r.status) for r in rows], np.uint8),
        wait_reason=np.array([reasons.number(r.wait_reason) for r in rows], np.int16),
        waiting_ns=np.array([_number(r.waiting_ns) for r in rows], np.int64),
        printed_ns=np.array([_printed(r) for r in rows], np.int64),
        stack=np.array([stacks.number(r.stack) for r in rows], np.int32),
        where=np.array([frames.number(r.where) for r in rows], np.int32),
        call=np.array([frames.number(r.call) for r in rows], np.int32),
        start=np.array([frames.number(r.start) for r in rows], np.int32),
        creator=np.array([frames.number(r.creator) for r in rows], np.int32),
        creator_id=np.array([_number(r.creator_id) for r in rows], np.int64),
        m=np.array([_number(r.m) for r in rows], np.int64),
        locked=np.array([r.locked for r in rows], np.bool_),
        system=np.array([r.system for r in rows], np.bool_),
        labels=np.full(len(rows), NONE, np.int32),
        quality=np.array([QUALITIES.index(r.quality) for r in rows], np.uint8),
        stops=np.array([_number(r.stops) for r in rows], np.int16),
    )


def _labels(rows: Sequence[Row], sets: _Interned[tuple[tuple[str, str], ...]]) -> NDArray[np.int32]:
    return np.array(
        [
            UNREAD if r.labels is None else sets.number(tuple(r.labels.items()) or None)
            for r in rows
        ],
        np.int32,
    )


def _number(value: int | None) -> int:
    return NONE if value is None else value


def _flat(
    stacks: Sequence[tuple[Frame, ...]], frames: _Interned[Frame]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    offsets = np.cumsum([0, *map(len, stacks)], dtype=np.int64)
    return offsets, np.array([frames.number(f) for stack in stacks for f in stack], np.int32)
