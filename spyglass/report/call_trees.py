"""Every goroutine's stack as a node of a tree of calls, which is what a page draws and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.call_tree import CallTree
from spyglass.columns import distinct, numbered, offsets_of
from spyglass.model import NONE, Snapshot
from spyglass.report.page_places import Places

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Stacks"]

_NOT_KNOWN = "(stack not known)"


class Stacks:
    """The trees of calls of goroutines `rows`: of the frames that Go shows, and of `all` of them.

    `shown_leaves` and `all_leaves` (int64, one for each of `rows`) are where their stacks end.
    """

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64], places: Places) -> None:
        self._snapshot = snapshot
        self._places = places
        g = snapshot.goroutines
        used = distinct(g.stack[rows])
        used = used[used != NONE]
        unknown = g.stack[rows] == NONE
        ends, which = self._ends(rows[unknown])
        # A number for each goroutine: of its stack, or of what is known where it has none.
        numbers = np.searchsorted(used, g.stack[rows])
        numbers[unknown] = len(used) + which
        calls, owner, shown = self._calls(used)
        calls = np.concatenate([calls, *ends])
        lengths = [len(each) for each in ends]
        owner = np.concatenate([owner, np.repeat(len(used) + np.arange(len(ends)), lengths)])
        shown = np.concatenate([shown, np.ones(sum(lengths), np.bool_)])
        count = len(used) + len(ends)
        self.shown = CallTree.of(calls[shown], _offsets(owner[shown], count))
        self.all = CallTree.of(calls, _offsets(owner, count))
        self.shown_leaves = self.shown.leaves[numbers]
        self.all_leaves = self.all.leaves[numbers]

    def _calls(
        self, stacks: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """The places of `stacks`, concatenated, each stack outermost first; for each place the index in
        `stacks` of its stack, and whether Go's traceback shows it, as `analysis.shown_frames` does."""
        snapshot = self._snapshot
        low, high = (
            snapshot.stack_offsets[stacks],
            snapshot.stack_offsets[stacks.astype(np.int64) + 1],
        )
        counts = high - low
        owner = np.repeat(np.arange(len(stacks)), counts)
        offsets = np.cumsum(counts) - counts
        steps = np.arange(len(owner)) - offsets[owner]
        frames = snapshot.stack_frames[high[owner] - 1 - steps]
        calls = self._places.of_frames(frames)
        gaps = [at for at, stack in enumerate(stacks.tolist()) if stack in snapshot.elided]
        elided = [snapshot.elided[int(stacks[at])] for at in gaps]
        before = [
            int(offsets[at] + counts[at]) - gap[0] for at, gap in zip(gaps, elided, strict=True)
        ]
        notes = [self._places.note(f"({gap[1]:,} frames left out)") for gap in elided]
        frames, owner = np.insert(frames, before, NONE), np.insert(owner, before, gaps)
        return np.insert(calls, before, notes), owner, self._shown(frames, owner, len(stacks))

    def _shown(
        self, frames: NDArray[np.int32], owner: NDArray[np.int64], count: int
    ) -> NDArray[np.bool_]:
        """Which of `frames` of `count` stacks are shown; where some were left out it is `NONE`."""
        every = self._snapshot.frames
        # The last is for NONE, -1.
        hidden = np.array([*(frame.hidden for frame in every), False], np.bool_)
        panics = np.array(
            [*(frame.function == "runtime.gopanic" for frame in every), False], np.bool_
        )
        shown = ~hidden[frames]
        # The innermost that is shown, unless it only parts deferred calls from what panicked.
        at = np.flatnonzero(shown)
        is_last = np.ones(len(at), np.bool_)
        is_last[:-1] = owner[at[1:]] != owner[at[:-1]]
        innermost = at[is_last]
        shown[innermost[panics[frames[innermost]]]] = False
        some = np.bincount(owner[shown & (frames != NONE)], minlength=count) > 0
        result: NDArray[np.bool_] = shown & some[owner] | ~some[owner]
        return result

    def _ends(self, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], NDArray[np.intp]]:
        """For `rows`, whose stacks are not known: the distinct pairs of the function that they began with
        and their location, as places, and the number of its pair for each row."""
        g, radix = self._snapshot.goroutines, len(self._snapshot.frames) + 1
        pairs, which = numbered((g.start[rows].astype(np.int64) + 1) * radix + g.where[rows] + 1)
        return [self._known(*divmod(pair, radix)) for pair in pairs.tolist()], which

    def _known(self, start: int, where: int) -> NDArray[np.int64]:
        """The places of a stack of which only its ends are known; both are numbers of frames, plus one."""
        ends = [self._places.of_frame(start - 1), self._places.of_frame(where - 1)]
        calls = [ends[0], self._places.note(_NOT_KNOWN), ends[1]]
        return np.array([call for call in calls if call != NONE], np.int64)


def _offsets(owner: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Where the calls of each of `count` owners begin, and where the last ones end."""
    return offsets_of(np.bincount(owner, minlength=count))
