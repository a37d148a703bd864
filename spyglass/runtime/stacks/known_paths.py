"""Recognise stacks that were walked before, by their return addresses alone.

Most goroutines of a large program share a few stacks. Where a walk has found a return address depends
only on the pcs before it: a stack with the same innermost pc whose words at these places are the same
return addresses is the same stack, and comparing takes a fifth of the time of walking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.stacks.key_index import KeyIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree

__all__ = ["KnownPaths"]

#: Paths that are kept, and the return addresses of the longest one.
_MAX_PATHS = 1 << 12
_MAX_FRAMES = 64
#: A path is kept if a batch has as many stacks that look like it.
_WORTH_KEEPING = 8
_FEW_PATHS = 64


class KnownPaths:
    """Complete walks, one for each key. A key (uint64) has the innermost pc in it; equal keys mean that
    stacks may be equal, which `find` makes sure of."""

    def __init__(self) -> None:
        self._index = KeyIndex(_FEW_PATHS)
        self._count = 1  # numbers in a KeyIndex begin with 1
        self._nodes = np.zeros(_MAX_PATHS, np.int64)
        # Of each path, its return addresses and the words from sp to each, a row for each frame; behind
        # the last they are repeated.
        self._pcs = np.zeros((_MAX_FRAMES, _MAX_PATHS), np.uint64)
        self._slots = np.zeros((_MAX_FRAMES, _MAX_PATHS), np.int64)
        self._lengths = np.zeros(_MAX_PATHS, np.int64)

    def find(
        self,
        keys: NDArray[np.uint64],
        slots: NDArray[np.int64],
        limits: NDArray[np.int64],
        words: NDArray[np.uint64],
    ) -> NDArray[np.int64]:
        """The node at which each of the stacks with these `keys` ends, 0 where it is not known.

        `slots`: where the stacks begin in `words`; `limits`: where the bytes of each end.
        """
        nodes = np.zeros(len(keys), np.int64)
        paths, _ = self._index.find(keys)
        rows = np.flatnonzero((paths > 0) & (slots + self._slots[-1][paths] < limits))
        paths, slots = paths[rows], slots[rows]
        for frame in range(int(self._lengths[paths].max(initial=0))):
            same = words[slots + self._slots[frame][paths]] == self._pcs[frame][paths]
            if not same.all():
                rows, paths, slots = rows[same], paths[same], slots[same]
        nodes[rows] = self._nodes[paths]
        return nodes

    def learn(
        self,
        tree: StackTree,
        keys: NDArray[np.uint64],
        slots: NDArray[np.int64],
        words: NDArray[np.uint64],
        nodes: NDArray[np.int64],
    ) -> None:
        """Keep the paths of stacks that were walked to `nodes` of `tree`, of each new key one."""
        distinct, which = numbered(keys)
        examples = np.zeros(len(distinct), np.intp)
        examples[which] = np.arange(len(keys))
        often = np.bincount(which, minlength=len(distinct)) >= _WORTH_KEEPING
        examples = examples[often]
        _, new = self._index.find(keys[examples])
        added: list[int] = []
        for row in examples[new].tolist():
            number = self._count + len(added)
            if number >= _MAX_PATHS:
                break
            places = tree.return_slots(int(nodes[row]))
            if places and len(places) <= _MAX_FRAMES:
                self._set(number, np.array(places), slots[row], words)
                self._nodes[number] = nodes[row]
                added.append(row)
        self._index.add(keys[added], self._count)
        self._count += len(added)

    def _set(
        self, number: int, places: NDArray[np.int64], slot: np.int64, words: NDArray[np.uint64]
    ) -> None:
        length = len(places)
        self._lengths[number] = length
        self._slots[:length, number], self._slots[length:, number] = places, places[-1]
        pcs = words[slot + places]
        self._pcs[:length, number], self._pcs[length:, number] = pcs, pcs[-1]
