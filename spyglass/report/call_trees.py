"""The stacks of goroutines as nodes of call trees, which a page draws and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.call_tree import CallTree
from spyglass.analysis.shown_frames import shown_frames
from spyglass.columns import distinct, numbered
from spyglass.model import NONE, Snapshot
from spyglass.report.page_places import Places

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Stacks"]

_NOT_KNOWN = "(stack not known)"


class Stacks:
    """The call trees of goroutines `rows`: `shown`, of the frames that Go shows, and `all`.

    `shown_leaves` and `all_leaves` (int64, one for each of `rows`) are the nodes of the innermost
    frames.
    """

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64], places: Places) -> None:
        self.shown, self.all = CallTree(), CallTree()
        self._snapshot = snapshot
        self._places = places
        g = snapshot.goroutines
        stack = g.stack[rows]
        self.shown_leaves = np.zeros(len(rows), np.int64)
        self.all_leaves = np.zeros(len(rows), np.int64)
        has_stack = stack != NONE
        self._set(has_stack, *self._of_stacks(stack[has_stack]))
        unknown = rows[~has_stack]
        self._set(~has_stack, *self._without(g.start[unknown], g.where[unknown]))

    def _set(
        self, mask: NDArray[np.bool_], shown: NDArray[np.int64], everything: NDArray[np.int64]
    ) -> None:
        self.shown_leaves[mask], self.all_leaves[mask] = shown, everything

    def _of_stacks(self, stack: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The leaves of stacks by their numbers."""
        used = distinct(stack).tolist()
        leaves = np.zeros((2, max(used, default=0) + 1), np.int64)
        for number in used:
            leaves[0, number] = self.shown.leaf(self._calls(number, runtime_frames=False))
            leaves[1, number] = self.all.leaf(self._calls(number, runtime_frames=True))
        return leaves[0, stack], leaves[1, stack]

    def _calls(self, stack: int, *, runtime_frames: bool) -> list[int]:
        """The places of `stack`, outermost first."""
        numbers = shown_frames(self._snapshot, stack, runtime_frames=runtime_frames)
        place = self._places.of_frame
        return [
            self._left_out(stack) if number == NONE else place(number)
            for number in reversed(numbers)
        ]

    def _left_out(self, stack: int) -> int:
        return self._places.note(f"({self._snapshot.elided[stack][1]:,} frames left out)")

    def _without(
        self, start: NDArray[np.int32], where: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The leaves of goroutines without a stack, made of their start and their location if known."""
        radix = len(self._snapshot.frames) + 1
        pairs, inverse = numbered((start.astype(np.int64) + 1) * radix + where + 1)
        calls = [self._known(*divmod(pair, radix)) for pair in pairs.tolist()]
        shown = np.array([self.shown.leaf(each) for each in calls], np.int64)
        everything = np.array([self.all.leaf(each) for each in calls], np.int64)
        return shown[inverse], everything[inverse]

    def _known(self, start: int, where: int) -> list[int]:
        """The places of an unknown stack: start, a note, location; the arguments are indices plus 1."""
        ends = [self._places.of_frame(start - 1), self._places.of_frame(where - 1)]
        calls = [ends[0], self._places.note(_NOT_KNOWN), ends[1]]
        return [call for call in calls if call != NONE]
