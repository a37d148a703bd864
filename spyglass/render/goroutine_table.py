"""Goroutines as a table: a line for each group, or for each goroutine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spyglass.analysis.groups import Group, state_words
from spyglass.model import NONE, QUALITIES, STATUSES, Frame, Snapshot
from spyglass.render.cropping import cropped, function_in, location_in
from spyglass.render.text_table import Column
from spyglass.render.view_options import View
from spyglass.words.text import UNKNOWN, count, duration, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Entries", "GoroutineEntries", "GroupEntries"]

#: From this width of a terminal on there is room for the line that created a goroutine.
_WIDE = 132


class Entries(Protocol):
    """What a table of goroutines has rows for."""

    def __len__(self) -> int: ...

    def columns(self, number: int, view: View) -> list[Column]:
        """The table of the first `number`."""

    def left_out(self, number: int) -> str:
        """What there is beyond the first `number`, in words."""


class GroupEntries:
    """A row for each group, in their order."""

    def __init__(self, snapshot: Snapshot, groups: Sequence[Group]) -> None:
        self._snapshot = snapshot
        self._groups = groups

    def __len__(self) -> int:
        return len(self._groups)

    def columns(self, number: int, view: View) -> list[Column]:
        groups = self._groups[:number]
        states = [_doubted(visible(group.state), group.doubtful) for group in groups]
        waits = [_wait(group.longest_wait_ns, group.status) for group in groups]
        firsts = np.array([group.rows[0] for group in groups], np.int64)
        return [
            Column("count", [count(group.count) for group in groups], right=True, style="bold"),
            _state_column(states, view),
            Column("wait", waits, right=True),
            *_place_columns(self._snapshot, firsts, view),
        ]

    def left_out(self, number: int) -> str:
        rest = self._groups[number:]
        hidden = sum(group.count for group in rest)
        return f"{count(len(rest))} more groups ({count(hidden)} goroutines)"


class GoroutineEntries:
    """A row for each goroutine, by its id."""

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64]) -> None:
        self._snapshot = snapshot
        self._rows = rows[np.argsort(snapshot.goroutines.id[rows], kind="stable")]

    def __len__(self) -> int:
        return len(self._rows)

    def columns(self, number: int, view: View) -> list[Column]:
        g, rows = self._snapshot.goroutines, self._rows[:number]
        waits = [
            _wait(wait_ns if wait_ns != NONE else None, STATUSES[status])
            for wait_ns, status in zip(
                g.waiting_ns[rows].tolist(), g.status[rows].tolist(), strict=True
            )
        ]
        ms = ["-" if m == NONE else str(m) for m in g.m[rows].tolist()]
        return [
            Column("id", list(map(str, g.id[rows].tolist())), right=True, style="bold"),
            _state_column(_states(self._snapshot, rows), view),
            Column("wait", waits, right=True),
            Column("M", ms, right=True),
            *_place_columns(self._snapshot, rows, view),
        ]

    def left_out(self, number: int) -> str:
        return f"{count(len(self) - number)} more goroutines"


def _state_column(states: Sequence[str], view: View) -> Column:
    if view.width is not None:  # Go has a few long ones; they must not push the names out
        room = max(view.width // 4, 1)
        states = [cropped(state, room) for state in states]
    return Column("state", states, style=_state_style)


def _state_style(state: str) -> str:
    word = state.partition(" (")[0]
    return {"running": "green", "runnable": "cyan", "syscall": "magenta"}.get(word, "")


def _wait(wait_ns: int | None, status: str) -> str:
    """How long it waits at least; nothing for one that does not wait."""
    if wait_ns is None:
        return UNKNOWN if status == "waiting" else ""
    return duration(wait_ns)


def _doubted(state: str, doubtful: int) -> str:
    return f"{state} ({count(doubtful)} doubtful)" if doubtful else state


def _states(snapshot: Snapshot, rows: NDArray[np.int64]) -> list[str]:
    """What Go's traceback prints in brackets, and whether it can be believed, for each of `rows`."""
    g = snapshot.goroutines
    known: dict[tuple[int, int, bool, int], str] = {}
    states = []
    columns = (g.status[rows], g.wait_reason[rows], g.locked[rows], g.quality[rows])
    for key in zip(*(column.tolist() for column in columns), strict=True):
        if key not in known:
            known[key] = _state(snapshot, *key)
        states.append(known[key])
    return states


def _state(snapshot: Snapshot, status: int, reason: int, locked: bool, quality: int) -> str:
    words = state_words(STATUSES[status], snapshot.wait_reasons[reason] if reason != NONE else None)
    if QUALITIES[quality] in ("torn", "unreadable"):
        words += f" ({QUALITIES[quality]})"
    return visible(f"{words}, locked to thread" if locked else words)


def _place_columns(snapshot: Snapshot, rows: NDArray[np.int64], view: View) -> list[Column]:
    """Where goroutines are and where they were created."""
    g = snapshot.goroutines
    functions, locations = _Cells(snapshot, _function), _Cells(snapshot, _location)
    where, start, creator = g.where[rows], g.start[rows], g.creator[rows]
    places = np.where(where == NONE, start, where)
    columns = [
        Column("function", _functions(functions, where, places), weight=5, fit=function_in),
        Column("at", locations.of(places, UNKNOWN), weight=4, fit=location_in, style="dim"),
        Column("creator", functions.of(creator, "-"), weight=3, fit=function_in),
    ]
    if view.width is None or view.width >= _WIDE:
        at = locations.of(creator, "-")
        columns.append(Column("created at", at, weight=3, fit=location_in, style="dim"))
    return columns


def _functions(functions: _Cells, where: NDArray[np.int32], places: NDArray[np.int32]) -> list[str]:
    """The functions at `places`, marked where that is only known to be where a goroutine began."""
    cells = functions.of(places, UNKNOWN)
    for index in np.flatnonzero((where == NONE) & (places != NONE)).tolist():
        cells[index] += " (start)"
    return cells


class _Cells:
    """Words for frames; many goroutines share one."""

    def __init__(self, snapshot: Snapshot, words: Callable[[Frame], str]) -> None:
        self._frames = snapshot.frames
        self._words = words
        self._known: dict[int, str] = {}

    def of(self, indices: NDArray[np.int32], none: str) -> list[str]:
        """The words for the frame at each index, `none` for `NONE`."""
        for index in set(indices.tolist()) - self._known.keys() - {NONE}:
            self._known[index] = visible(self._words(self._frames[index]))
        return [none if index == NONE else self._known[index] for index in indices.tolist()]


def _function(frame: Frame) -> str:
    return frame.function


def _location(frame: Frame) -> str:
    if frame.file is None:
        return UNKNOWN
    return f"{frame.file}:{UNKNOWN if frame.line is None else frame.line}"
