"""Every distinct stack of a program, as paths in a tree: equal stacks end at the same node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.code import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.code import Code

__all__ = ["StackTree"]

_ENDS, _LEAVES = 1, 2
#: A program has thousands of distinct stacks; memory that lies may have any number.
MAX_NODES = 1 << 22


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
        self._gaps: dict[tuple[int, int, int], int] = {}
        self._gap_sizes: dict[int, int] = {}
        # Of each node: the one above it, its pc, how it was entered, its frame size (negative: not
        # known), whether the stack ends there (1) or leaves the runtime (2), and where it first did.
        self._parents = [-1, -1]
        self._pcs = [0, 0]
        self._entries = [Entry.CALL, Entry.TRAP]
        self._sizes = [-1, -1]
        self._flags = [0, 0]
        self._wheres = [-1, -1]

    @property
    def is_full(self) -> bool:
        """Whether there are so many distinct stacks that no more are kept: walks end there."""
        return len(self._parents) >= MAX_NODES

    def children(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The nodes for `keys` (parent << 32 | pc - text), made if they are new; 0 if it is full."""
        known = self._children
        return np.array([known.get(key) or self._add(key) for key in keys.tolist()], np.int64)

    def child(self, parent: int, pc: int) -> int:
        """The node for `pc` under `parent`, made if it is new."""
        key = parent << 32 | (pc - self.text)
        return self._children.get(key) or self._add(key)

    def _add(self, key: int) -> int:
        if self.is_full:
            return self.CALLED
        parent, pc = key >> 32, (key & 0xFFFFFFFF) + self.text
        called = self._entries[parent]
        size, end, outside, entry = self.code.step(pc, called)
        where = self._wheres[parent]
        if where < 0 and outside:
            where = self.code.first_outside(pc, called)
        node = self._children[key] = len(self._parents)
        self._parents.append(parent)
        self._pcs.append(pc)
        self._entries.append(entry)
        self._sizes.append(size)
        self._flags.append(end * _ENDS + outside * _LEAVES)
        self._wheres.append(where)
        return node

    def gap(self, parent: int, frames: int, entry: int) -> int:
        """A node under `parent` that stands for `frames` calls left out, the last entered by `entry`."""
        node = self._gaps.get((parent, frames, entry))
        if node is None:
            node = self._gaps[parent, frames, entry] = len(self._parents)
            self._parents.append(parent)
            self._pcs.append(0)
            self._entries.append(entry)
            self._sizes.append(-1)
            self._flags.append(0)
            self._wheres.append(self._wheres[parent])
            self._gap_sizes[node] = frames
        return node

    def entry(self, node: int) -> int:
        """How the function of `node` was entered."""
        return self._entries[node]

    def are_faked(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `nodes` are functions that a signal handler made what it interrupted call."""
        own_entries = self._entries
        return np.array([own_entries[node] & Entry.FAKED for node in nodes.tolist()], np.bool_)

    def steps(
        self, nodes: NDArray[np.int64], top_only: bool
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each of `nodes`: its frame size, whether the walk ends there, whether it is code."""
        rows, own_sizes, own_flags = nodes.tolist(), self._sizes, self._flags
        sizes = np.array([own_sizes[row] for row in rows], np.int64)
        flags = np.array([own_flags[row] for row in rows], np.uint8)
        ends = (flags & (_ENDS | _LEAVES if top_only else _ENDS)) != 0
        known = (sizes >= 0) | (flags & _ENDS != 0)
        return np.maximum(sizes, 0).astype(np.uint64), ends, known

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
                frames += self.code.calls(self._pcs[step], self._entries[self._parents[step]])
        return frames, gap
