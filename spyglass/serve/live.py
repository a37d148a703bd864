"""What ``spyglass top`` shows, as events: a line of ``spyglass.top/1`` for each reading of a process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from spyglass.analysis.subset import part
from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.serve.operations import Asked
from spyglass.serve.parameters import span
from spyglass.serve.problems import Refusal
from spyglass.serve.process_answers import GROUPS, wanted
from spyglass.tui.feed import Failure, Tick
from spyglass.tui.plain import json_line
from spyglass.tui.view_state import GROUPINGS, Model

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.runtime.scheduler_watch import SchedulerWatch
    from spyglass.serve.service import Service

__all__ = ["LIVE", "EventStream", "Frames", "frame", "live", "repeated"]

LIVE = (
    *GROUPS,
    span(
        "interval", "The time between readings; longer if they take long.", 0.5, 3600, default_s=1
    ),
)


class Frames:
    """The lines of one view: groups of goroutines as `GROUPS` says; `compares`: there are several, one after the other."""

    def __init__(self, values: Mapping[str, Any], *, compares: bool = True) -> None:
        by = values["by"] or "function"
        if by not in GROUPINGS and not (by.startswith("label:") and by != "label:"):
            raise Refusal(400, f"by: must be one of {', '.join(GROUPINGS)}, label:KEY")
        self._model = Model(by)
        self._model.compares = compares
        self._wanted, self._limit = wanted(values), values["limit"]
        self._watch: SchedulerWatch | None = None
        self.is_over = False

    @property
    def needs_stacks(self) -> bool:
        """Whether the next snapshot must have whole stacks."""
        needed = self._wanted.criteria.function is not None
        return needed or self._model.snapshot is None or self._model.needs_stacks

    def line(self, snapshot: Snapshot, took_ns: int = 0) -> bytes:
        """The line of `snapshot`."""
        rows = self._wanted.rows(snapshot, system=True)
        use = snapshot.cpu
        percent = None
        if use is not None and use.window_ns and use.used_ns is not None:
            percent = use.used_ns * 100 / use.window_ns
        chosen = part(snapshot, rows) if self._wanted.criteria else snapshot
        self._model.note(Tick(chosen, percent, took_ns or snapshot.took_ns))
        return self._text()

    def failed(self, error: SpyglassError) -> bytes:
        """The line for a reading that failed."""
        self.is_over = isinstance(error, ProcessChanged | ProcessNotFound)
        self._model.note(Failure(error.message, self.is_over))
        return self._text()

    def next(self, program: Inspector) -> bytes:
        """The line of a new snapshot of `program`; its processor time is counted from the one before. Called in a thread."""
        began_ns = time.monotonic_ns()
        before, self._watch = self._watch, program.watch()
        depth = "full" if self.needs_stacks else "top"
        snapshot = program.snapshot(depth, watch=before)  # type: ignore[arg-type]
        return self.line(snapshot, time.monotonic_ns() - began_ns)

    def _text(self) -> bytes:
        return json_line(self._model, self._limit).encode("ascii")


async def live(service: Service, asked: Asked) -> Response:
    """Events for as long as the client listens, or until the process ends; raises at once what says that it cannot be
    read."""
    frames = Frames(asked.values)
    await service.pool.read(asked.pid, "checked", lambda program: program.check())
    lines = repeated(
        service,
        asked.values["interval"] / 1e9,
        lambda: frame(service, asked.pid, frames),
        lambda: frames.is_over,
    )
    return EventStream(service, lines)


class EventStream(StreamingResponse):
    """Server-sent events. The stream is counted from now on until the client has left, which may be before the first event."""

    def __init__(self, service: Service, events: AsyncIterator[bytes]) -> None:
        service.open_stream()
        self._service = service
        super().__init__(events, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.streams -= 1


async def repeated(
    service: Service,
    interval_s: float,
    take: Callable[[], Awaitable[bytes]],
    is_over: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """What `take` gives as events, until `is_over`, or the server is to end."""
    while not (is_over() or service.closing.is_set()):
        began = time.monotonic()
        yield b"data: %b\n\n" % await take()
        took_s = time.monotonic() - began
        pause_s = max(interval_s - took_s, took_s / service.settings.max_cpu - took_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(service.closing.wait(), pause_s)


async def frame(service: Service, pid: int, frames: Frames) -> bytes:
    """The next line of `frames` of process `pid`, or why there is none."""
    try:
        return await service.pool.read(pid, object(), frames.next)
    except SpyglassError as error:
        return frames.failed(error)
    except Refusal as refusal:
        return json.dumps({"problem": refusal.message, "ended": None}).encode("ascii")
