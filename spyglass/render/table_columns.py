"""The columns of a table in a terminal: how wide each is, how its cells are shortened and coloured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from spyglass.render.cropping import cropped

__all__ = ["Column", "padded"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and its cells, which are safe to print.

    `cells` are empty where a view makes its rows one by one; `name` then says what a row puts into the
    column. A column is `width` terminal cells wide, or as wide as its cells if that is 0. Columns with
    a `weight` share the width that the others leave, in proportion to it; `fit` shortens a cell to a
    width. `right`: aligned to the right. `style`: a style of rich, or a function of the cell that
    returns one. The column is left out of terminals narrower than `from_width`.
    """

    title: str
    cells: Sequence[str] = ()
    name: str = ""
    width: int = 0
    weight: int = 0
    right: bool = False
    fit: Callable[[str, int], str] = cropped
    style: str | Callable[[str], str] = ""
    from_width: int = 0

    def style_of(self, cell: str) -> str:
        """The style of `cell`, in rich's words."""
        return self.style if isinstance(self.style, str) else self.style(cell)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled up with spaces to `width` cells of a terminal."""
    if text.isascii():
        return text.rjust(width) if right else text.ljust(width)
    spaces = " " * (width - cell_len(text))
    return spaces + text if right else text + spaces
