"""The texts in the cells of the pages: of a group, a goroutine, a thread."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from spyglass.model import Frame, Goroutine, Processor, Thread
from spyglass.tui.group_rows import GroupRow, functions_of, label_value
from spyglass.tui.layout import Style
from spyglass.words.calls import CALL_MARK, START_MARK, call_text, location_text
from spyglass.words.states import state_words
from spyglass.words.units import UNKNOWN, count, duration, plural, signed

__all__ = [
    "AND",
    "Cells",
    "function_text",
    "goroutine_cells",
    "group_cells",
    "labels_text",
    "percent_text",
    "place",
    "thread_cells",
]

#: For each column a function that makes its text.
Cells = dict[str, Callable[[], str]]

#: Between a state of a group and the next one.
AND = ", "


def group_cells(row: GroupRow, by: str, style: Style, difference: str = "") -> Cells:
    """The texts of one group, which name only what is true of all its goroutines. `difference`: what tells
    its stack from others."""
    return {
        "mark": lambda: style.sign("▲", "^") if row.growing else "",
        "count": lambda: count(row.count),
        "change": lambda: _change(row.change),
        "since": lambda: _change(row.since),
        "cpu": lambda: percent_text(row.cpu_percent),
        "state": lambda: style.text(_states(row)),
        "wait": lambda: _wait(style, row.wait_ns, row.seen_waiting_ns),
        "median": lambda: _wait(style, row.median_wait_ns) if row.count > 1 else "",
        "where": lambda: _group_where(row, style),
        "call": lambda: _group_call(row, style),
        "line": lambda: _group_line(row, style),
        "difference": lambda: style.text(difference),
        "creator": lambda: _group_creator(row, by, style),
        "created at": lambda: place(row.creator, style),
        "label": lambda: style.text(label_value(by, row.key)),
    }


def _states(row: GroupRow) -> str:
    """``select``, or ``12 IO wait, 3 running``."""
    if len(row.states) == 1:
        return row.state
    return AND.join(f"{count(number)} {state}" for state, number in row.states.items())


def _group_where(row: GroupRow, style: Style) -> str:
    functions = functions_of(row.lines)
    if len(functions) > 1:
        return _several(functions, "function")
    where, is_start = row.where
    call = row.call if len(row.calls) == 1 else None
    return _where_text(where, is_start, call, style)


def _group_call(row: GroupRow, style: Style) -> str:
    return _call_text(row.call, style) if len(row.calls) == 1 else _several(row.calls, "call")


def _group_line(row: GroupRow, style: Style) -> str:
    return place(row.where[0], style) if len(row.lines) == 1 else _several(row.lines, "line")


def _group_creator(row: GroupRow, by: str, style: Style) -> str:
    creators = functions_of(row.creators)
    if len(creators) > 1:
        return _several(creators, "creator")
    if row.creator is None:
        return "-"
    line = f":{row.creator.line}" if by == "creator" and row.creator.line is not None else ""
    return function_text(row.creator, style) + line


def _several(values: Set[Any], noun: str) -> str:
    """``3 calls``, or ``3 calls or none``."""
    known = len(values) - (None in values)
    return plural(known, noun) + (" or none" if None in values else "")


def goroutine_cells(g: Goroutine, style: Style, seen_ns: int | None = None) -> Cells:
    """The texts of one goroutine; `seen_ns`: how long it was seen waiting."""
    return {
        "id": lambda: str(g.id),
        "state": lambda: style.text(state_words(g.status, g.wait_reason)),
        "wait": lambda: _wait(style, g.waiting_ns, seen_ns),
        "M": lambda: "" if g.m is None else str(g.m),
        "where": lambda: _where_text(g.where or g.start, g.where is None, g.call, style),
        "call": lambda: _call_text(g.call, style),
        "labels": lambda: style.text(labels_text(g)),
        "creator": lambda: "-" if g.created_by is None else function_text(g.created_by, style),
    }


def thread_cells(
    thread: Thread, p: Processor | None, cpu_percent: float | None, style: Style
) -> Cells:
    """The texts of one thread, and of the P that it holds. `cpu_percent`: since the previous tick."""

    def known(value: object) -> Callable[[], str]:
        return lambda: "-" if value is None else style.text(str(value))

    return {
        "tid": known(thread.tid),
        "cpu": known(None if cpu_percent is None else f"{cpu_percent:.0f}%"),
        "state": known(thread.os_state),
        "M": known(thread.m),
        "P": known(thread.p),
        "pstatus": known(p and p.status),
        "queue": known(p.run_queue if p else None),
        "goroutine": known(thread.goroutine),
        "locked": known(thread.locked_goroutine),
        "spinning": known("spinning" if thread.spinning else ""),
        "name": known(thread.name),
    }


def function_text(frame: Frame | None, style: Style) -> str:
    """The name of the function of `frame`, safe to show."""
    return UNKNOWN if frame is None else style.text(call_text(frame))


def percent_text(percent: float | None) -> str:
    """A percentage with one decimal; empty if it is not known, or 0."""
    return f"{percent:.1f}%" if percent else ""


def place(frame: Frame | None, style: Style) -> str:
    """File and line of `frame`, safe to show."""
    return "" if frame is None else style.text(location_text(frame))


def labels_text(g: Goroutine) -> str:
    """Its pprof labels in one line."""
    return " ".join(f"{key}={value}" for key, value in g.labels.items())


def _where_text(frame: Frame | None, is_start: bool, call: Frame | None, style: Style) -> str:
    """The function of `frame`, marked if it is only the start function of the goroutine.

    Where there is no room for a column of calls, `call` follows it.
    """
    mark = START_MARK if is_start and frame is not None else ""
    called = CALL_MARK + _call_text(call, style) if call and style.is_narrow else ""
    return function_text(frame, style) + mark + called


def _call_text(call: Frame | None, style: Style) -> str:
    return "" if call is None else function_text(call, style)


def _wait(style: Style, wait_ns: int | None, seen_ns: int | None = None) -> str:
    """A wait that Go timestamped (``≥4m 6s``), or if that is shorter for how long it was seen (``seen 12s``)."""
    if seen_ns is not None and seen_ns > (wait_ns or 0):
        return f"seen {duration(seen_ns).partition(' ')[0]}"
    return "" if wait_ns is None else style.sign("≥", ">=") + duration(wait_ns)


def _change(change: int | None) -> str:
    return "" if change == 0 else signed(change)
