"""The pages of the view: groups, goroutines of a group, the stack of a goroutine, threads, help.

A page makes a line when it is shown: of 100,000 goroutines a screen shows forty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from spyglass.columns import combined
from spyglass.model import NONE, Thread
from spyglass.render.table_columns import Column
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
from spyglass.tui.layout import Style, line, shown, title_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.group_rows import GroupRow
    from spyglass.tui.view_state import Model

__all__ = ["HELP", "Page", "page"]

HELP = """\
Enter    open: the goroutines of a group, the stack of a goroutine;  Esc  back
g  G     group by function, stack, creator, state, each label;  G  backwards
/        filter: a regular expression for any function of a stack, and any of
         state:WORDS  label:KEY=VALUE  creator:REGEX  (quote values with spaces)
<  >     sort by the next column;  i  reverse the order;  or click a title
t        threads and Ps;  S  runtime goroutines;  r  runtime frames of a stack
p        pause, resume;  Space  read now;  b  set base;  + -  interval;  q  quit
s  e     save a snapshot, or write an HTML report, in the current directory
Left Right   the previous or next snapshot of a series

tick     change since the last tick;  base  since the start, or since key b
▲        growing at most ticks and never shrinking: a possible leak
state    the most frequent one;  +2  there are two other states
wait     the longest, a lower bound: Go timestamps waits only at GC
where    the user's function, or the (start) function;  call  what it called
[R.S]    Ps: R running, . idle, S in a system call;  queues  of each P
problems missing or doubtful parts; spyglass summary --debug lists them
"""


class Page(ABC):
    """Lines, one of which may be selected. `columns`: those that fit the terminal."""

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

    @abstractmethod
    def line(self, number: int) -> Text:
        """Line `number`."""

    def key(self, number: int) -> Hashable:
        """The key of a row, which is the same in every tick."""
        return number

    def find(self, key: Hashable) -> int | None:
        """The number of the row with `key`; None if there is no such row any more."""
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
        numbers: dict[str, NDArray[Any]] = {"wait": g.waiting_ns, "M": g.m}
        if name in numbers:
            values = numbers[name][rows].astype(np.int64)
        elif name in self._alike:
            values = self._text_ranks(rows, name)
        else:  # by id
            return rows[::-1] if descending else rows
        return rows[np.argsort(-values if descending else values, kind="stable")]

    @property
    def _alike(self) -> dict[str, NDArray[Any]]:
        """For each column of texts a number per goroutine; equal numbers have equal texts."""
        g = self._snapshot.goroutines
        return {
            "state": g.status * np.int64(1 << 20) + g.wait_reason,
            "where": combined(g.where, np.where(g.where == NONE, g.start, NONE), g.call),
            "call": g.call,
            "creator": g.creator,
            "labels": g.labels,
        }

    def _text_ranks(self, rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """The rank of each of `rows` by its text in column `name`; a text that many share is made once."""
        _, firsts, inverse = np.unique(
            self._alike[name][rows], return_index=True, return_inverse=True
        )
        texts = [
            goroutine_cells(self._snapshot.goroutine(row), self.style)[name]()
            for row in rows[firsts].tolist()
        ]
        ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
        return np.array([ranks[text] for text in texts], np.int64)[inverse]


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


class ThreadsPage(Page):
    """The threads, each with the P that it holds; the header shows all Ps."""

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
    """The page of the current level."""
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
