from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from spyglass.model import NONE, Goroutines, Thread
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import candidate_layouts
from spyglass.runtime.scheduler.sched import (
    read_ms,
    read_processors,
    read_scheduler,
    read_threads,
    without_moved,
)
from spyglass.runtime.scheduler.thread_stacks import ThreadStacks, _beyond_g0
from spyglass.threads import Registers
from tests.image import ImageMemory
from tests.support import NEWEST

VARIABLES = {"sched": 0x1000, "allp": 0x4000, "allm": 0x4100, "gomaxprocs": 0x4200, "allgs": 0x4300}
PS, P_LIST, MS, GS = 0x100000, 0x90000, 0x800000, 0xC00000
VERSIONS = pytest.mark.parametrize(
    ("version", "arch"),
    [
        ("go1.15", "amd64"),
        ("go1.19", "arm64"),
        ("go1.24", "amd64"),
        (f"go{NEWEST}", "arm64"),
        (f"go{NEWEST}", "amd64"),
    ],
)


@dataclass(frozen=True)
class KernelThread:
    tid: int
    name: str | None = "worker"
    os_state: str | None = "sleeping"


@dataclass
class World:
    """A scheduler of two Ps, three Ms and three goroutines, laid out as some Go version does."""

    version: str = f"go{NEWEST}"
    arch: str = "amd64"
    memory: ImageMemory = field(default_factory=lambda: ImageMemory({}))

    def __post_init__(self) -> None:
        self.layouts = next(candidate_layouts(self.version, self.arch, None, None, None))
        self.sched, self.p = self.zeros("schedt", 1), self.zeros("p", 2)
        self.m, self.g = self.zeros("m", 3), self.zeros("g", 3)
        self._fill_sched(self.sched[0])
        self.p["id"], self.p["status"] = [0, 1], [1, 0]
        self.p["schedtick"], self.p["syscalltick"] = [70, 80], [7, 8]
        self.p["runqhead"], self.p["runqtail"] = [0xFFFFFFFE, 5], [3, 5]
        self.p["runnext"], self.p["gFree"]["size"] = [GS, 0], [2, 1]
        self.p["m"] = [MS, 0]
        self.m["id"], self.m["procid"] = [0, 1, 4], [500, 501, 504]
        self.m["alllink"] = [MS + self.stride("m"), MS + 2 * self.stride("m"), 0]
        self.m["p"], self.m["curg"] = [PS, 0, 0], [GS, 0, GS + 2 * self.stride("g")]
        self.m["lockedg"], self.m["spinning"] = [0, GS + self.stride("g"), 0], [0, 1, 0]
        self.g["goid"], self.g["atomicstatus"] = [1, 18, 33], [2, 4 | 0x1000, 6]
        self.gomaxprocs, self.p_count, self.g_count = 2, 2, 40

    def _fill_sched(self, sched: Any) -> None:
        sched["mnext"], sched["nmfreed"], sched["ngsys"] = 5, 2, 6
        sched["npidle"], sched["nmidle"], sched["nmspinning"] = 1, 3, 1
        sched["runq"]["size"], sched["gcwaiting"] = 9, 1
        if self.layouts.has("schedt", "gFree.n"):
            sched["gFree"]["n"] = 7
        else:
            sched["gFree"]["stack"]["size"], sched["gFree"]["noStack"]["size"] = 3, 4

    def zeros(self, name: str, count: int) -> Any:
        return np.zeros(count, self.layouts[name])

    def stride(self, name: str) -> int:
        """Where the next struct is; they are at multiples of 8, as Go's allocator gives them."""
        return -(-self.layouts[name].itemsize // 8) * 8

    def runtime(self, without: str = "") -> Runtime:
        memory = self.memory
        memory.place(VARIABLES["sched"], self.sched)
        memory.place(VARIABLES["allp"], np.array([P_LIST, self.p_count, self.p_count], "<u8"))
        memory.place(VARIABLES["allm"], np.array([MS], "<u8"))
        memory.place(VARIABLES["gomaxprocs"], np.array([self.gomaxprocs], "<i4"))
        memory.place(VARIABLES["allgs"], np.array([GS, self.g_count, 64], "<u8"))
        memory.place(P_LIST, np.array([PS, PS + self.stride("p")], "<u8"))
        for base, name, rows in ((PS, "p", self.p), (MS, "m", self.m), (GS, "g", self.g)):
            for i in range(len(rows)):
                memory.place(base + i * self.stride(name), rows[i : i + 1])
        found = {name: at for name, at in VARIABLES.items() if name != without}
        return Runtime(memory, self.layouts, found, None, self.arch, self.version)  # type: ignore[arg-type]


def details(runtime: Runtime) -> str:
    return "; ".join(f"{p.kind} {p.subject}: {p.detail}" for p in runtime.problems)


@VERSIONS
def test_counters_mean_the_same_in_every_version(version: str, arch: str) -> None:
    runtime = World(version, arch).runtime()
    scheduler = read_scheduler(runtime)
    assert scheduler.goroutines == 40 - 7 - (2 + 1) - 6
    assert (scheduler.gomaxprocs, scheduler.system_goroutines, scheduler.run_queue) == (2, 6, 9)
    assert (scheduler.idle_ps, scheduler.idle_ms, scheduler.spinning_ms) == (1, 3, 1)
    assert (scheduler.freed_ms, scheduler.gc_waiting) == (2, True)
    assert runtime.problems == []


@VERSIONS
def test_processors_have_their_queue_and_their_thread(version: str, arch: str) -> None:
    runtime = World(version, arch).runtime()
    first, second = read_processors(runtime, read_ms(runtime))
    assert (first.id, first.status, first.schedtick, first.syscalltick) == (0, "running", 70, 7)
    assert first.run_queue == 5 + 1  # its head has gone around, and there is a next one
    assert (first.m, first.tid) == (0, 500)
    assert (second.id, second.status, second.run_queue) == (1, "idle", 0)
    assert (second.m, second.tid) == (None, None)


@VERSIONS
def test_threads_are_joined_with_ms_by_the_id_that_the_runtime_knows(
    version: str, arch: str
) -> None:
    runtime = World(version, arch).runtime()
    tids = (500, 501, 502, 504)
    first, second, foreign, third = read_threads(
        runtime, read_ms(runtime), [KernelThread(tid) for tid in tids]
    )
    assert (first.m, first.goroutine, first.p, first.spinning) == (0, 1, 0, False)
    assert (second.m, second.goroutine, second.p, second.spinning) == (1, None, None, True)
    assert (second.locked_goroutine, first.locked_goroutine) == (18, None)
    assert (foreign.tid, foreign.m, foreign.goroutine, foreign.p) == (502, None, None, None)
    assert (third.m, third.goroutine) == (4, None)  # its goroutine is dead
    assert first.name == "worker"


def test_threads_of_another_pid_namespace_have_the_ids_that_we_know() -> None:
    runtime = World().runtime()
    ms = read_ms(runtime).with_outer_tids({500: 90_500, 504: 90_504, 77: 500})
    assert ms.rows["procid"].tolist() == [90_500, 0, 90_504]
    joined = read_threads(
        runtime, ms, [KernelThread(90_500), KernelThread(90_504), KernelThread(500)]
    )
    assert [thread.m for thread in joined] == [0, 4, None]
    assert [p.tid for p in read_processors(runtime, ms)] == [90_500, None]


def test_a_goroutine_that_moved_is_on_its_later_thread_only() -> None:
    """Goroutine 7 moved from M 1 to M 2 between the reading of both, 8 stopped running, 9 was not read."""
    on = {1: 7, 2: 7, 3: 8, 4: 9, 5: None}
    threads = [
        Thread(100 + m, None, "sleeping", m, goid, None, False, None) for m, goid in on.items()
    ]
    goroutines = Goroutines.of(3, id=np.array([6, 7, 8], np.uint64), m=np.array([NONE, 2, NONE]))
    found = without_moved(threads, goroutines)
    assert [each.goroutine for each in found] == [None, 7, 8, 9, None]
    assert [each.tid for each in found] == [each.tid for each in threads]


def test_a_thread_of_the_kernel_runs_nothing_of_the_program() -> None:
    worker = Thread(7, "iou-wrk-5", "sleeping", None, None, None, False, None)
    registers = Registers(tid=7, pc=0, sp=0, bp=0, g=0)
    assert ThreadStacks.of(cast(Any, None), worker, registers) == worker


@pytest.mark.parametrize(
    ("left", "beyond"), [(0x10, 0x10), (0xFF0, 0xFF0), (0x1000, 0x1000), (0x3000, 0x1000)]
)
def test_no_more_than_there_is_of_the_main_threads_stack_is_read(left: int, beyond: int) -> None:
    memory = ImageMemory({0x7FF000000000 - 0x8000: bytes(0x8000)})
    high = 0x7FF000000000 - left
    assert _beyond_g0(memory, high) == high + beyond


def test_of_two_ms_with_one_thread_the_one_at_work_has_it() -> None:
    world = World()
    world.m["procid"] = [500, 500, 500]
    world.m["curg"] = [0, GS, 0]
    runtime = world.runtime()
    [thread] = read_threads(runtime, read_ms(runtime), [KernelThread(500)])
    assert (thread.m, thread.goroutine) == (1, 1)


@pytest.mark.parametrize("last", [MS, 0xDEAD000], ids=["to itself", "to nowhere"])
def test_a_list_of_ms_that_leads_astray_is_cut_with_a_problem(last: int) -> None:
    world = World()
    world.m["alllink"][2] = last
    runtime = world.runtime()
    assert read_ms(runtime).rows["id"].tolist() == [0, 1, 4]
    assert "threads" in details(runtime)


def test_counters_that_count_other_ms_are_not_believed() -> None:
    world = World()
    world.sched["mnext"] = 77
    runtime = world.runtime()
    scheduler = read_scheduler(runtime)
    assert scheduler.gomaxprocs == 2
    assert scheduler.goroutines is scheduler.idle_ms is scheduler.run_queue is None
    assert "75 Ms, but allm has 3" in details(runtime)


@pytest.mark.parametrize(
    ("counter", "field_name"),
    [
        ("npidle", "idle_ps"),
        ("nmidle", "idle_ms"),
        ("nmspinning", "spinning_ms"),
        ("ngsys", "system_goroutines"),
    ],
)
def test_a_negative_counter_is_not_shown(counter: str, field_name: str) -> None:
    world = World()
    world.sched[counter] = -1
    runtime = world.runtime()
    assert getattr(read_scheduler(runtime), field_name) is None
    assert f"sched.{counter} is -1" in details(runtime)


def test_more_dead_goroutines_than_there_were_make_no_count() -> None:
    world = World()
    world.g_count = 5
    runtime = world.runtime()
    assert read_scheduler(runtime).goroutines is None
    assert "10 free goroutines of 5" in details(runtime)


def test_there_is_at_least_one_goroutine_as_the_runtime_says() -> None:
    world = World()
    world.g_count = 11
    assert read_scheduler(world.runtime()).goroutines == 1


@pytest.mark.parametrize("count", [0, 1 << 40])
def test_a_number_of_ps_that_cannot_be_is_a_problem(count: int) -> None:
    world = World()
    world.p_count = count
    runtime = world.runtime()
    assert read_processors(runtime, read_ms(runtime)) == []
    assert read_scheduler(runtime).gomaxprocs is None
    assert f"implausible count of {count} Ps" in details(runtime)


@pytest.mark.parametrize(("name", "value"), [("id", 9), ("status", 40), ("runqtail", 4000)])
def test_a_p_that_makes_no_sense_is_left_out(name: str, value: int) -> None:
    world = World()
    world.p[name][1] = value
    runtime = world.runtime()
    assert [p.id for p in read_processors(runtime, read_ms(runtime))] == [0]
    assert "processor 1" in details(runtime)


@pytest.mark.parametrize("name", VARIABLES)
def test_what_needs_a_variable_that_was_not_found_is_unknown(name: str) -> None:
    runtime = World().runtime(without=name)
    ms = read_ms(runtime)
    scheduler, processors = read_scheduler(runtime, ms), read_processors(runtime, ms)
    assert len(read_threads(runtime, ms, [KernelThread(500)])) == 1
    unknown = {
        "sched": scheduler.idle_ms is None and scheduler.gomaxprocs == 2,
        "allp": processors == [] and scheduler.goroutines is None,
        "allm": len(ms.rows) == 0 and scheduler.idle_ms is None,
        "gomaxprocs": scheduler.gomaxprocs is None and scheduler.idle_ms == 3,
        "allgs": scheduler.goroutines is None and scheduler.idle_ms == 3,
    }
    assert unknown[name]
    assert f"runtime.{name} could not be found" in details(runtime)
