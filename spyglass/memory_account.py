"""Where the memory of a process goes: an account of its resident memory, as plain data.

Two sides are told: what the kernel holds resident, in parts that sum up to all of it, and what the Go runtime
accounts for, which is not all resident. None is a value that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from spyglass.memory_limits import MemoryForecast, MemoryLimits
from spyglass.model import Problem, Process

__all__ = [
    "CLASSES",
    "LEAST_WINDOW_NS",
    "GcStats",
    "GoMemory",
    "MemoryAccount",
    "Part",
    "ResidentMapping",
    "ResidentPart",
]

#: What resident memory is of. go_heap_objects: slots of the heap that hold objects, dead ones too until they are
#: swept; go_heap_unused: slots without, and what is left at the end of spans; go_heap_free: spans that are free, kept for
#: later or returned to the kernel lazily; go_stacks: of goroutines; go_metadata: the runtime's own; go_arenas: the
#: heap and stacks of a process whose pages could not be told apart; binary: the program's file and its variables; c:
#: other anonymous memory, of C or mapped by the program itself; thread_stacks; files: mapped files; shared: shared
#: memory, tmpfs and memfds; other.
Part = Literal[
    "go_heap_objects", "go_heap_unused", "go_heap_free", "go_stacks", "go_metadata", "go_arenas", "binary",
    "c", "thread_stacks", "files", "shared", "other",
]  # fmt: skip

#: The shortest time of which a rate is stated.
LEAST_WINDOW_NS = 50_000_000

#: The names of ``runtime/metrics`` under /memory/classes, without that prefix and ":bytes".
CLASSES: tuple[str, ...] = (
    "heap/free", "heap/objects", "heap/released", "heap/stacks", "heap/unused",
    "metadata/mcache/free", "metadata/mcache/inuse", "metadata/mspan/free", "metadata/mspan/inuse",
    "metadata/other", "os-stacks", "other", "profiling/buckets", "total",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ResidentPart:
    """`bytes` of resident memory are of `part`.

    `source`: how that is known. `doubtful_bytes`: so many of them may be of another part. `lazy_free_bytes`:
    so many the kernel takes as soon as it needs memory (``MADV_FREE``, madvise(2)).
    """

    part: Part
    bytes: int
    source: str
    doubtful_bytes: int = 0
    lazy_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ResidentMapping:
    """A mapping that is not Go's heap, or several of one `name`: a file's path, a kernel's word in brackets, or
    empty for anonymous memory at `address`."""

    part: Part
    name: str
    address: int
    size_bytes: int
    resident_bytes: int
    swap_bytes: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class GcStats:
    """Garbage collections.

    `pauses_ns`: stop-the-world pauses of the last collections, the latest first, 256 at most; `pause_ends_ns`: when they
    ended, in ns since 1970. `cpu_fraction`: the share of all processor time that was available since the program
    started (``GOMAXPROCS`` processors) that collections took. While the account was made, in `window_ns`, `collections`
    ended and `allocated_bytes` were allocated.
    """

    cycles: int | None = None
    last_at: datetime | None = None
    pause_total_ns: int | None = None
    pauses_ns: tuple[int, ...] = ()
    pause_ends_ns: tuple[int, ...] = ()
    recent_cycles: int | None = None
    cpu_fraction: float | None = None
    window_ns: int | None = None
    collections: int | None = None
    allocated_bytes: int | None = None

    @property
    def allocation_rate(self) -> float | None:
        """Bytes allocated in a second of the window; None if that is too short: Go counts what is allocated when a span is
        full."""
        if self.allocated_bytes is None or self.window_ns is None:
            return None
        if self.window_ns < LEAST_WINDOW_NS:
            return None
        return self.allocated_bytes * 1e9 / self.window_ns


@dataclass(frozen=True, slots=True)
class GoMemory:
    """What the Go runtime accounts for.

    `classes`: bytes by the names of `CLASSES`, None where this version has no such number. `heap_live_bytes`: what the
    last collection marked; `heap_now_bytes`: that and what was allocated since. `heap_goal_bytes`: the size at which the
    next collection ends, None if there will be none; `gogc_goal_bytes`: what it would be without GOMEMLIMIT.
    `gogc_percent`: -1 for off. `memory_limit_bytes` (GOMEMLIMIT) is None if there is none, or it is not known.
    """

    classes: Mapping[str, int | None]
    heap_live_bytes: int | None = None
    heap_now_bytes: int | None = None
    heap_goal_bytes: int | None = None
    gogc_goal_bytes: int | None = None
    gogc_percent: int | None = None
    memory_limit_bytes: int | None = None
    gc: GcStats = field(default_factory=GcStats)

    @property
    def limited_bytes(self) -> int | None:
        """What counts toward GOMEMLIMIT (``mstats.go``, ``gcController.mappedReady``)."""
        total, released = self.classes.get("total"), self.classes.get("heap/released")
        return None if total is None or released is None else total - released


@dataclass(frozen=True, slots=True)
class MemoryAccount:
    """The account of a process at `taken_at`.

    `rss_bytes`: resident memory, the sum of `resident`; None in a core, which has no residency. `mappings`: the largest
    that are not Go's heap. `limits`: None in a core. `forecast`: why there is none, if it is a text. `swap_bytes`, `huge_bytes`, `lazy_free_bytes`: of the whole process; `hugetlb_bytes` count
    beside resident memory.
    """

    process: Process
    taken_at: datetime
    took_ns: int
    rss_bytes: int | None
    resident: tuple[ResidentPart, ...]
    go: GoMemory
    mappings: tuple[ResidentMapping, ...] = ()
    swap_bytes: int | None = None
    huge_bytes: int | None = None
    hugetlb_bytes: int | None = None
    lazy_free_bytes: int | None = None
    limits: MemoryLimits | None = None
    forecast: MemoryForecast | str | None = None
    problems: tuple[Problem, ...] = ()

    def part(self, name: Part) -> int:
        """The resident bytes of part `name`, 0 if there are none."""
        return sum(each.bytes for each in self.resident if each.part == name)
