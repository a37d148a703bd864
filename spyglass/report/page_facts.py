"""Facts about the program in a report, written as HTML: they need no script."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import PurePosixPath

from spyglass.analysis.findings.cpu import cpu_text, lifetime_text, sampled_code
from spyglass.escape import visible
from spyglass.model import CpuUse, MemoryStats, Process, Scheduler, Snapshot
from spyglass.report.markup import Markup, element, joined
from spyglass.words.containers import pod_text
from spyglass.words.population import Population
from spyglass.words.units import UNKNOWN, age, count, duration, moment, size

__all__ = ["memory", "program", "program_name", "scheduler", "taken"]

Fact = tuple[str, str | None]

#: The functions that the CPU card lists with their samples.
_SAMPLED_SHOWN = 5


def program_name(process: Process) -> str:
    """The name of the program's file, or else of its module."""
    path = process.exe or process.module or ""
    return visible(PurePosixPath(path).name) or "a Go program"


def taken(snapshot: Snapshot) -> str:
    """One line: the process, the time of the snapshot, and how it was read."""
    parts = [
        f"pid {snapshot.process.pid}",
        snapshot.host and f"on {visible(snapshot.host)}",
        visible(snapshot.process.go_version or "Go ?"),
        moment(snapshot.taken_at),
        _read(snapshot),
        _filtered(snapshot),
        "redacted" if snapshot.redacted else None,
    ]
    return " · ".join(filter(None, parts))


def _filtered(snapshot: Snapshot) -> str | None:
    """How many goroutines filters left of how many; None without filters."""
    if snapshot.matched_of is None:
        return None
    return f"filtered: {Population.listed(snapshot).out_of(Population.whole(snapshot))} goroutines"


def _read(snapshot: Snapshot) -> str:
    """How the snapshot was read, and whether the process was stopped."""
    if snapshot.source.kind != "process":
        return f"from a {visible(snapshot.source.kind)}"
    if not snapshot.source.stopped:
        return f"read in {duration(snapshot.took_ns)}, not stopped"
    paused_ns = snapshot.source.stopped_ns
    return "stopped" if paused_ns is None else f"stopped for {duration(paused_ns)}"


def program(snapshot: Snapshot) -> Markup:
    """Tiles with the main numbers, and cards about the program and its processor time."""
    cpu = None if snapshot.cpu is None else _card("CPU", _cpu(snapshot, snapshot.cpu))
    return joined(_tiles(snapshot), _cards(_card("Program", _program(snapshot.process)), cpu))


def scheduler(snapshot: Snapshot) -> Markup:
    """A card with the counters of the scheduler."""
    return _cards(_card("Counters", _scheduler(snapshot.scheduler)))


def memory(snapshot: Snapshot) -> Markup:
    """Cards about the memory that the runtime holds, and about garbage collection."""
    stats = snapshot.memory
    return _cards(
        _card("Heap and stacks", _memory(stats), _heap_bar(stats)),
        _card("Garbage collection", _collections(stats, snapshot.taken_at)),
    )


def _cards(*cards: Markup | None) -> Markup:
    return element("div", *cards, class_="cards")


def _tiles(snapshot: Snapshot) -> Markup:
    process, scheduler, memory = snapshot.process, snapshot.scheduler, snapshot.memory
    tiles = (
        ("Goroutines", *_goroutines(snapshot)),
        *_cpu_tile(snapshot.cpu),
        ("Threads", count(len(snapshot.threads)), f"{count(scheduler.idle_ms)} Ms idle"),
        ("GOMAXPROCS", count(scheduler.gomaxprocs), f"{count(scheduler.idle_ps)} Ps idle"),
        ("Heap in use", size(memory.heap_in_use_bytes), f"goal {size(memory.heap_goal_bytes)}"),
        ("Resident memory", size(process.rss_bytes), _limit(process.memory_limit_bytes)),
        ("Uptime", age(process.uptime_seconds), f"since {moment(process.started_at)}"),
    )
    return element("dl", *(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, value: str, remark: str) -> Markup:
    return element(
        "div",
        element("dt", name),
        element("dd", value, class_="value"),
        element("dd", remark, class_="muted"),
    )


def _goroutines(snapshot: Snapshot) -> tuple[str, str]:
    """The number of user goroutines, and beside it that of the runtime's."""
    listed = Population.listed(snapshot)
    return count(listed.user), listed.beside


def _cpu_tile(use: CpuUse | None) -> Iterator[tuple[str, str, str]]:
    """The processors that are used, and of how many; nothing if that is not known."""
    text = use and cpu_text(use)
    if text:
        used, _, of = text.partition(" ")
        yield "CPU", used, of


def _cpu(snapshot: Snapshot, use: CpuUse) -> list[Fact]:
    """Processor time in the window and since the process started, and the samples of the window."""
    places = sampled_code(snapshot, use)
    total = places.total()
    throttled_ns = use.throttling.total_throttled_ns if use.throttling else None
    return [
        ("Now", cpu_text(use) or UNKNOWN),
        ("Measured over", duration(use.window_ns)),
        ("Since start", lifetime_text(use, snapshot.process.uptime_seconds) or UNKNOWN),
        ("Throttled", duration(throttled_ns) if throttled_ns else None),
        ("Samples of running threads", count(total) if total else None),
        *(
            (f"in {visible(name)}", f"{100 * number // total} % ({count(number)})")
            for (name, _), number in places.most_common(_SAMPLED_SHOWN)
        ),
    ]


def _limit(limit_bytes: int | None) -> str:
    return "no limit known" if limit_bytes is None else f"limit {size(limit_bytes)}"


def _card(title: str, facts: Iterable[Fact], *more: Markup | None) -> Markup:
    listed = joined(*(_fact(name, value) for name, value in facts if value is not None))
    return element("div", element("h3", title), *more, element("dl", listed), class_="card facts")


def _fact(name: str, value: str) -> Markup:
    shown = element("span", "not known", class_="muted") if value == UNKNOWN else value
    return element("div", element("dt", name), element("dd", shown))


def _program(process: Process) -> list[Fact]:
    module = " ".join(filter(None, (process.module, process.module_version)))
    cgo = {True: "cgo", False: "no cgo", None: "cgo not known"}[process.cgo]
    limit = process.memory_limit_bytes
    return [
        ("Executable", visible(process.exe or UNKNOWN)),
        ("Go library", process.library and visible(process.library)),
        ("Command", visible(shlex.join(process.cmdline)) or UNKNOWN),
        ("Module", visible(module) or UNKNOWN),
        ("Go", visible(process.go_version or UNKNOWN)),
        ("Build", ", ".join((visible(process.arch or UNKNOWN), *_shape(process), cgo))),
        ("Build id", visible(process.build_id or UNKNOWN)),
        ("Started", moment(process.started_at)),
        ("Container", _container(process)),
        ("Pod", _visible(pod_text(process))),
        ("Container's memory limit", None if limit is None else size(limit)),
    ]


def _container(process: Process) -> str | None:
    """Its name and its id, as far as they are known."""
    words = (process.container_name, process.container)
    return _visible(", ".join(dict.fromkeys(filter(None, words)))) or None


def _visible(text: str | None) -> str | None:
    return text and visible(text)


def _shape(process: Process) -> tuple[str, str]:
    return (
        "stripped" if process.stripped else "not stripped",
        "PIE" if process.pie else "not PIE",
    )


def _scheduler(scheduler: Scheduler) -> list[Fact]:
    return [
        ("GOMAXPROCS", count(scheduler.gomaxprocs)),
        ("Global run queue", count(scheduler.run_queue)),
        ("Idle Ps", count(scheduler.idle_ps)),
        ("Idle Ms", count(scheduler.idle_ms)),
        ("Spinning Ms", count(scheduler.spinning_ms)),
        ("Freed Ms", count(scheduler.freed_ms)),
        ("Stop-the-world pending", {True: "yes", False: "no", None: UNKNOWN}[scheduler.gc_waiting]),
    ]  # fmt: skip


def _memory(memory: MemoryStats) -> list[Fact]:
    return [
        ("Heap in use", size(memory.heap_in_use_bytes)),
        ("Heap idle", size(memory.heap_idle_bytes)),
        ("Released to the OS", size(memory.heap_released_bytes)),
        ("Stacks", size(memory.stacks_in_use_bytes)),
        ("Heap goal", size(memory.heap_goal_bytes)),
        ("GOMEMLIMIT", size(memory.memory_limit_bytes) if memory.memory_limit_bytes else "none"),
    ]


def _collections(memory: MemoryStats, taken_at: datetime) -> list[Fact]:
    never = memory.gc_count == 0
    return [
        ("Cycles", count(memory.gc_count)),
        ("Last", "never" if never else _ago(memory.last_gc_at, taken_at)),
        ("Last pause", "none" if never else duration(memory.last_gc_pause_ns)),
        ("Total pause", duration(memory.gc_pause_total_ns)),
        ("GOGC", "off" if memory.gogc_percent == -1 else count(memory.gogc_percent)),
    ]


def _ago(then: datetime | None, now: datetime) -> str:
    return UNKNOWN if then is None else f"{age((now - then).total_seconds())} ago"


def _heap_bar(memory: MemoryStats) -> Markup | None:
    """A bar of the heap's memory by use; the card lists the numbers."""
    used, idle, released = (
        memory.heap_in_use_bytes, memory.heap_idle_bytes, memory.heap_released_bytes,
    )  # fmt: skip
    if used is None or idle is None or released is None or not used + idle:
        return None
    parts = (("used", used), ("idle", max(idle - released, 0)), ("released", min(released, idle)))
    words = ", ".join(f"{size(part)} {name}" for name, part in parts)
    bars, at = [], 0.0
    for name, part in parts:
        width = 100 * part / (used + idle)
        bars.append(
            element("rect", x=f"{at:.2f}%", width=f"{width:.2f}%", height="100%", class_=name)
        )
        at += width
    return element("svg", *bars, class_="heap", role="img", aria_label=f"Heap: {words}")
