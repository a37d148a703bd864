"""``spyglass fleet``: an answer as a table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text

from spyglass.escape import visible
from spyglass.fleet_answer import FleetAnswer
from spyglass.render.cropping import cropped, function_in, tail_in
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.units import count, duration, moment, size

__all__ = ["render"]

#: Columns of long names, which share what the others leave of a line, and how much each gets.
_LONG = {
    "function": 3, "creator_function": 2, "holder_function": 2, "object": 2, "object_type": 1, "peer": 1, "at": 2,
}  # fmt: skip
#: Cells of other names in a terminal.
_NAME_WIDTH = 24
#: Columns of less importance, and how wide a terminal must be to show them.
_FROM_WIDTH = {
    "creator_function": 150, "root_mean_square": 160, "first_at": 140, "longest_wait_ns": 100, "at": 130,
    "most_in_one": 130, "object_type": 140, "most_on_host": 130, "before_looks": 150, "after_looks": 150,
    "old_looks": 150, "new_looks": 150, "median_deviation": 120, "container": 120, "mostly_bytes": 140,
}  # fmt: skip

#: Numbers that count nothing.
_IDENTIFIERS = ("pid", "line")


def render(answer: FleetAnswer, view: View) -> Iterator[Text]:
    """The lines of `answer`: a table, and whether it is all."""
    if not answer.rows:
        yield Text("nothing")
        return
    yield from table(_columns(_with_place(answer), view.width), view.width, styled=view.styled)
    if answer.more:
        yield Text("… and more; --limit shows them", "dim")


def _with_place(answer: FleetAnswer) -> dict[str, list[Any]]:
    """The values of each column; file and line are one, which is called "at"."""
    columns = {
        name: [row[index] for row in answer.rows] for index, name in enumerate(answer.columns)
    }
    if not {"file", "line"} <= columns.keys():
        return columns
    files, lines = columns.pop("file"), columns.pop("line")
    return columns | {"at": [_place(*each) for each in zip(files, lines, strict=True)]}


def _place(file: str | None, line: int | None) -> str | None:
    return None if file is None else f"{file}:{line}"


def _columns(values: dict[str, list[Any]], width: int | None) -> list[Column]:
    return [_column(name, cells, is_cut=width is not None) for name, cells in values.items()]


def _column(name: str, values: list[Any], *, is_cut: bool) -> Column:
    title, _, unit = name.rpartition("_")
    is_measured = title and unit in ("ns", "bytes", "at")
    cells = [_cell(name, value) for value in values]
    is_number = all(value is None or isinstance(value, int | float) for value in values)
    fit = function_in if "function" in name else tail_in if name == "at" else cropped
    return Column(
        (title if is_measured else name).replace("_", " "),
        cells if name in _LONG or not is_cut else [cropped(cell, _NAME_WIDTH) for cell in cells],
        weight=_LONG.get(name, 0),
        right=is_number,
        fit=fit,
        from_width=_FROM_WIDTH.get(name, 0),
    )


def _cell(name: str, value: Any) -> str:
    """A value in words; nothing if there is none. What comes from a target is escaped."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or name in _IDENTIFIERS:
        return visible(str(value))
    return _number(name, value)


def _number(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return f"{'-' * (value < 0)}{size(abs(int(value)))}"
    if name.endswith("_ns"):
        return duration(int(value))
    return count(int(value)) if isinstance(value, int) or abs(value) >= 100 else f"{value:.2f}"
