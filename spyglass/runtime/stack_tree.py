"""Every distinct stack of a program, as paths in a tree: equal stacks end at the same node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.code import Entry, Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.code import Code

__all__ = ["StackTree"]


class StackTree:
    """Every distinct stack seen: a node is a pc under the node of the frame it called.

    Two nodes are above the innermost frames: `CALLED` those whose pc is a return address, as that of
    every goroutine that parked, `SAMPLED` those that were caught in the middle of something.
    """

    CALLED, SAMPLED = 0, 1

    def __init__(self, code: Code, text: int) -> None:
        self.code = code
        self.text = text
        self._children: dict[int, int] = {}
        self._gaps: dict[tuple[int, int, Entry], int] = {}
        self._gap_sizes: dict[int, int] = {}
        self._parents = [-1, -1]
        self._pcs = [0, 0]
        self._steps = [Step(-1, False, False, entry) for entry in (Entry.CALL, Entry.TRAP)]
        self._wheres = [-1, -1]

    def children(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The nodes for `keys` (parent << 32 | pc - text), made if they are new."""
        known = self._children
        return np.array([known.get(key) or self._add(key) for key in keys.tolist()], np.int64)

    def child(self, parent: int, pc: int) -> int:
        """The node for `pc` under `parent`, made if it is new."""
        key = parent << 32 | (pc - self.text)
        return self._children.get(key) or self._add(key)

    def _add(self, key: int) -> int:
        parent, pc = key >> 32, (key & 0xFFFFFFFF) + self.text
        entry = self._steps[parent].entry
        step = self.code.step(pc, entry)
        where = self._wheres[parent]
        if where < 0 and step.outside:
            where = self.code.first_outside(pc, entry)
        node = self._children[key] = self._append(parent, pc, step, where)
        return node

    def gap(self, parent: int, frames: int, entry: Entry) -> int:
        """A node under `parent` that stands for `frames` calls left out, the last entered by `entry`."""
        node = self._gaps.get((parent, frames, entry))
        if node is None:
            step = Step(-1, False, False, entry)
            node = self._append(parent, 0, step, self._wheres[parent])
            self._gaps[parent, frames, entry] = node
            self._gap_sizes[node] = frames
        return node

    def _append(self, parent: int, pc: int, step: Step, where: int) -> int:
        self._parents.append(parent)
        self._pcs.append(pc)
        self._steps.append(step)
        self._wheres.append(where)
        return len(self._parents) - 1

    def entry(self, node: int) -> Entry:
        """How the function of `node` was entered."""
        return self._steps[node].entry

    def steps(
        self, nodes: NDArray[np.int64], top_only: bool
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each of `nodes`: its frame size, whether the walk ends there, whether it is code."""
        rows = [self._steps[node] for node in nodes.tolist()]
        sizes = np.array([max(row.frame_size, 0) for row in rows], np.uint64)
        ends = np.array([row.end or (top_only and row.outside) for row in rows], np.bool_)
        known = np.array([row.frame_size >= 0 or row.end for row in rows], np.bool_)
        return sizes, ends, known

    def where(self, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        """The first frame outside the runtime on the way to each of `nodes`, or -1."""
        wheres = self._wheres
        unique, inverse = numbered(nodes)
        return np.array([wheres[node] for node in unique.tolist()], np.int32)[inverse]

    def frames(self, node: int) -> tuple[list[int], tuple[int, int] | None]:
        """The frame numbers from the innermost call to `node`; where frames are left out of them, and
        how many, or None."""
        path = []
        while node > self.SAMPLED:
            path.append(node)
            node = self._parents[node]
        frames: list[int] = []
        gap = None
        for step in reversed(path):
            if step in self._gap_sizes:
                gap = len(frames), self._gap_sizes[step]
            else:
                frames += self.code.calls(self._pcs[step], self.entry(self._parents[step]))
        return frames, gap
