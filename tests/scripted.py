"""The view with ticks from a test; everything else is real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from textual.pilot import Pilot

from spyglass.errors import SpyglassError
from spyglass.model import Snapshot
from spyglass.tui.app import TopApp
from spyglass.tui.feed import Tick
from spyglass.tui.sampled import Sampled
from spyglass.tui.view_state import Model

__all__ = ["ScriptedTicks", "app_of", "screen", "ticks_of", "until"]


class ScriptedTicks:
    """Gives one of `events`, snapshots or errors, again and again, until the next step."""

    def __init__(
        self,
        events: Sequence[Snapshot | SpyglassError],
        *,
        is_live: bool = True,
        follows: bool = False,
    ) -> None:
        self.events = list(events)
        self.is_live = is_live
        self.follows = follows
        self.at = 0
        self.taken: list[bool] = []
        self.waited: list[bool] = []
        #: What ticks with processor time have; those without are asked for None.
        self.sampled = Sampled()
        self.sampling: list[bool] = []
        self.closed = False

    def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
        self.taken.append(full)
        self.waited.append(waits)
        self.sampling.append(cpu)
        event = self.events[min(self.at, len(self.events) - 1)]
        if isinstance(event, SpyglassError):
            raise event
        position = None if self.is_live else (self.at, len(self.events))
        return Tick(event, 12.0, position=position, sampled=self.sampled if cpu else None)

    def step(self, by: int) -> None:
        self.at = min(max(self.at + (1 if self.is_live else by), 0), len(self.events) - 1)

    def close(self) -> None:
        self.closed = True


def app_of(
    *events: Snapshot | SpyglassError, interval_ns: int = 3_600_000_000_000, **ticks: bool
) -> TopApp:
    """The view, fed with `events`: with the first at once, with each further one on Space."""
    return TopApp(Model(), ScriptedTicks(events, **ticks), interval_ns)


def ticks_of(app: TopApp) -> ScriptedTicks:
    """What feeds `app`."""
    ticks = app.feed._source
    assert isinstance(ticks, ScriptedTicks)
    return ticks


def screen(app: TopApp) -> list[str]:
    """What is on the screen, line by line."""
    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


async def until(pilot: Pilot[None], words: str, seconds: float = 10.0) -> list[str]:
    """The screen, as soon as `words` are on it."""
    deadline = time.monotonic() + seconds
    app = pilot.app
    assert isinstance(app, TopApp)
    while True:
        await pilot.pause()
        lines = screen(app)
        if any(words in line for line in lines):
            return lines
        assert time.monotonic() < deadline, "\n".join([f"no {words!r} in", *lines])
        await asyncio.sleep(0.01)
