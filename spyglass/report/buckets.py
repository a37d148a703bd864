"""Cells: goroutines that differ only in id and wait, which a page counts, filters and groups as one."""

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
    """`order`: goroutines sorted by cell, the longest wait of a cell first; `firsts`: where cells begin."""

    order: NDArray[np.int64]
    firsts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of goroutines of each cell."""
        return np.diff(np.append(self.firsts, len(self.order)))

    def common(self, column: NDArray[Any]) -> NDArray[Any]:
        """For each cell the common value of its goroutines in `column`; `NONE` where they differ."""
        if not len(self.firsts):
            return column[:0]
        values = column[self.order]
        least = np.minimum.reduceat(values, self.firsts)
        return np.where(least == np.maximum.reduceat(values, self.firsts), least, NONE)


def cells(
    keys: Mapping[str, NDArray[Any]], ids: NDArray[np.uint64], waits_ns: NDArray[np.int64]
) -> Cells:
    """The cells of goroutines with equal values in all of `keys`, columns of one length."""
    order = np.lexsort((ids, -waits_ns, *keys.values()))
    differs = np.zeros(len(order), np.bool_)
    differs[:1] = True
    for column in keys.values():
        ordered = column[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    return Cells(order, np.flatnonzero(differs))


def exact(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """`ids`, with `NONE` for those that JavaScript would round."""
    return np.where(ids < _EXACT_BELOW, ids, NONE)


def id_column(ids: NDArray[np.uint64]) -> list[int] | list[str]:
    """`ids` as differences, which are shorter; as texts if JavaScript would round one."""
    if len(ids) and int(ids.max()) >= _EXACT_BELOW:
        return [str(each) for each in ids.tolist()]
    steps: list[int] = np.diff(ids.astype(np.int64), prepend=0).tolist()
    return steps


def wait_runs(waits_ns: NDArray[np.int64]) -> dict[str, list[int]]:
    """`waits_ns` in run-length encoding: few differ, because Go records them at garbage collections."""
    firsts = np.flatnonzero(np.diff(waits_ns, prepend=-2))
    lengths = np.diff(np.append(firsts, len(waits_ns)))
    values, places = numbered(waits_ns[firsts])
    return {"values": values.tolist(), "value": places.tolist(), "length": lengths.tolist()}
