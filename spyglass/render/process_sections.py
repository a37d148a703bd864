"""The sections of a summary above the goroutines: program, scheduler, threads, memory.

Each has few facts, those that a first look needs, and with `verbose` all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.text import Text

from spyglass.analysis.counts import by_os_state
from spyglass.analysis.findings.cpu import cpu_text, lifetime_text
from spyglass.escape import visible
from spyglass.model import CpuUse, Process, Processor, Scheduler, Snapshot
from spyglass.render.cropping import cropped, tail_in
from spyglass.render.sections import GAP, LABEL_WIDTH, fact, section
from spyglass.words.containers import container_text, pod_text
from spyglass.words.units import UNKNOWN, age, count, duration, moment, size

__all__ = [
    "counted",
    "cpu_lines",
    "memory_lines",
    "program_lines",
    "saved_lines",
    "scheduler_lines",
    "thread_lines",
]

#: Characters of the id of a build or container that are shown; enough to tell two apart.
_ID_WIDTH = 13
#: Cells for the name of a container, and for that of a pod.
_NAME_WIDTH = 32
#: Cells for the end of the path of a program.
_PATH_WIDTH = 16
#: GOGC where the program did not choose it (``runtime/mgcpacer.go: readGOGC``).
_DEFAULT_GOGC = 100


def saved_lines(snapshot: Snapshot, width: int | None) -> Iterator[Text]:
    """The file of a saved snapshot, when and on which machine it was taken; nothing for a live one."""
    if snapshot.file is None:
        return
    room = None if width is None else width - LABEL_WIDTH
    facts = [Text(_shortened(tail_in, visible(snapshot.file), room))]
    facts.append(fact("taken", moment(snapshot.taken_at), "bold"))
    if snapshot.host is not None:
        facts.append(fact("on", visible(snapshot.host)))
    if snapshot.redacted:
        facts.append(Text("redacted"))
    yield from section("saved", facts, width)


def program_lines(process: Process, width: int | None, *, verbose: bool) -> Iterator[Text]:
    """The program: its file and command line, and with `verbose` its build."""
    room = None if width is None else width - LABEL_WIDTH
    identity = _identity(process, room) if verbose else _compact_identity(process, room)
    yield from section("program", list(identity), width)
    if process.library is not None:
        library = _shortened(tail_in, visible(process.library), room)
        yield from section("go library", [Text(library)], width)
    if len(process.cmdline) > 1 or (verbose and process.cmdline not in ((), (process.exe,))):
        command = shlex.join(map(visible, process.cmdline))
        yield from section("command", [Text(_shortened(cropped, command, room))], width)
    if verbose:
        yield from section("build", list(_build(process, width)), width)


def _shortened(shorten: Callable[[str, int], str], text: str, room: int | None) -> str:
    return text if room is None else shorten(text, room)


def _identity(process: Process, room: int | None) -> Iterator[Text]:
    yield Text(_shortened(tail_in, visible(process.exe or UNKNOWN), room), "bold")
    yield fact("pid", str(process.pid), "bold")
    yield fact("up", age(process.uptime_seconds))
    yield fact("rss", size(process.rss_bytes))
    yield fact("started", moment(process.started_at))
    yield from _surroundings(process, room)


def _compact_identity(process: Process, room: int | None) -> list[Text]:
    """The path of the file is shortened so that all is on one line, if that leaves enough of it."""
    facts = [
        fact("pid", str(process.pid), "bold"),
        fact("up", age(process.uptime_seconds)),
        fact("rss", size(process.rss_bytes)),
        Text(visible(process.go_version or "Go ?")),
        *_surroundings(process, room),
    ]
    if room is not None:
        left = room - sum(each.cell_len + len(GAP) for each in facts)
        room = left if left >= _PATH_WIDTH else room
    return [Text(_shortened(tail_in, visible(process.exe or UNKNOWN), room), "bold"), *facts]


def _surroundings(process: Process, room: int | None) -> Iterator[Text]:
    container, pod = container_text(process), pod_text(process)
    if container is not None:
        width = _ID_WIDTH if process.container_name is None else _NAME_WIDTH
        yield fact("container", _shortened(cropped, visible(container), room and width))
    if pod is not None:
        yield fact("pod", _shortened(tail_in, visible(pod), room and _NAME_WIDTH))
    if process.memory_limit_bytes is not None:
        yield fact("memory limit", size(process.memory_limit_bytes))


def _build(process: Process, width: int | None) -> Iterator[Text]:
    yield Text(visible(process.go_version or "Go ?"))
    yield Text(visible(process.arch or UNKNOWN))
    yield Text("stripped" if process.stripped else "not stripped")
    yield Text("PIE" if process.pie else "not PIE")
    yield Text({True: "cgo", False: "no cgo", None: "cgo ?"}[process.cgo])
    build_id = visible(process.build_id or UNKNOWN)
    yield fact("build id", build_id if width is None else cropped(build_id, _ID_WIDTH))
    module = visible(" ".join(filter(None, (process.module, process.module_version))))
    yield fact("module", module or UNKNOWN)


def cpu_lines(
    use: CpuUse | None, uptime_seconds: float | None, width: int | None
) -> Iterator[Text]:
    """Processor time: now, and over the life of the process; nothing if it is not known."""
    if use is None:
        return
    facts = []
    now = cpu_text(use)
    if now is not None:
        facts.append(fact("now", now, "bold"))
    lifetime = lifetime_text(use, uptime_seconds)
    if lifetime is not None:
        facts.append(fact("since start", lifetime))
    throttling = use.throttling
    if throttling is not None and throttling.total_throttled:
        facts.append(fact("throttled", duration(throttling.total_throttled_ns)))
    yield from section("cpu", facts, width)


def scheduler_lines(snapshot: Snapshot, width: int | None, *, verbose: bool) -> Iterator[Text]:
    """The scheduler: its counters, and without `verbose` the threads."""
    facts = (
        _counters(snapshot.scheduler)
        if verbose
        else [*_load(snapshot.scheduler, snapshot.processors), *_threads(snapshot)]
    )
    yield from section("scheduler", facts, width)


def _counters(scheduler: Scheduler) -> list[Text]:
    waiting = {True: "yes", False: "no", None: UNKNOWN}[scheduler.gc_waiting]
    return [
        fact("gomaxprocs", count(scheduler.gomaxprocs)),
        fact("global run queue", count(scheduler.run_queue)),
        fact("Ps idle", count(scheduler.idle_ps)),
        fact("Ms idle", count(scheduler.idle_ms)),
        fact("spinning", count(scheduler.spinning_ms)),
        fact("freed", count(scheduler.freed_ms)),
        fact("stop-the-world pending", waiting, "bold red" if scheduler.gc_waiting else ""),
    ]


def _load(scheduler: Scheduler, processors: Sequence[Processor]) -> Iterator[Text]:
    """How busy the Ps are; the run queue is the global one and those of the Ps."""
    queued = scheduler.run_queue
    if queued is not None:
        queued += sum(processor.run_queue for processor in processors)
    yield fact("gomaxprocs", count(scheduler.gomaxprocs))
    yield fact("Ps idle", count(scheduler.idle_ps))
    yield fact("run queue", count(queued))
    if scheduler.gc_waiting:
        yield fact("stop-the-world pending", "yes", "bold red")


def _threads(snapshot: Snapshot) -> Iterator[Text]:
    """The number of threads, those that do not sleep, and those that are locked to a goroutine."""
    some = [
        f"{count(number)} {visible(state or UNKNOWN)}"
        for state, number in by_os_state(snapshot).items()
        if state != "sleeping"
    ]
    locked = sum(thread.locked_goroutine is not None for thread in snapshot.threads)
    some += [f"{count(locked)} locked"] if locked else []
    total = count(len(snapshot.threads))
    yield fact("threads", f"{total} ({', '.join(some)})" if some else total)


def thread_lines(snapshot: Snapshot, width: int | None) -> Iterator[Text]:
    """The number of threads, in total and by state, and of those that are Ms of the runtime."""
    ms = [thread for thread in snapshot.threads if thread.m is not None]
    facts = [fact("total", count(len(snapshot.threads)))]
    facts += counted((state or UNKNOWN, number) for state, number in by_os_state(snapshot).items())
    facts += [
        fact("Ms", count(len(ms))),
        fact("Ms without P", count(sum(thread.p is None for thread in ms))),
        fact("locked Ms", count(sum(thread.locked_goroutine is not None for thread in ms))),
    ]
    yield from section("threads", facts, width)


def counted(counts: Iterable[tuple[str, int]]) -> list[Text]:
    """A fact for each word and its number."""
    return [fact(visible(word), count(number)) for word, number in counts]


def memory_lines(snapshot: Snapshot, width: int | None, *, verbose: bool) -> Iterator[Text]:
    """The memory that the runtime holds, by use, and garbage collections."""
    memory = snapshot.memory
    facts = [
        fact("heap", size(memory.heap_in_use_bytes)),
        fact("idle", size(memory.heap_idle_bytes)),
        fact("released", size(memory.heap_released_bytes)),
        fact("goal", size(memory.heap_goal_bytes)),
        fact("stacks", size(memory.stacks_in_use_bytes)),
    ]
    if verbose:
        yield from section("memory", facts, width)
        yield from section("gc", _collections(snapshot), width)
        return
    heap, _, _, goal, stacks = facts
    limit = memory.memory_limit_bytes
    limits = [] if limit is None else [fact("limit", size(limit))]
    collections = [fact("gc", count(memory.gc_count)), fact("last", _ago(snapshot))]
    if memory.gogc_percent not in (None, _DEFAULT_GOGC):
        collections.append(fact("GOGC", _gogc(memory.gogc_percent)))
    yield from section("memory", [heap, goal, *limits, stacks, *collections], width)


def _gogc(percent: int | None) -> str:
    return "off" if percent == -1 else count(percent)


def _collections(snapshot: Snapshot) -> list[Text]:
    """Garbage collections: their number, the last one, stop-the-world pauses, and the settings."""
    memory = snapshot.memory
    facts = [
        fact("cycles", count(memory.gc_count)),
        fact("last", _ago(snapshot)),
        fact("pause", "-" if memory.gc_count == 0 else duration(memory.last_gc_pause_ns)),
        fact("all pauses", duration(memory.gc_pause_total_ns)),
        fact("GOGC", _gogc(memory.gogc_percent)),
    ]
    if memory.memory_limit_bytes is not None:
        facts.append(fact("limit", size(memory.memory_limit_bytes)))
    return facts


def _ago(snapshot: Snapshot) -> str:
    if snapshot.memory.last_gc_at is None:
        return "never" if snapshot.memory.gc_count == 0 else UNKNOWN
    seconds = (snapshot.taken_at - snapshot.memory.last_gc_at).total_seconds()
    return f"{age(seconds)} ago"
