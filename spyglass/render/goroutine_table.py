"""Goroutines as a table, with a line for each group or for each goroutine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spyglass.analysis.groups import Group, at_work_ranks
from spyglass.analysis.waits import has_waits, median_waits_ns
from spyglass.escape import visible
from spyglass.model import NONE, STATUSES, Frame, Snapshot
from spyglass.render.cropping import cropped, function_and_call_in, function_in, location_in
from spyglass.render.table_columns import Column
from spyglass.render.view_options import View
from spyglass.words.calls import CALL_MARK, START_MARK, call_text, location_text
from spyglass.words.states import quality_mark, state_at, state_colour
from spyglass.words.units import UNKNOWN, count, duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Entries", "GoroutineEntries", "GroupEntries"]

#: Narrower terminals show the call behind the function instead of in a column, leave out the creator,
#: and leave out the creator's location.
_CALL_WIDTH, _CREATOR_WIDTH, _CREATED_AT_WIDTH = 100, 110, 132
#: Narrower terminals show the longest wait of a group only.
_MEDIAN_WIDTH = 120


class Entries(Protocol):
    """The rows of a table of goroutines."""

    def __len__(self) -> int: ...

    def columns(self, number: int, view: View) -> list[Column]:
        """The columns of the first `number` rows."""

    def left_out(self, number: int) -> str:
        """The number of rows after the first `number`, in words."""


class GroupEntries:
    """A row for each group, in the given order."""

    def __init__(self, snapshot: Snapshot, groups: Sequence[Group]) -> None:
        self._snapshot = snapshot
        self._groups = groups
        self._has_waits = any(group.longest_wait_ns is not None for group in groups)

    def __len__(self) -> int:
        return len(self._groups)

    def columns(self, number: int, view: View) -> list[Column]:
        groups = self._groups[:number]
        states = [_group_state(group) for group in groups]
        firsts = np.array([group.rows[0] for group in groups], np.int64)
        return [
            Column("count", [count(group.count) for group in groups], right=True, style="bold"),
            _state_column(states, view),
            *self._wait_columns(groups, view),
            *_place_columns(self._snapshot, firsts, view),
        ]

    def _wait_columns(self, groups: Sequence[Group], view: View) -> list[Column]:
        """The longest wait of each group, and the median if there is room and they differ; none if no wait
        is known."""
        if not self._has_waits:
            return []
        oldest = [_wait(group.longest_wait_ns, group.status) for group in groups]
        columns = [Column("oldest", oldest, right=True)]
        if view.width is None or view.width >= _MEDIAN_WIDTH:
            medians = median_waits_ns(self._snapshot, [group.rows for group in groups])
            cells = [
                _wait(median, group.status) for median, group in zip(medians, groups, strict=True)
            ]
            if cells != oldest:
                columns.append(Column("median", _of_many(cells, groups), right=True))
        return columns

    def left_out(self, number: int) -> str:
        rest = self._groups[number:]
        hidden = sum(group.count for group in rest)
        return f"{count(len(rest))} more groups ({count(hidden)} goroutines)"


class GoroutineEntries:
    """A row for each goroutine, ordered by id, or with those `at_work_first` that run or could run."""

    def __init__(
        self, snapshot: Snapshot, rows: NDArray[np.int64], *, at_work_first: bool = False
    ) -> None:
        self._snapshot = snapshot
        keys: list[NDArray[Any]] = [snapshot.goroutines.id[rows]]
        if at_work_first:
            keys.append(at_work_ranks(snapshot, rows))
        self._rows = rows[np.lexsort(keys)]
        self._has_waits = has_waits(snapshot, rows)

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
            *([Column("wait", waits, right=True)] if self._has_waits else []),
            Column("M", ms, right=True),
            *_place_columns(self._snapshot, rows, view),
        ]

    def left_out(self, number: int) -> str:
        return f"{count(len(self) - number)} more goroutines"


def _of_many(cells: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """`cells`, empty where a group has one goroutine."""
    return [cell if group.count > 1 else "" for cell, group in zip(cells, groups, strict=True)]


def _state_column(states: Sequence[str], view: View) -> Column:
    if view.width is not None:  # a few of Go's wait reasons are long; leave room for functions
        room = max(view.width // 4, 1)
        states = [cropped(state, room) for state in states]
    return Column("state", states, style=state_colour)


def _wait(wait_ns: int | None, status: str) -> str:
    """The known wait with the mark of a lower bound; empty for a goroutine that does not wait."""
    if wait_ns is None:
        return UNKNOWN if status == "waiting" else ""
    return f"≥{duration(wait_ns)}"


def _group_state(group: Group) -> str:
    remark = f" ({count(group.doubtful)} doubtful)" if group.doubtful else ""
    return visible(group.state) + remark


def _states(snapshot: Snapshot, rows: NDArray[np.int64]) -> list[str]:
    """The state of each of `rows`, as Go's traceback prints it in brackets, and its quality if doubtful."""
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
    words = state_at(snapshot, status, reason) + quality_mark(quality)
    return visible(f"{words}, locked to thread" if locked else words)


def _place_columns(snapshot: Snapshot, rows: NDArray[np.int64], view: View) -> list[Column]:
    """The locations of goroutines, and the ``go`` statements that created them."""
    g = snapshot.goroutines
    functions, locations = _FrameTexts(snapshot, call_text), _FrameTexts(snapshot, location_text)
    where, start, creator = g.where[rows], g.start[rows], g.creator[rows]
    places = np.where(where == NONE, start, where)
    names, calls = _functions(functions, where, places), functions.of(g.call[rows], "")
    at = locations.of(places, UNKNOWN)
    has_room = view.width is None or view.width >= _CALL_WIDTH
    if not has_room:
        names = [_with_call(name, call) for name, call in zip(names, calls, strict=True)]
        at = [location.rpartition("/")[2] for location in at]
    columns = [Column("function", names, weight=8, fit=function_and_call_in)]
    if has_room and any(calls):
        columns.append(Column("call", calls, weight=3, fit=function_in))
    columns.append(Column("at", at, weight=4, fit=location_in, style="dim"))
    if view.width is None or view.width >= _CREATOR_WIDTH:
        creators = functions.of(creator, "-")
        columns.append(Column("creator", creators, weight=3, fit=function_in))
    if view.width is None or view.width >= _CREATED_AT_WIDTH:
        created_at = locations.of(creator, "-")
        columns.append(Column("created at", created_at, weight=3, fit=location_in, style="dim"))
    return columns


def _with_call(name: str, call: str) -> str:
    return f"{name}{CALL_MARK}{call}" if call else name


def _functions(
    functions: _FrameTexts, where: NDArray[np.int32], places: NDArray[np.int32]
) -> list[str]:
    """The functions at `places`; those that are only known to be start functions are marked."""
    cells = functions.of(places, UNKNOWN)
    for index in np.flatnonzero((where == NONE) & (places != NONE)).tolist():
        cells[index] += START_MARK
    return cells


class _FrameTexts:
    """The text of each frame, made once: many goroutines share a frame."""

    def __init__(self, snapshot: Snapshot, text: Callable[[Frame], str]) -> None:
        self._frames = snapshot.frames
        self._text = text
        self._known: dict[int, str] = {}

    def of(self, indices: NDArray[np.int32], none: str) -> list[str]:
        """The text of the frame at each index, `none` for `NONE`."""
        for index in set(indices.tolist()) - self._known.keys() - {NONE}:
            self._known[index] = self._text(self._frames[index])
        return [none if index == NONE else self._known[index] for index in indices.tolist()]
