"""Columns whose widths do not depend on the rows, so that they do not move from tick to tick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text

from spyglass.escape import visible
from spyglass.render.cropping import cropped
from spyglass.render.table_columns import Column, padded

__all__ = ["GAP", "Style", "line", "shown", "starts", "title_line", "widths"]

GAP = 1
_ELLIPSIS, _ASCII_ELLIPSIS = "…", "~"


@dataclass(frozen=True, slots=True)
class Style:
    """What the output can show: `width` in cells, None in a pipe; `ascii_only`: no other characters."""

    width: int | None = None
    ascii_only: bool = False

    #: Below this width all columns are as narrow as possible.
    MIDDLE: ClassVar[int] = 100

    @property
    def is_narrow(self) -> bool:
        """Whether the output is a terminal below that width."""
        return self.width is not None and self.width < self.MIDDLE

    def text(self, text: str) -> str:
        """`text`, which may come from the target, safe to show."""
        if text.isascii() and text.isprintable():
            return text
        text = visible(text)
        return text.encode("ascii", "backslashreplace").decode() if self.ascii_only else text

    def sign(self, sign: str, ascii_sign: str) -> str:
        """`sign`, or `ascii_sign` if the output can show only ASCII."""
        return ascii_sign if self.ascii_only else sign


def shown(columns: Iterable[Column], style: Style) -> list[Column]:
    """The columns that a terminal of this width has room for."""
    width = style.width
    return [column for column in columns if width is None or width >= column.from_width]


def widths(columns: Sequence[Column], style: Style) -> list[int]:
    """The width of each column in cells."""
    if style.width is None:
        return [column.width for column in columns]
    room = style.width - sum(column.width for column in columns) - GAP * (len(columns) - 1)
    weights = sum(column.weight for column in columns) or 1
    return [column.width + max(room, 0) * column.weight // weights for column in columns]


def starts(given: Sequence[int]) -> list[int]:
    """The cell at which each column begins, for columns of the widths `given`."""
    return [sum(given[:index]) + GAP * index for index in range(len(given))]


def line(columns: Sequence[Column], cells: Sequence[str], style: Style) -> Text:
    """One row, no wider than the terminal; `cells` are safe to show."""
    text = Text(no_wrap=True, end="")
    for column, cell, width in zip(columns, cells, widths(columns, style), strict=True):
        fitted = cell if style.width is None else column.fit(cell, width)
        if style.ascii_only:
            fitted = fitted.replace(_ELLIPSIS, _ASCII_ELLIPSIS)
        text.append(padded(fitted, width, right=column.right), column.style_of(cell))
        text.append(" " * GAP)
    text.rstrip()
    if style.width is not None:
        text.truncate(style.width)
    return text


def title_line(columns: Sequence[Column], sort: tuple[str, bool] | None, style: Style) -> Text:
    """The titles; `sort` is the name of the column that is marked as sorted, and whether it is descending."""
    text = Text(no_wrap=True, end="")
    for column, width in zip(columns, widths(columns, style), strict=True):
        is_sorted = sort is not None and sort[0] == column.name
        title = column.title
        if sort is not None and is_sorted:
            title += style.sign("▼", "v") if sort[1] else style.sign("▲", "^")
        title = title if style.width is None else cropped(title, width)
        style_of_title = "bold underline" if is_sorted else "bold"
        filled = padded(title, width, right=column.right)
        before, _, after = filled.partition(title) if title else (filled, "", "")
        text.append(before).append(title, style_of_title).append(after)
        text.append(" " * GAP)
    text.rstrip()
    if style.width is not None:
        text.truncate(style.width)
    return text
