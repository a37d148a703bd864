"""Every distinct stack of a program, as paths in a tree: equal stacks end at the same node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.columns import among, numbered
from spyglass.runtime.stacks.call_sites import IN_USERS_CODE, NO_SITE, CallSites
from spyglass.runtime.stacks.key_index import KeyIndex
from spyglass.runtime.stacks.known_paths import KnownPaths
from spyglass.runtime.stacks.symbolizer import FURTHER_IN, Entry, Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["PathFrame", "StackPaths", "StackTree"]

_PC_BITS = np.uint64(32)
_PC_MASK = np.uint64(0xFFFFFFFF)
#: Room for nodes in a new tree; doubled when it is used up.
_FEW_NODES = 1 << 10
#: A program has thousands of distinct stacks; memory that lies may have any number.
MAX_NODES = 1 << 22
_COLUMNS = (
    "sizes",
    "flags",
    "wheres",
    "calls",
    "_outermost",
    "_entries",
    "_parents",
    "_site_of",
    "_depths",
)


class StackPaths(NamedTuple):
    """Stacks as frame numbers: those of stack i are ``frames[offsets[i]:offsets[i + 1]]`` (int32; int64),
    the innermost first. `elided`: of a stack without its middle, behind how many of its frames that was,
    and how many calls it had."""

    offsets: NDArray[np.int64]
    frames: NDArray[np.int32]
    elided: dict[int, tuple[int, int]]


class PathFrame(NamedTuple):
    """A frame of a stack: its `pc`, the words from its sp to the return address that its caller pushed (0
    if that is not known), and how the function that it called was `entered` (`Entry`)."""

    pc: int
    words: int
    entered: int


class StackTree:
    """Every distinct stack seen: a node is a pc under the node of the frame it called.

    Two nodes are above the innermost frames: `CALLED` those whose pc is a return address, as that of
    every goroutine that parked, `SAMPLED` those whose pc was sampled or interrupted.
    """

    CALLED, SAMPLED = 0, 1

    def __init__(self, code: Symbolizer, text: int) -> None:
        self.code = code
        self.text = text
        self._count = 2
        self._sites = CallSites(code, text)
        self._index = KeyIndex(_FEW_NODES)
        #: Of each node, with room for more: its frame size in words (0 if not known), what it is
        #: (`ENDS` and the like; `IN_USERS_CODE` if any on the way to it is), and where stacks wait that
        #: go through it (`Goroutines.where` and `call`).
        self.sizes = np.zeros(_FEW_NODES, np.int64)
        self.flags = np.zeros(_FEW_NODES, np.uint8)
        self.wheres = np.full(_FEW_NODES, -1, np.int32)
        self.calls = np.full(_FEW_NODES, -1, np.int32)
        self._outermost = np.full(_FEW_NODES, -1, np.int32)  # `Where.outermost`
        # How its function was entered, the node above it, its call site, and how many frames there are
        # on the way to it.
        self._entries = np.full(_FEW_NODES, Entry.CALL, np.uint8)
        self._entries[self.SAMPLED] = Entry.TRAP
        self._parents = np.zeros(_FEW_NODES, np.int32)
        self._site_of = np.zeros(_FEW_NODES, np.int32)
        self._depths = np.zeros(_FEW_NODES, np.int32)
        self._single: dict[int, int] = {}
        self._gaps: dict[tuple[int, int, int, Where], int] = {}
        self._gap_sizes: dict[int, int] = {}
        #: Complete walks that `Unwinder` recognises again, to the bottom and (True) to the user's code.
        self.known_paths = {False: KnownPaths(), True: KnownPaths()}

    def __len__(self) -> int:
        """How many nodes there are."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether there are `MAX_NODES` nodes: no more are made, and walks end."""
        return self._count >= MAX_NODES

    def children(
        self, parents: NDArray[np.int64], offsets: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """The nodes under `parents` of the pcs so far (below 2**32) from the text, made if they are new;
        0 if it is full."""
        keys = parents.view(np.uint64) << _PC_BITS | offsets
        nodes, missing = self._index.find(keys)
        if len(missing):
            unique, which = numbered(keys[missing])
            nodes[missing] = self._add(unique)[which]
        return nodes

    def child(self, parent: int, pc: int) -> int:
        """The node for `pc` under `parent`, made if it is new; 0 if it is full."""
        key = parent << 32 | (pc - self.text)
        node = self._single.get(key)
        if node is None:
            parents, offsets = np.array([parent]), np.array([pc - self.text], np.uint64)
            node = int(self.children(parents, offsets)[0])
            if node:
                self._single[key] = node
        return node

    def descendant(self, node: int, pcs: Iterable[int]) -> int:
        """The node that `pcs` lead to from `node`, made if it is new; 0 if the tree is full."""
        for pc in pcs:
            node = self.child(node, pc)
            if not node:
                break
        return node

    def descendants(
        self, nodes: NDArray[np.int64], paths: Sequence[Sequence[int]]
    ) -> NDArray[np.int64]:
        """As `descendant`, for each of `nodes` with its one of `paths`."""
        found, lengths = nodes.copy(), np.array([len(path) for path in paths], np.int64)
        offsets = np.zeros((len(paths), int(lengths.max(initial=0))), np.uint64)
        for row, path in enumerate(paths):
            offsets[row, : len(path)] = [pc - self.text for pc in path]
        rows = np.arange(len(paths))
        for at in range(offsets.shape[1]):
            rows = rows[lengths[rows] > at]
            found[rows] = self.children(found[rows], offsets[rows, at])
            rows = rows[found[rows] != 0]
        return found

    def where(self, node: int) -> Where:
        """Where stacks wait that go through `node`, as far as it tells."""
        is_users = bool(self.flags[node] & IN_USERS_CODE)
        return Where(
            int(self.wheres[node]), int(self.calls[node]), int(self._outermost[node]), is_users
        )

    def gap(self, parent: int, frames: int, entry: int, where: Where) -> int:
        """A node under `parent` that stands for `frames` calls left out, the last entered by `entry`;
        `where`: where stacks wait that go through it."""
        key = parent, frames, entry, where
        node = self._gaps.get(key)
        if node is None:
            node = self._append(np.array([parent]), np.array([NO_SITE]))
            self._entries[node] = entry
            self.wheres[node], self.calls[node], self._outermost[node], is_users = where
            self.flags[node] |= is_users * IN_USERS_CODE
            self._gaps[key] = node
            self._gap_sizes[node] = frames
        return node

    def entry(self, node: int) -> int:
        """How the function of `node` was entered."""
        return int(self._entries[node])

    def return_slots(self, node: int) -> list[int]:
        """Where the return addresses of a stack that ends at `node` are, in words from its sp, the
        innermost first, on a processor that pushes them; empty if frames are left out of it."""
        slots, slot = [], 0
        for step in self.path_frames(node)[:-1]:
            slots.append(slot + step.words)
            slot += step.words + 1
        return slots

    def path_frames(self, node: int) -> list[PathFrame]:
        """The frames of a stack that ends at `node`, the innermost first; empty if some are left out."""
        path = []
        while node > self.SAMPLED:
            if node in self._gap_sizes:
                return []
            parent = int(self._parents[node])
            pc = self._sites.pcs[self._site_of[node]]
            path.append(PathFrame(pc, int(self.sizes[node]), int(self._entries[parent])))
            node = parent
        return path[::-1]

    def innermost(self, nodes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The nodes of the `count` innermost pcs of the stacks that end at `nodes`, as an array of shape
        (nodes, count), the innermost first; 0 where a stack has fewer."""
        path = np.zeros((len(nodes), count), np.int64)
        rows, current = np.arange(len(nodes)), nodes
        while len(rows):
            inside = current > self.SAMPLED
            rows, current = rows[inside], current[inside]
            path[rows, 1:] = path[rows, :-1]
            path[rows, 0] = current
            current = self._parents[current].astype(np.int64)
        return path

    def pcs(self, nodes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The pcs of `nodes`; 0 for what stands for calls left out, and for the two above all stacks."""
        pcs: NDArray[np.uint64] = self._sites.rows["pc"][self._site_of[nodes]]
        return pcs

    def frames(self, node: int) -> tuple[tuple[int, ...], tuple[int, int] | None]:
        """The frame numbers from the innermost call to `node`; where frames are left out of them, and
        how many, or None."""
        _, frames, elided = self.paths(np.array([node]))
        return tuple(frames.tolist()), elided.get(0)

    def paths(self, nodes: NDArray[np.int64]) -> StackPaths:
        """The stacks from their innermost calls to `nodes`."""
        sites, calls = self._sites.rows, self._sites.calls()
        offsets = np.concatenate([[0], np.cumsum(self._depths[nodes], dtype=np.int64)])
        frames = np.empty(int(offsets[-1]), np.int32)
        elided: dict[int, tuple[int, int]] = {}
        # From the outermost frames inwards, a node of every stack at a time.
        stack, begin = np.arange(len(nodes)), offsets[1:].copy()
        while len(stack):
            site = sites[self._site_of[nodes]]
            begin -= site["calls"]
            for number in range(int(site["calls"].max(initial=0))):
                some = np.flatnonzero(site["calls"] > number)
                frames[begin[some] + number] = calls[site["first"][some] + number]
            for row in self._gaps_among(nodes):
                behind = int(begin[row] - offsets[stack[row]])
                elided[int(stack[row])] = behind, self._gap_sizes[int(nodes[row])]
            nodes = self._parents[nodes].astype(np.int64)
            inner = np.flatnonzero(nodes > self.SAMPLED)
            nodes, stack, begin = nodes[inner], stack[inner], begin[inner]
        return StackPaths(offsets, frames, dict(sorted(elided.items())))

    def _gaps_among(self, nodes: NDArray[np.int64]) -> list[int]:
        """Which of `nodes` stand for calls left out."""
        if not self._gap_sizes:
            return []
        gaps = np.fromiter(self._gap_sizes, np.int64, len(self._gap_sizes))
        return np.flatnonzero(among(nodes, gaps)).tolist()

    def _add(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """New nodes, each of one of the different `keys`; 0 where there is no room."""
        nodes = np.zeros(len(keys), np.int64)
        keys = keys[: max(MAX_NODES - self._count, 0)]
        parents = (keys >> _PC_BITS).astype(np.int64)
        sites = self._sites.numbers(keys & _PC_MASK, self._entries[parents])
        first = self._append(parents, sites)
        self._index.add(keys, first)
        nodes[: len(keys)] = np.arange(first, first + len(keys))
        return nodes

    def _append(self, parents: NDArray[np.int64], sites: NDArray[np.intp]) -> int:
        """Append a node for each of `sites` under its one of `parents`; the number of the first."""
        first, end = self._count, self._count + len(parents)
        while end > len(self.sizes):
            for name in _COLUMNS:
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self._count = end
        rows, new = self._sites.rows[sites], slice(first, end)
        self.sizes[new], self.flags[new] = rows["words"], rows["flags"]
        self._find_where(new, parents, rows)
        self._entries[new], self._parents[new] = rows["entry"], parents
        self._site_of[new] = sites
        self._depths[new] = self._depths[parents] + rows["calls"]
        return first

    def _find_where(self, new: slice, parents: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Find where stacks wait that go through the nodes `new`, whose sites are `rows`: as
        `Where.with_callers`."""
        is_users = self.flags[parents] & IN_USERS_CODE
        inner = self._outermost[parents]
        changes = (is_users == 0) & (rows["where"] >= 0)
        called = np.where(rows["call"] == FURTHER_IN, inner, rows["call"])
        self.wheres[new] = np.where(changes, rows["where"], self.wheres[parents])
        self.calls[new] = np.where(changes, called, self.calls[parents])
        outermost = rows["outermost"]
        self._outermost[new] = np.where(outermost == FURTHER_IN, inner, outermost)
        self.flags[new] |= is_users
