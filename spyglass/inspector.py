"""Inspect one process: find its Go runtime once, then take snapshots of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from spyglass.binary.inline_trees import InlineTrees
from spyglass.errors import SpyglassError, TargetError
from spyglass.model import Problem, Process, Snapshot
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.globals import candidate_addresses, go_version
from spyglass.runtime.discovery.layouts import GoVersion
from spyglass.runtime.discovery.module import Module, find_module
from spyglass.runtime.discovery.required_fields import has_generic_methods
from spyglass.runtime.resolve import resolve
from spyglass.runtime.snapshotter import (
    SnapshotBuilder,
    SnapshotResult,
    StackDepth,
    Wanted,
    process_of,
)
from spyglass.runtime.stacks.function_names import printed, printed_with_methods
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.symbolizer import Symbolizer
from spyglass.runtime.timing import Timer
from spyglass.runtime.waiting.options import DEFAULT_HEAP_LIMIT_BYTES, WaitOptions
from spyglass.targets import Target

if TYPE_CHECKING:
    from spyglass.go_value import Limits, VariableName, Variables
    from spyglass.heap_objects import HeapSpans, HeapTypes, Retention
    from spyglass.heap_profile import AsOf, HeapProfile
    from spyglass.memory_account import MemoryAccount
    from spyglass.memory_limits import MemoryReading
    from spyglass.procfs import CpuReading
    from spyglass.profile import Mode, Profile
    from spyglass.runtime.heap.contention_profile import ContentionKind
    from spyglass.runtime.recording.session import Recording
    from spyglass.runtime.scheduler.cpu_use import CpuWatch
    from spyglass.runtime.scheduler_watch import SchedulerWatch
    from spyglass.runtime.waiting.population import Population
    from spyglass.site_profile import SiteProfile
    from spyglass.targets import OsThread
    from spyglass.targets.target_process import StoppedThreads
    from spyglass.threads import Registers
    from spyglass.wait_graph import WaitGraph

__all__ = ["Inspector", "SnapshotResult", "attach", "open_core"]

#: Limit of program counters, and of tree nodes, that are kept from one snapshot to the next; beyond it
#: a new tree is made. A program has some thousands of both, but over days of snapshots words that
#: are no return addresses add more.
_MAX_KNOWN = 1 << 17
#: How much of a processor reading goroutines may take while they are recorded.
DEFAULT_MAX_CPU = 0.1
#: How long the objects of the heap are looked at.
DEFAULT_HEAP_SECONDS = 10.0


def attach(pid: int) -> Inspector:
    """Inspect Go process `pid`, which keeps running and is not stopped.

    Close the result, or use it in a with statement. Raises `spyglass.errors.TargetError` when there
    is no such process, it is not a Go program, or the kernel does not allow this user to read it;
    `UnsupportedGoVersion` when no known layout fits its runtime.
    """
    began = time.perf_counter_ns()
    return _inspect(Target.attach(pid), began)


def open_core(path: str, exe: str | None = None) -> Inspector:
    """Inspect the core file at `path` like a live process.

    `exe` is the executable (or the library with the Go runtime), if it has moved.
    Close the result, or use it in a with statement. Raises OSError, or `spyglass.errors.TargetError`
    when the file is not a core, or not one of that program.
    """
    began = time.perf_counter_ns()
    return _inspect(Target.open_core(path, exe), began)


def _inspect(target: Target, began: int) -> Inspector:
    try:
        with target.process.blamed():
            return Inspector(target, began)
    except BaseException:
        target.close()
        raise


class Inspector:
    """One process whose Go runtime was found: takes any number of snapshots."""

    def __init__(self, target: Target, began_ns: int | None = None) -> None:
        timer = Timer(began_ns)
        self._target = target
        with timer.phase("find runtime"):
            module = find_module(target)
            version = go_version(target, module)
        with timer.phase("find variables"):
            places = candidate_addresses(target, module, version)
        with timer.phase("check layouts"):
            self.runtime = resolve(target, module, version, places)
        self._module = module
        self._tree = self._new_tree()
        self._attach_timings = timer.phases

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def check(self) -> None:
        """Raise `spyglass.errors.ProcessChanged` if the process ended, or runs another program."""
        self._target.process.check()

    def snapshot(
        self,
        stacks: StackDepth = "full",
        *,
        stop: bool = False,
        thread_stacks: bool = False,
        cpu_since: CpuReading | None = None,
        waits: WaitOptions | None = None,
        watch: SchedulerWatch | float | None = None,
    ) -> Snapshot:
        """Take a snapshot.

        `stacks`: "full" walks every stack to its end; "top" only as far as `Goroutines.where`
        needs, which is faster and enough for a summary. `stop`: stop the process while it is read,
        so that everything is of one moment; ``snapshot.source.stopped_ns`` is the duration.
        `thread_stacks`: add to each thread what it runs, and its stack. `cpu_since`: a reading
        (`spyglass.procfs.read_cpu`) that processor time in ``snapshot.cpu`` is counted from; threads that
        run are sampled then (not with `stop`), which takes 25 ms in a busy process. `waits`:
        read what goroutines wait on (``snapshot.waits``), for which all stacks are walked. `watch`: watch the
        scheduler for so many seconds first, or what `watch` returned before (``snapshot.window``);
        ``snapshot.cpu`` is of the same time. Raises
        `ProcessChanged` if the process ends or executes another program while it is read. A core gives
        the same snapshot every time; `stop` has no effect on it.
        """
        wanted = Wanted(stacks, thread_stacks, waits)
        if watch is None:
            return self.take(wanted, stop=stop, cpu_since=cpu_since).snapshot
        if isinstance(watch, int | float):
            seconds, watch = watch, self.watch()
            watch.run(seconds)
        with self._target.process.blamed():
            window = watch.window()
        snapshot = self.take(wanted, stop=stop, cpu_since=watch.cpu).snapshot
        problems = dict.fromkeys((*snapshot.problems, *watch.problems))
        return replace(snapshot, window=window, problems=tuple(problems))

    def watch(self) -> SchedulerWatch:
        """Begin to watch the scheduler: call `run` or `look` of the result, then `snapshot` with it.

        Nothing is stopped; a look takes less than a millisecond. Raises `TargetError` for a core.
        """
        from spyglass.runtime.scheduler_watch import SchedulerWatch

        with self._target.process.blamed():
            return SchedulerWatch(self._target, self.runtime)

    def waits(
        self,
        *,
        heap: bool = True,
        heap_limit_bytes: int = DEFAULT_HEAP_LIMIT_BYTES,
        stop: bool = False,
    ) -> WaitGraph:
        """What goroutines wait on now, who holds it, and with `heap` which of them nothing can wake.

        To decide that, the heap is marked as a garbage collection would, up to `heap_limit_bytes` of spans
        that hold pointers. ``for each in graph`` gives typed objects; `snapshot` with `waits` gives
        a graph together with the goroutines' stacks. Raises as `snapshot`.
        """
        options = WaitOptions(heap=heap, heap_limit_bytes=heap_limit_bytes)
        graph = self.snapshot(stop=stop, waits=options).waits
        assert graph is not None
        return graph

    def record(
        self,
        duration_s: float,
        *,
        mode: Mode = "cpu",
        rate_hz: float | None = None,
        max_cpu: float = DEFAULT_MAX_CPU,
        native: bool = False,
    ) -> Profile:
        """Record for `duration_s` where the process spends its time; less if it ends before. As `recording`."""
        until = time.monotonic() + duration_s
        options: dict[str, Any] = {"mode": mode, "rate_hz": rate_hz, "max_cpu": max_cpu}
        with self.recording(**options, native=native) as recording:
            while recording.ended is None and (left := until - time.monotonic()) > 0:
                recording.step(left)
            return recording.finish()

    def recording(
        self,
        *,
        mode: Mode = "cpu",
        rate_hz: float | None = None,
        max_cpu: float = DEFAULT_MAX_CPU,
        native: bool = False,
    ) -> Recording:
        """Begin to record: call `step` of the result again and again, then `finish`; close it.

        `mode`: "cpu" samples all threads, `rate_hz` (99) times in a second of processor time each; "wall" reads
        all goroutines `rate_hz` (10) times a second, less often if that takes more than `max_cpu` of a
        processor; "offcpu" is "wall" without goroutines that run. `native`: stacks of what runs have callers in C,
        as far as frame pointers tell, and the kernel's functions. Nothing is stopped. Raises
        `spyglass.errors.TargetError` for a core, and for "cpu" if the kernel does not allow to sample: the
        message says which rule forbids it, and how to allow it.
        """
        from spyglass.runtime.recording.cpu import CpuRecording
        from spyglass.runtime.recording.wall import WallOptions, WallRecording

        target = self._target
        if target.process.cpu is None:
            raise TargetError("a core cannot be recorded: nothing of it runs")
        with target.process.blamed():
            if mode == "cpu":
                return CpuRecording(target, self.runtime, self._new_tree, rate_hz or 99, native)
            options = WallOptions(mode, rate_hz or 10, max_cpu, native=native)
            return WallRecording(target, self.runtime, self._new_tree, options)

    def heap_profile(self, as_of: AsOf = "now") -> HeapProfile:
        """Which calls allocated memory, as the Go runtime sampled it.

        `as_of`: "gc" is what the program's own page shows, which is up to two collections old; "now" has what
        was allocated and freed since. Nothing is stopped. Raises `spyglass.errors.TargetError` if the samples cannot be
        found; a program that takes none has a profile without sites, whose `why_not` says why.
        """
        from spyglass.runtime.heap.allocation_profile import read_heap_profile

        target, runtime = self._target, self.runtime.for_reading(self._target.process.problems)
        with target.process.blamed():
            process = process_of(target, runtime, target.process.facts())
            taken_at = target.process.taken_at()
            return read_heap_profile(
                target, runtime, self._new_tree().code, process, taken_at, as_of
            )

    def memory_account(self) -> MemoryAccount:
        """Where the memory of the process goes: resident memory in parts, the runtime's own classes, its collections.

        Nothing is stopped. A core has no resident memory, but the rest. What cannot be read is None or left out, and
        ``problems`` say why. Raises `spyglass.errors.ProcessChanged` if the process ends meanwhile.
        """
        from spyglass.runtime.account.limits import with_go_limit
        from spyglass.runtime.account.reader import read_memory_account

        target, runtime = self._target, self.runtime.for_reading(self._target.process.problems)
        with target.process.blamed():
            process = process_of(target, runtime, target.process.facts())
            account = read_memory_account(target, runtime, process, target.process.taken_at())
            limits = target.process.memory_limits(files=True)
            return replace(account, limits=with_go_limit(limits, account.go))

    def with_account(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` of this process with the account of its memory, read now, and GOMEMLIMIT among its limits.

        Open files are not looked at. What is missing of the account, or all of it, is one of the snapshot's problems.
        """
        from spyglass.runtime.account.limits import with_go_limit
        from spyglass.runtime.account.reader import read_memory_account

        target, runtime = self._target, self.runtime.for_reading(())
        try:
            with target.process.blamed():
                taken_at = target.process.taken_at()
                account = read_memory_account(target, runtime, snapshot.process, taken_at)
        except SpyglassError as error:
            problem = Problem("unknown", "account of memory", error.message)
            return replace(snapshot, problems=(*snapshot.problems, problem))
        limits = with_go_limit(snapshot.limits, account.go)
        return replace(
            snapshot,
            limits=limits,
            account=replace(account, limits=limits, problems=()),
            problems=tuple(dict.fromkeys((*snapshot.problems, *account.problems))),
            timings_ns=snapshot.timings_ns | {"account of memory": account.took_ns},
        )

    def memory_reading(self) -> MemoryReading:
        """What `spyglass.analysis.memory_forecast.forecast` takes several of, in some milliseconds.

        Nothing is stopped. Raises `TargetError` for a core.
        """
        from spyglass.runtime.account.limits import read_memory_reading

        target, runtime = self._target, self.runtime.for_reading(())
        with target.process.blamed():
            return read_memory_reading(target, runtime)

    def contention_profile(self, kind: ContentionKind) -> SiteProfile:
        """Where goroutines waited ("block"), or made others wait for a lock ("mutex"), since the program started.

        There are no sites unless the program has called ``runtime.SetBlockProfileRate`` or
        ``runtime.SetMutexProfileFraction``; the remark says so. Nothing is stopped. Raises
        `spyglass.errors.TargetError` if the samples cannot be found.
        """
        from spyglass.runtime.heap.contention_profile import read_contention_profile

        with self._reading() as (runtime, process, taken_at):
            code = self._new_tree().code
            return read_contention_profile(self._target, runtime, code, process, taken_at, kind)

    def heap_spans(self) -> HeapSpans:
        """The spans of the heap by size class: how many objects they have, what is used and what is not.

        Nothing is stopped; 300,000 spans take about 0.2 s. Raises `MissingInfo`, `MemoryFault` or `BadDataError` if the
        heap of this program cannot be read.
        """
        from spyglass.runtime.heap.allocated import read_heap_spans

        with self._reading() as (runtime, process, taken_at):
            return read_heap_spans(runtime, process, taken_at)

    def heap_types(
        self,
        *,
        seconds: float = DEFAULT_HEAP_SECONDS,
        progress: Callable[[float], None] | None = None,
    ) -> HeapTypes:
        """The objects of the heap by type, as far as the runtime keeps that, or leaves one candidate.

        Objects that are not freed yet are counted, garbage among them. Nothing is stopped. What is not looked at within
        `seconds` is not examined; `progress` is called with the part that was, from 0 to 1. Raises as `heap_spans`.
        """
        from spyglass.runtime.heap.object_types import read_heap_types

        with self._reading() as (runtime, process, taken_at):
            return read_heap_types(runtime, process, taken_at, seconds, progress)

    def retention(
        self,
        wanted: str,
        *,
        seconds: float = DEFAULT_HEAP_SECONDS,
        heap_limit_bytes: int = DEFAULT_HEAP_LIMIT_BYTES,
        stop: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> Retention:
        """What keeps objects of the heap alive: shortest chains of references from variables and goroutines.

        `wanted`: a type as `heap_types` has it ("main.Config", "[]main.Config" for arrays behind slices), or an address in an object
        ("0xc000132018"). References are read for at most `seconds`, up to `heap_limit_bytes` of spans that hold pointers;
        `progress` is called with the part that was read. `stop`: stop the process meanwhile, so that nothing moves. Raises
        `TargetError` if there is no such object, `MissingInfo` if this program does not tell types, and as `snapshot`.
        """
        from spyglass.heap_objects import Retention
        from spyglass.runtime.retention.reader import Budget, read_retained

        budget, found = Budget(seconds, heap_limit_bytes, progress), []

        def read(population: Population) -> None:
            found.append(read_retained(self._target, population, wanted, budget))

        waits = WaitOptions(holders=False, heap=False)
        snapshot = self.take(Wanted(waits=waits, after_waits=read), stop=stop).snapshot
        return Retention(
            snapshot.process, snapshot.taken_at, wanted, exact=snapshot.source.stopped, problems=snapshot.problems,
            **found[0]._asdict(),
        )  # fmt: skip

    def variables(
        self,
        *names: str,
        type_name: str | None = None,
        limits: Limits | None = None,
        stop: bool = False,
    ) -> Variables:
        """The values of package-level variables: `names` as in ``main.counter``, or addresses (``0x...``).

        Types are those of the debug information; `type_name` says another one, as Go prints it, and is needed where
        there is no such information. `stop`: stop the process while it is read. What cannot be read of a value is a
        problem of that value. Raises `spyglass.errors.SpyglassError` if there is no such variable, or its type is not known.
        """
        from spyglass.go_value import Limits, Variables
        from spyglass.runtime.variables.finder import VariableFinder

        with self._reading() as (runtime, process, taken_at):
            finder = VariableFinder(self._target, runtime)
            with self._target.process.stop() if stop else nullcontext():
                found = finder.read(names, type_name, limits or Limits())
            return Variables(process, taken_at, tuple(found), tuple(runtime.problems))

    def variable_names(self, pattern: str = "") -> list[VariableName]:
        """The package-level variables whose names match the regular expression `pattern`, by name."""
        from spyglass.runtime.variables.finder import VariableFinder

        with self._target.process.blamed():
            finder = VariableFinder(self._target, self.runtime.for_reading())
            return finder.listed(re.compile(pattern))

    @contextmanager
    def _reading(self) -> Iterator[tuple[Runtime, Process, datetime]]:
        """The runtime with a new list of problems, the program, and the time."""
        target, runtime = self._target, self.runtime.for_reading(self._target.process.problems)
        with target.process.blamed():
            facts = target.process.facts()
            yield runtime, process_of(target, runtime, facts), target.process.taken_at()

    def take(
        self, wanted: Wanted, *, stop: bool = False, cpu_since: CpuReading | None = None
    ) -> SnapshotResult:
        """A `snapshot`, and what it was made of beside memory."""
        process = self._target.process
        with process.blamed():
            # Listed before the process is stopped: afterwards all of them are in the state "stopped".
            threads = process.threads()
            with self._watched(threads, cpu_since, stop) as cpu:
                if not stop:
                    return self._build(threads, None, wanted, cpu)
                with process.stop() as held:
                    if held is not None:
                        threads = _stopped_threads(threads, process.threads())
                    result = self._build(threads, held, wanted, cpu)
            return result if held is None else _with_stop(result, held.elapsed_ns)

    @contextmanager
    def _watched(
        self, threads: Sequence[OsThread], since: CpuReading | None, stop: bool
    ) -> Iterator[CpuWatch | None]:
        """Observe the processor time of a live process; None if it is not wanted, or there is none."""
        cpu = self._target.process.cpu
        if since is None or cpu is None:
            yield None
            return
        from spyglass.runtime.scheduler.cpu_use import CpuWatch

        watch = CpuWatch(cpu, since, threads, stopped=stop)
        try:
            yield watch
        finally:
            watch.close()

    def thread_registers(self, known: Mapping[int, Registers]) -> Mapping[int, Registers]:
        """The registers of the threads of a live process now, by thread id; those in `known` as there.

        What is needed to walk the threads' stacks is read, goroutines are not. For a small core of a
        process that runs on.
        """
        process = self._target.process
        with process.blamed():
            builder = SnapshotBuilder(self._target, self.runtime, self._tree)
            return builder.thread_registers(process.threads(), known)

    def _build(
        self,
        threads: Sequence[OsThread],
        held: StoppedThreads | None,
        wanted: Wanted,
        cpu: CpuWatch | None,
    ) -> SnapshotResult:
        functions = self._module.functions
        known = max(self._tree.code.known, len(self._tree))
        if known > _MAX_KNOWN or functions.is_exhausted:
            self._tree = self._new_tree()
        functions.allow_steps()
        builder = SnapshotBuilder(self._target, self.runtime, self._tree)
        result = builder.build(threads, held, wanted, cpu)
        timings_ns = self._attach_timings | result.snapshot.timings_ns
        return replace(result, snapshot=replace(result.snapshot, timings_ns=timings_ns))

    def _new_tree(self) -> StackTree:
        module, parsed = self._module, GoVersion.parse(self.runtime.go_version)
        module.functions.allow_steps()
        twice = has_generic_methods((parsed.major, parsed.minor) if parsed else None)
        code = Symbolizer(
            module.functions,
            InlineTrees(self._target.constant, _gofunc(self.runtime, module)),
            printed_with_methods if twice else printed,
            self._target.executable.build_info,
        )
        return StackTree(code, module.text)


class _NewThread(NamedTuple):
    """A thread that began just before the process was stopped: its state before is not known."""

    tid: int
    name: str | None
    os_state: None = None


def _stopped_threads(before: Sequence[OsThread], now: Sequence[OsThread]) -> list[OsThread]:
    """The threads of a stopped process, `now`, with their states `before` it was stopped."""
    known = {thread.tid: thread for thread in before}
    return [known.get(thread.tid, _NewThread(thread.tid, thread.name)) for thread in now]


def _with_stop(result: SnapshotResult, stopped_ns: int) -> SnapshotResult:
    """`result` with how long the process was stopped."""
    snapshot = result.snapshot
    source = replace(snapshot.source, stopped_ns=stopped_ns)
    return replace(result, snapshot=replace(snapshot, source=source))


def _gofunc(runtime: Runtime, module: Module) -> int | None:
    """The base of inlining trees (``moduledata.gofunc``), None where there is none or not known."""
    if not runtime.layouts.has("moduledata", "gofunc"):
        return None
    return int(runtime.memory.array(module.address, runtime.layouts["moduledata"], 1)[0]["gofunc"])
