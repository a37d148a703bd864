"""What stands in the columns of the pages: of a group, a goroutine, a thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from spyglass.model import Frame, Goroutine, Processor, Thread
from spyglass.render.cropping import function_in, location_in
from spyglass.render.traceback import call_text, place_text
from spyglass.tui.group_rows import GroupRow
from spyglass.tui.layout import Column, Style
from spyglass.words.text import UNKNOWN, count, duration

__all__ = [
    "Cells",
    "function_text",
    "goroutine_cells",
    "goroutine_columns",
    "group_cells",
    "group_columns",
    "labels_text",
    "place",
    "thread_cells",
    "thread_columns",
]

#: From this width of a terminal on there is room for who created a goroutine.
_WIDE = 110
#: And from this one on for lines of code.
_WIDEST = 130
#: Below this all columns are as narrow as they can be.
_MIDDLE = 100
_STATE_STYLES = {"running": "green", "runnable": "cyan", "syscall": "magenta"}

#: What makes the text of each column, made when it is looked for.
Cells = dict[str, Callable[[], str]]


def group_columns(by: str, style: Style) -> list[Column]:
    """Those of groups; what they are grouped by has most room."""
    narrow = style.width is not None and style.width < _MIDDLE
    widths = (7, 6, 7, 13, 6) if narrow else (9, 8, 9, 22, 7)
    columns = [
        Column("mark", "", 1, style=lambda cell: "bold yellow" if cell else ""),
        Column("count", "count", widths[0], right=True, style=lambda _: "bold"),
        Column("change", "tick", widths[1], right=True, style=_change_style),
        Column("since", "base", widths[2], right=True, style=_change_style),
        Column("state", "state", widths[3], style=_state_style),
        Column("wait", "wait", widths[4], right=True),
    ]
    where = Column("where", "where", weight=4, fit=function_in)
    line = Column("line", "line", weight=2, fit=location_in, from_width=_WIDEST)
    creator = Column("creator", "created by", weight=3, fit=function_in, from_width=_WIDE)
    if by == "creator":
        made = Column("creator", "created by", weight=4, fit=function_in)
        made_at = Column("created at", "line", weight=2, fit=location_in, from_width=_WIDEST)
        where = Column("where", "where", weight=3, fit=function_in, from_width=_WIDE)
        return [*columns, made, made_at, where]
    if by.startswith("label:"):
        return [*columns, Column("label", by.removeprefix("label:"), weight=3), where, creator]
    if by == "stack":  # many of them are at one place
        creator = replace(creator, from_width=0)
    return [*columns, where, line, creator]


def group_cells(row: GroupRow, style: Style) -> Cells:
    """The texts of one group."""
    where, began = row.where
    begins = " (start)" if began and where else ""
    return {
        "mark": lambda: style.sign("▲", "^") if row.growing else "",
        "count": lambda: count(row.count),
        "change": lambda: _signed(row.change),
        "since": lambda: _signed(row.since),
        "state": lambda: style.text(row.state),
        "wait": lambda: _wait(row.wait_ns),
        "where": lambda: function_text(where, style) + begins,
        "line": lambda: place(where, style),
        "creator": lambda: function_text(row.creator, style),
        "created at": lambda: place(row.creator, style),
        "label": lambda: style.text(_label(row.key)),
    }


def goroutine_columns(*, labelled: bool) -> list[Column]:
    """Those of goroutines, of which some are `labelled`."""
    columns = [
        Column("id", "goroutine", 10, right=True, style=lambda _: "bold"),
        Column("state", "state", 16, style=_state_style),
        Column("wait", "wait", 7, right=True),
        Column("M", "M", 4, right=True),
        Column("where", "where", weight=3, fit=function_in),
        Column("labels", "labels", weight=2),
        Column("creator", "created by", weight=3, fit=function_in, from_width=_WIDE),
    ]
    return [each for each in columns if labelled or each.name != "labels"]


def goroutine_cells(g: Goroutine, style: Style) -> Cells:
    """The texts of one goroutine."""
    return {
        "id": lambda: str(g.id),
        "state": lambda: style.text(g.wait_reason or g.status),
        "wait": lambda: _wait(g.waiting_ns),
        "M": lambda: "" if g.m is None else str(g.m),
        "where": lambda: function_text(g.where or g.start, style),
        "labels": lambda: style.text(labels_text(g)),
        "creator": lambda: function_text(g.created_by, style),
    }


def thread_columns() -> list[Column]:
    """Those of threads."""
    return [
        Column("tid", "thread", 9, right=True, style=lambda _: "bold"),
        Column("state", "state", 10),
        Column("M", "M", 4, right=True),
        Column("P", "P", 4, right=True),
        Column("pstatus", "P status", 9),
        Column("queue", "queue", 6, right=True),
        Column("goroutine", "goroutine", 10, right=True),
        Column("locked", "locked to", 10, right=True),
        Column("spinning", "spinning", 9, from_width=90),
        Column("name", "name", weight=1),
    ]


def thread_cells(thread: Thread, p: Processor | None, style: Style) -> Cells:
    """The texts of one thread, and of the P that it holds."""

    def known(value: object) -> Callable[[], str]:
        return lambda: "-" if value is None else style.text(str(value))

    return {
        "tid": known(thread.tid),
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


def place(frame: Frame | None, style: Style) -> str:
    """File and line of `frame`, safe to show."""
    return "" if frame is None else style.text(place_text(frame))


def labels_text(g: Goroutine) -> str:
    """Its labels in one line."""
    return " ".join(f"{key}={value}" for key, value in g.labels.items())


def _wait(wait_ns: int | None) -> str:
    return "" if wait_ns is None else duration(wait_ns)


def _label(key: Hashable) -> str:
    """The value of a label, of what `spyglass.analysis.group_by` knows a group by."""
    if not isinstance(key, tuple) or key[0]:
        return UNKNOWN
    return "(none)" if key[1] is None else str(key[1])


def _signed(change: int | None) -> str:
    if change is None:
        return UNKNOWN
    return f"{change:+,}" if change else ""


def _change_style(cell: str) -> str:
    return "red" if cell.startswith("+") else "green" if cell.startswith("-") else ""


def _state_style(cell: str) -> str:
    return _STATE_STYLES.get(cell.partition(" +")[0], "")
