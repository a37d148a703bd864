"""What feeds the view: one thread that takes snapshots, so that the screen never waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.model import Snapshot

__all__ = ["MAX_INTERVAL_NS", "MIN_INTERVAL_NS", "Event", "Failure", "Feed", "Tick", "TickSource"]

MIN_INTERVAL_NS = 100_000_000
MAX_INTERVAL_NS = 3600 * 1_000_000_000

#: The view never takes a larger part of a processor than this for its reading: it waits longer instead.
_MAX_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class Tick:
    """A snapshot, and what else is known of that moment.

    `cpu_percent`: of one processor, since the tick before; None: not known yet. `previous`: the
    snapshot before it in a series. `position`: its number in a series, from 0, and of how many.
    `pause_ns`: the time until the next one; None: there is none by itself.
    """

    snapshot: Snapshot
    cpu_percent: float | None = None
    took_ns: int = 0
    previous: Snapshot | None = None
    position: tuple[int, int] | None = None
    pause_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A tick that failed: why, and whether the process is no more."""

    message: str
    ended: bool


Event = Tick | Failure


class TickSource(Protocol):
    """What ticks are taken of.

    `is_live`: it changes by itself. `follows`: when it has ended, there may be another.
    """

    @property
    def is_live(self) -> bool: ...
    @property
    def follows(self) -> bool: ...

    def take(self, full: bool) -> Tick:
        """What there is now, with whole stacks if `full`; raises `SpyglassError`."""

    def step(self, by: int) -> None:
        """Go so far in a series."""

    def close(self) -> None:
        """Let go of it."""


class Feed:
    """Takes ticks of `source` in a thread of its own and hands each to `deliver`, in that thread.

    A tick that fails is a `Failure`, after which the next is tried, unless the process has ended. Where
    ticks take long they become rarer, so that reading takes no more than a third of a processor.
    """

    def __init__(
        self, source: TickSource, interval_ns: int, deliver: Callable[[Event], object]
    ) -> None:
        self._source = source
        self._deliver = deliver
        self._interval_ns = interval_ns
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._closed = self._paused = self._asked = self._ended = False
        self._full = True  # so that what is compared with later has stacks
        self._thread = threading.Thread(target=self._run, name="spyglass-feed", daemon=True)

    def start(self) -> None:
        """Begin: the first tick is taken at once."""
        self._asked = True
        self._thread.start()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """End the thread, which lets go of the source when its last tick is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    @property
    def is_live(self) -> bool:
        """Whether there are ticks without being asked."""
        return self._source.is_live

    @property
    def interval_ns(self) -> int:
        """The time from one tick to the next, if they do not take too long."""
        return self._interval_ns

    @interval_ns.setter
    def interval_ns(self, interval_ns: int) -> None:
        self._interval_ns = min(max(interval_ns, MIN_INTERVAL_NS), MAX_INTERVAL_NS)
        with self._changed:
            self._changed.notify()

    @property
    def paused(self) -> bool:
        """Whether no ticks are taken."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify()

    @property
    def full(self) -> bool:
        """Whether whole stacks are read from the next tick on."""
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        """Whole stacks cost more, and are asked for at once where they are not there yet."""
        with self._changed:
            self._asked = self._asked or (full and not self._full and not self._paused)
            self._full = full
            self._changed.notify()

    def step(self, by: int) -> None:
        """Go so far in a series, and take that."""
        with self._changed:
            self._source.step(by)
            self._asked = True
            self._changed.notify()

    def take_full(self) -> Snapshot:
        """A snapshot with whole stacks, taken now in the caller's thread; raises `SpyglassError`."""
        with self._taking:
            return self._source.take(True).snapshot

    def _run(self) -> None:
        due_ns = 0
        while self._wait(due_ns):
            began_ns = time.monotonic_ns()
            took_ns = self._tick()
            due_ns = began_ns + self._pause_ns(took_ns)
        with self._taking:
            self._source.close()

    def _pause_ns(self, took_ns: int) -> int:
        return max(self._interval_ns, int(took_ns / _MAX_SHARE))

    def _wait(self, due_ns: int) -> bool:
        """Wait until a tick is due, or asked for; no if there will be none any more."""
        interval_ns = self._interval_ns
        with self._changed:
            while not self._closed and not self._asked:
                goes_on = self._source.is_live and not self._paused and not self._ended
                due_ns += self._interval_ns - interval_ns
                interval_ns = self._interval_ns
                left_ns = due_ns - time.monotonic_ns()
                if goes_on and left_ns <= 0:
                    break
                self._changed.wait(left_ns / 1e9 if goes_on else None)
            self._asked = False
            return not self._closed

    def _tick(self) -> int:
        """Take one and deliver it; how long it took in ns."""
        began_ns = time.monotonic_ns()
        event = self._taken()
        took_ns = time.monotonic_ns() - began_ns
        if isinstance(event, Failure):
            self._ended = event.ended and not self._source.follows
        else:
            pause_ns = self._pause_ns(took_ns) if self._source.is_live else None
            event = Tick(
                event.snapshot, event.cpu_percent, took_ns, event.previous, event.position, pause_ns
            )
        if not self._closed:
            self._deliver(event)
        return took_ns

    def _taken(self) -> Event:
        try:
            with self._taking:
                return self._source.take(self._full)
        except SpyglassError as error:
            return Failure(error.message, isinstance(error, ProcessChanged | ProcessNotFound))
        except Exception as error:  # the picture that is there is worth more than the reason
            return Failure(f"{type(error).__name__}: {error}", ended=False)
