"""Goroutines that have one thing in common: a stack, a function, a creator, a state, a label."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.code_lines import code_line
from spyglass.analysis.grouped import grouped
from spyglass.analysis.shown_frames import shown_frames
from spyglass.columns import combined
from spyglass.model import NONE, UNREAD, Snapshot
from spyglass.words.states import state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LABEL", "groups_by", "groups_by_key"]

#: The prefix of a grouping by the value of a pprof label: ``label:KEY``.
LABEL = "label:"


def groups_by(
    snapshot: Snapshot, rows: NDArray[np.int64], by: str, *, runtime_frames: bool = False
) -> list[NDArray[np.int64]]:
    """`rows` in groups, the largest first; groups of one size in the order of their first goroutine.

    `by`: "stack" (its lines that Go's traceback would show, with `runtime_frames` all of them),
    "function" (those of `where` and of `call`), "creator" (the ``go`` statement), "state", or "label:KEY". Where a
    stack is not known, the goroutine's start function stands for it.
    """
    return list(groups_by_key(snapshot, rows, by, runtime_frames=runtime_frames).values())


def groups_by_key(
    snapshot: Snapshot, rows: NDArray[np.int64], by: str, *, runtime_frames: bool = False
) -> dict[Hashable, NDArray[np.int64]]:
    """The groups of `groups_by` in the same order, by a key that is equal in every snapshot."""
    numbers, keys = _numbers(*_Common(snapshot, rows, runtime_frames).by(by))
    found = grouped(np.arange(len(rows)), numbers)
    return {keys[numbers[some[0]]]: rows[some] for some in found}


def _numbers(
    common: Callable[..., Hashable], *columns: NDArray[Any]
) -> tuple[NDArray[np.int64], list[Hashable]]:
    """A number for each row of `columns`, indices, the same where `common` of their values is; and what
    that is for each number."""
    _, firsts, inverse = np.unique(combined(*columns), return_index=True, return_inverse=True)
    distinct = zip(*(column[firsts].tolist() for column in columns), strict=True)
    known: dict[Hashable, int] = {}
    numbers = [known.setdefault(common(*each), len(known)) for each in distinct]
    return np.array(numbers, np.int64)[inverse], list(known)


class _Common:
    """What goroutines can have in common: a function that tells it, and the columns which that takes."""

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64], runtime_frames: bool) -> None:
        self._snapshot = snapshot
        self._rows = rows
        self._runtime_frames = runtime_frames
        self._lines: dict[int, Hashable] = {}

    def by(self, by: str) -> tuple[Callable[..., Hashable], *tuple[NDArray[Any], ...]]:
        g, rows = self._snapshot.goroutines, self._rows
        if by.startswith(LABEL):
            key = by.removeprefix(LABEL)
            return lambda labels: self._label(labels, key), g.labels[rows]
        if by == "stack":
            return self._stack, g.stack[rows], self._start_if_none(g.stack)
        if by == "function":
            return self._function, g.where[rows], g.call[rows], self._start_if_none(g.where)
        if by == "creator":
            return self._line, g.creator[rows]
        return self._state, g.status[rows], g.wait_reason[rows]

    def _start_if_none(self, column: NDArray[np.int32]) -> NDArray[np.int32]:
        start = self._snapshot.goroutines.start[self._rows]
        return np.where(column[self._rows] == NONE, start, np.int32(NONE))

    def _stack(self, stack: int, start: int) -> Hashable:
        if stack == NONE:
            return "start", self._line(start)
        shown = shown_frames(self._snapshot, stack, runtime_frames=self._runtime_frames)
        return tuple(map(self._line, shown))

    def _function(self, where: int, call: int, start: int) -> Hashable:
        frame = self._snapshot.frame(start if where == NONE else where)
        called = self._snapshot.frame(call)
        return where == NONE, frame and frame.function, called and called.function

    def _line(self, index: int) -> Hashable:
        if index not in self._lines:
            frame = self._snapshot.frame(index)
            self._lines[index] = frame and code_line(frame)
        return self._lines[index]

    def _state(self, status: int, reason: int) -> Hashable:
        return state_at(self._snapshot, status, reason)

    def _label(self, labels: int, key: str) -> Hashable:
        if labels < 0:
            return labels == UNREAD, None
        return False, self._snapshot.label_sets[labels].get(key)
