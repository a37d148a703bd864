"""Make one snapshot of a target: from its memory, and from what the kernel tells of its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import MemoryFault, MissingInfo
from spyglass.model import (
    NONE,
    QUALITIES,
    Goroutines,
    Process,
    Processor,
    Scheduler,
    Snapshot,
    Source,
    Thread,
)
from spyglass.runtime.context import Runtime
from spyglass.runtime.goroutines.decode import g_pointers, last_known_ns
from spyglass.runtime.goroutines.goroutine_reader import Reader
from spyglass.runtime.goroutines.wait_reasons import named_reasons
from spyglass.runtime.goroutines.waits import with_lower_bounds
from spyglass.runtime.heap import memstats
from spyglass.runtime.scheduler import sched
from spyglass.runtime.scheduler.thread_ids import ids_by_stacks
from spyglass.runtime.scheduler.thread_registers import Threads
from spyglass.runtime.stacks.signal_frames import interrupted
from spyglass.runtime.stacks.stack_columns import StackColumns
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.timing import Timer
from spyglass.runtime.waiting.options import Moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import CpuSample, CpuUse
    from spyglass.runtime.goroutines.consistency import Read
    from spyglass.runtime.scheduler.cpu_use import CpuWatch
    from spyglass.runtime.scheduler.thread_stacks import ThreadStacks
    from spyglass.runtime.waiting.options import WaitOptions
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets import Facts, OsThread, Target
    from spyglass.targets.target_process import StoppedThreads
    from spyglass.threads import Registers
    from spyglass.wait_graph import WaitGraph

__all__ = ["SnapshotBuilder", "SnapshotResult", "StackDepth", "Wanted", "process_of"]

StackDepth = Literal["top", "full"]

_UNKNOWN_SCHEDULER = Scheduler(None, None, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a snapshot has beside what every one has, as the arguments of `Inspector.snapshot` say.

    `before_waits` is called when all but waits was read, if these are read, and `after_waits` with the
    goroutines when these were read, too. `only`: which of the goroutines, given the addresses of their ``g``; None: all.
    """

    stacks: StackDepth = "full"
    thread_stacks: bool = False
    waits: WaitOptions | None = None
    before_waits: Callable[[], object] = lambda: None
    after_waits: Callable[[Population], object] = lambda _: None
    only: Callable[[NDArray[np.uint64]], NDArray[np.uint64]] | None = None

    @property
    def tops_only(self) -> bool:
        """Whether the tops of stacks are enough: who holds a lock may be seen further out."""
        return self.stacks == "top" and self.waits is None

    def among(self, pointers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The wanted ones of the goroutines at `pointers`."""
        return pointers if self.only is None else self.only(pointers)

    def of_so_many(self, goroutines: int) -> Wanted:
        """The same of so many goroutines: without waits if there are too many for them."""
        most = self.waits.max_goroutines if self.waits is not None else None
        return self if most is None or goroutines <= most else replace(self, waits=None)


@dataclass(frozen=True)
class SnapshotResult:
    """A snapshot, and what it was made of beside memory: `now_ns`, the clock that Go's ``nanotime``
    reads, None if it is not known; the `registers` of the threads that were read, by thread id."""

    snapshot: Snapshot
    now_ns: int | None
    registers: Mapping[int, Registers]


@dataclass(frozen=True)
class _Scheduler:
    """What was read of the scheduler: its counters, Ms, Ps and threads."""

    ms: sched.Ms
    counters: Scheduler
    processors: list[Processor]
    threads: list[Thread]


class SnapshotBuilder:
    """Makes one snapshot of `target`: make a builder, then call `build` once.

    `runtime` is what was found in `target`. `tree` has the stacks of earlier snapshots; those of this
    one are added to it.
    """

    def __init__(self, target: Target, runtime: Runtime, tree: StackTree) -> None:
        self._target = target
        self._runtime = runtime.for_reading(target.process.problems)
        self._tree = tree
        self._timer = Timer()

    def build(
        self,
        os_threads: Sequence[OsThread],
        held: StoppedThreads | None,
        wanted: Wanted,
        cpu: CpuWatch | None = None,
    ) -> SnapshotResult:
        """Read everything once: scheduler, memory statistics, goroutines, threads, processor time, waits.

        `os_threads`: the threads as the kernel listed them. `held`: the threads are stopped meanwhile,
        with these registers. `cpu` observes it.
        """
        process, timer = self._target.process, self._timer
        taken_at = process.taken_at()
        saved = held.registers if held is not None else process.saved_registers()
        with timer.phase("scheduler"):
            scheduler = self._read_scheduler(os_threads, saved or {})
        with timer.phase("memory"):
            memory = memstats.read_memory(self._runtime, taken_at)
            ends_ns = memstats.read_collection_ends(self._runtime)
        with timer.phase("goroutines"):
            registers = self._thread_registers(scheduler, saved)
            pointers = wanted.among(g_pointers(self._runtime))
            now_ns = self._now_ns(pointers)
            reader = Reader(self._runtime, self._tree, now_ns, registers)
            wanted = wanted.of_so_many(len(pointers))
            read = reader.read(pointers, wanted.tops_only)
            goroutines, nodes = read.columns, read.node
            del pointers  # what is not used later is not to be in memory with the waits
            _mark_torn(self._runtime, goroutines, process.torn)
        found, threads = registers.found, scheduler.threads
        if wanted.thread_stacks:
            with timer.phase("threads"):
                found = self._all_registers(threads, registers)
                threads = self._with_stacks(scheduler, found)
        use, threads = self._cpu_use(cpu, scheduler, threads)
        with timer.phase("names"):
            if wanted.stacks == "full":
                distinct_stacks = StackColumns.of(self._tree, nodes)
            else:
                distinct_stacks = StackColumns.none(len(goroutines))
            goroutines, side_fields = reader.side_readers.finish(goroutines)
            goroutines = replace(
                goroutines, m=_m_ids(goroutines.m, scheduler.ms), stack=distinct_stacks.column
            )
            reasons, goroutines = named_reasons(self._runtime, goroutines)
            goroutines = with_lower_bounds(goroutines, reasons, self._tree.code, now_ns, ends_ns)
            read.columns = goroutines
        moment = Moment(now_ns, found, held is not None or process.stopped, process.moved)
        waits = self._waits(read, (goroutines, reasons), moment, wanted)
        facts = process.facts()
        self._runtime.note_exhausted()
        snapshot = Snapshot(
            taken_at=taken_at, took_ns=timer.total(), process=process_of(self._target, self._runtime, facts),
            source=Source(process.kind, stopped=held is not None or process.stopped),
            scheduler=scheduler.counters, processors=tuple(scheduler.processors),
            threads=tuple(sched.without_moved(threads, goroutines)), memory=memory, goroutines=goroutines, wait_reasons=reasons,
            frames=tuple(self._tree.code.frames), stack_offsets=distinct_stacks.offsets,
            stack_frames=distinct_stacks.frames, elided=distinct_stacks.elided,
            host=facts.host, cpu=use, limits=facts.limits, waits=waits, problems=(*self._runtime.problems, *facts.problems),
            timings_ns=timer.phases, **side_fields,
        )  # fmt: skip
        return SnapshotResult(snapshot, now_ns, found)

    def _waits(
        self,
        read: Read,
        named: tuple[Goroutines, tuple[str, ...]],
        moment: Moment,
        wanted: Wanted,
    ) -> WaitGraph | None:
        """What the goroutines that were read wait on, if that is wanted."""
        if wanted.waits is None:
            return None
        options = wanted.waits
        if options.when is not None and not options.when(*named, self._tree.code.frames):
            return None
        wanted.before_waits()
        from spyglass.runtime.waiting.graph import read_waits
        from spyglass.runtime.waiting.population import Population

        with self._timer.phase("waits"):
            population = Population.read(self._runtime, self._tree, read, named, moment)
            graph = read_waits(population, self._target.process, options, self._target.variables_at)
            wanted.after_waits(population)
        return graph

    def thread_registers(
        self, os_threads: Sequence[OsThread], known: Mapping[int, Registers]
    ) -> Mapping[int, Registers]:
        """The registers of all threads of a live process by id, those in `known` as there; their stacks
        are walked. Instead of `build`."""
        scheduler = self._read_scheduler(os_threads, {})
        registers = self._thread_registers(scheduler, None)
        registers.sampled.update(known)
        found = self._all_registers(scheduler.threads, registers)
        self._with_stacks(scheduler, found)
        return found

    def _read_scheduler(
        self, os_threads: Sequence[OsThread], saved: Mapping[int, Registers]
    ) -> _Scheduler:
        runtime = self._runtime
        ms = self._read_ms(saved)
        return _Scheduler(
            ms,
            runtime.part(
                "scheduler", lambda: sched.read_scheduler(runtime, ms), _UNKNOWN_SCHEDULER
            ),
            runtime.part("processors", lambda: sched.read_processors(runtime, ms), []),
            runtime.part("threads", lambda: sched.read_threads(runtime, ms, os_threads), []),
        )

    def _read_ms(self, saved: Mapping[int, Registers]) -> sched.Ms:
        """The Ms, with thread ids as spyglass sees them, not those of the process's pid namespace."""
        ms, process = sched.read_ms(self._runtime), self._target.process
        outer_tids = process.outer_tids()
        if outer_tids is None and process.foreign_tids:
            outer_tids = ids_by_stacks(self._runtime, ms, saved)
        return ms if outer_tids is None else ms.with_outer_tids(outer_tids)

    def _thread_registers(
        self, scheduler: _Scheduler, saved: Mapping[int, Registers] | None
    ) -> Threads:
        """How the registers of running goroutines' threads are found."""
        tid_of_m = {thread.m: thread.tid for thread in scheduler.threads}
        tids = {
            address: tid_of_m[number]
            for address, row in scheduler.ms.index.items()
            if (number := int(scheduler.ms.rows["id"][row])) in tid_of_m
        }
        runtime = self._runtime
        return Threads(
            tids,
            stopped=saved is not None,
            saved=saved or {},
            before=partial(interrupted, runtime.memory, self._tree.code, runtime.arch),
        )

    def _now_ns(self, pointers: NDArray[np.uint64]) -> int | None:
        process = self._target.process
        now_ns = process.now_ns()
        if now_ns is None and process.stopped:
            return last_known_ns(self._runtime, pointers)
        return now_ns

    def _all_registers(
        self, threads: Sequence[Thread], registers: Threads
    ) -> Mapping[int, Registers]:
        """The registers of all threads by id: of a live process, whose running ones were sampled while
        goroutines were read, those of the others are read now."""
        if registers.stopped:
            return registers.found
        others = [thread.tid for thread in threads if thread.tid not in registers.found]
        return {**self._target.process.registers(others), **registers.found}

    def _with_stacks(
        self, scheduler: _Scheduler, registers: Mapping[int, Registers]
    ) -> list[Thread]:
        """The threads with what they run."""
        from spyglass.runtime.scheduler.thread_stacks import add_stacks

        describe = self._target.process.native_names(self._target.memory)
        stacks = self._thread_stacks(scheduler, describe)
        return add_stacks(stacks, scheduler.threads, registers)

    def _cpu_use(
        self, cpu: CpuWatch | None, scheduler: _Scheduler, threads: list[Thread]
    ) -> tuple[CpuUse | None, list[Thread]]:
        """What the process used, and `threads` with their times; not if nothing observed it."""
        if cpu is None:
            return None, threads
        from spyglass.runtime.scheduler.cpu_use import counted_samples

        with self._timer.phase("processor time"):
            samples = cpu.samples()
            counted: tuple[CpuSample, ...] = ()
            if samples:
                counted = counted_samples(samples, threads, self._thread_stacks(scheduler, hex))
            return cpu.use(threads, counted)

    def _thread_stacks(self, scheduler: _Scheduler, describe: Callable[[int], str]) -> ThreadStacks:
        from spyglass.runtime.scheduler.thread_stacks import ThreadStacks

        return ThreadStacks(self._runtime, self._tree, scheduler.ms, describe)


def process_of(target: Target, runtime: Runtime, facts: Facts) -> Process:
    """The program in `target`, of which the kernel tells `facts`."""
    executable, info, names = target.executable, target.executable.build_info, facts.names
    return Process(
        pid=target.pid, exe=facts.exe, cmdline=facts.cmdline, started_at=facts.started_at,
        uptime_seconds=facts.uptime_seconds, go_version=runtime.go_version or None,
        module=info.module or info.path, module_version=info.module_version,
        build_id=executable.build_id, arch=executable.arch, stripped=executable.stripped,
        pie=executable.pie, cgo=_is_cgo(runtime), rss_bytes=facts.rss_bytes,
        container=facts.container, memory_limit_bytes=facts.memory_limit_bytes,
        library=target.library, container_name=names.container, pod=names.pod, namespace=names.namespace,
        pod_uid=names.pod_uid,
    )  # fmt: skip


def _is_cgo(runtime: Runtime) -> bool | None:
    try:
        return runtime.memory.read(runtime.address("iscgo"), 1) != b"\0"
    except (MissingInfo, MemoryFault):
        return None


def _mark_torn(runtime: Runtime, goroutines: Goroutines, torn: frozenset[int]) -> None:
    """Note of goroutines that they are of more than one moment, as is known from when they were saved."""
    if not torn:
        return
    which = np.isin(goroutines.id, np.fromiter(torn, np.uint64, len(torn)))
    goroutines.quality[which] = QUALITIES.index("torn")
    if which.any():
        detail = f"{int(which.sum())} moved while the core was made, and may mix moments"
        runtime.problem("torn", "goroutines", detail)


def _m_ids(pointers: NDArray[np.int64], ms: sched.Ms) -> NDArray[np.int64]:
    """The ids of the Ms at `pointers`, `NONE` for nil and for an M that is no longer there."""
    unique, inverse = numbered(pointers)
    rows = [ms.index.get(pointer) for pointer in unique.tolist()]
    ids = [NONE if row is None else int(ms.rows["id"][row]) for row in rows]
    return np.array(ids, np.int64)[inverse]
