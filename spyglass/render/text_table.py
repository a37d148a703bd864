"""Columns of text side by side, fitted to the width of the terminal.

rich's tables take a minute for a list of 100,000 goroutines, and cut long names at the end, where they
differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from rich.cells import cell_len
from rich.text import Text

from spyglass.render.cropping import cropped
from spyglass.render.table_columns import Column, padded

__all__ = ["table"]

_GAP = "  "

#: In a pipe nothing is cut: a longer cell sticks out of its column rather than widen every row.
_PADDED_AT_MOST = 100


def table(columns: Sequence[Column], width: int | None, *, styled: bool) -> Iterator[Text]:
    """A line of titles and a line for each row, at most `width` cells long; None: nothing is cut.

    Columns with a `from_width` above `width` are left out.
    """
    columns = [each for each in columns if width is None or width >= each.from_width]
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


def _line(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], style: str | None
) -> Text:
    """`cells` side by side; with `style` None without any style, which is much faster."""
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
    """The width of each column, so that a line is at most `width` cells long."""
    room = width - len(_GAP) * (len(columns) - 1)
    wanted = [_width(column, _fitted(column, width)) for column in columns]
    widths = _shared(columns, wanted, room)
    # `fit` may shorten a name further than necessary: share the rest among the other columns.
    for index, (column, given) in enumerate(zip(columns, widths, strict=True)):
        used = _width(column, _fitted(column, given))
        if used < given:
            wanted[index] = used
    return _shared(columns, wanted, room)


def _shared(columns: Sequence[Column], wanted: Sequence[int], room: int) -> list[int]:
    """`room` shared among `columns` by weight; none gets more than its width in `wanted`."""
    widths = list(wanted)
    flexible = [index for index, column in enumerate(columns) if column.weight]
    room = max(room - sum(widths) + sum(widths[index] for index in flexible), 0)
    while flexible:
        unit = room / sum(columns[index].weight for index in flexible)
        satisfied = [index for index in flexible if wanted[index] <= unit * columns[index].weight]
        if not satisfied:
            for index in flexible:
                widths[index] = int(unit * columns[index].weight)
        room -= sum(wanted[index] for index in satisfied)
        flexible = [index for index in flexible if index not in satisfied] if satisfied else []
    return widths
