"""Look into one process: find the runtime once, then take snapshots of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from spyglass.binary.pclntab import Trees
from spyglass.columns import distinct, numbered
from spyglass.errors import (
    BadDataError,
    MemoryFault,
    MissingInfo,
    SpyglassError,
)
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
from spyglass.runtime import memstats, scheduler, variables
from spyglass.runtime.code import Code
from spyglass.runtime.context import Runtime
from spyglass.runtime.goroutines import g_pointers, last_known_ns
from spyglass.runtime.layouts import GoVersion
from spyglass.runtime.module import Module, find_module
from spyglass.runtime.names import printed, printed_with_methods
from spyglass.runtime.needs import has_generic_methods
from spyglass.runtime.reader import Reader
from spyglass.runtime.resolve import resolve
from spyglass.runtime.signals import interrupted
from spyglass.runtime.stack_tree import StackTree
from spyglass.runtime.threads import Threads
from spyglass.target import Facts, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.registers import Registers
    from spyglass.registers.stop import Stop
    from spyglass.runtime.scheduler import OsThread

__all__ = ["Inspector", "Look", "attach", "open_core"]

T = TypeVar("T")

_MAX_WAIT_REASONS = 256
_NO_PROCESSORS: list[Processor] = []
_NO_THREADS: list[Thread] = []
_UNKNOWN_SCHEDULER = Scheduler(None, None, None, None, None, None, None, None, None)
_UNKNOWN_MEMORY = MemoryStats(None, None, None, None, None, None, None, None, None, None, None)


def attach(pid: int) -> Inspector:
    """Look into Go process `pid`, which goes on running, never stopped.

    Close the result, or use it in a with statement. Raises `spyglass.errors.TargetError` when there
    is no such process, it is not a Go program, or the kernel does not let this user read it;
    `UnsupportedGoVersion` when its runtime is not one that spyglass knows.
    """
    began = time.perf_counter_ns()
    return _inspect(Target.attach(pid), began)


def open_core(path: str, exe: str | None = None) -> Inspector:
    """Look into the Go process whose core file is at `path`, as into a live one.

    `exe` is the program that was running (or its library with Go), if it is not where it was then.
    Close the result, or use it in a with statement. Raises OSError, or `spyglass.errors.TargetError`
    when the file is no core, or not of that program.
    """
    began = time.perf_counter_ns()
    return _inspect(Target.open_core(path, exe), began)


def _inspect(target: Target, began: int) -> Inspector:
    try:
        with target.origin.blamed():
            return Inspector(target, began)
    except BaseException:
        target.close()
        raise


@dataclass(frozen=True)
class Look:
    """A snapshot, and what it was made of beside memory: the clock that Go's ``nanotime`` reads, None
    if it is not known, and the registers of the threads that were looked for, by thread id."""

    snapshot: Snapshot
    now_ns: int | None
    registers: Mapping[int, Registers]


class Inspector:
    """One process whose Go runtime was found: takes snapshots, as many as are wanted."""

    def __init__(self, target: Target, began_ns: int | None = None) -> None:
        timer = _Timer(began_ns)
        self._target = target
        with timer.phase("find runtime"):
            module = find_module(target)
            version = variables.go_version(target, module)
        with timer.phase("find variables"):
            places = variables.candidates(target, module, version)
        with timer.phase("check layouts"):
            self.runtime = resolve(target, module, version, places)
        parsed = GoVersion.parse(version)
        twice = has_generic_methods((parsed.major, parsed.minor) if parsed else None)
        self._code = Code(
            module.functions,
            Trees(target.constant, _gofunc(self.runtime, module)),
            printed_with_methods if twice else printed,
        )
        self._text = module.text
        self._attach_timings = timer.phases

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process."""
        self._target.close()

    def snapshot(
        self,
        stacks: Literal["top", "full"] = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
    ) -> Snapshot:
        """What the process is doing now.

        `stacks`: "full" walks every stack to its end; "top" only to the first function outside the
        runtime, which is faster and enough for a summary. `stop`: stop the process while it is read,
        so that everything is of one moment; ``snapshot.source.stopped_ns`` says for how long.
        `thread_stacks`: say of each thread what it runs, and where. Raises
        `ProcessChanged` if the process ends or becomes another while it is read. A core is the same
        every time, and stands still anyway.
        """
        return self.look(stacks, stop=stop, thread_stacks=thread_stacks).snapshot

    def look(
        self,
        stacks: Literal["top", "full"] = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
    ) -> Look:
        """A `snapshot`, and what it was made of beside memory."""
        origin = self._target.origin
        with origin.blamed():
            # Before it is stopped: what it is then would hide what its threads did.
            threads = origin.threads()
            if not stop or origin.registers() is not None:
                return self._look(stacks, None, threads, thread_stacks)
            from spyglass.registers.stop import stopped

            with stopped(self._target.pid) as held:
                look = self._look(stacks, held, threads, thread_stacks)
            source = replace(look.snapshot.source, stopped_ns=held.elapsed_ns)
            return replace(look, snapshot=replace(look.snapshot, source=source))

    def _look(
        self,
        stacks: Literal["top", "full"],
        held: Stop | None,
        os_threads: Sequence[OsThread],
        thread_stacks: bool,
    ) -> Look:
        timer = _Timer()
        code, origin = self._code, self._target.origin
        taken_at = origin.taken_at()
        runtime = replace(self.runtime, problems=list(origin.problems))
        registers = held.registers if held is not None else origin.registers()
        with timer.phase("scheduler"):
            ms = scheduler.read_ms(runtime, origin.outer_tids())
            counters = _part(
                runtime,
                "scheduler",
                lambda: scheduler.read_scheduler(runtime, ms),
                _UNKNOWN_SCHEDULER,
            )
            processors = _part(
                runtime,
                "processors",
                lambda: scheduler.read_processors(runtime, ms),
                _NO_PROCESSORS,
            )
            threads = _part(
                runtime,
                "threads",
                lambda: scheduler.read_threads(runtime, ms, os_threads),
                _NO_THREADS,
            )
        with timer.phase("memory"):
            memory = _part(
                runtime, "memory", lambda: memstats.read_memory(runtime), _UNKNOWN_MEMORY
            )
        with timer.phase("goroutines"):
            tree = StackTree(code, self._text)
            tid_of_m = {thread.m: thread.tid for thread in threads}
            tids = {
                address: tid_of_m[number]
                for address, row in ms.index.items()
                if (number := int(ms.rows["id"][row])) in tid_of_m
            }
            where = Threads(
                tids,
                stopped=registers is not None,
                saved=registers or {},
                before=partial(interrupted, runtime.memory, code, runtime.arch),
            )
            pointers, now_ns = g_pointers(runtime), origin.now_ns()
            if now_ns is None and origin.stopped:
                now_ns = last_known_ns(runtime, pointers)
            reader = Reader(runtime, tree, now_ns, where)
            goroutines, nodes = reader.read(pointers, stacks == "top")
            _mark_torn(runtime, goroutines, origin.torn)
        if thread_stacks:
            with timer.phase("threads"):
                registers = self._registers(threads, where)
                threads = self._with_stacks(runtime, tree, ms, threads, registers)
        with timer.phase("names"):
            goroutines = replace(goroutines, m=_m_ids(goroutines.m, ms))
            found = _Stacks.of(tree, nodes) if stacks == "full" else _Stacks.none(goroutines)
            goroutines = replace(goroutines, stack=found.column)
            reasons, goroutines = _wait_reasons(runtime, goroutines)
            labels, label_sets = reader.labels.finish(goroutines.labels)
            goroutines = replace(goroutines, labels=labels)
        facts = origin.facts()
        snapshot = Snapshot(
            taken_at=taken_at, took_ns=timer.total(), process=self._process(facts),
            source=Source(origin.kind, stopped=held is not None or origin.stopped),
            scheduler=counters, processors=tuple(processors), threads=tuple(threads), memory=memory,
            goroutines=goroutines, wait_reasons=reasons, frames=tuple(code.frames),
            stack_offsets=found.offsets, stack_frames=found.frames, elided=found.elided,
            label_sets=label_sets, problems=tuple(runtime.problems), host=facts.host,
            timings_ns=self._attach_timings | timer.phases,
        )  # fmt: skip
        return Look(snapshot, now_ns, registers or where.found)

    def _registers(self, threads: list[Thread], where: Threads) -> Mapping[int, Registers]:
        """Where all `threads` are, as far as it can be seen: those of a process that goes on that were
        not sampled yet are asked for now."""
        if where.stopped:
            return where.found
        from spyglass.runtime.thread_stacks import live_registers

        others = [thread.tid for thread in threads if thread.tid not in where.found]
        return {**live_registers(self._target.pid, others), **where.found}

    def _with_stacks(
        self,
        runtime: Runtime,
        tree: StackTree,
        ms: scheduler.Ms,
        threads: list[Thread],
        registers: Mapping[int, Registers],
    ) -> list[Thread]:
        from spyglass.runtime.thread_stacks import ThreadStacks, add_stacks, names_of_code

        stacks = ThreadStacks(runtime, tree, ms, names_of_code(self._target))
        return add_stacks(stacks, threads, registers)

    def _process(self, facts: Facts) -> Process:
        target, runtime = self._target, self.runtime
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


def _gofunc(runtime: Runtime, module: Module) -> int | None:
    """The base of inlining trees (``moduledata.gofunc``), None where there is none or not known."""
    if not runtime.layouts.has("moduledata", "gofunc"):
        return None
    return int(runtime.memory.array(module.address, runtime.layouts["moduledata"], 1)[0]["gofunc"])


def _is_cgo(runtime: Runtime) -> bool | None:
    try:
        return runtime.memory.read(runtime.address("iscgo"), 1) != b"\0"
    except (MissingInfo, MemoryFault):
        return None


def _mark_torn(runtime: Runtime, goroutines: Goroutines, torn: frozenset[int]) -> None:
    """Note of goroutines that they are of more than one moment, as is known from when they were saved."""
    which = np.isin(goroutines.id, np.fromiter(torn, np.uint64, len(torn)))
    goroutines.quality[which] = QUALITIES.index("torn")
    if which.any():
        detail = f"{int(which.sum())} moved while the core was made, and may mix moments"
        runtime.problem("torn", "goroutines", detail)


def _m_ids(pointers: NDArray[np.int64], ms: scheduler.Ms) -> NDArray[np.int64]:
    """The ids of the Ms at `pointers`, `NONE` for nil and for an M that is no longer there."""
    unique, inverse = numbered(pointers)
    rows = [ms.index.get(pointer) for pointer in unique.tolist()]
    ids = [NONE if row is None else int(ms.rows["id"][row]) for row in rows]
    return np.array(ids, np.int64)[inverse]


@dataclass(frozen=True)
class _Stacks:
    """Distinct stacks: as `Snapshot` has them, and the number of each goroutine's."""

    column: NDArray[np.int32]
    offsets: NDArray[np.int64]
    frames: NDArray[np.int32]
    elided: dict[int, tuple[int, int]]

    @classmethod
    def none(cls, goroutines: Goroutines) -> _Stacks:
        """When they were not asked for."""
        return cls(goroutines.stack, np.zeros(1, np.int64), np.zeros(0, np.int32), {})

    @classmethod
    def of(cls, tree: StackTree, nodes: NDArray[np.int64]) -> _Stacks:
        """Those that end at `nodes` of `tree`."""
        unique, inverse = numbered(nodes[nodes > tree.SAMPLED])
        stacks = [tree.frames(node) for node in unique.tolist()]
        column = np.full(len(nodes), NONE, np.int32)
        column[nodes > tree.SAMPLED] = inverse
        offsets = np.concatenate([[0], np.cumsum([len(frames) for frames, _ in stacks])]).astype(
            np.int64
        )
        flat = np.fromiter(
            (call for frames, _ in stacks for call in frames), np.int32, int(offsets[-1])
        )
        elided = {number: gap for number, (_, gap) in enumerate(stacks) if gap is not None}
        return cls(column, offsets, flat, elided)


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


def _part(runtime: Runtime, subject: str, read: Callable[[], T], otherwise: T) -> T:
    """What `read` gives; if it cannot, a problem and `otherwise`."""
    try:
        return read()
    except (BadDataError, MemoryFault, MissingInfo) as error:
        runtime.problem("unknown", subject, error.message)
        return otherwise


@dataclass
class _Timer:
    """How long each phase took; `began_ns` when something earlier should count as the first."""

    began_ns: int | None = None

    def __post_init__(self) -> None:
        self._start = time.perf_counter_ns()
        self.phases: dict[str, int] = {}
        if self.began_ns is not None:
            self.phases["attach"] = self._start - self.began_ns

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as phase `name`."""
        begin = time.perf_counter_ns()
        yield
        self.phases[name] = time.perf_counter_ns() - begin

    def total(self) -> int:
        """Nanoseconds since this timer was made."""
        return time.perf_counter_ns() - self._start
