"""The header of the view: the program, its processors, memory and goroutines, with sparklines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from spyglass.analysis.counts import by_status
from spyglass.analysis.selection import selected
from spyglass.model import Snapshot
from spyglass.render.sections import fact
from spyglass.tui.cpu_pages import cpu_lines
from spyglass.tui.feed import Tick
from spyglass.tui.layout import Style
from spyglass.tui.view_state import Model
from spyglass.words.population import Population
from spyglass.words.states import state_colour
from spyglass.words.units import UNKNOWN, age, count, duration, moment, size

__all__ = ["header_lines"]

#: The sign of a P of each status.
_P_SIGNS = {"idle": ".", "running": "R", "syscall": "S"}
_MAX_PS = 32
#: An interval is said to be longer than the user wanted from this ratio on.
_NOTED_EXCESS = 1.05


def header_lines(
    model: Model, style: Style, *, paused: bool = False, wanted_ns: int = 0
) -> list[Text]:
    """Five lines about the program, and two about its processor time while that is sampled; `wanted_ns`: the
    interval that the user chose."""
    if model.tick is None:
        return [Text("reading ...")]
    tick = model.tick
    facts = (
        [*_program(tick.snapshot, style), *_when(model, tick, paused, wanted_ns)],
        list(_process(model, tick, style)),
        list(_memory(model, tick.snapshot, style)),
        list(_processors(tick.snapshot)),
        list(_statuses(model, tick.snapshot, style)),
        *cpu_lines(model, style),
    )
    return [_joined(parts, style) for parts in facts]


def _joined(parts: list[Text], style: Style) -> Text:
    """`parts` in one line; those that there is no room for are left out, so that no figure is cut."""
    width = sys.maxsize if style.width is None else style.width
    line = Text(no_wrap=True, end="")
    for part in parts:
        gap = "  " if line.plain else ""
        if line.plain and line.cell_len + len(gap) + part.cell_len > width:
            break
        line.append(gap).append_text(part)
    line.truncate(width)
    return line


def _program(snapshot: Snapshot, style: Style) -> Iterator[Text]:
    process = snapshot.process
    name = (process.exe or process.module or UNKNOWN).rpartition("/")[2]
    yield Text(style.text(name), "bold")
    yield fact("pid", str(process.pid))
    yield Text(style.text(process.go_version or "Go ?"))
    yield fact("up", age(process.uptime_seconds))


def _when(model: Model, tick: Tick, paused: bool, wanted_ns: int) -> Iterator[Text]:
    if model.ended is not None:
        yield Text("ENDED", "bold reverse")
    elif paused:
        yield Text("PAUSED", "bold reverse")
    if tick.position is not None:
        yield Text(f"{tick.position[0] + 1} of {tick.position[1]}", "bold")
    if tick.pause_ns is None or model.ended is not None or paused:
        yield Text(moment(tick.snapshot.taken_at))
    elif tick.pause_ns > wanted_ns * _NOTED_EXCESS:
        yield Text(
            f"every {tick.pause_ns / 1e9:.1f}s, not {wanted_ns / 1e9:.1f}s: "
            f"reading takes {tick.took_ns / 1e9:.2f}s", "yellow",
        )  # fmt: skip
    else:
        yield fact("every", f"{wanted_ns / 1e9:g}s")


def _process(model: Model, tick: Tick, style: Style) -> Iterator[Text]:
    process = tick.snapshot.process
    if tick.cpu_percent is not None:
        yield _with_bars(model, "cpu", f"{tick.cpu_percent:.0f}%", style)
    rss = size(process.rss_bytes)
    if process.memory_limit_bytes is not None:
        rss += f" of {size(process.memory_limit_bytes)}"
    yield _with_bars(model, "rss", rss, style)
    yield _with_bars(model, "threads", count(len(tick.snapshot.threads)), style)
    yield _with_bars(model, "goroutines", _population(tick.snapshot), style)


def _population(snapshot: Snapshot) -> str:
    return Population.listed(snapshot).out_of(Population.whole(snapshot))


def _memory(model: Model, snapshot: Snapshot, style: Style) -> Iterator[Text]:
    memory = snapshot.memory
    yield _with_bars(model, "heap", size(memory.heap_in_use_bytes), style)
    yield fact("goal", size(memory.heap_goal_bytes))
    yield fact("gc", count(memory.gc_count))
    if memory.last_gc_at is not None:
        seconds = (snapshot.taken_at - memory.last_gc_at).total_seconds()
        yield fact("last", f"{age(seconds)} ago")
        yield _with_bars(model, "pause", duration(memory.last_gc_pause_ns), style)


def _processors(snapshot: Snapshot) -> Iterator[Text]:
    scheduler, ps = snapshot.scheduler, snapshot.processors
    yield fact("gomaxprocs", count(scheduler.gomaxprocs))
    if len(ps) <= _MAX_PS:
        bar = Text("[")
        for p in ps:
            bar.append(_P_SIGNS.get(p.status, "?"), _p_style(p.status))
        yield bar.append("]")
    for status, number in Counter(p.status for p in ps).most_common():
        yield fact(f"{status}", count(number))
    queues = " ".join(str(p.run_queue) for p in ps[:_MAX_PS]) + (
        " ..." if len(ps) > _MAX_PS else ""
    )
    total = sum(p.run_queue for p in ps)
    yield fact("queues", queues if total else "0", "yellow" if total else "")
    yield fact("global", count(scheduler.run_queue), "yellow" if scheduler.run_queue else "")


def _p_style(status: str) -> str:
    if status == "idle":
        return "dim"
    return state_colour(status) or "yellow"


def _statuses(model: Model, snapshot: Snapshot, style: Style) -> Iterator[Text]:
    statuses = by_status(snapshot, selected(snapshot.goroutines))
    for status, number in statuses.items():
        colour = state_colour(status)
        yield _with_bars(model, status, count(number), style, f"status {status}", colour)
    if snapshot.problems:
        yield Text(f"problems {len(snapshot.problems)} (!)", "yellow")


def _with_bars(
    model: Model, name: str, value: str, style: Style, figure: str = "", colour: str = ""
) -> Text:
    """A fact and a sparkline of its last values; `figure`: their name in the history, if not `name`."""
    text = fact(name, value, colour)
    room = 8 if style.width is not None and style.width < 120 else 16
    bars = model.history.line(figure or name, room, ascii_only=style.ascii_only)
    return text.append(f" {bars}", "blue") if bars else text
