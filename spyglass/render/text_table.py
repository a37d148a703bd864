"""Columns of text side by side, in the room there is.

rich has tables; they take a minute for the hundred thousand rows that a list of goroutines can have,
and cut long names where they differ, at their end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from rich.cells import cell_len
from rich.text import Text

from spyglass.render.cropping import cropped

__all__ = ["Column", "padded", "table"]

_GAP = "  "

#: Where nothing is cut, a longer cell sticks out rather than widen every row.
_PADDED_AT_MOST = 100


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title and its cells, which are safe to print.

    `fit` shortens a cell to a width in cells of a terminal. Columns with a `weight` give way when
    there is no room for all, in proportion to it; those without stay as wide as they need to be.
    """

    title: str
    cells: Sequence[str]
    right: bool = False
    weight: int = 0
    fit: Callable[[str, int], str] = cropped
    style: str | Callable[[str], str] = ""

    def style_of(self, cell: str) -> str:
        """The style of `cell`, in rich's words."""
        return self.style if isinstance(self.style, str) else self.style(cell)


def table(columns: Sequence[Column], width: int | None, *, styled: bool) -> Iterator[Text]:
    """The line of titles, and a line for each row, at most `width` cells long; None: as they are."""
    cells: list[Sequence[str]]
    if width is None:
        widths, cells = _natural_widths(columns), [column.cells for column in columns]
    else:
        widths = _widths_within(columns, width)
        cells = [*map(_fitted, columns, widths)]
    titles = [cropped(c.title, w) for c, w in zip(columns, widths, strict=True)]
    title = _line(columns, titles, widths, "bold" if styled else None)
    rows = (_line(columns, row, widths, "" if styled else None) for row in zip(*cells, strict=True))
    for line in chain([title], rows):
        if width is not None:
            line.truncate(width, overflow="ellipsis")
        yield line


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled up with spaces to `width` cells of a terminal."""
    if text.isascii():
        return text.rjust(width) if right else text.ljust(width)
    spaces = " " * (width - cell_len(text))
    return spaces + text if right else text + spaces


def _line(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], style: str | None
) -> Text:
    """`cells` side by side; with `style` None in one go and plain, which is much faster."""
    texts = [
        padded(cell, width, right=column.right)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    texts[-1] = texts[-1].rstrip()
    if style is None:
        return Text(_GAP.join(texts).rstrip())
    line = Text(style=style)
    for column, cell, text in zip(columns, cells, texts, strict=True):
        line.append(text, style or column.style_of(cell)).append(_GAP)
    line.rstrip()
    return line


def _fitted(column: Column, room: int) -> list[str]:
    return [column.fit(cell, room) for cell in column.cells]


def _natural_widths(columns: Sequence[Column]) -> list[int]:
    return [min(_width(column, column.cells), _PADDED_AT_MOST) for column in columns]


def _width(column: Column, cells: Iterable[str]) -> int:
    return max(map(cell_len, {column.title, *cells}))


def _widths_within(columns: Sequence[Column], width: int) -> list[int]:
    """How wide each column becomes, for all to be no wider than `width`."""
    room = width - len(_GAP) * (len(columns) - 1)
    wanted = [_width(column, _fitted(column, width)) for column in columns]
    widths = _shared(columns, wanted, room)
    # A name that does not fit whole is cut further than it had to be: others get what is left.
    for index, (column, given) in enumerate(zip(columns, widths, strict=True)):
        used = _width(column, _fitted(column, given))
        if used < given:
            wanted[index] = used
    return _shared(columns, wanted, room)


def _shared(columns: Sequence[Column], wanted: Sequence[int], room: int) -> list[int]:
    """`room` shared among `columns`, none of which gets more than it wants."""
    widths = list(wanted)
    hungry = [index for index, column in enumerate(columns) if column.weight]
    room = max(room - sum(widths) + sum(widths[index] for index in hungry), 0)
    while hungry:
        unit = room / sum(columns[index].weight for index in hungry)
        fed = [index for index in hungry if wanted[index] <= unit * columns[index].weight]
        if not fed:
            for index in hungry:
                widths[index] = int(unit * columns[index].weight)
        room -= sum(wanted[index] for index in fed)
        hungry = [index for index in hungry if index not in fed] if fed else []
    return widths
