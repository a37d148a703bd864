"""Feeds the view: one thread that takes snapshots, so that the screen never waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.model import Snapshot
from spyglass.tui.sampled import Sampled

__all__ = ["MAX_INTERVAL_NS", "MIN_INTERVAL_NS", "Event", "Failure", "Feed", "Tick", "TickSource"]

MIN_INTERVAL_NS = 100_000_000
MAX_INTERVAL_NS = 3600 * 1_000_000_000

#: The largest share of one processor that reading may take; the interval becomes longer instead.
_MAX_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class Tick:
    """A snapshot and what belongs to the same moment.

    `cpu_percent`: of one processor, since the previous tick; None: not known yet. `began_ns`: when reading
    began (monotonic), `took_ns`: the time that it took. `previous`: the snapshot before it in a series. `position`: its index in a
    series, and the length of the series. `pause_ns`: the time until the next tick; None: the source
    does not change. `sampled`: where the processor time of the last seconds went; None if it is not sampled.
    """

    snapshot: Snapshot
    cpu_percent: float | None = None
    took_ns: int = 0
    previous: Snapshot | None = None
    position: tuple[int, int] | None = None
    pause_ns: int | None = None
    began_ns: int = 0
    sampled: Sampled | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A tick that failed: the reason, and whether the process has ended."""

    message: str
    ended: bool


Event = Tick | Failure


class TickSource(Protocol):
    """A source of ticks.

    `is_live`: it changes by itself. `follows`: after the process has ended there may be another.
    """

    @property
    def is_live(self) -> bool: ...
    @property
    def follows(self) -> bool: ...

    def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
        """The current tick, with whole stacks if `full`, and with what goroutines wait on if `waits`; processor time
        is sampled from the first tick with `cpu` to the next without. Raises `SpyglassError`."""

    def step(self, by: int) -> None:
        """Move `by` snapshots in a series."""

    def close(self) -> None:
        """Close it."""


class Feed:
    """Takes ticks of `source` in a thread of its own and passes each to `deliver`, in that thread.

    A tick that fails is delivered as a `Failure`, and the next one is tried, unless the process has
    ended. If reading takes long, the interval grows, so that reading takes at most about a third of a
    processor.
    """

    def __init__(
        self, source: TickSource, interval_ns: int, deliver: Callable[[Event], object]
    ) -> None:
        self._source = source
        self._deliver = deliver
        self._interval_ns = interval_ns
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._closed = self._paused = self._due_now = self._ended = False
        self._waits = self._cpu = False
        self._full = True  # the first snapshot is the baseline, which may be compared by stack
        self._thread = threading.Thread(target=self._run, name="spyglass-feed", daemon=True)

    def start(self) -> None:
        """Start the thread; the first tick is taken at once."""
        self._due_now = True
        self._thread.start()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """End the thread, which closes the source after its current tick."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    @property
    def is_live(self) -> bool:
        """Whether ticks come by themselves."""
        return self._source.is_live

    @property
    def interval_ns(self) -> int:
        """The wanted time from one tick to the next, in ns."""
        return self._interval_ns

    @interval_ns.setter
    def interval_ns(self, interval_ns: int) -> None:
        self._interval_ns = min(max(interval_ns, MIN_INTERVAL_NS), MAX_INTERVAL_NS)
        with self._changed:
            self._changed.notify()

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify()

    @property
    def full(self) -> bool:
        """Whether whole stacks are read, from the next tick on."""
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        """If stacks were not read so far, a tick is due at once."""
        with self._changed:
            self._due_now = self._due_now or (full and not self._full and not self._paused)
            self._full = full
            self._changed.notify()

    @property
    def waits(self) -> bool:
        """Whether it is read what goroutines wait on, from the next tick on."""
        return self._waits

    @waits.setter
    def waits(self, waits: bool) -> None:
        """If it was not read so far, a tick is due at once."""
        with self._changed:
            self._due_now = self._due_now or (waits and not self._waits and not self._paused)
            self._waits = waits
            self._changed.notify()

    @property
    def cpu(self) -> bool:
        """Whether processor time is sampled, from the next tick on."""
        return self._cpu

    @cpu.setter
    def cpu(self, cpu: bool) -> None:
        """If this changes, a tick is due at once."""
        with self._changed:
            self._due_now = self._due_now or (cpu != self._cpu and not self._paused)
            self._cpu = cpu
            self._changed.notify()

    def step(self, by: int) -> None:
        """Move `by` snapshots in a series, and take a tick."""
        with self._changed:
            self._source.step(by)
            self._due_now = True
            self._changed.notify()

    def take_full(self) -> Snapshot:
        """A snapshot with whole stacks, taken now, in the caller's thread; raises `SpyglassError`."""
        with self._taking:
            return self._source.take(True, self._waits, self._cpu).snapshot

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
        """Wait until a tick is due; False if the feed was closed."""
        interval_ns = self._interval_ns
        with self._changed:
            while not self._closed and not self._due_now:
                continues = self._source.is_live and not self._paused and not self._ended
                due_ns += self._interval_ns - interval_ns
                interval_ns = self._interval_ns
                left_ns = due_ns - time.monotonic_ns()
                if continues and left_ns <= 0:
                    break
                self._changed.wait(left_ns / 1e9 if continues else None)
            self._due_now = False
            return not self._closed

    def _tick(self) -> int:
        """Take a tick and deliver it; returns the time that it took in ns."""
        began_ns = time.monotonic_ns()
        event = self._taken()
        took_ns = time.monotonic_ns() - began_ns
        if isinstance(event, Failure):
            self._ended = event.ended and not self._source.follows
        else:
            pause_ns = self._pause_ns(took_ns) if self._source.is_live else None
            event = replace(event, took_ns=took_ns, pause_ns=pause_ns, began_ns=began_ns)
        if not self._closed:
            self._deliver(event)
        return took_ns

    def _taken(self) -> Event:
        try:
            with self._taking:
                return self._source.take(self._full, self._waits, self._cpu)
        except SpyglassError as error:
            return Failure(error.message, isinstance(error, ProcessChanged | ProcessNotFound))
        except Exception as error:  # the last picture stays on the screen
            return Failure(f"{type(error).__name__}: {error}", ended=False)
