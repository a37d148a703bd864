"""For how long goroutines have waited at least.

Go's own number is no bound. When a garbage collection finds a goroutine waiting it sets ``g.waitsince`` to
``work.tstart`` (``mgcmark.go: markroot``), and that is the beginning of the mark termination of the collection
*before* (``mgc.go: gcMark``, the only place that sets it): a goroutine that began to wait a second before
a collection is said to have waited since the one before it, minutes ago. What is certain: it waited
when it was found, and that was before the end of the collection that found it, the next one after ``waitsince``.

Of coroutines (``iter.Pull``, since Go 1.23) nothing is certain: a goroutine that another one switches to runs without
``execute``, which forgets ``waitsince`` (``coro.go: coroswitch_m``), so its next wait may have that of an earlier one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import among, distinct, numbered
from spyglass.model import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spyglass.model import Goroutines
    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["lower_bounds", "with_lower_bounds"]

#: Where a coroutine begins, and the reason of the wait for its turn.
_COROUTINE, _TURN = "runtime.corostart", "coroutine"
#: A collection ends so long after its mark termination began, at most: the world is stopped in between. Where
#: nothing in the ring is as near, clocks were set, or it has been overwritten.
_MARK_TERMINATION_NS = 500_000_000


def with_lower_bounds(
    goroutines: Goroutines,
    reasons: Sequence[str],
    code: Symbolizer,
    now_ns: int | None,
    ends_ns: NDArray[np.int64],
) -> Goroutines:
    """`goroutines` with the column `waiting_ns`; `reasons` are the names of their wait reasons."""
    bounds = lower_bounds(goroutines.printed_ns, now_ns, ends_ns)
    bounds[_take_turns(goroutines, reasons, code)] = NONE
    return replace(goroutines, waiting_ns=bounds)


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


def _take_turns(
    goroutines: Goroutines, reasons: Sequence[str], code: Symbolizer
) -> NDArray[np.bool_]:
    """Which goroutines are coroutines or have made one that is there still, or wait for one: others may have switched to
    them. A goroutine that used one which has ended, or which another goroutine made, is not known by anything."""
    begins = [at for at, frame in enumerate(code.frames) if frame.function == _COROUTINE]
    are = np.isin(goroutines.start, begins)
    turns = [text.removesuffix(" (durable)") == _TURN for text in reasons]
    waits: NDArray[np.bool_] = np.array([*turns, False], np.bool_)[goroutines.wait_reason]
    makers = goroutines.creator_id[are & (goroutines.creator_id > 0)].astype(np.uint64)
    return are | waits | among(goroutines.id, makers)


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
