"""What walks of stacks begin with, go through, and end with: cursors, bytes, outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spyglass.memory.base import Gathered
    from spyglass.threads import Registers

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "TRUNCATED",
    "UNREADABLE",
    "Cursors",
    "StackBytes",
    "Walked",
]

#: How a walk ended: at a bottom (or where it was to stop); at something that is no stack; so deep that
#: frames in its middle are left out; at memory that could not be read.
COMPLETE, INCOMPLETE, TRUNCATED, UNREADABLE = range(4)


@dataclass(slots=True)
class Cursors:
    """Where each goroutine is on its stack: pc, sp and the stack's end (uint64), same length.

    `lr`: on processors that have one the link register, the return address of a function that has not
    saved it yet, or never will; 0 where that is on the stack.
    """

    pc: NDArray[np.uint64]
    sp: NDArray[np.uint64]
    high: NDArray[np.uint64]
    lr: NDArray[np.uint64]

    @classmethod
    def sampled(cls, registers: Sequence[Registers], high: NDArray[np.uint64]) -> Cursors:
        """Where threads with these `registers` are, on stacks that end at `high`."""
        pc, sp, lr = (
            np.array([getattr(each, name) for each in registers], np.uint64)
            for name in ("pc", "sp", "lr")
        )
        return cls(pc, sp, high.astype(np.uint64), lr)


@dataclass(frozen=True, slots=True)
class StackBytes:
    """What was read of some stacks: of each the bytes from `base` to `ends` (uint64), which are the
    `words` (uint64) from byte `offsets` (int64) on. A row that could not be read is empty."""

    words: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    base: NDArray[np.uint64]
    ends: NDArray[np.uint64]

    @classmethod
    def of(
        cls, gathered: Gathered, base: NDArray[np.uint64], ends: NDArray[np.uint64]
    ) -> StackBytes:
        """`gathered`, whose ranges are those from `base` to `ends`."""
        words = gathered.buffer.view(np.uint64)
        return cls(words, gathered.offsets, base, np.where(gathered.ok, ends, base))

    @classmethod
    def sampled(cls, registers: Sequence[Registers]) -> StackBytes:
        """The stack bytes that came with `registers`; only whole words of aligned stacks."""
        pieces = [each.stack[: len(each.stack) // 8 * 8] for each in registers]
        words = np.frombuffer(b"".join(pieces) or bytes(8), np.uint64)
        sizes = np.array([len(piece) for piece in pieces], np.int64)
        base = np.array([each.sp for each in registers], np.uint64)
        return cls(words, np.cumsum(sizes) - sizes, base, base + sizes.astype(np.uint64))

    def select(self, which: NDArray[Any]) -> StackBytes:
        """The rows `which`."""
        return StackBytes(self.words, self.offsets[which], self.base[which], self.ends[which])

    def below(self, high: NDArray[np.uint64]) -> StackBytes:
        """Only what belongs to stacks that end at `high`: what a sample has behind it is another's."""
        ends = np.minimum(self.ends, np.maximum(self.base, high))
        return StackBytes(self.words, self.offsets, self.base, ends)

    def hold(self, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which rows hold the word at their one of `addresses`."""
        above = (addresses >= self.base) & (addresses & np.uint64(7) == 0)
        inside: NDArray[np.bool_] = above & (addresses + np.uint64(8) <= self.ends)
        return inside


@dataclass(frozen=True, slots=True)
class Walked:
    """The end of each walk: `node` of the tree (int64, `StackTree.SAMPLED` or less: nothing walked), `outcome` (uint8),
    `where`, `call` (int32: those columns of `Goroutines`), `beyond` (bool: more of the stack was needed
    than had been read beforehand)."""

    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    where: NDArray[np.int32]
    call: NDArray[np.int32]
    beyond: NDArray[np.bool_]

    def select(self, which: NDArray[np.bool_]) -> Walked:
        """The walks `which`."""
        return Walked(
            self.node[which], self.outcome[which], self.where[which], self.call[which],
            self.beyond[which],
        )  # fmt: skip

    def spread(self, at: NDArray[np.intp], count: int) -> Walked:
        """The same as rows `at` of `count`; the others were not walked."""
        node, beyond = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        outcome = np.full(count, COMPLETE, np.uint8)
        where, call = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        node[at], outcome[at], beyond[at] = self.node, self.outcome, self.beyond
        where[at], call[at] = self.where, self.call
        return Walked(node, outcome, where, call, beyond)
