"""The widget that shows a page: only visible lines are made."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style as RichStyle
from rich.text import Text
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from spyglass.tui.layout import starts, widths
from spyglass.tui.pages import Page
from spyglass.tui.view_state import Level

__all__ = ["Table"]

_SELECTED = RichStyle(reverse=True, bold=True)
#: The rows that one step of the mouse wheel scrolls.
_WHEEL = 3


class Table(Widget):
    """Shows a page: the titles stay, the rows scroll, and one row may be selected.

    The scroll position and the selection are kept in the `Level` of the page.
    """

    class SortBy(Message):
        """The title of the column `name` was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Opened(Message):
        """The selected row was clicked."""

    class Resized(Message):
        """The widget changed its size."""

    page: Page | None = None
    level: Level = Level("groups")

    @property
    def room(self) -> int:
        """The number of visible rows."""
        return max(self.size.height - self._title_height, 1)

    @property
    def _title_height(self) -> int:
        return int(self.page is not None and self.page.title is not None)

    def show(self, page: Page, level: Level) -> None:
        """Show `page`; the selection follows its row to wherever that is now."""
        self.page, self.level = page, level
        if page.selectable and len(page):
            found = page.find(level.selected) if level.selected is not None else None
            self._select(level.at if found is None else found)
        self._scroll(level.top)
        self.refresh()

    def move(self, by: int) -> None:
        """Move the selection `by` rows, or scroll a page without a selection."""
        if self.page is None:
            return
        if self.page.selectable and len(self.page):
            self._select(self.level.at + by)
        else:
            self._scroll(self.level.top + by)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Line `y` of the widget."""
        width = self.size.width
        if self.page is None:
            return Strip.blank(width)
        if y < self._title_height:
            return self._strip(self.page.title or Text(), width)
        number = self.level.top + y - self._title_height
        if number >= len(self.page):
            return Strip.blank(width)
        selected = self.page.selectable and number == self.level.at
        line = self.page.line(number)
        # One style for the whole row: reversed colours of cells would be patches.
        return (
            self._strip(Text(line.plain), width, _SELECTED)
            if selected
            else self._strip(line, width)
        )

    def on_resize(self) -> None:
        """Ask for a new layout."""
        self.post_message(self.Resized())

    def on_click(self, event: events.Click) -> None:
        """Select the row, or open it if it was selected; on a title, sort by the column."""
        if self.page is None:
            return
        if event.y < self._title_height:
            self._clicked_title(event.x)
            return
        number = self.level.top + event.y - self._title_height
        if not self.page.selectable or number >= len(self.page):
            return
        if number == self.level.at:
            self.post_message(self.Opened())
        self.move(number - self.level.at)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll down."""
        self._wheel(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll up."""
        self._wheel(-_WHEEL)

    def _wheel(self, by: int) -> None:
        """Scroll `by` rows; the selection stays where it is as long as it is visible."""
        if self.page is None:
            return
        self._scroll(self.level.top + by)
        if self.page.selectable and len(self.page):
            top = self.level.top
            self._select(min(max(self.level.at, top), top + self.room - 1))
        self.refresh()

    def _clicked_title(self, x: int) -> None:
        assert self.page is not None
        columns = self.page.columns
        begins = starts(widths(columns, self.page.style))
        clicked = [each for each, begin in zip(columns, begins, strict=True) if begin <= x]
        if clicked:
            self.post_message(self.SortBy(clicked[-1].name))

    def _select(self, number: int) -> None:
        assert self.page is not None
        level = self.level
        level.at = min(max(number, 0), len(self.page) - 1)
        level.selected = self.page.key(level.at)
        self._scroll(min(max(level.top, level.at - self.room + 1), level.at))

    def _scroll(self, top: int) -> None:
        rows = len(self.page) if self.page is not None else 0
        self.level.top = min(max(top, 0), max(rows - self.room, 0))

    def _strip(self, text: Text, width: int, style: RichStyle | None = None) -> Strip:
        segments = list(text.render(self.app.console))
        strip = Strip(segments).adjust_cell_length(width)
        return Strip(Segment.apply_style(list(strip), post_style=style), width) if style else strip
