"""Whether what goroutines wait on is worth reading for a summary: in most programs no finding can come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import function_numbers
from spyglass.analysis.findings.thresholds import PEER_WAIT_NS, PEER_WAITERS
from spyglass.model import NONE, Frame, Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["worth_reading"]

#: Wait reasons (``waitReasonStrings``, runtime2.go) of locks, up to Go 1.19 "semacquire" for all, and of what
#: cannot happen.
_KNOTS = ("sync.Mutex.", "sync.RWMutex.", "semacquire", "chan send (nil", "chan receive (nil")


def worth_reading(
    goroutines: Goroutines, reasons: tuple[str, ...], frames: Sequence[Frame]
) -> bool:
    """Whether goroutines wait for locks, for nil channels, or several of them long for IO in a function that
    others of the user's called. The arguments are those columns of a `Snapshot`."""
    if _waiting(goroutines, reasons, _KNOTS).any():
        return True
    g = goroutines
    long = _waiting(g, reasons, ("IO wait",)) & (g.waiting_ns >= PEER_WAIT_NS) & (g.where != NONE)
    if int(long.sum()) < PEER_WAITERS:
        return False
    where, start = function_numbers(frames, np.stack((g.where[long], g.start[long])))
    return int((where != start).sum()) >= PEER_WAITERS


def _waiting(
    goroutines: Goroutines, reasons: tuple[str, ...], beginnings: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Which of the user's goroutines wait for a reason with one of these `beginnings`."""
    wanted = np.array([*(text.startswith(beginnings) for text in reasons), False], np.bool_)
    waits: NDArray[np.bool_] = wanted[goroutines.wait_reason] & ~goroutines.system
    return waits
