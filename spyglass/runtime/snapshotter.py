"""One look at a process: its memory and what the kernel tells of it become a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from spyglass.columns import distinct, numbered
from spyglass.errors import BadDataError, MemoryFault, MissingInfo, SpyglassError
from spyglass.model import (
    NONE,
    QUALITIES,
    Goroutines,
    MemoryStats,
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
from spyglass.runtime.heap import memstats
from spyglass.runtime.scheduler import sched
from spyglass.runtime.scheduler.thread_ids import ids_by_stacks
from spyglass.runtime.scheduler.thread_registers import Threads
from spyglass.runtime.stacks.signal_frames import interrupted
from spyglass.runtime.stacks.stack_columns import StackColumns
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.timing import Timer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.targets import Facts, OsThread, Target
    from spyglass.threads import Registers
    from spyglass.threads.stop import Stop

__all__ = ["SnapshotBuilder", "SnapshotResult", "StackDepth"]

T = TypeVar("T")
StackDepth = Literal["top", "full"]

_MAX_WAIT_REASONS = 256
_NO_PROCESSORS: list[Processor] = []
_NO_THREADS: list[Thread] = []
_UNKNOWN_SCHEDULER = Scheduler(None, None, None, None, None, None, None, None, None)
_UNKNOWN_MEMORY = MemoryStats(None, None, None, None, None, None, None, None, None, None, None)


@dataclass(frozen=True)
class SnapshotResult:
    """A snapshot, and what it was made of beside memory: the clock that Go's ``nanotime`` reads, None
    if it is not known, and the registers of the threads that were looked for, by thread id."""

    snapshot: Snapshot
    now_ns: int | None
    registers: Mapping[int, Registers]


class SnapshotBuilder:
    """One look at `target`, whose `runtime` is known: everything is read once.

    `tree`: the stacks and the code that earlier looks met, to which this one adds. `held`: it is
    stopped meanwhile. `os_threads`: what the kernel told of its threads.
    """

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        tree: StackTree,
        held: Stop | None,
        os_threads: Sequence[OsThread],
    ) -> None:
        process = target.process
        self._target = target
        self._tree = tree
        self._timer = Timer()
        self._taken_at = process.taken_at()
        self._source = Source(process.kind, stopped=held is not None or process.stopped)
        self._runtime = replace(runtime, problems=list(process.problems))
        self._saved = held.registers if held is not None else process.registers()
        with self._timer.phase("scheduler"):
            self._ms = ms = self._read_ms()
            self._counters = self._part(
                "scheduler", lambda r: sched.read_scheduler(r, ms), _UNKNOWN_SCHEDULER
            )
            self._processors = self._part(
                "processors", lambda r: sched.read_processors(r, ms), _NO_PROCESSORS
            )
            self._threads = self._part(
                "threads", lambda r: sched.read_threads(r, ms, os_threads), _NO_THREADS
            )
        with self._timer.phase("memory"):
            self._memory = self._part("memory", memstats.read_memory, _UNKNOWN_MEMORY)

    def look(self, stacks: StackDepth, thread_stacks: bool) -> SnapshotResult:
        """The goroutines with as much of their stacks, what threads run if that is wanted, and all else."""
        tree, where = self._tree, self._where()
        with self._timer.phase("goroutines"):
            pointers = g_pointers(self._runtime)
            now_ns = self._now_ns(pointers)
            reader = Reader(self._runtime, tree, now_ns, where)
            goroutines, nodes = reader.read(pointers, stacks == "top")
            _mark_torn(self._runtime, goroutines, self._target.process.torn)
        if thread_stacks:
            with self._timer.phase("threads"):
                self._add_thread_stacks(tree, where)
        with self._timer.phase("names"):
            if stacks == "full":
                found = StackColumns.of(tree, nodes)
            else:
                found = StackColumns.none(len(goroutines))
            labels, label_sets = reader.labels.finish(goroutines.labels)
            m = _m_ids(goroutines.m, self._ms)
            goroutines = replace(goroutines, m=m, stack=found.column, labels=labels)
            reasons, goroutines = _wait_reasons(self._runtime, goroutines)
        snapshot = replace(
            self._snapshot(goroutines, found), wait_reasons=reasons, label_sets=label_sets
        )
        return SnapshotResult(snapshot, now_ns, self._saved or where.found)

    def _read_ms(self) -> sched.Ms:
        """The Ms, with the ids of their threads as we have them."""
        ms, process = sched.read_ms(self._runtime), self._target.process
        outer_tids = process.outer_tids()
        if outer_tids is None and process.kind == "core" and process.stopped:
            outer_tids = ids_by_stacks(self._runtime, ms, self._saved or {})
        return ms if outer_tids is None else ms.seen_from_outside(outer_tids)

    def _part(self, subject: str, read: Callable[[Runtime], T], otherwise: T) -> T:
        """What `read` gives; if it cannot, a problem and `otherwise`."""
        try:
            return read(self._runtime)
        except (BadDataError, MemoryFault, MissingInfo) as error:
            self._runtime.problem("unknown", subject, error.message)
            return otherwise

    def _where(self) -> Threads:
        """How to find where running goroutines are."""
        tid_of_m = {thread.m: thread.tid for thread in self._threads}
        tids = {
            address: tid_of_m[number]
            for address, row in self._ms.index.items()
            if (number := int(self._ms.rows["id"][row])) in tid_of_m
        }
        runtime = self._runtime
        return Threads(
            tids,
            stopped=self._saved is not None,
            saved=self._saved or {},
            before=partial(interrupted, runtime.memory, self._tree.code, runtime.arch),
        )

    def _now_ns(self, pointers: NDArray[np.uint64]) -> int | None:
        process = self._target.process
        now_ns = process.now_ns()
        if now_ns is None and process.stopped:
            return last_known_ns(self._runtime, pointers)
        return now_ns

    def _add_thread_stacks(self, tree: StackTree, where: Threads) -> None:
        """Say of the threads what they run. Where those of a process that goes on are that were not
        sampled yet is asked for now."""
        from spyglass.runtime.scheduler.thread_stacks import (
            ThreadStacks,
            add_stacks,
            live_registers,
            names_of_code,
        )

        registers = where.found
        if not where.stopped:
            others = [thread.tid for thread in self._threads if thread.tid not in where.found]
            registers = {**live_registers(self._target.pid, others), **where.found}
        self._saved = registers
        stacks = ThreadStacks(self._runtime, tree, self._ms, names_of_code(self._target))
        self._threads = add_stacks(stacks, self._threads, registers)

    def _snapshot(self, goroutines: Goroutines, found: StackColumns) -> Snapshot:
        facts = self._target.process.facts()
        return Snapshot(
            taken_at=self._taken_at, took_ns=self._timer.total(), process=self._process(facts),
            source=self._source, scheduler=self._counters, processors=tuple(self._processors),
            threads=tuple(self._threads), memory=self._memory, goroutines=goroutines,
            wait_reasons=(), frames=tuple(self._tree.code.frames), stack_offsets=found.offsets,
            stack_frames=found.frames, elided=found.elided, host=facts.host,
            problems=tuple(self._runtime.problems), timings_ns=self._timer.phases,
        )  # fmt: skip

    def _process(self, facts: Facts) -> Process:
        target, runtime = self._target, self._runtime
        executable, info = target.executable, target.executable.build_info
        return Process(
            pid=target.pid, exe=facts.exe, cmdline=facts.cmdline, started_at=facts.started_at,
            uptime_seconds=facts.uptime_seconds, go_version=runtime.go_version or None,
            module=info.module or info.path, module_version=info.module_version,
            build_id=executable.build_id, arch=executable.arch, stripped=executable.stripped,
            pie=executable.pie, cgo=_is_cgo(runtime), rss_bytes=facts.rss_bytes,
            container=facts.container, memory_limit_bytes=facts.memory_limit_bytes,
            library=target.library,
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


def _wait_reasons(runtime: Runtime, goroutines: Goroutines) -> tuple[tuple[str, ...], Goroutines]:
    """The target's own words for the reasons in use, and the column with those that have none cleared."""
    used = distinct(goroutines.wait_reason[goroutines.wait_reason >= 0])
    words = [""] * (int(used[-1]) + 1 if len(used) else 0)
    missing = []
    for reason in used.tolist():
        try:
            words[reason] = runtime.memory.string(
                runtime.address("waitReasonStrings") + 16 * reason, 64
            )
        except SpyglassError:
            missing.append(reason)
    if missing:
        runtime.problem(
            "unknown", "wait reasons", f"the names of {len(missing)} of them could not be found"
        )
    named = np.array([*(bool(word) for word in words), False], np.bool_)
    column = np.where(named[goroutines.wait_reason], goroutines.wait_reason, NONE).astype(np.int16)
    return tuple(words), replace(goroutines, wait_reason=column)
