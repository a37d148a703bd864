"""Stacks as one tree: what they have in common is in it once, the outermost call at the root."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.model import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CallTree"]

#: So few stacks are followed one by one: a batch of them costs more.
_FEW = 32


@dataclass(frozen=True, slots=True)
class CallTree:
    """Nodes are numbered; number 0 is the root, and a parent's number is lower than its children's.

    `parents` and `calls` (int64) say for each node which one it is called from, and which call it is:
    the number of a place in the code, or of whatever the caller counts as one. Both are `NONE` for the
    root. `leaves` (int64) are the nodes of the last calls of the stacks that the tree was made of.
    """

    parents: NDArray[np.int64]
    calls: NDArray[np.int64]
    leaves: NDArray[np.int64]

    @classmethod
    def of(cls, calls: NDArray[np.int64], offsets: NDArray[np.int64]) -> CallTree:
        """The tree of the stacks that `offsets`, one more than there are, cut `calls` into.

        Calls are not negative, and the outermost of a stack comes first.
        """
        lengths = np.diff(offsets)
        nodes = np.zeros(len(lengths), np.int64)
        rows = np.flatnonzero(lengths > 0)
        radix = int(calls.max(initial=0)) + 1
        levels, count, depth = [np.full((2, 1), NONE, np.int64)], 1, 0
        while len(rows) > _FEW:
            different, at = numbered(nodes[rows] * radix + calls[offsets[rows] + depth])
            levels.append(np.stack(np.divmod(different, radix)))
            nodes[rows] = at + count
            count, depth = count + len(different), depth + 1
            rows = rows[lengths[rows] > depth]
        made: dict[tuple[int, int], int] = {}
        for row in rows.tolist():
            rest = calls[offsets[row] + depth : offsets[row + 1]].tolist()
            nodes[row] = _followed(made, count, int(nodes[row]), rest)
        levels.append(np.array(list(made), np.int64).reshape(-1, 2).T)
        parents, called = np.concatenate(levels, axis=1)
        return cls(parents, called, nodes)


def _followed(made: dict[tuple[int, int], int], first: int, node: int, calls: Iterable[int]) -> int:
    """Where `calls` lead from `node`; nodes that are missing are `made`, by number from `first` on."""
    for call in calls:
        node = made.setdefault((node, call), first + len(made))
    return node
