"""Snapshots of many processes, written as Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spyglass.fleet.archive import Archive
from spyglass.fleet.local_store import LocalStore
from spyglass.memory_account import GoMemory, MemoryAccount, ResidentPart
from spyglass.memory_limits import MemoryLimit, MemoryLimits
from spyglass.model import Frame, Snapshot
from tests.snapshots import MEMORY, PROCESS, Row, frame, make_snapshot

__all__ = ["BEGAN", "SEND", "SERVE", "Look", "stacked", "taken", "write"]

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x43210, hidden=True)
MAIN = frame("main.main", line=30)
SEND, SERVE = frame("main.ask", line=15), frame("main.serve", line=8)


@dataclass(frozen=True)
class Look:
    """One snapshot of a process `minute` minutes after the beginning: goroutines at `SEND` and at `SERVE`. With
    `limit_bytes` it has an account of memory, of which half is free heap, and limits; page cache of 50 MiB can be reclaimed."""

    minute: float
    sending: int = 0
    serving: int = 0
    pid: int = 1
    host: str | None = "web1"
    service: str = "orders"
    version: str | None = "v1.0.0"
    rss_bytes: int = 100 << 20
    limit_bytes: int | None = None
    pod: str | None = None


def stacked(where: Frame, first: int, count: int, reason: str) -> list[Row]:
    """`count` goroutines that wait at `where`."""
    return [
        Row(first + at, wait_reason=reason, waiting_ns=at, where=where, start=where, creator=MAIN, stack=(PARK, where))
        for at in range(count)
    ]  # fmt: skip


def taken(look: Look) -> Snapshot:
    """The snapshot of `look`."""
    rows = stacked(SEND, 100, look.sending, "chan send")
    rows += stacked(SERVE, 100_000, look.serving, "IO wait")
    process = replace(
        PROCESS, pid=look.pid, exe=f"/srv/{look.service}", module_version=look.version, rss_bytes=look.rss_bytes,
        container_name="main", pod=look.pod, namespace="shop"
    )  # fmt: skip
    at = BEGAN + timedelta(minutes=look.minute)
    made = make_snapshot(rows, process=process, host=look.host, taken_at=at, memory=MEMORY)
    return made if look.limit_bytes is None else _with_account(made, look)


def _with_account(made: Snapshot, look: Look) -> Snapshot:
    cache, rss = 50 << 20, look.rss_bytes
    limits = MemoryLimits((
        MemoryLimit("cgroup", "memory.max", "kill", "/pod", look.limit_bytes, rss + cache, cache, oom_kills=2),
        MemoryLimit("host", "MemTotal", "kill", None, 1 << 40, 1 << 39, 0),
    ))  # fmt: skip
    parts = (
        ResidentPart("go_heap_objects", rss // 4, "pages of spans"),
        ResidentPart("go_heap_free", rss - 2 * (rss // 4), "pages of spans"),
        ResidentPart("files", rss // 4, "mappings"),
    )
    go = GoMemory({"heap/objects": rss // 4, "total": rss}, heap_live_bytes=rss // 8)
    account = MemoryAccount(made.process, made.taken_at, 1, rss, parts, go, limits=limits)
    return replace(made, account=account, limits=limits)


def write(folder: Path, looks: Iterable[Look], batch: int = 1) -> None:
    """Write the snapshots of `looks` below `folder`, those of all processes by one archive."""
    archive, store = Archive(batch=batch), LocalStore(folder)
    for look in looks:
        for file in archive.add(taken(look)):
            store.write(file.name, file.data)
    for file in archive.rest():
        store.write(file.name, file.data)
