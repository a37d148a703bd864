"""What a page says of the program as a whole: it stands in the HTML, so no script is needed to read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath

from spyglass.analysis.selection import selected
from spyglass.model import MemoryStats, Process, Scheduler, Snapshot
from spyglass.report.markup import Markup, element, joined
from spyglass.words.escape import visible
from spyglass.words.units import UNKNOWN, age, count, duration, moment, size

__all__ = ["overview", "program_name", "taken"]

Fact = tuple[str, str | None]


def program_name(process: Process) -> str:
    """What people call the program: the name of its file, or of its module."""
    path = process.exe or process.module or ""
    return visible(PurePosixPath(path).name) or "a Go program"


def taken(snapshot: Snapshot) -> str:
    """One line: of which process, when, and what that cost it."""
    parts = [
        f"pid {snapshot.process.pid}",
        snapshot.host and f"on {visible(snapshot.host)}",
        visible(snapshot.process.go_version or "Go ?"),
        moment(snapshot.taken_at),
        _how(snapshot),
        "redacted" if snapshot.redacted else None,
    ]
    return " · ".join(filter(None, parts))


def _how(snapshot: Snapshot) -> str:
    """What a process noticed of being looked at."""
    if snapshot.source.kind != "process":
        return f"from a {visible(snapshot.source.kind)}"
    stopped = snapshot.source.stopped
    if not stopped:
        return f"read in {duration(snapshot.took_ns)}, not stopped"
    held_ns = snapshot.source.stopped_ns
    return "stopped" if held_ns is None else f"stopped for {duration(held_ns)}"


def overview(snapshot: Snapshot) -> Markup:
    """The section's content: the numbers that matter most, then cards of facts."""
    process, memory = snapshot.process, snapshot.memory
    cards = (
        _card("Program", _program(process)),
        _card("Scheduler", _scheduler(snapshot.scheduler)),
        _card("Memory", _memory(memory), _heap_bar(memory)),
        _card("Garbage collection", _collections(memory, snapshot.taken_at)),
    )
    return joined(_tiles(snapshot), element("div", *cards, class_="cards"))


def _tiles(snapshot: Snapshot) -> Markup:
    process, scheduler, memory = snapshot.process, snapshot.scheduler, snapshot.memory
    tiles = (
        ("Goroutines", count(len(selected(snapshot.goroutines))), _of_all(snapshot)),
        ("Threads", count(len(snapshot.threads)), f"{count(scheduler.idle_ms)} Ms idle"),
        ("Processors", count(scheduler.gomaxprocs), f"{count(scheduler.idle_ps)} idle"),
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


def _of_all(snapshot: Snapshot) -> str:
    if snapshot.matched_of is not None:
        return f"chosen from {count(snapshot.matched_of)}"
    return f"and {count(snapshot.scheduler.system_goroutines)} of Go's own"


def _limit(limit_bytes: int | None) -> str:
    return "no limit known" if limit_bytes is None else f"limit {size(limit_bytes)}"


def _card(title: str, facts: Iterable[Fact], *more: Markup | None) -> Markup:
    listed = joined(*(_fact(name, value) for name, value in facts if value is not None))
    return element("div", element("h3", title), *more, element("dl", listed), class_="card facts")


def _fact(name: str, value: str) -> Markup:
    told = element("span", "not known", class_="muted") if value == UNKNOWN else value
    return element("div", element("dt", name), element("dd", told))


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
        ("Build", ", ".join((visible(process.arch), *_shape(process), cgo))),
        ("Build id", visible(process.build_id or UNKNOWN)),
        ("Started", moment(process.started_at)),
        ("Container", process.container and visible(process.container)),
        ("Container's memory limit", None if limit is None else size(limit)),
    ]


def _shape(process: Process) -> tuple[str, str]:
    return (
        "stripped" if process.stripped else "not stripped",
        "PIE" if process.pie else "not PIE",
    )


def _scheduler(scheduler: Scheduler) -> list[Fact]:
    return [
        ("GOMAXPROCS", count(scheduler.gomaxprocs)),
        ("Goroutines", count(scheduler.goroutines)),
        ("Go's own goroutines", count(scheduler.system_goroutines)),
        ("Global run queue", count(scheduler.run_queue)),
        ("Idle Ps", count(scheduler.idle_ps)),
        ("Idle Ms", count(scheduler.idle_ms)),
        ("Spinning Ms", count(scheduler.spinning_ms)),
        ("Freed Ms", count(scheduler.freed_ms)),
        ("Waiting for a collection", {True: "yes", False: "no", None: UNKNOWN}[scheduler.gc_waiting]),
    ]  # fmt: skip


def _memory(memory: MemoryStats) -> list[Fact]:
    return [
        ("Heap in use", size(memory.heap_in_use_bytes)),
        ("Heap idle", size(memory.heap_idle_bytes)),
        ("of it released", size(memory.heap_released_bytes)),
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
        ("All pauses", duration(memory.gc_pause_total_ns)),
        ("GOGC", "off" if memory.gogc_percent == -1 else count(memory.gogc_percent)),
    ]


def _ago(then: datetime | None, now: datetime) -> str:
    return UNKNOWN if then is None else f"{age((now - then).total_seconds())} ago"


def _heap_bar(memory: MemoryStats) -> Markup | None:
    """What the heap's memory is for, side by side; the numbers stand below it."""
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
