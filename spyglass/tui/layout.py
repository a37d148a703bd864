"""Columns that keep their places from one tick to the next, whatever is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from spyglass.render.cropping import cropped
from spyglass.render.text_table import padded
from spyglass.words.text import visible

__all__ = ["GAP", "Column", "Style", "line", "shown", "starts", "title_line", "widths"]

GAP = 1
_ELLIPSIS, _ASCII_ELLIPSIS = "…", "~"


@dataclass(frozen=True, slots=True)
class Style:
    """How the terminal wants it: `ascii_only`, and `width` cells wide; None: nobody looks at edges."""

    width: int | None = None
    ascii_only: bool = False

    def text(self, text: str) -> str:
        """`text`, which may be a target's, safe to show."""
        if text.isascii() and text.isprintable():
            return text
        text = visible(text)
        return text.encode("ascii", "backslashreplace").decode() if self.ascii_only else text

    def sign(self, sign: str, ascii_sign: str) -> str:
        """A sign that the terminal has."""
        return ascii_sign if self.ascii_only else sign


@dataclass(frozen=True, slots=True)
class Column:
    """`width` cells wide, or with a `weight` what is left; only where `from_width` cells are there."""

    name: str
    title: str
    width: int = 0
    weight: int = 0
    right: bool = False
    fit: Callable[[str, int], str] = cropped
    style: Callable[[str], str] = lambda _: ""
    from_width: int = 0


def shown(columns: Iterable[Column], style: Style) -> list[Column]:
    """Those for which there is room."""
    width = style.width
    return [column for column in columns if width is None or width >= column.from_width]


def widths(columns: Sequence[Column], style: Style) -> list[int]:
    """How wide each is."""
    if style.width is None:
        return [column.width for column in columns]
    room = style.width - sum(column.width for column in columns) - GAP * (len(columns) - 1)
    weights = sum(column.weight for column in columns) or 1
    return [column.width + max(room, 0) * column.weight // weights for column in columns]


def starts(given: Sequence[int]) -> list[int]:
    """Where each column begins."""
    return [sum(given[:index]) + GAP * index for index in range(len(given))]


def line(columns: Sequence[Column], cells: Sequence[str], style: Style) -> Text:
    """One row, no wider than the terminal; cells are safe to show."""
    text = Text(no_wrap=True, end="")
    for column, cell, width in zip(columns, cells, widths(columns, style), strict=True):
        fitted = cell if style.width is None else column.fit(cell, width)
        if style.ascii_only:
            fitted = fitted.replace(_ELLIPSIS, _ASCII_ELLIPSIS)
        text.append(padded(fitted, width, right=column.right), column.style(cell))
        text.append(" " * GAP)
    text.rstrip()
    if style.width is not None:
        text.truncate(style.width)
    return text


def title_line(columns: Sequence[Column], sort: tuple[str, bool] | None, style: Style) -> Text:
    """The titles, with a sign at the column that rows are sorted by."""
    text = Text(no_wrap=True, end="")
    for column, width in zip(columns, widths(columns, style), strict=True):
        is_sorted = sort is not None and sort[0] == column.name
        title = column.title
        if sort is not None and is_sorted:
            title += style.sign("▼", "v") if sort[1] else style.sign("▲", "^")
        title = title if style.width is None else cropped(title, width)
        style_of_it = "bold underline" if is_sorted else "bold"
        filled = padded(title, width, right=column.right)
        before, _, after = filled.partition(title) if title else (filled, "", "")
        text.append(before).append(title, style_of_it).append(after)
        text.append(" " * GAP)
    text.rstrip()
    if style.width is not None:
        text.truncate(style.width)
    return text
