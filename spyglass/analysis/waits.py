"""How long goroutines have waited: what can be said of a group.

The runtime records when a goroutine began to wait only when a garbage collection sees it waiting
(``runtime/mgcmark.go: markroot`` sets ``g.waitsince``). So each wait is a lower bound, and one that is not
known may be short or, before the first collection, long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["has_waits", "median_wait_ns"]


def has_waits(snapshot: Snapshot, rows: NDArray[np.int64]) -> bool:
    """Whether the wait of any of `rows` is known."""
    return bool((snapshot.goroutines.waiting_ns[rows] >= 0).any())


def median_wait_ns(snapshot: Snapshot, rows: NDArray[np.int64]) -> int | None:
    """The lower median of the waits of `rows`, at least one, in ns; None if it is not known.

    A lower bound: half of the goroutines or more wait at least so long. A wait that is not known counts
    as the shortest.
    """
    middle = (len(rows) - 1) // 2
    wait_ns = int(np.partition(snapshot.goroutines.waiting_ns[rows], middle)[middle])
    return wait_ns if wait_ns >= 0 else None
