"""What all pages of the view have in common.

A page makes a line when it is shown: of 100,000 goroutines a screen shows forty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.render.table_columns import Column
from spyglass.tui.cell_values import Cells
from spyglass.tui.layout import Style, line, title_line

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["LinesPage", "Page"]


class Page(ABC):
    """Lines, one of which may be selected. `columns`: the ones that the terminal has room for."""

    columns: Sequence[Column] = ()
    selectable = True

    def __init__(self, model: Model, style: Style) -> None:
        self.model = model
        self.style = style

    @property
    def title(self) -> Text | None:
        """The line of titles; None for a page without columns."""
        if not self.columns:
            return None
        return title_line(self.columns, self.model.sort.get(self.model.level.kind), self.style)

    @abstractmethod
    def __len__(self) -> int: ...

    def line(self, number: int) -> Text:
        """Line `number`."""
        cells = self.cells(number)
        return line(self.columns, [cells[column.name]() for column in self.columns], self.style)

    def cells(self, number: int) -> Cells:
        """The cells of row `number` of a page with columns."""
        raise NotImplementedError

    def key(self, number: int) -> Hashable:
        """The key of a row, which is the same in every tick."""
        return number

    def find(self, key: Hashable) -> int | None:
        """The number of the row with `key`; None if there is no such row any more."""
        return next((number for number in range(len(self)) if self.key(number) == key), None)


class LinesPage(Page):
    """Text without a selection."""

    selectable = False

    def __init__(self, model: Model, style: Style, lines: Sequence[Text]) -> None:
        super().__init__(model, style)
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def line(self, number: int) -> Text:
        text = self._lines[number].copy()
        text.no_wrap, text.end = True, ""
        if self.style.width is not None:
            text.truncate(self.style.width)
        return text
