"""The distinct stacks of a snapshot as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.model import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree

__all__ = ["StackColumns"]


@dataclass(frozen=True)
class StackColumns:
    """Distinct stacks: `offsets`, `frames` and `elided` as `Snapshot` has them (`stack_offsets`,
    `stack_frames`, `elided`), and in `column` (int32) the number of each goroutine's stack, or `NONE`."""

    column: NDArray[np.int32]
    offsets: NDArray[np.int64]
    frames: NDArray[np.int32]
    elided: dict[int, tuple[int, int]]

    @classmethod
    def none(cls, count: int) -> StackColumns:
        """No stacks for `count` goroutines: those of a snapshot with stacks="top"."""
        column = np.full(count, NONE, np.int32)
        return cls(column, np.zeros(1, np.int64), np.zeros(0, np.int32), {})

    @classmethod
    def of(cls, tree: StackTree, nodes: NDArray[np.int64]) -> StackColumns:
        """The stacks that end at `nodes` of `tree`, one node for each goroutine."""
        walked = nodes > tree.SAMPLED
        unique, which = numbered(nodes[walked])
        column = np.full(len(nodes), NONE, np.int32)
        column[walked] = which
        return cls(column, *tree.paths(unique))
