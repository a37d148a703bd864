"""What the page shows live, as server-sent events: the processes of the host, or one of them."""

from __future__ import annotations

import json
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from spyglass.escape import visible
from spyglass.procfs import started_at
from spyglass.serve.live import LIVE, EventStream, Frames, frame, repeated
from spyglass.serve.operations import Asked
from spyglass.serve.problems import Refusal
from spyglass.words.containers import pod_text
from spyglass.words.units import UNKNOWN

if TYPE_CHECKING:
    from spyglass.process_list import GoProcess, ProcessList
    from spyglass.procfs.cpu_times import ProcessTime
    from spyglass.serve.overviews import Overview
    from spyglass.serve.service import Service

__all__ = ["LIVE", "host", "process"]

_HOST_SECONDS = 1.5
#: A longer text is cut in what is sent again and again.
_LONGEST = 400
#: As much of a container's id is shown as Docker shows.
_ID_WIDTH = 12


async def host(service: Service, _asked: Asked) -> Response:
    """The processes of this host, with what is unusual in each as far as it was read."""
    processes = _Processes(service)
    return EventStream(service, repeated(service, _HOST_SECONDS, processes.event, lambda: False))


async def process(service: Service, asked: Asked) -> Response:
    """One process: a line of ``top``, its findings when they were read anew, and its profiles."""
    frames = Frames(asked.values)
    await service.pool.read(asked.pid, "checked", lambda program: program.check())
    live = _Live(service, asked.pid, frames)
    interval_s = asked.values["interval"] / 1e9
    return EventStream(service, repeated(service, interval_s, live.event, lambda: frames.is_over))


class _Processes:
    """The list of processes, again and again; overviews are read from the second time on, so that the list comes at once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._before: dict[int, ProcessTime] | None = None

    async def event(self) -> bytes:
        """The next event."""
        is_first = self._before is None
        try:
            listing = await self._service.readings.share("host", object(), self._list, light=True)
        except Refusal as refusal:
            return _written({"problem": refusal.message})
        overviews = self._service.overviews
        if not is_first:
            await overviews.want_some(listing.processes)
        return _written(
            {
                "processes": [
                    _row(each, overviews.of(each.pid, each.started_at))
                    for each in listing.processes
                ],
                "unreadable": len(listing.unreadable),
                "profiles": _profiles(self._service),
            }
        )

    def _list(self) -> ProcessList:
        """Called in a thread."""
        from spyglass.processes import go_processes
        from spyglass.procfs.cpu_times import process_times

        listing = go_processes(before=self._before)
        self._before = process_times(each.pid for each in listing.processes)
        return listing


class _Live:
    """Process `pid`, again and again. Its findings come when they were read anew: they cost more than a line."""

    def __init__(self, service: Service, pid: int, frames: Frames) -> None:
        self._service, self._pid, self._frames = service, pid, frames
        self._started = started_at(pid)
        self._shown: Overview | None = None

    async def event(self) -> bytes:
        """The next event."""
        content: dict[str, Any] = json.loads(await frame(self._service, self._pid, self._frames))
        content.pop("findings", None)  # those of an overview know what goroutines wait on, too
        content["profiles"] = _profiles(self._service)
        if not self._frames.is_over:
            self._service.overviews.want(self._pid, self._started)
        found = self._service.overviews.of(self._pid, self._started)
        if found is not None and found is not self._shown and found.refused is None:
            self._shown = found
            content |= {"findings": found.findings, "name": found.name, "about": found.about}
        return _written(content)


def _profiles(service: Service) -> list[dict[str, Any]]:
    return [job.document() for job in service.recordings.jobs()]


def _row(process: GoProcess, overview: Overview | None) -> dict[str, Any]:
    """A row of the list."""
    path = PurePosixPath(process.exe or process.package or "")
    row = {
        "pid": process.pid,
        "name": path.name or UNKNOWN,
        "user": process.user,
        "go_version": process.go_version,
        "container": _container(process),
        "age_seconds": process.age_seconds,
        "cpu_cores": process.cpu_cores,
        "rss_bytes": process.rss_bytes,
        "threads": process.threads,
    }
    if overview is None:
        return row | {"overview": None}
    names = ("goroutines", "system", "severities", "first", "refused")
    known = {name: getattr(overview, name) for name in names}
    return row | {"overview": known | {"age_seconds": time.monotonic() - overview.read_at}}


def _container(process: GoProcess) -> str | None:
    """The pod or the container of `process`, in the words of ``ps``."""
    if process.pod is not None:
        return pod_text(process)
    return process.container_name or (process.container and process.container[:_ID_WIDTH])


def _written(content: dict[str, Any]) -> bytes:
    return json.dumps(_shown(content), separators=(",", ":")).encode("ascii")


def _shown(value: Any) -> Any:
    """`value` with every text in it safe to show, and not too long to be sent again and again. `visible` leaves what has
    gone through it as it is."""
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
        return visible(text)
    if isinstance(value, dict):
        return {_shown(name): _shown(each) for name, each in value.items()}
    return [*map(_shown, value)] if isinstance(value, list | tuple) else value
