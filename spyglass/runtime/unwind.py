"""Unwind the stacks of many goroutines at once, from bytes that were read without stopping them.

One cursor (pc, sp) per goroutine; all of them step together. At each depth the distinct program
counters are few, so each is looked up once. What a cursor has passed is a node of a tree whose edges
are pcs: equal stacks end at the same node, which makes the node the stack's identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.runtime.code import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.code import Code

__all__ = ["COMPLETE", "CUT", "TRUNCATED", "UNREADABLE", "Cursors", "StackTree", "Unwinder"]

#: How a walk ended: at a bottom (or where it was to stop); at something that is no stack; deeper than
#: `MAX_DEPTH`; at memory that could not be read.
COMPLETE, CUT, TRUNCATED, UNREADABLE = range(4)

MAX_DEPTH = 1000
#: Bytes of each stack that are read at first, for its top or for all of it; further rounds read more.
_TOP_WINDOW_BYTES = 1 << 10
_FIRST_WINDOW_BYTES = 1 << 12
_MAX_WINDOW_BYTES = 1 << 16
#: Program counters are kept as offsets from the text in the low half of a tree's key.
_PC_BITS = np.uint64(32)
_PC_MASK = np.uint64(0xFFFFFFFF)


@dataclass(slots=True)
class Cursors:
    """Where each goroutine is on its stack: pc, sp and the stack's end (uint64), same length."""

    pc: NDArray[np.uint64]
    sp: NDArray[np.uint64]
    high: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Walked:
    """The end of each walk: `node` of the tree (int64, 0: nothing was walked), `outcome` (uint8),
    `where` (int32: frame number of the first call outside the runtime, or -1)."""

    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    where: NDArray[np.int32]


class StackTree:
    """Every distinct stack seen: a node is a pc under the node of the frame it called.

    Node 0 is the root, above the innermost frames.
    """

    def __init__(self, code: Code, text: int) -> None:
        self.code = code
        self.text = text
        self._children: dict[int, int] = {}
        self._parents = [0]
        self._pcs = [0]
        self._traps = [False]
        self._steps = [Step(-1, False, False, False)]
        self._wheres = [-1]

    def children(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The nodes for `keys` (parent << 32 | pc - text), made if they are new."""
        known = self._children
        return np.array([known.get(key) or self._add(key) for key in keys.tolist()], np.int64)

    def _add(self, key: int) -> int:
        parent, pc = key >> 32, (key & 0xFFFFFFFF) + self.text
        trap = self._traps[parent]
        step = self.code.step(pc, trap)
        node = self._children[key] = len(self._parents)
        self._parents.append(parent)
        self._pcs.append(pc)
        self._traps.append(step.trap)
        self._steps.append(step)
        where = self._wheres[parent]
        if where < 0 and step.outside:
            where = self.code.first_outside(pc, trap)
        self._wheres.append(where)
        return node

    def steps(
        self, nodes: NDArray[np.int64], top_only: bool
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each of `nodes`: its frame size, whether the walk ends there, whether it is code."""
        rows = [self._steps[node] for node in nodes.tolist()]
        sizes = np.array([max(row.frame_size, 0) for row in rows], np.uint64)
        ends = np.array([row.bottom or (top_only and row.outside) for row in rows], np.bool_)
        known = np.array([row.frame_size >= 0 or row.bottom for row in rows], np.bool_)
        return sizes, ends, known

    def where(self, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        """The first frame outside the runtime on the way to each of `nodes`, or -1."""
        wheres = self._wheres
        unique, inverse = np.unique(nodes, return_inverse=True)
        return np.array([wheres[node] for node in unique.tolist()], np.int32)[inverse]

    def frames(self, node: int) -> list[int]:
        """The frame numbers from the innermost call to `node`."""
        path = []
        while node:
            path.append(node)
            node = self._parents[node]
        return [
            call
            for step in reversed(path)
            for call in self.code.calls(self._pcs[step], self._traps[self._parents[step]])
        ]


class Unwinder:
    """Walks stacks in `memory`; `link_register` for processors that keep the return address in one."""

    def __init__(self, memory: Memory, tree: StackTree, link_register: bool) -> None:
        self.memory = memory
        self.tree = tree
        # amd64: the return address lies above the frame. arm64: at its bottom, where the function
        # saved its link register (runtime/traceback.go: unwinder.resolveInternal, usesLR).
        self._at_bottom = link_register

    def walk(self, cursors: Cursors, top_only: bool) -> Walked:
        """Walk every stack to its bottom, or with `top_only` to the first call outside the runtime."""
        count = len(cursors.pc)
        state = _State(
            cursors, np.zeros(count, np.int64), np.full(count, COMPLETE, np.uint8), top_only
        )
        pending = np.arange(count)
        window = _TOP_WINDOW_BYTES if top_only else _FIRST_WINDOW_BYTES
        while len(pending):
            pending = self._walk_window(state, pending, window)
            window = min(window * 4, _MAX_WINDOW_BYTES)
        return Walked(state.node, state.outcome, self.tree.where(state.node))

    def _walk_window(
        self, state: _State, pending: NDArray[np.intp], window: int
    ) -> NDArray[np.intp]:
        """Walk `pending` through the next `window` bytes of their stacks; those that left them."""
        base = state.cursors.sp[pending]
        plausible = (base & np.uint64(7) == 0) & (base < state.cursors.high[pending])
        state.end(pending[~plausible], CUT)
        pending, base = pending[plausible], base[plausible]
        sizes = np.minimum(state.cursors.high[pending] - base, np.uint64(window))
        gathered = self.memory.gather(base, sizes)
        state.end(pending[~gathered.ok], UNREADABLE)
        bytes_read = _Window(gathered.buffer.view(np.uint64), gathered.offsets, base, base + sizes)
        rows = np.flatnonzero(gathered.ok)
        left = []
        while len(rows):
            rows = self._step(state, pending, rows, bytes_read)
            inside = state.cursors.sp[pending[rows]] < bytes_read.ends[rows]
            left.append(pending[rows[~inside]])
            rows = rows[inside]
        return np.concatenate(left) if left else pending[:0]

    def _step(
        self, state: _State, pending: NDArray[np.intp], rows: NDArray[np.intp], window: _Window
    ) -> NDArray[np.intp]:
        """One step of the cursors of `rows` (indices into `pending`); those that can go on."""
        cursors, tree = state.cursors, self.tree
        rows = state.keep(
            rows, pending, cursors.pc[pending[rows]] - np.uint64(tree.text) <= _PC_MASK
        )
        at = pending[rows]
        keys = (state.node[at].astype(np.uint64) << _PC_BITS) | (
            cursors.pc[at] - np.uint64(tree.text)
        )
        unique = np.unique(keys)
        nodes = tree.children(unique)
        which = np.searchsorted(unique, keys)
        size, ends, known = (column[which] for column in tree.steps(nodes, state.top_only))
        slot = cursors.sp[at] + (np.uint64(0) if self._at_bottom else size)
        on_stack = (slot + np.uint64(8) <= cursors.high[at]) & (slot >= cursors.sp[at])
        passed = known & (ends | on_stack)
        state.node[at[passed]] = nodes[which[passed]]
        state.end(at[~passed], CUT)
        goes = passed & ~ends
        rows, at, size, slot = rows[goes], at[goes], size[goes], slot[goes]
        cursors.pc[at], read = self._return_addresses(window, rows, slot)
        cursors.sp[at] += size + np.uint64(0 if self._at_bottom else 8)
        state.end(at[~read], UNREADABLE)
        return state.bounded(rows[read], at[read])

    def _return_addresses(
        self, window: _Window, rows: NDArray[np.intp], slots: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """The words at `slots`, and which of them could be read: those of frames that reach beyond
        the window are fetched for themselves."""
        found, ok = np.zeros(len(rows), np.uint64), np.ones(len(rows), np.bool_)
        inside = slots + np.uint64(8) <= window.ends[rows]
        found[inside] = window.words_at(rows[inside], slots[inside])
        if not inside.all():
            gathered = self.memory.gather(slots[~inside], 8)
            found[~inside], ok[~inside] = gathered.words(1)[:, 0], gathered.ok
        return found, ok


@dataclass(slots=True)
class _Window:
    """The words read of each stack, from `base` to `ends`; `offsets` in the buffer, in bytes."""

    words: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    base: NDArray[np.uint64]
    ends: NDArray[np.uint64]

    def words_at(self, rows: NDArray[np.intp], addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        within = (addresses - self.base[rows]).astype(np.int64)
        return self.words[(self.offsets[rows] + within) >> 3]


@dataclass(slots=True)
class _State:
    cursors: Cursors
    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    top_only: bool
    depth: int = 0

    def end(self, at: NDArray[np.intp], outcome: int) -> None:
        """Note how the walks `at` ended."""
        self.outcome[at] = outcome

    def keep(
        self, rows: NDArray[np.intp], pending: NDArray[np.intp], good: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """Those of `rows` that are `good`; the walks of the others are cut."""
        self.end(pending[rows[~good]], CUT)
        return rows[good]

    def bounded(self, rows: NDArray[np.intp], at: NDArray[np.intp]) -> NDArray[np.intp]:
        """`rows`, or none of them once they are `MAX_DEPTH` deep."""
        if self.depth < MAX_DEPTH:
            return rows
        self.end(at, TRUNCATED)
        return rows[:0]
