"""How long goroutines have waited: what can be said of a group.

Each wait is a lower bound, counted from the end of the garbage collection that found the goroutine waiting
(`spyglass.model.Goroutines`, ``waiting_ns``). One that is not known may be short or, before the second
collection, long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import NONE, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["has_waits", "median_waits_ns"]

#: Groups of so many goroutines are not sorted with the others: their medians are found faster one by one.
_LARGE = 4096


def has_waits(snapshot: Snapshot, rows: NDArray[np.int64]) -> bool:
    """Whether the wait of any of `rows` is known."""
    return bool((snapshot.goroutines.waiting_ns[rows] >= 0).any())


def median_waits_ns(snapshot: Snapshot, groups: Sequence[NDArray[np.int64]]) -> list[int | None]:
    """The lower median of the waits of each of `groups` (rows, at least one) in ns; None if it is not known.

    A lower bound: at least half of the goroutines wait at least so long. A wait that is not known counts
    as the shortest.
    """
    waits = snapshot.goroutines.waiting_ns
    medians = np.full(len(groups), NONE, np.int64)
    small = [number for number, rows in enumerate(groups) if len(rows) < _LARGE]
    medians[small] = _medians([groups[number] for number in small], waits)
    for number, rows in enumerate(groups):
        if len(rows) >= _LARGE:
            middle = (len(rows) - 1) // 2
            medians[number] = np.partition(waits[rows], middle)[middle]
    return [wait_ns if wait_ns >= 0 else None for wait_ns in medians.tolist()]


def _medians(groups: Sequence[NDArray[np.int64]], waits: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lower median of `waits` of each of `groups`, all sorted at once."""
    if not groups:
        return np.zeros(0, np.int64)
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    numbers, found = np.repeat(np.arange(len(groups)), sizes), waits[np.concatenate(groups)]
    order = np.lexsort((found, numbers))
    medians: NDArray[np.int64] = found[order[np.cumsum(sizes) - sizes + (sizes - 1) // 2]]
    return medians
