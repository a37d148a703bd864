from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import Layouts, StructLayout, candidate_layouts
from spyglass.runtime.heap.memstats import read_collection_ends, read_memory
from tests.image import ImageMemory
from tests.support import NEWEST

VARIABLES = {"memstats": 0x1000, "gcController": 0x20000, "gcpercent": 0x30000}
PAGE, MIB, NO_LIMIT = 8192, 1 << 20, (1 << 63) - 1
ENDED_NS = 1_795_159_539_986_000_000

NOW = datetime(2026, 7, 1, tzinfo=UTC)


@dataclass
class World:
    """The statistics of a program that has collected garbage twice, as some Go version keeps them."""

    version: str = f"go{NEWEST}"
    arch: str = "amd64"
    memory: ImageMemory = field(default_factory=lambda: ImageMemory({}))

    def __post_init__(self) -> None:
        self.layouts = next(candidate_layouts(self.version, self.arch, None, None, None))
        self.stats = np.zeros(1, self.layouts["mstats"])[0]
        self.stats["enablegc"], self.stats["numgc"] = 1, 2
        self.stats["last_gc_unix"], self.stats["pause_total_ns"] = ENDED_NS, 700
        self.stats["pause_ns"][1] = 300
        self.gcpercent = 100
        if "heapStatsDelta" in self.layouts:
            self.deltas = np.zeros(3, self.layouts["heapStatsDelta"])
            self.stats["heapStats"]["gen"] = 1
            self._fill_deltas()
        else:
            self.stats["heap_inuse"], self.stats["heap_idle"] = 3 * PAGE, 6 * PAGE
            self.stats["heap_released"], self.stats["stacks_inuse"] = PAGE, 2 * PAGE
            self.stats["next_gc"] = 4 * MIB
        self.pacer = None
        if "gcControllerState" in self.layouts:
            self.pacer = np.zeros(1, self.layouts["gcControllerState"])[0]
            self._fill_pacer(self.pacer)

    def _fill_deltas(self) -> None:
        """In use 3 pages, stacks 2, other 1; 11 committed and 1 released: so 5 are free, 6 idle."""
        older, newer = self.deltas[0], self.deltas[1]
        older["committed"], older["released"], older["inHeap"] = 12 * PAGE, 3 * PAGE, 4 * PAGE
        older["inStacks"], older["inWorkBufs"] = 2 * PAGE, PAGE
        newer["committed"], newer["released"], newer["inHeap"] = -PAGE, -2 * PAGE, -PAGE

    def _fill_pacer(self, pacer: Any) -> None:
        if "gcPercent" in pacer.dtype.names:
            pacer["gcPercent"] = 100
        if "heapGoal" in pacer.dtype.names:
            pacer["heapGoal"] = 4 * MIB
        if "gcPercentHeapGoal" in pacer.dtype.names:
            pacer["gcPercentHeapGoal"], pacer["triggered"] = 4 * MIB, (1 << 64) - 1
            pacer["memoryLimit"], pacer["mappedReady"] = NO_LIMIT, 10 * MIB
            pacer["heapFree"], pacer["totalAlloc"], pacer["totalFree"] = MIB, 5 * MIB, 3 * MIB
            pacer["heapMarked"] = 2 * MIB

    def runtime(self, without: str = "", layouts: Layouts | None = None) -> Runtime:
        if "heapStatsDelta" in self.layouts:
            self.stats["heapStats"]["stats"] = self.deltas.tobytes()
        self.memory.place(VARIABLES["memstats"], self.stats.tobytes())
        if self.pacer is not None:
            self.memory.place(VARIABLES["gcController"], self.pacer.tobytes())
        self.memory.place(VARIABLES["gcpercent"], np.array([self.gcpercent], "<i4"))
        found = {name: at for name, at in VARIABLES.items() if name != without}
        layouts = layouts or self.layouts
        return Runtime(self.memory, layouts, found, None, self.arch, self.version)  # type: ignore[arg-type]


def details(runtime: Runtime) -> str:
    return "; ".join(f"{p.kind} {p.subject}: {p.detail}" for p in runtime.problems)


@pytest.mark.parametrize(
    ("version", "arch"),
    [
        ("go1.13", "amd64"),
        ("go1.15", "arm64"),
        ("go1.17", "amd64"),
        ("go1.19", "arm64"),
        ("go1.20", "amd64"),
        ("go1.24", "arm64"),
        (f"go{NEWEST}", "arm64"),
    ],
)
def test_the_account_means_the_same_in_every_version(version: str, arch: str) -> None:
    runtime = World(version, arch).runtime()
    memory = read_memory(runtime, NOW)
    assert (memory.heap_in_use_bytes, memory.heap_idle_bytes) == (3 * PAGE, 6 * PAGE)
    assert (memory.heap_released_bytes, memory.stacks_in_use_bytes) == (PAGE, 2 * PAGE)
    assert (memory.heap_goal_bytes, memory.gogc_percent) == (4 * MIB, 100)
    assert (memory.gc_count, memory.gc_pause_total_ns, memory.last_gc_pause_ns) == (2, 700, 300)
    assert memory.last_gc_at == datetime.fromtimestamp(ENDED_NS / 1e9, UTC)
    assert memory.memory_limit_bytes is None
    assert runtime.problems == []


def test_before_the_first_collection_there_is_no_last_one() -> None:
    world = World()
    world.stats["numgc"] = world.stats["last_gc_unix"] = 0
    memory = read_memory(world.runtime(), NOW)
    assert (memory.gc_count, memory.last_gc_at, memory.last_gc_pause_ns) == (0, None, None)


@pytest.mark.parametrize(("count", "place"), [(1, 0), (256, 255), (257, 0), ((1 << 32) - 1, 254)])
def test_the_last_pause_is_where_the_ring_has_it(count: int, place: int) -> None:
    world = World()
    world.stats["pause_ns"] = np.arange(256) * 10
    world.stats["numgc"] = count
    assert read_memory(world.runtime(), NOW).last_gc_pause_ns == place * 10


@pytest.mark.parametrize("percent", [-1, 0, 37])
def test_gogc_is_what_was_set(percent: int) -> None:
    world = World()
    assert world.pacer is not None
    world.pacer["gcPercent"] = percent
    assert read_memory(world.runtime(), NOW).gogc_percent == percent


def test_a_gogc_that_cannot_be_is_a_problem() -> None:
    world = World("go1.15")
    world.gcpercent = -77
    runtime = world.runtime()
    assert read_memory(runtime, NOW).gogc_percent is None
    assert "GOGC: it cannot be -77" in details(runtime)


@pytest.mark.parametrize(
    ("version", "settings", "goal"),
    [
        (f"go{NEWEST}", {"gcPercentHeapGoal": (1 << 64) - 1}, None),
        ("go1.17", {"heapGoal": (1 << 64) - 1}, None),
        (f"go{NEWEST}", {"sweepDistMinTrigger": 6 * MIB}, 6 * MIB),
        (f"go{NEWEST}", {"triggered": 7 * MIB}, 7 * MIB + (64 << 10)),
        # 7 MiB are no heap. 100 MiB leave 93; 3 % of it, in hundredths rounded down, stay free.
        (
            f"go{NEWEST}",
            {"memoryLimit": 100 * MIB, "gcPercentHeapGoal": 1 << 40},
            93 * MIB - 93 * MIB // 100 * 3,
        ),
        ("go1.20", {"memoryLimit": 100 * MIB, "gcPercentHeapGoal": 1 << 40}, 92 * MIB),
        (f"go{NEWEST}", {"memoryLimit": 9 * MIB, "gcPercentHeapGoal": 1 << 40}, 2 * MIB),
        (f"go{NEWEST}", {"memoryLimit": 11 * MIB, "gcPercentHeapGoal": 1 << 40}, 3 * MIB),
        # 110 MiB are ready, 10 beyond the limit, and 10 are no heap: 80 are left, 3 % of it free.
        (
            f"go{NEWEST}",
            {
                "memoryLimit": 100 * MIB, "mappedReady": 110 * MIB, "heapFree": 60 * MIB,
                "totalAlloc": 43 * MIB, "gcPercentHeapGoal": 1 << 40,
            },
            80 * MIB - 80 * MIB // 100 * 3,
        ),
        (f"go{NEWEST}", {"memoryLimit": 1, "gcPercentHeapGoal": 1 << 40}, 2 * MIB),
        (f"go{NEWEST}", {"memoryLimit": 11 * MIB, "heapMarked": 3 * MIB + 5, "gcPercentHeapGoal": 1 << 40}, 3 * MIB + 5),
    ],
)  # fmt: skip
def test_the_heap_goal_is_computed_as_the_pacer_does(
    version: str, settings: dict[str, int], goal: int | None
) -> None:
    world = World(version)
    assert world.pacer is not None
    for name, value in settings.items():
        world.pacer[name] = value
    runtime = world.runtime()
    assert read_memory(runtime, NOW).heap_goal_bytes == goal
    assert runtime.problems == []


def test_a_pacer_that_never_adds_up_has_no_goal() -> None:
    world = World()
    assert world.pacer is not None
    world.pacer["heapFree"] = 100 * MIB
    runtime = world.runtime()
    assert read_memory(runtime, NOW).heap_goal_bytes is None
    assert "heap goal" in details(runtime)


def test_statistics_that_the_runtime_is_adding_up_are_not_shown() -> None:
    world = World()
    world.deltas[2]["inStacks"] = PAGE
    runtime = world.runtime()
    memory = read_memory(runtime, NOW)
    assert memory.heap_in_use_bytes is memory.stacks_in_use_bytes is None
    assert memory.gc_count == 2
    assert "changed during every read" in details(runtime)


@pytest.mark.parametrize("change", [-10 * PAGE, 100], ids=["negative", "not pages"])
def test_an_account_that_does_not_add_up_is_not_shown(change: int) -> None:
    world = World()
    world.deltas[1]["inHeap"] += change
    runtime = world.runtime()
    assert read_memory(runtime, NOW).heap_in_use_bytes is None
    assert "implausible heap statistics" in details(runtime)


@pytest.mark.parametrize(
    ("name", "value"), [("enablegc", 0), ("enablegc", 77), ("last_gc_unix", 0)]
)
def test_what_is_not_memstats_is_not_taken_for_it(name: str, value: int) -> None:
    world = World()
    world.stats[name] = value
    runtime = world.runtime()
    memory = read_memory(runtime, NOW)
    assert memory.gc_count is memory.heap_in_use_bytes is None
    assert memory.gogc_percent == 100
    assert "implausible values in runtime.memstats" in details(runtime)


def test_a_time_that_cannot_be_is_a_problem() -> None:
    world = World()
    world.stats["last_gc_unix"] = (1 << 64) - 1
    runtime = world.runtime()
    memory = read_memory(runtime, NOW)
    assert (memory.last_gc_at, memory.gc_count) == (None, 2)
    assert "last GC" in details(runtime)


@pytest.mark.parametrize("name", ["memstats", "gcController"])
def test_what_needs_a_variable_that_was_not_found_is_unknown(name: str) -> None:
    runtime = World().runtime(without=name)
    memory = read_memory(runtime, NOW)
    unknown = {"memstats": memory.gc_count, "gcController": memory.gogc_percent}
    known = {"memstats": memory.gogc_percent, "gcController": memory.gc_count}
    assert (unknown[name], known[name] is not None) == (None, True)
    assert f"runtime.{name} could not be found" in details(runtime)


def test_a_layout_that_is_in_doubt_is_not_believed() -> None:
    world = World()
    structs = {"gcControllerState": StructLayout(392, {"gcPercent": (0, "i4")})}
    doubtful = Layouts.of(
        "test", structs, {"gcControllerState": "as in both", "mstats": "they differ"}
    )
    runtime = world.runtime(layouts=doubtful)
    memory = read_memory(runtime, NOW)
    assert memory.gogc_percent is memory.heap_in_use_bytes is memory.heap_goal_bytes is None
    assert "as in both" in details(runtime)
    assert "they differ" in details(runtime)


def test_collections_of_the_last_seconds_are_counted() -> None:
    world = World()
    now_ns = int(NOW.timestamp()) * 10**9
    world.stats["numgc"] = 5
    world.stats["pause_end"][:6] = [
        now_ns - ago * 10**9
        for ago in (40, 11, 9, 5, 1, 0)  # the last of a ring that is not full
    ]
    assert read_memory(world.runtime(), NOW).recent_gc_count == 3
    world.stats["numgc"] = 1000
    world.stats["pause_end"][:] = now_ns
    assert read_memory(world.runtime(), NOW).recent_gc_count == 256


def test_ends_of_collections_are_by_the_clock_of_waits() -> None:
    world = World()
    world.stats["numgc"], world.stats["last_gc_nanotime"] = 3, 1_000
    world.stats["last_gc_unix"] = ENDED_NS
    world.stats["pause_end"][:4] = [ENDED_NS, ENDED_NS - 700, ENDED_NS - 300, 5]
    assert read_collection_ends(world.runtime()).tolist() == [300, 700, 1_000]
    world.stats["pause_end"][:3] = (1 << 64) - 1  # hostile
    assert read_collection_ends(world.runtime()).tolist() == []
    world.stats["enablegc"] = 7
    assert read_collection_ends(world.runtime()).tolist() == []
