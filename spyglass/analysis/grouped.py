"""Rows in groups of equal keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grouped", "grouped"]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Groups of rows: the largest first, those of one size in the order of their first row.

    `rows` (int64): of all groups, those of one group together and in their order. `firsts`: where each
    group begins in it, ascending; `ranked`: the groups, as indices of `firsts`, in their order.
    """

    rows: NDArray[np.int64]
    firsts: NDArray[np.int64]
    ranked: NDArray[np.intp]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """The rows of each group."""
        ends = np.append(self.firsts[1:], len(self.rows))
        for first, end in zip(
            self.firsts[self.ranked].tolist(), ends[self.ranked].tolist(), strict=True
        ):
            yield self.rows[first:end]

    def reduced(self, reduce: np.ufunc, column: NDArray[Any]) -> NDArray[np.int64]:
        """For each group, `reduce` (``np.add``, ``np.maximum``) over the values of its rows in `column`."""
        if not len(self.firsts):
            return np.zeros(0, np.int64)
        values: NDArray[np.int64] = reduce.reduceat(column[self.rows], self.firsts, dtype=np.int64)
        return values[self.ranked]


def grouped(rows: NDArray[np.int64], keys: NDArray[np.int64]) -> Grouped:
    """`rows` in groups of equal `keys`, one for each row."""
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    differs = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=differs[1:])
    firsts = np.flatnonzero(differs)
    counts = np.diff(np.append(firsts, len(rows)))
    return Grouped(rows, firsts, np.lexsort((rows[firsts], -counts)))
