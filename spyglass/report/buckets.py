"""Goroutines that a page need not tell apart: cells, which it counts, filters and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import numbered
from spyglass.model import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cells", "cells", "exact", "id_column", "wait_runs"]

#: JavaScript knows whole numbers below this one exactly.
_EXACT_BELOW = 1 << 53


@dataclass(frozen=True, slots=True)
class Cells:
    """`order` are the goroutines by cell, in each the longest wait first; `firsts` begin the cells."""

    order: NDArray[np.int64]
    firsts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many goroutines are in each."""
        return np.diff(np.append(self.firsts, len(self.order)))

    def common(self, column: NDArray[Any]) -> NDArray[Any]:
        """For each cell the value that all of it have in `column`; `NONE` where they differ."""
        if not len(self.firsts):
            return column[:0]
        values = column[self.order]
        least = np.minimum.reduceat(values, self.firsts)
        return np.where(least == np.maximum.reduceat(values, self.firsts), least, NONE)


def cells(
    keys: Mapping[str, NDArray[Any]], ids: NDArray[np.uint64], waits_ns: NDArray[np.int64]
) -> Cells:
    """The cells of goroutines that are alike in all of `keys`, columns of one length."""
    order = np.lexsort((ids, -waits_ns, *keys.values()))
    differs = np.zeros(len(order), np.bool_)
    differs[:1] = True
    for column in keys.values():
        ordered = column[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    return Cells(order, np.flatnonzero(differs))


def exact(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """`ids`, and `NONE` for those that a page would round."""
    return np.where(ids < _EXACT_BELOW, ids, NONE)


def id_column(ids: NDArray[np.uint64]) -> list[int] | list[str]:
    """`ids` as steps from one to the next, which are shorter; as text where a page would round them."""
    if len(ids) and int(ids.max()) >= _EXACT_BELOW:
        return [str(each) for each in ids.tolist()]
    steps: list[int] = np.diff(ids.astype(np.int64), prepend=0).tolist()
    return steps


def wait_runs(waits_ns: NDArray[np.int64]) -> dict[str, list[int]]:
    """`waits_ns` as runs of equal ones: few differ, for Go notes them when garbage is collected."""
    firsts = np.flatnonzero(np.diff(waits_ns, prepend=-2))
    lengths = np.diff(np.append(firsts, len(waits_ns)))
    values, places = numbered(waits_ns[firsts])
    return {"values": values.tolist(), "value": places.tolist(), "length": lengths.tolist()}
