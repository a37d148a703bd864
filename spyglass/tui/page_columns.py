"""The columns of the pages: what each is called, and how wide it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from rich.cells import cell_len

from spyglass.render.cropping import (
    cropped,
    function_and_call_in,
    function_in,
    location_in,
    tail_in,
)
from spyglass.render.table_columns import Column
from spyglass.tui.cell_values import AND
from spyglass.tui.layout import Style
from spyglass.words.calls import CALL_MARK
from spyglass.words.states import state_colour
from spyglass.words.units import plural

__all__ = [
    "Changes",
    "call_kept_in",
    "cpu_column",
    "function_columns",
    "goroutine_columns",
    "group_columns",
    "thread_columns",
    "waits_column",
]

#: The minimum width of a terminal for the column of creators, and for lines of code and medians.
_WIDE, _WIDEST = 130, 150
#: A wait of any length fits: ``≥364d 23h``, ``>=364d 23h``, ``seen 364d``.
_WAIT_WIDTH = 10
#: A state takes at most this share of the width.
_STATE_SHARE = 4
_MIN_STATE_WIDTH = 8
#: In a wide terminal there is room for two states of a group: ``12 IO wait, 3 running``.
_TWO_STATES_WIDTH = 24

#: The minimum width of a call that tells apart two groups of one function.
_MIN_CALL_WIDTH = 10

#: ``199.9%``, and the bars of ten parts.
_PERCENT_WIDTH, _BARS_WIDTH = 7, 10

#: The titles of the columns of changes: since the previous tick, since the start or base.
Changes = tuple[str, str]


def cpu_column() -> Column:
    """The column of the processor time of goroutines."""
    return Column("cpu", name="cpu", width=_PERCENT_WIDTH, right=True)


def function_columns() -> list[Column]:
    """The columns of the functions that use processor time."""
    bars = Column("trend", name="trend", width=_BARS_WIDTH, style="blue", from_width=60)
    return [
        Column("self", name="self", width=_PERCENT_WIDTH, right=True, style="bold"),
        Column("total", name="total", width=_PERCENT_WIDTH, right=True),
        bars,
        Column("function", name="function", weight=1, fit=function_in, style=_origin_style),
    ]


def _origin_style(function: str) -> str:
    return "dim" if function.startswith("runtime.") else ""


def waits_column() -> Column:
    """The column of what goroutines wait on."""
    return Column("waits on", name="waits", weight=4, fit=function_in)


def group_columns(
    by: str, style: Style, changes: Changes | None, widest: Mapping[str, int]
) -> list[Column]:
    """The columns of groups; the one they are grouped by is the widest.

    `changes`: None if there are none to show. `widest`: the cells that the columns of figures and states need.
    """
    figures = [_figure("count", "count", widest, lambda _: "bold")]
    for name, title in zip(("change", "since"), changes or (), strict=False):
        figures.append(_figure(name, title, widest, _change_style))
    columns = [
        Column("", name="mark", width=1, style=lambda cell: "bold yellow" if cell else ""),
        *figures,
        _state_column(widest.get("state", 0), style),
        Column("oldest", name="wait", width=_WAIT_WIDTH, right=True),
        Column("median", name="median", width=_WAIT_WIDTH, right=True, from_width=_WIDEST),
    ]  # fmt: skip
    return columns + _places(by, style)


def _places(by: str, style: Style) -> list[Column]:
    """The columns of functions and lines of code, in the order of what groups have in common."""
    where = Column("where", name="where", weight=5, fit=function_and_call_in)
    call = Column("call", name="call", weight=3, fit=function_in, from_width=style.MIDDLE)
    line = Column("line", name="line", weight=2, fit=location_in, from_width=_WIDEST)
    creator = Column("created by", name="creator", weight=3, fit=function_in, from_width=_WIDE)
    if by == "creator":
        made = Column("created by", name="creator", weight=4, fit=function_in)
        made_at = Column("line", name="created at", weight=2, fit=location_in, from_width=_WIDEST)
        where = replace(where, weight=3, from_width=style.MIDDLE)
        return [made, made_at, where, replace(call, from_width=_WIDE)]
    if by.startswith("label:"):
        return [Column(by.removeprefix("label:"), name="label", weight=3), where, call, creator]
    if by == "stack":
        difference = Column("differs at", name="difference", weight=4, fit=_difference_in)
        return [where, call, difference, replace(creator, from_width=_WIDEST)]
    return [where, call, line, creator]


def call_kept_in(functions: Collection[str], text: str, width: int) -> str:
    """``main.report in sync.(*Mutex).Lock`` in at most `width` cells: the call is shortened first, but
    shown in any case if the function is one of `functions`."""
    function, mark, call = text.partition(CALL_MARK)
    if function not in functions or not mark:
        return function_and_call_in(text, width)
    room = min(cell_len(call.rpartition("/")[2]), max(width // 2, _MIN_CALL_WIDTH))
    function = function_in(function, max(width - len(mark) - room, 0))
    return function + mark + function_in(call, width - len(mark) - cell_len(function))


def goroutine_columns(*, labelled: bool, style: Style, widest_state: int) -> list[Column]:
    """The columns of goroutines; `labelled`: some have labels."""
    columns = [
        Column("goroutine", name="id", width=10, right=True, style=lambda _: "bold"),
        _state_column(widest_state, style),
        Column("wait", name="wait", width=_WAIT_WIDTH, right=True),
        Column("M", name="M", width=4, right=True),
        Column("where", name="where", weight=4, fit=function_and_call_in),
        Column("call", name="call", weight=3, fit=function_in, from_width=style.MIDDLE),
        Column("labels", name="labels", weight=2),
        Column("created by", name="creator", weight=3, fit=function_in, from_width=_WIDE),
    ]
    return [each for each in columns if labelled or each.name != "labels"]


def thread_columns(*, has_cpu: bool) -> list[Column]:
    """The columns of threads; `has_cpu`: their processor time is known."""
    columns = [
        Column("thread", name="tid", width=9, right=True, style=lambda _: "bold"),
        Column("cpu", name="cpu", width=5, right=True),
        Column("state", name="state", width=10),
        Column("M", name="M", width=4, right=True),
        Column("P", name="P", width=4, right=True),
        Column("P status", name="pstatus", width=8),
        Column("queue", name="queue", width=5, right=True),
        Column("goroutine", name="goroutine", width=10, right=True),
        Column("locked to", name="locked", width=10, right=True, from_width=90),
        Column("spinning", name="spinning", width=8, from_width=90),
        Column("name", name="name", weight=1),
    ]
    return [each for each in columns if has_cpu or each.name != "cpu"]


def _figure(
    name: str, title: str, widest: Mapping[str, int], style: Callable[[str], str]
) -> Column:
    width = max(cell_len(title) + 1, widest.get(name, 0))  # 1: the sign of the sorted column
    return Column(title, name=name, width=width, right=True, style=style)


def _state_column(widest: int, style: Style) -> Column:
    """As wide as the states are; in a narrow terminal at most a share of its width."""
    width = max(widest, _MIN_STATE_WIDTH)
    if style.width is not None:
        share = max(style.width // _STATE_SHARE, _MIN_STATE_WIDTH)
        width = min(max(width, _TWO_STATES_WIDTH if style.width >= _WIDE else 0), share)
    return Column("state", name="state", width=width, fit=_states_in, style=state_colour)


def _states_in(text: str, width: int) -> str:
    """The states of a group in at most `width` cells: ``2 states``, if there is no room for them."""
    if cell_len(text) <= width or AND not in text:
        return cropped(text, width)
    return cropped(plural(text.count(AND) + 1, "state"), width)


def _difference_in(text: str, width: int) -> str:
    """``#3 main.route:41`` in at most `width` cells: the number and the end of the name are kept; of several
    frames, the last ones."""
    if cell_len(text) <= width:
        return text
    frames = [each.partition(" ") for each in text.split(", ")]
    if len(frames) == 1:
        number, space, name = frames[0]
        return number + space + function_in(name, max(width - len(number) - 1, 0))
    short = ", ".join(f"{number} {name.rpartition('/')[2]}" for number, _, name in frames)
    return tail_in(short, width)


def _change_style(cell: str) -> str:
    return "red" if cell.startswith("+") else "green" if cell.startswith("-") else ""
