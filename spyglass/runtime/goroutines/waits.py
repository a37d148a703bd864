"""For how long goroutines have waited at least.

Go's own number is no bound. When a garbage collection finds a goroutine waiting it sets ``g.waitsince`` to
``work.tstart`` (``mgcmark.go: markroot``), and that is the beginning of the mark termination of the collection
*before* (``mgc.go: gcMark``, the only place that sets it): a goroutine that began to wait a second before
a collection is said to have waited since the one before it, minutes ago. What is certain: it waited
when it was found, and that was before the end of the collection that found it, the next one after ``waitsince``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct, numbered
from spyglass.model import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["lower_bounds"]

#: A collection ends so long after its mark termination began, at most: the world is stopped in between. Where
#: nothing in the ring is as near, clocks were set, or it has been overwritten.
_MARK_TERMINATION_NS = 500_000_000


def lower_bounds(
    printed_ns: NDArray[np.int64], now_ns: int | None, ends_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How long each goroutine has waited at least (int64, `NONE` where it is not known).

    `printed_ns`: since its ``waitsince``, or `NONE`. `now_ns`: the clock that they are counted from. `ends_ns`:
    when the last collections ended, ascending, by the same clock.
    """
    if now_ns is None or not len(printed_ns):
        return np.full(len(printed_ns), NONE, np.int64)
    different, which = numbered(printed_ns)
    since = np.where(different == NONE, NONE, now_ns - different)
    found = np.minimum(_next_end(since, ends_ns), _next_noted(since))
    bounds = np.where((since >= 0) & (found <= now_ns), now_ns - found, NONE)
    return bounds.astype(np.int64)[which]


_NEVER = np.iinfo(np.int64).max


def _next_end(since: NDArray[np.int64], ends_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """When the collection ended that follows the one whose mark termination began at `since`."""
    ends = np.concatenate((ends_ns, [_NEVER, _NEVER]))
    at = np.searchsorted(ends_ns, since)
    is_known = ends[at] - since <= _MARK_TERMINATION_NS
    following: NDArray[np.int64] = np.where(is_known, ends[at + 1], _NEVER)
    return following


def _next_noted(since: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next later moment that is noted of any goroutine: the mark termination of a later collection."""
    noted = np.append(distinct(since[since >= 0]), _NEVER)
    following: NDArray[np.int64] = noted[
        np.searchsorted(noted, since, side="right").clip(max=len(noted) - 1)
    ]
    return following
