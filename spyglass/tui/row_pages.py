"""The pages with a row for each group, goroutine, thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import combined
from spyglass.model import NONE, Thread
from spyglass.render.table_columns import Column
from spyglass.tui.cell_values import (
    Cells,
    goroutine_cells,
    group_cells,
    percent_text,
    thread_cells,
)
from spyglass.tui.layout import Style, shown
from spyglass.tui.page_base import Page
from spyglass.tui.page_columns import (
    Changes,
    call_kept_in,
    cpu_column,
    goroutine_columns,
    group_columns,
    thread_columns,
    waits_column,
)
from spyglass.words.units import duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.group_rows import GroupRow
    from spyglass.tui.view_state import Model

__all__ = ["GoroutinesPage", "GroupsPage", "ThreadsPage"]


class GroupsPage(Page):
    """The groups, sorted: `rows`."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        self._by = model.question.by
        columns = group_columns(self._by, style, _changes(model, style), model.widest)
        if self._by == "function":
            columns = [self._keeping_calls(column) for column in columns]
        if not model.differences:
            columns = [column for column in columns if column.name != "difference"]
        self.columns = shown(_with_cpu(_with_waits(columns, model), model), style)
        name, descending = model.sort["groups"]
        self.rows = sorted(model.rows, key=self._order(name), reverse=descending)

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, number: int) -> Hashable:
        return self.rows[number].key

    def cells(self, number: int) -> Cells:
        return self._cells(self.rows[number])

    def _cells(self, row: GroupRow) -> Cells:
        difference = self.model.differences.get(row.key, "")
        cells = group_cells(row, self._by, self.style, difference)
        if self.model.previous is None:  # nothing could be compared yet
            cells["change"] = str
        waits = self.model.waits
        if waits is not None:
            cells["waits"] = lambda: self.style.text(waits.of_rows(row.rows))
        return cells

    def _keeping_calls(self, column: Column) -> Column:
        """`column` such that groups of one function can be told apart by what it called."""
        if column.name != "where":
            return column
        functions = Counter(row.key[1] for row in self.model.rows if isinstance(row.key, tuple))
        several = {
            self.style.text(name) for name, number in functions.items() if name and number > 1
        }
        return replace(column, fit=partial(call_kept_in, several))

    def _order(self, name: str) -> Callable[[GroupRow], Any]:
        numbers: dict[str, Callable[[GroupRow], float | None]] = {
            "mark": lambda row: row.growing,
            "count": lambda row: row.count,
            "change": lambda row: row.change,
            "since": lambda row: row.since,
            "wait": lambda row: max(row.wait_ns or 0, row.seen_waiting_ns or 0),
            "median": lambda row: row.median_wait_ns,
            "cpu": lambda row: row.cpu_percent,
        }
        number = numbers.get(name)
        if number is None:
            return lambda row: self._cells(row).get(name, str)()
        return lambda row: (number(row) is not None, number(row) or 0, row.count)


class GoroutinesPage(Page):
    """The goroutines of one group."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        group = model.group(model.level.of)
        assert model.snapshot is not None
        labelled, widest = bool(model.snapshot.label_sets), model.widest.get("state", 0)
        columns = goroutine_columns(labelled=labelled, style=style, widest_state=widest)
        self.columns = shown(_with_cpu(_with_waits(columns, model), model), style)
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

    def cells(self, number: int) -> Cells:
        return self._cells(int(self._rows[number]))

    def _cells(self, row: int) -> Cells:
        seen_ns = self.model.seen_waiting_ns(row)
        goroutine, waits = self._snapshot.goroutine(row), self.model.waits
        cells = goroutine_cells(goroutine, self.style, seen_ns)
        cells["cpu"] = lambda: percent_text(self.model.percent_of(np.array([row])))
        if waits is not None:
            cells["waits"] = lambda: self.style.text(waits.of_goroutine(goroutine.id))
        return cells

    def _sorted(self, rows: NDArray[np.int64], name: str, descending: bool) -> NDArray[np.int64]:
        g = self._snapshot.goroutines
        rows = rows[np.argsort(g.id[rows], kind="stable")]
        seen_ns = g.waiting_ns if self.model.seen_ns is None else self.model.seen_ns
        numbers: dict[str, NDArray[Any]] = {"wait": np.maximum(g.waiting_ns, seen_ns), "M": g.m}
        if self.model.goroutine_times is not None:
            numbers["cpu"] = self.model.goroutine_times.of_rows_ns
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
        g, waits = self._snapshot.goroutines, self.model.waits
        return {
            "waits": np.zeros(len(g), np.int64) if waits is None else waits.alike,
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
        texts = [self._cells(row)[name]() for row in rows[firsts].tolist()]
        ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
        return np.array([ranks[text] for text in texts], np.int64)[inverse]


class ThreadsPage(Page):
    """The threads, each with the P that it holds; the header shows all Ps."""

    def __init__(self, model: Model, style: Style) -> None:
        super().__init__(model, style)
        assert model.snapshot is not None
        self._cpu = model.thread_cpu
        self.columns = shown(thread_columns(has_cpu=bool(self._cpu)), style)
        self._ps = {p.id: p for p in model.snapshot.processors}
        name, descending = model.sort["threads"]
        self._threads = sorted(
            model.snapshot.threads, key=lambda each: self._order(each, name), reverse=descending
        )

    def __len__(self) -> int:
        return len(self._threads)

    def key(self, number: int) -> Hashable:
        return self._threads[number].tid

    def cells(self, number: int) -> Cells:
        return self._cells(self._threads[number])

    def _order(self, thread: Thread, name: str) -> tuple[bool, float, str]:
        if name == "cpu":
            return (thread.tid in self._cpu, self._cpu.get(thread.tid, 0), "")
        text = self._cells(thread)[name]()
        return (text.isdecimal(), int(text) if text.isdecimal() else 0, text)

    def _cells(self, thread: Thread) -> Cells:
        p = self._ps.get(thread.p) if thread.p is not None else None
        return thread_cells(thread, p, self._cpu.get(thread.tid), self.style)


def _with_waits(columns: list[Column], model: Model) -> list[Column]:
    """`columns`, and if it is known what goroutines wait on that in place of the call that they wait in."""
    if model.waits is None:
        return columns
    at = next(index for index, column in enumerate(columns) if column.name == "where") + 1
    others = [column for column in columns[at:] if column.name != "call"]
    return [*columns[:at], waits_column(), *others]


def _with_cpu(columns: list[Column], model: Model) -> list[Column]:
    """`columns`, and while it is sampled the processor time in front of the state."""
    if not model.shows_cpu or model.goroutine_times is None:
        return columns
    at = next(index for index, column in enumerate(columns) if column.name == "state")
    return [*columns[:at], cpu_column(), *columns[at:]]


def _changes(model: Model, style: Style) -> Changes | None:
    """``Δ1s`` and ``Δstart``, the titles of the columns of changes; None if there are no changes."""
    if not model.compares:
        return None
    delta = style.sign("Δ", "+/-")
    return f"{delta}{_gap(model)}", f"{delta}{'start' if model.is_start_base else 'base'}"


def _gap(model: Model) -> str:
    """The time between the last two ticks; the interval, if it is about as long."""
    planned, gap = model.tick.pause_ns if model.tick else None, model.gap_ns
    if planned is not None and (gap is None or abs(gap - planned) < planned * 0.15):
        gap = planned
    if gap is None:
        return ""
    seconds = gap / 1e9
    return f"{max(round(seconds, 1), 0.1):g}s" if seconds < 10 else duration(gap)
