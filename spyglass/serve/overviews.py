"""What is unusual in each process, read now and then, and kept for all who look at the page."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.serve.elements import elements
from spyglass.serve.pool import Pool
from spyglass.serve.problems import Refusal
from spyglass.serve.settings import Settings

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.process_list import GoProcess

__all__ = ["Overview", "Overviews"]

#: One is read again after so many seconds, or later: all of them take this share of what readings may take.
_LEAST_AGE_S = 30.0
_SHARE = 1 / 3
#: As many are read at once for a list, and for so long an event of the list waits for them.
_AT_ONCE = 4
_MOMENT_SECONDS = 0.5
#: For how long the scheduler is watched.
_WATCH_SECONDS = 0.1


@dataclass(frozen=True)
class Overview:
    """What was unusual in a process at `read_at` (CLOCK_MONOTONIC, s), which began at `started_at`; reading it took `took_s`.

    `refused`: why nothing is known; else `goroutines` are those of the user, `system` those of the runtime, `severities`
    says how many findings there are of each, `first` is the title of the most severe one, `findings` all of them as elements of
    the page, `name` the program's, and `about` a line about the process.
    """

    started_at: datetime | None
    read_at: float = field(default_factory=time.monotonic)
    took_s: float = 0.0
    refused: str | None = None
    goroutines: int | None = None
    system: int | None = None
    severities: dict[str, int] | None = None
    first: str | None = None
    findings: tuple[Any, ...] = ()
    name: str | None = None
    about: str | None = None


class Overviews:
    """The last overview of each process that somebody looked at. They are read in tasks of their own: nobody waits long
    for a process that takes long."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._share = _SHARE * settings.max_cpu
        self._pool = pool
        self._known: dict[int, Overview] = {}
        self._reading: dict[int, asyncio.Task[None]] = {}

    def of(self, pid: int, started: datetime) -> Overview | None:
        """The last one of process `pid`, which began at `started`: none of another one that had its pid."""
        known = self._known.get(pid)
        return known if known is not None and known.started_at == started else None

    def want(self, pid: int, started: datetime) -> None:
        """Begin to read that of process `pid`, unless it is not old, or being read."""
        known = self.of(pid, started)
        if pid in self._reading or not self._is_due(known):
            return
        task = asyncio.get_running_loop().create_task(self._read(pid, started))
        self._reading[pid] = task
        task.add_done_callback(lambda _: self._reading.pop(pid))

    async def want_some(self, processes: Sequence[GoProcess]) -> None:
        """Begin to read some of those of `processes`, missing ones first, and wait a moment for them. Those of other
        processes are forgotten."""
        kept = {each.pid for each in processes}
        self._known = {pid: known for pid, known in self._known.items() if pid in kept}
        ages = [(known.read_at if known else 0.0, each.pid, each.started_at)
                for each in processes
                for known in [self.of(each.pid, each.started_at)]
                if each.pid not in self._reading and self._is_due(known)]  # fmt: skip
        for _, pid, started in sorted(ages)[: max(0, _AT_ONCE - len(self._reading))]:
            self.want(pid, started)
        if self._reading:
            await asyncio.wait(list(self._reading.values()), timeout=_MOMENT_SECONDS)

    def close(self) -> None:
        """Wait for none of them any more."""
        for task in self._reading.values():
            task.cancel()

    def _is_due(self, known: Overview | None) -> bool:
        """Whether `known` is missing or old."""
        if known is None:
            return True
        took_s = sum(each.took_s for each in self._known.values())
        return time.monotonic() - known.read_at > max(_LEAST_AGE_S, took_s / self._share)

    async def _read(self, pid: int, started: datetime) -> None:
        """Read that of process `pid`; of one that cannot be read it says why."""
        began = time.monotonic()
        try:
            found = replace(await self._pool.read(pid, "overview", _overview), started_at=started)
        except (SpyglassError, Refusal) as error:
            took_s = time.monotonic() - began
            found = Overview(started, took_s=took_s, refused=visible(error.message))
        self._known[pid] = found


def _overview(program: Inspector) -> Overview:
    """Called in a thread."""
    from spyglass.analysis.findings import written_findings
    from spyglass.analysis.findings.worth_reading import may_wait_for_peers, worth_reading
    from spyglass.report.page_facts import program_name
    from spyglass.report.page_findings import findings_list
    from spyglass.words.population import Population

    began = time.monotonic()
    options = WaitOptions.of_summary(when=worth_reading, beside_locks=may_wait_for_peers)
    taken = program.snapshot("top", waits=options, watch=_WATCH_SECONDS)
    found, listed = written_findings(taken), Population.listed(taken)
    return Overview(
        None,
        took_s=time.monotonic() - began,
        goroutines=listed.user,
        system=listed.system,
        severities=dict(Counter(each.severity for each in found)),
        first=visible(found[0].title) if found else None,
        findings=tuple(elements(findings_list(taken))),
        name=program_name(taken.process),
        about=_about(taken),
    )


def _about(taken: Snapshot) -> str:
    """One line: the process, its host, Go version and module."""
    process = taken.process
    parts = (
        f"pid {process.pid}",
        taken.host and f"on {taken.host}",
        process.go_version,
        process.module,
    )
    return " · ".join(visible(each) for each in parts if each)
