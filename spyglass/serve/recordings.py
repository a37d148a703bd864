"""Profiles that the server records: started, watched, fetched, cancelled."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spyglass.errors import SpyglassError
from spyglass.inspector import attach
from spyglass.serve.problems import Refusal

if TYPE_CHECKING:
    from spyglass.profile import Mode, Profile
    from spyglass.runtime.recording.session import Progress
    from spyglass.serve.settings import Settings

__all__ = ["Job", "Recordings"]

_STEP_SECONDS = 0.25


@dataclass
class Job:
    """A recording of process `pid` for `seconds`. `over` is set when it has ended: then there is a `profile`, or an
    `error`. A cancelled one keeps what it has."""

    pid: int
    mode: Mode
    seconds: float
    rate_hz: float | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    over: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    progress: Progress | None = None
    profile: Profile | None = None
    error: Exception | None = None

    def document(self) -> dict[str, Any]:
        """How far it is, in values that JSON knows."""
        now, state = self.progress, "recording"
        if self.over.is_set():
            state = (
                "failed" if self.error is not None else "cancelled" if self.cancelled else "done"
            )
        return {
            "id": self.id, "pid": self.pid, "mode": self.mode, "state": state,
            "duration_ns": int(self.seconds * 1e9),
            "elapsed_ns": 0 if now is None else now.elapsed_ns,
            "samples": 0 if now is None else now.samples,
            "coverage": None if now is None else now.coverage,
            "lost": 0 if now is None else now.lost,
            "error": None if self.error is None else _words(self.error),
        }  # fmt: skip

    def record(self) -> None:
        """Record until the time is over, the process ends, or it is cancelled. Called in a thread."""
        with (
            attach(self.pid) as program,
            program.recording(mode=self.mode, rate_hz=self.rate_hz) as recording,
        ):
            until = time.monotonic() + self.seconds
            while recording.ended is None and not self.cancelled:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self.progress = recording.step(min(left, _STEP_SECONDS))
            self.profile = recording.finish()
            self.progress = recording.progress()


class Recordings:
    """The recordings that run, and the last ones that ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: dict[str, Job] = {}

    def jobs(self) -> list[Job]:
        """All of them, in the order in which they began."""
        return list(self._jobs.values())

    def job(self, number: str) -> Job:
        """The one with this id; raises `Refusal`."""
        if number not in self._jobs:
            raise Refusal(
                404, f"there is no profile {number[:64]!r}", "GET /v1/profiles lists them"
            )
        return self._jobs[number]

    def start(self, job: Job, *, keep: bool = True) -> Job:
        """Start `job`, and list it if it is to be kept; raises `Refusal` if too many run."""
        running = sum(not each.over.is_set() for each in self._jobs.values())
        if running >= self._settings.recordings:
            raise Refusal(
                503, "too many profiles are recorded at once", headers={"retry-after": "10"}
            )
        self._jobs[job.id] = job
        ended = [each.id for each in self._jobs.values() if each.over.is_set()]
        for number in ended[: max(0, len(ended) - self._settings.kept)]:
            del self._jobs[number]
        loop = asyncio.get_running_loop()

        def run() -> None:
            error = None
            try:
                job.record()
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._end, job, error, keep)

        threading.Thread(target=run, name="spyglass-recording", daemon=True).start()
        return job

    def remove(self, job: Job) -> None:
        """Cancel it if it runs, and forget it."""
        job.cancelled = True
        self._jobs.pop(job.id, None)

    def close(self) -> None:
        """Cancel all that run."""
        for job in self._jobs.values():
            job.cancelled = True

    def _end(self, job: Job, error: Exception | None, keep: bool) -> None:
        job.error = error
        job.over.set()
        if not keep:
            self._jobs.pop(job.id, None)


def _words(error: Exception) -> str:
    return error.message if isinstance(error, SpyglassError) else "internal error"
