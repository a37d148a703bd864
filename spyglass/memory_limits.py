"""The limits of a process's memory, and what is known of how near they are, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spyglass.model import Problem

__all__ = [
    "Effect",
    "Kind",
    "MemoryForecast",
    "MemoryLimit",
    "MemoryLimits",
    "MemoryPressure",
    "MemoryReading",
    "OpenFile",
]

Kind = Literal["cgroup", "rlimit", "host", "gomemlimit"]
#: What happens when a limit is met: a process is killed; the kernel slows the process down; it refuses memory;
#: the Go runtime collects garbage more often; nothing more is swapped out.
Effect = Literal["kill", "slow", "refuse", "collect", "swap"]


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """One limit, and how much of it is used. Sizes are in bytes; None: not known, or there is none.

    `name` is that of the kernel or of Go ("memory.max", "RLIMIT_AS", "GOMEMLIMIT"), `path` the control group as
    in /proc/PID/cgroup. `bytes` is None for the process's own group if that has no limit. `used_bytes` is
    of all processes of a control group, and of its page cache; `reclaimable_bytes` of it are page cache that the
    kernel drops before it kills: pages of files, not those of tmpfs. `working_set_bytes` is what Kubernetes shows:
    used, without the inactive pages of files.

    `peak_bytes`: the most that was ever used, page cache counted in. `hits`: how often the limit was met.
    `oom_kills`: processes that the kernel killed for lack of memory, with cgroups(7) version 2 and for the host wherever below,
    with version 1 in this group itself; None: not known.
    """

    kind: Kind
    name: str
    effect: Effect
    path: str | None = None
    bytes: int | None = None
    used_bytes: int | None = None
    reclaimable_bytes: int | None = None
    working_set_bytes: int | None = None
    peak_bytes: int | None = None
    hits: int | None = None
    oom_kills: int | None = None

    @property
    def held_bytes(self) -> int | None:
        """What is used and cannot be reclaimed."""
        if self.used_bytes is None:
            return None
        return max(self.used_bytes - (self.reclaimable_bytes or 0), 0)

    @property
    def headroom_bytes(self) -> int | None:
        """What is left until the limit is met, when all that can be reclaimed is; 0 if it is exceeded."""
        held = self.held_bytes
        return None if self.bytes is None or held is None else max(self.bytes - held, 0)

    @property
    def headroom_share(self) -> float | None:
        """`headroom_bytes` as a share of the limit."""
        left = self.headroom_bytes
        return None if left is None or not self.bytes else left / self.bytes


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """How long tasks waited for memory (PSI): shares in percent of the last 10, 60 and 300 seconds.

    `some`: at least one task did, `full`: all that were not idle did at once. `path` is a control group, None
    for the host.
    """

    path: str | None
    some_percent: tuple[float, float, float]
    full_percent: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file that the process has open, and how much of it is in memory, whoever read or wrote it.

    `cached_bytes` and `dirty_bytes` (not yet written to the disk) are None if the kernel does not tell.
    `in_memory`: a file of tmpfs, or a memfd: it cannot be reclaimed.
    """

    path: str
    size_bytes: int
    cached_bytes: int | None
    dirty_bytes: int | None
    in_memory: bool


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """All limits of a process: its control groups from its own to the outermost, then resource limits, Go's and the
    host's.

    `swap_free_bytes`: what may still be swapped out; None: not known. `oom_score_adj`: -1000: the kernel never
    chooses this process. `files`: the largest in memory first; None: they were not looked at.
    """

    rows: tuple[MemoryLimit, ...] = ()
    pressure: tuple[MemoryPressure, ...] = ()
    swap_free_bytes: int | None = None
    oom_score_adj: int | None = None
    files: tuple[OpenFile, ...] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def ending(self) -> tuple[MemoryLimit, ...]:
        """Those that end the process or its growth, of which it is known what is left."""
        return tuple(
            row
            for row in self.rows
            if row.effect in ("kill", "slow", "refuse") and row.headroom_bytes is not None
        )

    @property
    def nearest(self) -> MemoryLimit | None:
        """The one of `ending` of which the least is left."""
        return min(self.ending, key=lambda limit: limit.headroom_bytes or 0, default=None)

    @property
    def group(self) -> MemoryLimit | None:
        """The hard limit of the process's own control group, which may have none."""
        return next((limit for limit in self.rows if limit.kind == "cgroup"), None)


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """What a forecast needs to know of one moment, `at_ns` (CLOCK_MONOTONIC). Sizes in bytes; None: not known.

    `heap_ready_bytes`: memory of Go's heap that is not returned to the kernel; `heap_unused_bytes` of it is lost to
    fragmentation. `heap_now_bytes`: objects, with garbage that is not yet collected; `heap_live_bytes`: what the last
    collection found alive, which ended at `gc_at_ns`; `heap_goal_bytes`: the size at which the next one is due.
    `go_bytes`: what counts toward `go_limit_bytes` (GOMEMLIMIT; None: there is none). `allocated_bytes`: by objects since the
    program started.
    """

    at_ns: int
    limits: MemoryLimits
    heap_ready_bytes: int | None = None
    heap_unused_bytes: int | None = None
    heap_now_bytes: int | None = None
    heap_live_bytes: int | None = None
    heap_goal_bytes: int | None = None
    go_bytes: int | None = None
    go_limit_bytes: int | None = None
    allocated_bytes: int | None = None
    gc_count: int | None = None
    gc_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """When a limit is met if memory goes on growing as it did in the last `window_seconds`.

    `limit` is a row of `MemoryLimits.rows`. `earliest_in_seconds` and `latest_in_seconds` count from the last reading;
    `latest_in_seconds` is None if growth slows down, so that the limit may never be met. `rule`: what was extrapolated: the
    heap's "goal" or what is "live" in it, each with all other memory, or "used", memory as the kernel counts it.
    """

    limit: int
    earliest_in_seconds: float
    latest_in_seconds: float | None
    rule: Literal["goal", "live", "used"]
    window_seconds: float
