"""The pages of the view: groups, the goroutines of one, the stack of one of those, threads, help.

A page makes its lines when they are asked for: of a hundred thousand goroutines a screen shows forty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from spyglass.model import Thread
from spyglass.tui.cell_values import (
    Cells,
    goroutine_cells,
    goroutine_columns,
    group_cells,
    group_columns,
    thread_cells,
    thread_columns,
)
from spyglass.tui.goroutine_page import stack_lines
from spyglass.tui.layout import Column, Style, line, shown, title_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.group_rows import GroupRow
    from spyglass.tui.view_state import Model

__all__ = ["HELP", "Page", "page"]

HELP = """\
Enter    open: the goroutines of a group, the stack of a goroutine;  Esc  back
g  G     group by function, stack, creator, state, each label;  G  backwards
/        filter: a regular expression on any frame of a stack, and any of
         state:WORDS  label:KEY=VALUE  creator:REGEX  ("quotes" keep spaces)
<  >     sort by the next column;  i  the other way round; or click on a title
t        threads and Ps;  r  runtime frames of a stack;  S  system goroutines
b        base: count changes from now on, not from the start
p        pause, or go on;  Space  read once now;  + -  interval;  q  quit
s  e     save a snapshot, or write the HTML report, in this directory
Left Right   in a series of snapshots the one before, or after

tick     change since the last tick;  base  since the start, or since b
▲        in front of a row: it grows without pause, a leak in the making
state    of most of them;  +2  there are two other states
wait     the longest known: Go notes it at a garbage collection, so at least
[R.S]    Ps: R running, . idle, S in a system call
queues   goroutines that wait to run, for each P;  global  for all of them
"""


class Page(ABC):
    """Some lines of which one may be selected. `columns`: those that there is room for."""

    columns: Sequence[Column] = ()
    selectable = True

    def __init__(self, model: Model, style: Style) -> None:
        self.model = model
        self.style = style

    @property
    def title(self) -> Text | None:
        """The line of column titles, if it has columns."""
        if not self.columns:
            return None
        return title_line(self.columns, self.model.sort.get(self.model.level.kind), self.style)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def line(self, number: int) -> Text:
        """What stands in a line."""

    def key(self, number: int) -> Hashable:
        """What tells the row from others, in every tick."""
        return number

    def find(self, key: Hashable) -> int | None:
        """The number of the row with `key`; None if it is gone."""
        return next((number for number in range(len(self)) if self.key(number) == key), None)

    def _line(self, cells: Cells) -> Text:
        return line(self.columns, [cells[column.name]() for column in self.columns], self.style)


class GroupsPage(Page):
    """The groups, sorted."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        self.columns = shown(group_columns(model.question.by, style), style)
        name, descending = model.sort["groups"]
        self._rows = sorted(model.rows, key=self._order(name), reverse=descending)

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, number: int) -> Hashable:
        return self._rows[number].key

    def line(self, number: int) -> Text:
        return self._line(group_cells(self._rows[number], self.style))

    def _order(self, name: str) -> Callable[[GroupRow], Any]:
        numbers: dict[str, Callable[[GroupRow], int | None]] = {
            "mark": lambda row: row.growing,
            "count": lambda row: row.count,
            "change": lambda row: row.change,
            "since": lambda row: row.since,
            "wait": lambda row: row.wait_ns,
        }
        number = numbers.get(name)
        if number is None:
            return lambda row: group_cells(row, self.style).get(name, str)()
        return lambda row: (number(row) is not None, number(row) or 0, row.count)


class GoroutinesPage(Page):
    """The goroutines of one group."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        group = model.group(model.level.of)
        assert model.snapshot is not None
        labelled = bool(model.snapshot.label_sets)
        self.columns = shown(goroutine_columns(labelled=labelled), style)
        self._snapshot = model.snapshot
        rows = group.rows if group else np.zeros(0, np.int64)
        self._rows = self._sorted(rows, *model.sort["goroutines"])

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, number: int) -> Hashable:
        return int(self._snapshot.goroutines.id[self._rows[number]])

    def find(self, key: Hashable) -> int | None:
        if not isinstance(key, int):
            return None
        found = np.flatnonzero(self._snapshot.goroutines.id[self._rows] == np.uint64(key))
        return int(found[0]) if len(found) else None

    def line(self, number: int) -> Text:
        goroutine = self._snapshot.goroutine(int(self._rows[number]))
        return self._line(goroutine_cells(goroutine, self.style))

    def _sorted(self, rows: NDArray[np.int64], name: str, descending: bool) -> NDArray[np.int64]:
        g = self._snapshot.goroutines
        rows = rows[np.argsort(g.id[rows], kind="stable")]
        columns: dict[str, NDArray[Any]] = {
            "wait": g.waiting_ns, "M": g.m, "state": g.status * np.int64(1 << 20) + g.wait_reason,
            "where": g.where, "creator": g.creator, "labels": g.labels,
        }  # fmt: skip
        if name not in columns:
            return rows[::-1] if descending else rows
        values = columns[name][rows].astype(np.int64)
        return rows[np.argsort(-values if descending else values, kind="stable")]


class LinesPage(Page):
    """Text that is read, not chosen from."""

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


class ThreadsPage(Page):
    """The threads, and the P that each holds; all Ps are above, in the header."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        self.columns = shown(thread_columns(), style)
        assert model.snapshot is not None
        self._ps = {p.id: p for p in model.snapshot.processors}
        name, descending = model.sort["threads"]
        self._threads = sorted(
            model.snapshot.threads, key=lambda each: self._order(each, name), reverse=descending
        )

    def __len__(self) -> int:
        return len(self._threads)

    def key(self, number: int) -> Hashable:
        return self._threads[number].tid

    def line(self, number: int) -> Text:
        return self._line(self._cells(self._threads[number]))

    def _order(self, thread: Thread, name: str) -> tuple[bool, int, str]:
        text = self._cells(thread)[name]()
        return (text.isdecimal(), int(text) if text.isdecimal() else 0, text)

    def _cells(self, thread: Thread) -> Cells:
        p = self._ps.get(thread.p) if thread.p is not None else None
        return thread_cells(thread, p, self.style)


def page(model: Model, style: Style) -> Page:
    """The page that is on top."""
    kind = model.level.kind
    if kind == "help":
        return LinesPage(model, style, _help(style))
    if model.snapshot is None:
        return LinesPage(model, style, [])
    if kind == "stack":
        return LinesPage(model, style, stack_lines(model, style))
    pages = {"goroutines": GoroutinesPage, "threads": ThreadsPage}
    return pages.get(kind, GroupsPage)(model, style)


def _help(style: Style) -> list[Text]:
    return [Text(each.replace("▲", style.sign("▲", "^"))) for each in HELP.splitlines()]
