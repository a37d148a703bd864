"""The columns of the pages, and the texts in them: of a group, a goroutine, a thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from spyglass.model import Frame, Goroutine, Processor, Thread
from spyglass.render.cropping import function_and_call_in, function_in, location_in
from spyglass.render.table_columns import Column
from spyglass.tui.group_rows import GroupRow
from spyglass.tui.layout import Style
from spyglass.words.calls import CALL_MARK, START_MARK, call_text, location_text
from spyglass.words.states import state_colour, state_words
from spyglass.words.units import UNKNOWN, count, duration, signed

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

#: The minimum width of a terminal for the column of creators, and for that of lines of code.
_WIDE, _WIDEST = 130, 150
#: Below this width all columns are as narrow as possible.
_MIDDLE = 100

#: For each column a function that makes its text.
Cells = dict[str, Callable[[], str]]


def group_columns(by: str, style: Style) -> list[Column]:
    """The columns of groups; the one they are grouped by is the widest."""
    widths = (7, 6, 7, 15, 6) if _is_narrow(style) else (8, 8, 8, 20, 7)
    columns = [
        Column("", name="mark", width=1, style=lambda cell: "bold yellow" if cell else ""),
        Column("count", name="count", width=widths[0], right=True, style=lambda _: "bold"),
        Column("tick", name="change", width=widths[1], right=True, style=_change_style),
        Column("base", name="since", width=widths[2], right=True, style=_change_style),
        Column("state", name="state", width=widths[3], style=state_colour),
        Column("wait", name="wait", width=widths[4], right=True),
    ]
    where = Column("where", name="where", weight=5, fit=function_and_call_in)
    call = Column("call", name="call", weight=3, fit=function_in, from_width=_MIDDLE)
    line = Column("line", name="line", weight=2, fit=location_in, from_width=_WIDEST)
    creator = Column("created by", name="creator", weight=3, fit=function_in, from_width=_WIDE)
    if by == "creator":
        made = Column("created by", name="creator", weight=4, fit=function_in)
        made_at = Column("line", name="created at", weight=2, fit=location_in, from_width=_WIDEST)
        where = replace(where, weight=3, from_width=_MIDDLE)
        return [*columns, made, made_at, where, replace(call, from_width=_WIDE)]
    if by.startswith("label:"):
        return [
            *columns,
            Column(by.removeprefix("label:"), name="label", weight=3),
            where,
            call,
            creator,
        ]
    if by == "stack":  # many of them are at one place
        creator = replace(creator, from_width=0)
    return [*columns, where, call, line, creator]


def group_cells(row: GroupRow, style: Style) -> Cells:
    """The texts of one group."""
    where, is_start = row.where
    return {
        "mark": lambda: style.sign("▲", "^") if row.growing else "",
        "count": lambda: count(row.count),
        "change": lambda: _change(row.change),
        "since": lambda: _change(row.since),
        "state": lambda: style.text(row.state),
        "wait": lambda: _wait(row.wait_ns),
        "where": lambda: _where_text(where, is_start, row.call, style),
        "call": lambda: _call_text(row.call, style),
        "line": lambda: place(where, style),
        "creator": lambda: function_text(row.creator, style),
        "created at": lambda: place(row.creator, style),
        "label": lambda: style.text(_label(row.key)),
    }


def goroutine_columns(*, labelled: bool) -> list[Column]:
    """The columns of goroutines; `labelled`: some have labels."""
    columns = [
        Column("goroutine", name="id", width=10, right=True, style=lambda _: "bold"),
        Column("state", name="state", width=18, style=state_colour),
        Column("wait", name="wait", width=7, right=True),
        Column("M", name="M", width=4, right=True),
        Column("where", name="where", weight=4, fit=function_and_call_in),
        Column("call", name="call", weight=3, fit=function_in, from_width=_MIDDLE),
        Column("labels", name="labels", weight=2),
        Column("created by", name="creator", weight=3, fit=function_in, from_width=_WIDE),
    ]
    return [each for each in columns if labelled or each.name != "labels"]


def goroutine_cells(g: Goroutine, style: Style) -> Cells:
    """The texts of one goroutine."""
    return {
        "id": lambda: str(g.id),
        "state": lambda: style.text(state_words(g.status, g.wait_reason)),
        "wait": lambda: _wait(g.waiting_ns),
        "M": lambda: "" if g.m is None else str(g.m),
        "where": lambda: _where_text(g.where or g.start, g.where is None, g.call, style),
        "call": lambda: _call_text(g.call, style),
        "labels": lambda: style.text(labels_text(g)),
        "creator": lambda: function_text(g.created_by, style),
    }


def thread_columns() -> list[Column]:
    """The columns of threads."""
    return [
        Column("thread", name="tid", width=9, right=True, style=lambda _: "bold"),
        Column("state", name="state", width=10),
        Column("M", name="M", width=4, right=True),
        Column("P", name="P", width=4, right=True),
        Column("P status", name="pstatus", width=9),
        Column("queue", name="queue", width=6, right=True),
        Column("goroutine", name="goroutine", width=10, right=True),
        Column("locked to", name="locked", width=10, right=True),
        Column("spinning", name="spinning", width=9, from_width=90),
        Column("name", name="name", weight=1),
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
    return "" if frame is None else style.text(location_text(frame))


def _where_text(frame: Frame | None, is_start: bool, call: Frame | None, style: Style) -> str:
    """The function of `frame`, marked if it is only the start function of the goroutine.

    Where there is no room for a column of calls, `call` follows it.
    """
    mark = START_MARK if is_start and frame is not None else ""
    called = CALL_MARK + _call_text(call, style) if call and _is_narrow(style) else ""
    return function_text(frame, style) + mark + called


def _call_text(call: Frame | None, style: Style) -> str:
    return "" if call is None else function_text(call, style)


def _is_narrow(style: Style) -> bool:
    return style.width is not None and style.width < _MIDDLE


def labels_text(g: Goroutine) -> str:
    """Its pprof labels in one line."""
    return " ".join(f"{key}={value}" for key, value in g.labels.items())


def _wait(wait_ns: int | None) -> str:
    return "" if wait_ns is None else duration(wait_ns)


def _label(key: Hashable) -> str:
    """The value of the label in the `key` of a group (`spyglass.analysis.group_by`)."""
    if not isinstance(key, tuple) or key[0]:
        return UNKNOWN
    return "(none)" if key[1] is None else str(key[1])


def _change(change: int | None) -> str:
    return "" if change == 0 else signed(change)


def _change_style(cell: str) -> str:
    return "red" if cell.startswith("+") else "green" if cell.startswith("-") else ""
