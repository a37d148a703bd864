"""The sources of ``spyglass top``: a process, successive processes of one name, or saved snapshots."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spyglass.cli.sources import ProcessSource, SavedSource, Source
from spyglass.cli.typed_targets import SNAPSHOT_SUFFIXES
from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.tui.feed import Tick, TickSource
from spyglass.tui.leaks import LeakWatch

if TYPE_CHECKING:
    from spyglass.cli.top_sampling import CpuSampling
    from spyglass.inspector import Inspector
    from spyglass.model import Snapshot
    from spyglass.runtime.scheduler_watch import SchedulerWatch
    from spyglass.runtime.waiting.options import WaitOptions
    from spyglass.tui.sampled import Sampled

__all__ = ["tick_source"]

#: Of a larger heap `top` looks through no more: ``spyglass waits`` does.
_HEAP_LIMIT_BYTES = 256 << 20


def tick_source(source: Source | None, follow_name: str | None) -> TickSource:
    """The source to watch; raises `SpyglassError` if there is nothing to show."""
    if source is None or isinstance(source, ProcessSource):
        live = LiveTicks(follow_name)
        live.attach(source.pid if source is not None else None)
        return live
    if isinstance(source, SavedSource) and os.path.isdir(source.path):
        return SeriesTicks(_files(Path(source.path)), source.max_bytes)
    return StillTicks(source.snapshot("full"))


class LiveTicks:
    """A running process; after its end, the next process called `name`."""

    is_live = True

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._inspector: Inspector | None = None
        self._pid = 0
        self._watch: SchedulerWatch | None = None
        self._leaks = LeakWatch()
        self._sampling: CpuSampling | None = None

    @property
    def follows(self) -> bool:
        """Whether there may be another process after this one."""
        return self._name is not None

    def attach(self, pid: int | None = None) -> None:
        """Attach to process `pid`, or to the one called `name`."""
        from spyglass import attach
        from spyglass.memory.allocator import keep_freed_memory
        from spyglass.processes import find_by_name

        keep_freed_memory()
        self._pid = find_by_name(self._name or "") if pid is None else pid
        self._watch = None
        self._leaks = LeakWatch()
        self._inspector = attach(self._pid)

    def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
        """The current state; raises `ProcessChanged` or `ProcessNotFound` if the process has ended."""
        if self._inspector is None:
            self.attach()
        assert self._inspector is not None
        try:
            before, self._watch = self._watch, self._inspector.watch()
            snapshot = self._inspector.snapshot(
                "full" if full else "top",
                waits=self._wait_options() if waits else None,
                watch=before,
            )
            percent, sampled = _cpu_percent(snapshot), self._sampled(cpu)
            return Tick(self._with_leaks(snapshot), percent, sampled=sampled)
        except (ProcessChanged, ProcessNotFound):
            if self.follows:
                self.close()
            raise

    def _sampled(self, wanted: bool) -> Sampled | None:
        """What was sampled in the last seconds, if that is `wanted`: the sampling begins, or ends."""
        from spyglass.cli.top_sampling import CpuSampling

        if not wanted:
            self._end_sampling(0)
            return None
        if self._sampling is None:
            self._sampling = CpuSampling(self._pid)
        return self._sampling.now()

    def _end_sampling(self, timeout_seconds: float = 5.0) -> None:
        if self._sampling is not None:
            self._sampling.close(timeout_seconds)
            self._sampling = None

    def _wait_options(self) -> WaitOptions:
        """With the heap now and then: it takes too long for each refresh."""
        from spyglass.runtime.waiting.options import WaitOptions

        due = self._leaks.is_due(time.monotonic_ns())
        return WaitOptions(heap=due, heap_limit_bytes=_HEAP_LIMIT_BYTES)

    def _with_leaks(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with what is known of goroutines that nothing can wake."""
        if snapshot.waits is None:
            return snapshot
        took_ns = snapshot.timings_ns.get("waits", 0)
        waits = self._leaks.note(snapshot.waits, time.monotonic_ns(), took_ns)
        return replace(snapshot, waits=waits)

    def step(self, by: int) -> None:
        """Nothing: a process has no series."""

    def close(self) -> None:
        """Close the inspector, and end the sampling."""
        self._end_sampling()
        if self._inspector is not None:
            self._inspector.close()
            self._inspector = None


def _cpu_percent(snapshot: Snapshot) -> float | None:
    """CPU use since the last tick, in percent of one processor; None the first time."""
    use = snapshot.cpu
    if use is None or not use.window_ns or use.used_ns is None:
        return None
    return use.used_ns * 100 / use.window_ns


@dataclass
class StillTicks:
    """A single snapshot."""

    snapshot: Snapshot
    is_live: bool = field(default=False, init=False)
    follows: bool = field(default=False, init=False)

    def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
        """The snapshot, with the stacks it has."""
        return Tick(self.snapshot)

    def step(self, by: int) -> None:
        """Nothing: there is no series."""

    def close(self) -> None:
        """Nothing is open."""


class SeriesTicks:
    """The saved snapshots in a directory, in the order in which they were taken."""

    is_live = False
    follows = False

    def __init__(self, files: Sequence[Path], max_bytes: int | None = None) -> None:
        self._sources = [SavedSource(str(file), max_bytes) for file in files]
        self._at = 0
        self._loaded: dict[int, Snapshot] = {}

    def take(self, full: bool, waits: bool = False, cpu: bool = False) -> Tick:
        """The current snapshot, and the previous one."""
        at = self._at
        previous = self._load(at - 1) if at else None
        snapshot = self._load(at)
        self._loaded = {n: each for n, each in self._loaded.items() if abs(n - at) <= 1}
        return Tick(snapshot, previous=previous, position=(at, len(self._sources)))

    def step(self, by: int) -> None:
        """Move `by` snapshots, at most to the first or the last one."""
        self._at = min(max(self._at + by, 0), len(self._sources) - 1)

    def close(self) -> None:
        """Nothing is open."""

    def _load(self, number: int) -> Snapshot:
        if number not in self._loaded:
            self._loaded[number] = self._sources[number].snapshot("top")
        return self._loaded[number]


def _files(directory: Path) -> list[Path]:
    """The snapshots in `directory`, by name: those of a series are numbered."""
    found = sorted(path for path in directory.iterdir() if path.name.endswith(SNAPSHOT_SUFFIXES))
    if not found:
        raise SpyglassError(f"no snapshots in {directory}")
    return found
