"""``--archive``: snapshots of the Go processes of the host in every interval, as Parquet files in a directory or an object store.

Files go to a spool on the local disk, and from there to the store in a thread of its own (`spyglass.fleet.delivery`): a store
that is slow or away delays no reading.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from spyglass.analysis.redaction import redacted
from spyglass.fleet.archive import Archive
from spyglass.fleet.delivery import Delivery, DeliveryState
from spyglass.fleet.local_store import shown_url
from spyglass.inspector import Inspector
from spyglass.procfs import read_cpu
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.pool import Pool
from spyglass.serve.readings import Readings
from spyglass.serve.rounds import Rounds, health_line, state_document
from spyglass.serve.settings import ArchivePlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spyglass.fleet.local_store import File
    from spyglass.process_list import GoProcess
    from spyglass.procfs import CpuReading

__all__ = ["Archiver"]

#: Snapshots in a set of files, beside the rounds that it has.
_MAX_SNAPSHOTS = 10_000
#: Bytes of tables that wait for their files.
_MAX_PENDING_BYTES = 64 << 20
#: What the store gets at the end; the rest stays in the spool.
_END_SECONDS = 3.0

#: A process: its pid, and when it started, for pids are given to others.
_Key = tuple[int, datetime]


class Archiver:
    """Takes the snapshots of `plan`, and has them delivered."""

    def __init__(self, plan: ArchivePlan, readings: Readings, pool: Pool) -> None:
        self._plan, self._readings, self._pool = plan, readings, pool
        self._archive = Archive(batch=_MAX_SNAPSHOTS, max_pending_bytes=_MAX_PENDING_BYTES)
        #: A reading that took too long may still add its snapshot.
        self._lock = Lock()
        self._delivery = Delivery(plan.store, plan.spool, plan.spool_bytes)
        self._cpu: dict[_Key, CpuReading] = {}
        self._seen: set[_Key] = set()
        self._failed_writes = 0
        self.rounds = Rounds(readings, plan.every_s, plan.names, self._read, self._end_round)

    async def close(self) -> None:
        """Write what is not written yet, and wait some seconds for the store."""

        def end() -> None:
            with self._lock:
                self._put(self._archive.rest())
            self._delivery.close(_END_SECONDS)

        await asyncio.to_thread(end)

    async def document(self) -> dict[str, Any]:
        """How it goes, in values that JSON knows."""
        state = await self._state()
        own = {
            "url": shown_url(self._plan.url), "batch": self._plan.batch, "snapshots": self.rounds.done,
        }  # fmt: skip
        return own | state_document(self.rounds, state)

    async def health(self) -> str:
        """One line without names."""
        return health_line("archive", await self._state())

    async def _state(self) -> DeliveryState:
        state = await asyncio.to_thread(self._delivery.state)
        return replace(state, dropped=state.dropped + self._failed_writes)

    async def _read(self, process: GoProcess) -> None:
        key = (process.pid, process.started_at)
        self._seen.add(key)
        await self._pool.read(process.pid, "archive", lambda program: self._take(program, key))

    def _take(self, program: Inspector, key: _Key) -> None:
        """Called in a thread: the time that this takes is counted as the reading's."""
        since, now = self._cpu.get(key), read_cpu(key[0])
        taken = program.snapshot("full", waits=WaitOptions(heap=False), cpu_since=since)
        taken = program.with_account(taken)
        self._cpu[key] = now
        if self._plan.redact:
            taken = redacted(taken)
        with self._lock:
            self._put(self._archive.add(taken))

    async def _end_round(self) -> None:
        for key in self._cpu.keys() - self._seen:
            self._cpu.pop(key, None)
        self._seen.clear()
        if (self.rounds.rounds + 1) % self._plan.batch == 0:
            await self._readings.share("archive", "files", self._write)

    def _write(self) -> None:
        with self._lock:
            self._put(self._archive.rest())

    def _put(self, files: Iterable[File]) -> None:
        """Hand over `files`. Stacks that are lost are written once more: later groups refer to them."""
        for file in files:
            try:
                fits = self._delivery.put(file)
            except OSError as error:  # the local disk is full
                self._failed_writes += 1
                self.rounds.error, fits = f"spool: {error.strerror or error}", False
            if not fits:
                self._archive.forget_stacks()
