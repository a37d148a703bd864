"""``--push``: profiles of each Go process in every interval, to a server of profiles.

Processes are read and recorded one after the other. Requests wait in a spool on the local disk (`spyglass.fleet.delivery`): a server that is away delays
no recording.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spyglass.analysis.redaction import redacted_profile
from spyglass.errors import ProcessChanged, ProcessNotFound
from spyglass.fleet.delivery import Delivery
from spyglass.fleet.local_store import File
from spyglass.inspector import Inspector
from spyglass.push.forms import Request, request
from spyglass.push.pusher import Pusher
from spyglass.serve.pool import Pool
from spyglass.serve.pushed_kinds import HeapProfiles, goroutine_profile
from spyglass.serve.readings import Readings
from spyglass.serve.recordings import Job, Recordings
from spyglass.serve.rounds import Rounds, health_line, state_document
from spyglass.serve.settings import PushKind, PushPlan

if TYPE_CHECKING:
    from spyglass.process_list import GoProcess

__all__ = ["ProfilePusher"]

#: What the server gets at the end; the rest stays in the spool.
_END_SECONDS = 3.0


class ProfilePusher:
    """Reads and records as `plan` says, and has the profiles delivered."""

    def __init__(
        self, plan: PushPlan, readings: Readings, pool: Pool, recordings: Recordings
    ) -> None:
        self._plan, self._readings, self._pool = plan, readings, pool
        self._recordings = recordings
        self._pusher = Pusher(plan.to, drops_rejected=True)
        self._delivery = Delivery(self._pusher, plan.spool, plan.spool_bytes)
        self._heaps = HeapProfiles(plan)
        self._seen: set[tuple[int, datetime]] = set()
        self._profiles = 0
        self.rounds = Rounds(readings, plan.every_s, plan.names, self._read, self._end_round)

    async def close(self) -> None:
        """Wait some seconds for the server."""
        await asyncio.to_thread(self._delivery.close, _END_SECONDS)

    async def document(self) -> dict[str, Any]:
        """How it goes, in values that JSON knows."""
        state = await asyncio.to_thread(self._delivery.state)
        own = {
            "url": self._plan.to.shown, "form": self._plan.to.form, "kinds": self._plan.kinds,
            "seconds": self._plan.seconds, "profiles": self._profiles, "rejected": self._pusher.rejected, "rejection": self._pusher.rejection,
        }  # fmt: skip
        return own | state_document(self.rounds, state)

    async def health(self) -> str:
        """One line without names."""
        return health_line("push", await asyncio.to_thread(self._delivery.state))

    async def _read(self, process: GoProcess) -> None:
        """All kinds, even if there is an error in one."""
        self._seen.add((process.pid, process.started_at))
        error: Exception | None = None
        for kind in self._plan.kinds:
            try:
                await self._push(kind, process)
            except (ProcessChanged, ProcessNotFound):
                raise
            except Exception as raised:
                error = raised
        if error is not None:
            raise error

    async def _push(self, kind: PushKind, process: GoProcess) -> None:
        pid, key = process.pid, (process.pid, process.started_at)
        if kind == "cpu":
            await self._record(pid)
            return

        def read(program: Inspector) -> None:
            if kind == "heap":
                self._put(pid, self._heaps.request(program, key))
            else:
                self._put(pid, goroutine_profile(self._plan, program))

        await self._pool.read(pid, f"push {kind}", read)

    async def _record(self, pid: int) -> None:
        await self._pool.read(pid, "checked", Inspector.check)
        job = Job(pid, "cpu", self._plan.seconds)
        self._recordings.start(job, keep=False)
        try:
            await job.over.wait()
        except asyncio.CancelledError:
            job.cancelled = True
            raise
        if job.error is not None:
            raise job.error
        await self._readings.share(job.id, None, lambda: self._put_recorded(job))

    def _put_recorded(self, job: Job) -> None:
        """Called in a thread."""
        profile = job.profile
        if profile is None or not len(profile.samples):  # it did nothing
            return
        if self._plan.redact:
            profile = redacted_profile(profile)
        self._put(job.pid, request(profile, self._plan.to.form))

    def _put(self, pid: int, wanted: Request | None) -> None:
        """Called in a thread."""
        if wanted is not None:
            self._profiles += 1
            self._delivery.put(File(f"{time.time_ns():020}-{pid}", wanted.packed()))

    async def _end_round(self) -> None:
        self._heaps.keep(self._seen)
        self._seen = set()
