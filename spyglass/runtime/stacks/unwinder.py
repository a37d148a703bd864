"""Unwind the stacks of many goroutines at once, from bytes that were read without stopping them.

One cursor (pc, sp) per goroutine; all of them step together. What a cursor has passed is a node of a
tree whose edges are pcs: equal stacks end at the same node, which makes the node the stack's identity.
What there is to know of a pc is found out once for a node, however many pass it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import MemoryFault
from spyglass.runtime.stacks.call_sites import ENDS, IN_USERS_CODE, INJECTED_CALL, KNOWN
from spyglass.runtime.stacks.known_paths import STEPS_BEFORE, KnownPaths, Unknown, path_keys
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.symbolizer import Entry
from spyglass.runtime.stacks.walks import (
    COMPLETE,
    INCOMPLETE,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackBytes,
    Walked,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["Unwinder", "first_windows"]

#: How many of the innermost, and of the outermost, frames of a deeper stack are kept.
KEPT_FRAMES = 500
#: How many frames are walked of all deep stacks of one reading: some seconds. The runtime's own limit
#: of 1 GB a stack holds that many of 64 bytes.
_MAX_DEEP_FRAMES = 1 << 24
_DEEP_WINDOW_BYTES = 1 << 20
#: Bytes of each stack that are read at first, for its top or for all of it; further rounds read more.
_TOP_WINDOW_BYTES = 1 << 12
_FIRST_WINDOW_BYTES = 1 << 12
_MAX_WINDOW_BYTES = 1 << 16
#: Bytes of stacks that are held at a time: the first windows of 16,384 goroutines.
_MAX_GATHER_BYTES = 1 << 26
#: Program counters are kept as offsets from the text in the low half of a tree's key.
_PC_MASK = 0xFFFFFFFF
#: Number of stacks from which on stacks that were walked before are recognised first.
_MANY = 1 << 11
_NO_ROWS = np.zeros(0, np.intp)
#: What a signal handler puts on the stack of a processor with a link register when it fakes a call.
FAKED_FRAME_BYTES = 16


class Unwinder:
    """Walks stacks in `memory`; `link_register` for processors that keep the return address in one."""

    def __init__(self, memory: Memory, tree: StackTree, link_register: bool) -> None:
        self.memory = memory
        self.tree = tree
        # amd64: the return address lies above the frame. arm64: at its bottom, where the function
        # saved its link register (runtime/traceback.go: unwinder.resolveInternal, usesLR).
        self._at_bottom = link_register
        self.renew()

    def renew(self) -> None:
        """Begin another reading of the process: frames of deep stacks are counted anew."""
        self._deep_frames = 0

    def walk(
        self,
        cursors: Cursors,
        top_only: bool,
        root: int = StackTree.CALLED,
        stacks: StackBytes | None = None,
    ) -> Walked:
        """Walk every stack to its bottom, or with `top_only` to the first frame of the user's code.

        `root`: the node above the innermost frames. `stacks`: their bytes, as far as they were read
        already, a row for each cursor.
        """
        state = _State.of(cursors, top_only, root)
        pending = np.arange(len(cursors.pc))
        if stacks is not None:
            stacks = stacks.below(cursors.high)
            is_many = len(pending) >= _MANY and root == StackTree.CALLED and not self._at_bottom
            known = self.tree.known_paths[top_only] if is_many else None
            pending = self._walk_bytes(state, pending, stacks, known)
            state.beyond[pending] = True
        window = _first_window_bytes(top_only)
        while len(pending):
            pending = self._walk_window(state, pending, window)
            window = min(window * 4, _MAX_WINDOW_BYTES)
        wheres, calls = self.tree.wheres[state.node], self.tree.calls[state.node]
        return Walked(state.node, state.outcome, wheres, calls, state.beyond)

    def _walk_window(
        self, state: _State, pending: NDArray[np.intp], window: int
    ) -> NDArray[np.intp]:
        """Walk `pending` through the next `window` bytes of their stacks. Returns the walks that left them."""
        for row in pending[state.depth[pending] >= KEPT_FRAMES].tolist():
            self._walk_deep(state, row)
        pending = pending[state.depth[pending] < KEPT_FRAMES]
        base, sizes = _windows(state.cursors.sp[pending], state.cursors.high[pending], window)
        state.end(pending[sizes == 0], INCOMPLETE)
        some = sizes > 0
        pending, base, sizes = pending[some], base[some], sizes[some]
        left = [_NO_ROWS]
        for part in _parts(sizes):
            gathered = self.memory.gather(base[part], sizes[part])
            at, ok = pending[part], gathered.ok
            state.end(at[~ok], UNREADABLE)
            read = StackBytes.of(gathered, base[part], base[part] + sizes[part])
            left.append(self._walk_bytes(state, at[ok], read.select(ok)))
        return np.concatenate(left)

    def _walk_bytes(
        self,
        state: _State,
        pending: NDArray[np.intp],
        stacks: StackBytes,
        known: KnownPaths | None = None,
    ) -> NDArray[np.intp]:
        """Walk `pending`, whose stacks are the rows of `stacks`, as far as these reach; those that
        left them.

        After a few steps the rest of stacks that are `known` is not walked; other stacks become known.
        """
        inside = stacks.hold(state.cursors.sp[pending])
        run = _Run.of(state, pending[inside], stacks.select(inside))
        room = run.room(state)  # checked only when the deepest may have none left
        left = [pending[~inside]]
        unknown = None
        while len(run.at):
            if known is not None and run.steps == STEPS_BEFORE:
                run, unknown = self._leave_known(state, run, stacks.words, known)
            stays = run.slot < run.limit
            if not stays.all() or run.steps >= room:
                stays &= state.depth[run.at] + run.steps < KEPT_FRAMES
                left.append(run.leave(state, np.flatnonzero(~stays)))
                run = run.select(np.flatnonzero(stays))
                room = run.room(state)
            run, far = self._step(state, run, stacks.words)
            left.append(far)
        gone = np.concatenate(left)
        if known is not None and unknown is not None:
            self._learn(state, unknown, gone, stacks.words, known)
        return gone

    def _leave_known(
        self, state: _State, run: _Run, words: NDArray[np.uint64], known: KnownPaths
    ) -> tuple[_Run, Unknown]:
        """End the walks of `run` that continue as a `known` one; return the others."""
        cursors, every = state.cursors, np.arange(len(run.at))
        keys = path_keys(run.node, run.pc, cursors.high[run.at] - run.sp(every))
        unknown = Unknown(run.at, keys, run.node, run.slot)
        nodes = known.find(unknown, run.limit, words)
        found, others = np.flatnonzero(nodes), np.flatnonzero(nodes == 0)
        state.node[run.at[found]] = nodes[found]
        return run.select(others), unknown.select(others)

    def _learn(
        self,
        state: _State,
        unknown: Unknown,
        gone: NDArray[np.intp],
        words: NDArray[np.uint64],
        known: KnownPaths,
    ) -> None:
        """Make known the walks of `unknown` that have ended in what was read, not `gone` out of it."""
        done = (state.outcome == COMPLETE) & ~state.beyond
        done[gone] = False
        unknown = unknown.select(done[unknown.at])
        known.learn(self.tree, unknown, words, state.node[unknown.at])

    def _step(
        self, state: _State, run: _Run, words: NDArray[np.uint64]
    ) -> tuple[_Run, NDArray[np.intp]]:
        """One step of all walks of `run`: the walks that can continue, and which of them left the bytes
        that were read."""
        tree = self.tree
        offsets = run.pc - np.uint64(tree.text)
        if int(offsets.max(initial=0)) > _PC_MASK:
            near = offsets <= _PC_MASK
            run.end(state, np.flatnonzero(~near), INCOMPLETE)
            run, offsets = run.select(np.flatnonzero(near)), offsets[near]
        nodes = tree.children(run.node, offsets)
        flags = tree.flags[nodes]
        slot = run.slot if self._at_bottom else run.slot + tree.sizes[nodes]
        goes = ((flags & state.stop_mask) == KNOWN) & (slot < run.limit)
        far = _NO_ROWS
        if not goes.all():
            far = self._end_some(state, run, nodes, flags, slot, np.flatnonzero(~goes))
            going = np.flatnonzero(goes)
            run, nodes, slot = run.select(going), nodes[going], slot[going]
        pc = words[slot]
        run = _Run(run.at, nodes, pc, slot + 1, run.limit, run.origin, run.steps + 1)
        if self._at_bottom:
            run = self._follow_links(state, run, words)
        return run, far

    def _end_some(
        self,
        state: _State,
        run: _Run,
        nodes: NDArray[np.int64],
        flags: NDArray[np.uint8],
        slot: NDArray[np.int64],
        rows: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Record how those walks of `rows` end, with their next `nodes`, that cannot continue in the bytes
        read; return the ones that continue beyond these."""
        known = flags[rows] & KNOWN != 0
        stops = known & (flags[rows] & state.stop_mask != KNOWN)
        state.node[run.at[rows[stops]]] = nodes[rows[stops]]
        goes = known & ~stops
        address = run.origin[rows] + (slot[rows] << 3).astype(np.uint64)
        high = state.cursors.high[run.at[rows]]
        on_stack = (address + np.uint64(8) <= high) & (address >= run.sp(rows))
        run.end(state, rows[~known | (goes & ~on_stack)], INCOMPLETE)
        far, address = rows[goes & on_stack], address[goes & on_stack]
        if not len(far):
            return _NO_ROWS
        # Frames that reach beyond what was read: their return addresses are fetched for themselves.
        at = run.at[far]
        gathered = self.memory.gather(address, 8)
        state.node[at], state.beyond[at] = nodes[far], True
        state.end(at[~gathered.ok], UNREADABLE)
        state.cursors.pc[at] = gathered.words(1)[:, 0]
        state.cursors.sp[at] = address + np.uint64(8)
        state.depth[at] += run.steps + 1
        goes_on: NDArray[np.intp] = at[gathered.ok]
        return goes_on

    def _follow_links(self, state: _State, run: _Run, words: NDArray[np.uint64]) -> _Run:
        """On a processor with a link register: return through it from functions that have no frame to
        save it in, and find it where a signal handler saved it; the walks that can continue."""
        links, tree = state.cursors.lr, self.tree
        size = tree.sizes[run.node]
        linked = (size == 0) & (links[run.at] != 0)
        pc = np.where(linked, links[run.at], run.pc)
        # The slot was at the frame's bottom.
        run = _Run(run.at, run.node, pc, run.slot - 1 + size, run.limit, run.origin, run.steps)
        lost = (size == 0) & ~linked
        run.end(state, np.flatnonzero(lost), INCOMPLETE)
        run = run.select(np.flatnonzero(~lost))
        links[run.at] = 0
        faked = np.flatnonzero(tree.flags[run.node] & INJECTED_CALL)
        if len(faked):
            self._leave_faked_calls(state, run, faked, words)
        return run

    def _leave_faked_calls(
        self, state: _State, run: _Run, rows: NDArray[np.intp], words: NDArray[np.uint64]
    ) -> None:
        """Set link register and sp of what a signal handler made call another function as they were.

        The handler saved the link register on the stack before it faked the call
        (``runtime/signal_arm64.go: preparePanic, pushCall``; ``traceback.go: unwinder.next``).
        """
        link = np.zeros(len(rows), np.uint64)
        inside = run.slot[rows] < run.limit[rows]
        link[inside] = words[run.slot[rows[inside]]]
        if not inside.all():
            state.beyond[run.at[rows[~inside]]] = True
            gathered = self.memory.gather(run.sp(rows[~inside]), 8)
            link[~inside] = np.where(gathered.ok, gathered.words(1)[:, 0], np.uint64(0))
        state.cursors.lr[run.at[rows]] = link
        run.slot[rows] += FAKED_FRAME_BYTES // 8
        nowhere = [self.tree.code.functions.at(pc) is None for pc in run.pc[rows].tolist()]
        run.pc[rows[nowhere]] = link[nowhere]  # it called something that is no function

    def _walk_deep(self, state: _State, row: int) -> None:
        """Walk the rest of one deep stack; its last frames are kept, those before them counted."""
        tree, code = self.tree, self.tree.code
        node = int(state.node[row])
        entry, words = tree.entry(node), _Words(self.memory, int(state.cursors.high[row]))
        pc, sp, link = (
            int(each[row]) for each in (state.cursors.pc, state.cursors.sp, state.cursors.lr)
        )
        tail: deque[tuple[int, int]] = deque(maxlen=KEPT_FRAMES)
        omitted, outcome, where = 0, TRUNCATED, tree.where(node)
        while self._deep_frames < _MAX_DEEP_FRAMES:
            self._deep_frames += 1
            step = code.step(pc, entry)
            in_tree = 0 <= pc - tree.text <= _PC_MASK
            if not in_tree or (step.frame_size < 0 and not step.end):
                outcome = INCOMPLETE
                break
            if len(tail) == KEPT_FRAMES:
                calls = code.calls(*tail[0])
                omitted, where = omitted + len(calls), where.with_callers(code.where(calls))
            tail.append((pc, entry))
            if step.end:
                outcome = TRUNCATED if omitted else COMPLETE
                break
            if self._at_bottom and step.frame_size == 0:
                word = link or None
            else:
                word = words.at(sp if self._at_bottom else sp + step.frame_size)
            if word is None:
                outcome = INCOMPLETE
                break
            pc, sp, link = word, sp + step.frame_size + (0 if self._at_bottom else 8), 0
            entry = step.entry
            if self._at_bottom and entry & Entry.INJECTED_CALL:
                link, sp = words.at(sp) or 0, sp + FAKED_FRAME_BYTES
                pc = pc if code.functions.at(pc) is not None else link
        if omitted:
            node = tree.gap(node, omitted, tail[0][1], where)
        node = tree.descendant(node, (pc for pc, _ in tail))
        state.node[row], state.outcome[row] = node, outcome if node else INCOMPLETE


def first_windows(memory: Memory, cursors: Cursors, top_only: bool) -> StackBytes:
    """The bytes of each stack that a walk of `cursors` needs first, read now; empty rows where there is
    no stack, or it cannot be read."""
    base, sizes = _windows(cursors.sp, cursors.high, _first_window_bytes(top_only))
    some = np.flatnonzero(sizes)
    gathered = memory.gather(base[some], sizes[some])
    ends, offsets = base.copy(), np.zeros(len(base), np.int64)
    ends[some] = np.where(gathered.ok, base[some] + sizes[some], base[some])
    offsets[some] = gathered.offsets
    return StackBytes(gathered.buffer.view(np.uint64), offsets, base, ends)


def _first_window_bytes(top_only: bool) -> int:
    return _TOP_WINDOW_BYTES if top_only else _FIRST_WINDOW_BYTES


def _windows(
    sp: NDArray[np.uint64], high: NDArray[np.uint64], window: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The next `window` bytes of each stack, or what there is: from where on, and how many, 0 where
    `sp` is not on a stack that ends at `high`."""
    on_stack = (sp & np.uint64(7) == 0) & (sp < high) & (high - sp >= np.uint64(8))
    sizes = np.where(on_stack, np.minimum(high - sp, np.uint64(window)), np.uint64(0))
    return sp, sizes


def _parts(sizes: NDArray[np.uint64]) -> list[slice]:
    """Cut rows of `sizes` bytes into parts of `_MAX_GATHER_BYTES` each, at most one row more."""
    part = (np.cumsum(sizes) - sizes) // np.uint64(_MAX_GATHER_BYTES)
    cuts = [0, *(np.flatnonzero(part[1:] != part[:-1]) + 1).tolist(), len(sizes)]
    return [slice(begin, end) for begin, end in pairwise(cuts) if begin < end]


class _Words:
    """Words of one stack that ends at `high`, read in large pieces, upwards."""

    def __init__(self, memory: Memory, high: int) -> None:
        self._memory = memory
        self._high = high
        self._base = 0
        self._words: memoryview = memoryview(b"").cast("Q")

    def at(self, address: int) -> int | None:
        """The word at `address`; None if it is not on the stack or cannot be read."""
        index = (address - self._base) >> 3
        if not 0 <= index < len(self._words):
            size = min(_DEEP_WINDOW_BYTES, self._high - address) & ~7
            if size <= 0 or address & 7:
                return None
            try:
                self._words = memoryview(self._memory.read(address, size)).cast("Q")
            except MemoryFault:
                return None
            self._base, index = address, 0
        return int(self._words[index])


@dataclass(slots=True)
class _State:
    """The walks under way: where each is, and how it ended. `stop_mask`: the flags of nodes that tell where
    a walk ends."""

    cursors: Cursors
    node: NDArray[np.int64]
    depth: NDArray[np.int32]
    outcome: NDArray[np.uint8]
    beyond: NDArray[np.bool_]
    stop_mask: int

    @classmethod
    def of(cls, cursors: Cursors, top_only: bool, root: int) -> _State:
        """Before the first step."""
        count = len(cursors.pc)
        node, depth = np.full(count, root, np.int64), np.zeros(count, np.int32)
        outcome, beyond = np.full(count, COMPLETE, np.uint8), np.zeros(count, np.bool_)
        stop_mask = KNOWN | ENDS | (IN_USERS_CODE if top_only else 0)
        return cls(cursors, node, depth, outcome, beyond, stop_mask)

    def end(self, at: NDArray[np.intp], outcome: int) -> None:
        """Note how the walks `at` ended."""
        self.outcome[at] = outcome


def _slots(
    stacks: StackBytes, sp: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """For each row of `stacks` the address of word 0, the number of the word at its one of `sp`, and of
    the first word behind its bytes."""
    first = stacks.offsets >> 3
    origin = stacks.base - (first << 3).astype(np.uint64)
    slot = ((sp - origin) >> np.uint64(3)).astype(np.int64)
    limit = first + ((stacks.ends - stacks.base) >> np.uint64(3)).astype(np.int64)
    return origin, slot, limit


@dataclass(slots=True)
class _Run:
    """Walks that step together through bytes that were read: of each its row in the state (`at`), its
    node, its pc, and as numbers of words where it is (`slot`) and where its bytes end (`limit`).
    `origin`: the address of word 0. All have made the same number of `steps`."""

    at: NDArray[np.intp]
    node: NDArray[np.int64]
    pc: NDArray[np.uint64]
    slot: NDArray[np.int64]
    limit: NDArray[np.int64]
    origin: NDArray[np.uint64]
    steps: int

    @classmethod
    def of(cls, state: _State, at: NDArray[np.intp], stacks: StackBytes) -> _Run:
        """The walks `at`, which `stacks` hold."""
        origin, slot, limit = _slots(stacks, state.cursors.sp[at])
        return cls(at, state.node[at], state.cursors.pc[at], slot, limit, origin, 0)

    def select(self, rows: NDArray[np.intp]) -> _Run:
        """The walks `rows`."""
        return _Run(
            self.at[rows], self.node[rows], self.pc[rows], self.slot[rows], self.limit[rows],
            self.origin[rows], self.steps,
        )  # fmt: skip

    def sp(self, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Where `rows` are, as addresses."""
        address: NDArray[np.uint64] = self.origin[rows] + (self.slot[rows] << 3).astype(np.uint64)
        return address

    def room(self, state: _State) -> int:
        """After how many steps the first of them may have as many frames as are kept."""
        return KEPT_FRAMES - int(state.depth[self.at].max(initial=0))

    def leave(self, state: _State, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Note where `rows` are; returns which walks they are."""
        at = self.at[rows]
        state.node[at], state.cursors.pc[at] = self.node[rows], self.pc[rows]
        state.cursors.sp[at] = self.sp(rows)
        state.depth[at] += self.steps
        return at

    def end(self, state: _State, rows: NDArray[np.intp], outcome: int) -> None:
        """Note that `rows` end where they are."""
        state.end(self.leave(state, rows), outcome)
