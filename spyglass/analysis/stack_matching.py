"""Stacks and creators known again from one snapshot to the next, by numbers that all of them share.

Each snapshot numbers frames and stacks in its own way, and one line of code has many frames. What is
matched is what a person reads: functions, files and lines that Go's traceback shows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import CodeLines
from spyglass.model import NONE, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StackMatcher"]


class StackMatcher:
    """Numbers for the lines and stacks of some snapshots; the same number in all, if they are the same.

    Where a snapshot has no stacks at all, goroutines of all of them are matched by
    `Goroutines.where`.
    """

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self._lines = CodeLines()
        self._stacks: dict[Hashable, int] = {}
        self._has_stacks = all(
            len(each.stack_frames) or not len(each.goroutines) for each in snapshots
        )

    def creators(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """The number of the line that created each goroutine; `NONE` if it is not known."""
        return self._numbers(snapshot)[snapshot.goroutines.creator]

    def stacks(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """The number of the stack of each goroutine; where that is not known, of where it is or began."""
        g, lines = snapshot.goroutines, self._numbers(snapshot)
        places = np.stack([lines[g.where], lines[g.start]], axis=1)
        if not self._has_stacks:
            return self._places(places)
        numbers = np.full(len(g), NONE, np.int64)
        known = g.stack != NONE
        numbers[known] = self._by_lines(snapshot, lines)[g.stack[known]]
        numbers[~known] = self._places(places[~known])
        return numbers

    @property
    def stack_count(self) -> int:
        """How many different stacks there were so far."""
        return len(self._stacks)

    def _numbers(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """The number of the line of each frame, and behind them `NONE`, which -1 looks up."""
        frames = snapshot.frames
        return np.append(self._lines.of(frames, np.arange(len(frames))), NONE)

    def _by_lines(self, snapshot: Snapshot, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each stack of `snapshot`."""
        shown = _shown(snapshot)
        text = lines[snapshot.stack_frames][shown].tobytes()
        ends = np.concatenate([[0], np.cumsum(shown)])[snapshot.stack_offsets] * lines.itemsize
        numbers = []
        for stack, (low, high) in enumerate(
            zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        ):
            identity = text[low:high], snapshot.elided.get(stack)
            numbers.append(self._stacks.setdefault(identity, len(self._stacks)))
        return np.array(numbers, np.int64)

    def _places(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for each row of `places`, lines where a goroutine is and where it began."""
        where = places[:, 0]
        keys = np.where(
            where != NONE, where * 2, np.where(places[:, 1] != NONE, places[:, 1] * 2 + 1, NONE)
        )
        distinct, inverse = np.unique(keys, return_inverse=True)
        numbers = [self._stacks.setdefault(key, len(self._stacks)) for key in distinct.tolist()]
        return np.array(numbers, np.int64)[inverse]


def _shown(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Which of `stack_frames` a person is shown, as `spyglass.analysis.shown_frames.shown_frames` has it."""
    frames, offsets = snapshot.stack_frames, snapshot.stack_offsets
    shown = ~np.array([frame.hidden for frame in snapshot.frames], np.bool_)[frames]
    panics = np.array([frame.function == "runtime.gopanic" for frame in snapshot.frames], np.bool_)
    at = np.flatnonzero(shown)
    firsts = np.searchsorted(at, offsets[:-1])
    firsts = at[firsts[firsts < len(at)]]
    shown[firsts[panics[frames[firsts]]]] = False
    # `firsts` of a stack that shows nothing is in a later one, whose own first it is.
    before = np.concatenate([[0], np.cumsum(shown)])[offsets]
    empty = np.diff(before) == 0
    shown |= np.repeat(empty, np.diff(offsets))
    return shown
