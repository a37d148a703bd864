"""Every distinct stack of a program, as paths in a tree: equal stacks end at the same node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.code import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.code import Code

__all__ = ["ENDS", "KNOWN", "LEAVES", "StackTree"]

#: What a node is: where the stack ends; where it leaves the runtime; code whose frame size is known, or
#: is not needed because the stack ends there.
ENDS, LEAVES, KNOWN = 1, 2, 4
_PC_BITS = np.uint64(32)
_FEW_NODES = 1 << 12
#: So many places there are for each node, but no more than so many in all.
_PLACES_PER_NODE = 8
_MAX_PLACE_BITS = 20
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
        # Of each node: the one above it, its pc, and how it was entered.
        self._parents = [-1, -1]
        self._pcs = [0, 0]
        self._entries = [Entry.CALL, Entry.TRAP]
        #: Of each node, with room for more: its frame size in words (0 if not known), what it is
        #: (`ENDS` and the like), and the first frame outside the runtime on the way to it, or -1.
        self.sizes = np.zeros(_FEW_NODES, np.int64)
        self.flags = np.zeros(_FEW_NODES, np.uint8)
        self.wheres = np.full(_FEW_NODES, -1, np.int32)
        self._table = _Table(_FEW_NODES)

    @property
    def is_full(self) -> bool:
        """Whether there are so many distinct stacks that no more are kept: walks end there."""
        return len(self._parents) >= MAX_NODES

    def children(
        self, parents: NDArray[np.int64], offsets: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """The nodes under `parents` of the pcs so far (below 2**32) from the text, made if they are new;
        0 if it is full."""
        keys = parents.view(np.uint64) << _PC_BITS | offsets
        nodes, missing = self._table.find(keys)
        if len(missing):
            unique, which = numbered(keys[missing])
            known = self._children
            new = np.array([known.get(key) or self._add(key) for key in unique.tolist()], np.int64)
            nodes[missing] = new[which]
            if len(self._parents) > self._table.room:
                self._table = _Table(2 * len(self._parents), self._children)
            self._table.enter(unique, new)
        return nodes

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
        if size & 7:  # what is not whole words is no frame
            size = -1
        where = int(self.wheres[parent])
        if where < 0 and outside:
            where = self.code.first_outside(pc, called)
        flags = end * ENDS + outside * LEAVES + (end or size >= 0) * KNOWN
        node = self._children[key] = self._append(parent, pc, entry, where)
        self.sizes[node], self.flags[node] = max(size, 0) >> 3, flags
        return node

    def gap(self, parent: int, frames: int, entry: int) -> int:
        """A node under `parent` that stands for `frames` calls left out, the last entered by `entry`."""
        node = self._gaps.get((parent, frames, entry))
        if node is None:
            node = self._append(parent, 0, entry, int(self.wheres[parent]))
            self._gaps[parent, frames, entry] = node
            self._gap_sizes[node] = frames
        return node

    def _append(self, parent: int, pc: int, entry: int, where: int) -> int:
        node = len(self._parents)
        if node >= len(self.sizes):
            self.sizes = np.concatenate([self.sizes, np.zeros_like(self.sizes)])
            self.flags = np.concatenate([self.flags, np.zeros_like(self.flags)])
            self.wheres = np.concatenate([self.wheres, np.full_like(self.wheres, -1)])
        self._parents.append(parent)
        self._pcs.append(pc)
        self._entries.append(entry)
        self.wheres[node] = where
        return node

    def entry(self, node: int) -> int:
        """How the function of `node` was entered."""
        return self._entries[node]

    def are_faked(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `nodes` are functions that a signal handler made what it interrupted call."""
        own_entries = self._entries
        return np.array([own_entries[node] & Entry.FAKED for node in nodes.tolist()], np.bool_)

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


class _Table:
    """Which node a key (parent << 32 | pc - text) is, for many at once: a place for each, which it may
    lose to another of the same place.

    Places are taken from the high bits of a product (Knuth, The Art of Computer Programming, 6.4).
    """

    #: 2**64 divided by the golden ratio.
    _FACTOR = np.uint64(0x9E3779B97F4A7C15)
    _NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)

    def __init__(self, nodes: int, known: dict[int, int] | None = None) -> None:
        bits = min((_PLACES_PER_NODE * nodes - 1).bit_length(), _MAX_PLACE_BITS)
        #: How many nodes it is large enough for.
        self.room = nodes if bits < _MAX_PLACE_BITS else MAX_NODES
        self._shift = np.uint64(64 - bits)
        self._keys = np.full(1 << bits, self._NO_KEY)
        self._nodes = np.zeros(1 << bits, np.int64)
        if known:
            self.enter(
                np.fromiter(known, np.uint64, len(known)),
                np.fromiter(known.values(), np.int64, len(known)),
            )

    def enter(self, keys: NDArray[np.uint64], nodes: NDArray[np.int64]) -> None:
        """Remember that `keys` are `nodes`."""
        places = keys * self._FACTOR >> self._shift
        self._keys[places], self._nodes[places] = keys, nodes

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """The nodes of `keys`, and which of them are not remembered."""
        places = keys * self._FACTOR >> self._shift
        return self._nodes[places], np.flatnonzero(self._keys[places] != keys)
