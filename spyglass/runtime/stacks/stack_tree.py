"""Every distinct stack of a program, as paths in a tree: equal stacks end at the same node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.stacks.symbolizer import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["ENDS", "INJECTED_CALL", "KNOWN", "LEAVES", "StackTree"]

#: What a node is: where the stack ends; where it leaves the runtime; code whose frame size is known, or
#: is not needed because the stack ends there; what a signal handler made what it interrupted call.
ENDS, LEAVES, KNOWN, INJECTED_CALL = 1, 2, 4, 8
_PC_BITS = np.uint64(32)
_NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
#: 2**64 divided by the golden ratio: the high bits of products with it are spread evenly (Knuth, The Art
#: of Computer Programming, 6.4).
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FEW_NODES = 1 << 12
#: So many places there are for each node, but no more than so many in all.
_PLACES_PER_NODE = 8
_MAX_PLACE_BITS = 20
#: A program has thousands of distinct stacks; memory that lies may have any number.
MAX_NODES = 1 << 22
#: Frame numbers of stacks that are asked for are kept for the next time, up to so many.
_MAX_KEPT_FRAMES = 1 << 20

_Path = tuple[tuple[int, ...], tuple[int, int] | None]


class StackTree:
    """Every distinct stack seen: a node is a pc under the node of the frame it called.

    Two nodes are above the innermost frames: `CALLED` those whose pc is a return address, as that of
    every goroutine that parked, `SAMPLED` those that were caught in the middle of something.
    """

    CALLED, SAMPLED = 0, 1

    def __init__(self, code: Symbolizer, text: int) -> None:
        self.code = code
        self.text = text
        self._children: dict[int, int] = {}
        self._gaps: dict[tuple[int, int, int], int] = {}
        self._gap_sizes: dict[int, int] = {}
        self._frames: dict[int, _Path] = {}
        self._kept = 0
        # Of each node: the one above it, its pc, how it was entered, and its key.
        self._parents = [-1, -1]
        self._pcs = [0, 0]
        self._entries = [Entry.CALL, Entry.TRAP]
        #: Of each node, with room for more: its frame size in words (0 if not known), what it is
        #: (`ENDS` and the like), and the first frame outside the runtime on the way to it, or -1.
        self.sizes = np.zeros(_FEW_NODES, np.int64)
        self.flags = np.zeros(_FEW_NODES, np.uint8)
        self.wheres = np.full(_FEW_NODES, -1, np.int32)
        self._keys = np.full(_FEW_NODES, _NO_KEY)
        self._make_places(_FEW_NODES)

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._parents)

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
        nodes: NDArray[np.int64] = self._places[keys * _FACTOR >> self._shift]
        missing = np.flatnonzero(self._keys[nodes] != keys)
        if len(missing):
            unique, which = numbered(keys[missing])
            known = self._children
            new = np.array([known.get(key) or self._add(key) for key in unique.tolist()], np.int64)
            nodes[missing] = new[which]
            if len(self._parents) > self._room:
                self._make_places(2 * len(self._parents))
            self._places[unique * _FACTOR >> self._shift] = new
        return nodes

    def _make_places(self, nodes: int) -> None:
        """Make a hash table of places for so many nodes, with those that there are. A node may lose its
        place to another."""
        bits = min((_PLACES_PER_NODE * nodes - 1).bit_length(), _MAX_PLACE_BITS)
        self._room = nodes if bits < _MAX_PLACE_BITS else sys.maxsize
        self._shift = np.uint64(64 - bits)
        self._places = np.zeros(1 << bits, np.int64)
        placed = np.flatnonzero(self._keys != _NO_KEY)
        self._places[self._keys[placed] * _FACTOR >> self._shift] = placed

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
        where = int(self.wheres[parent])
        if where < 0 and outside:
            where = self.code.first_outside(pc, called)
        node = self._children[key] = self._append(parent, pc, entry, where)
        self.flags[node] = (
            end * ENDS
            + outside * LEAVES
            + (end or size >= 0) * KNOWN
            + bool(entry & Entry.INJECTED_CALL) * INJECTED_CALL
        )
        self.sizes[node], self._keys[node] = max(size, 0) >> 3, key
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
            self._keys = np.concatenate([self._keys, np.full_like(self._keys, _NO_KEY)])
        self._parents.append(parent)
        self._pcs.append(pc)
        self._entries.append(entry)
        self.wheres[node] = where
        return node

    def entry(self, node: int) -> int:
        """How the function of `node` was entered."""
        return self._entries[node]

    def frames(self, node: int) -> _Path:
        """The frame numbers from the innermost call to `node`; where frames are left out of them, and
        how many, or None."""
        known = self._frames.get(node)
        if known is None:
            known = self._find_frames(node)
            self._kept += len(known[0])
            if self._kept <= _MAX_KEPT_FRAMES:
                self._frames[node] = known
        return known

    def _find_frames(self, node: int) -> _Path:
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
        return tuple(frames), gap
