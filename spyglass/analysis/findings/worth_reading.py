"""What of waits is worth reading for findings: in most programs none can come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import function_numbers
from spyglass.analysis.findings.thresholds import PEER_WAIT_NS, PEER_WAITERS
from spyglass.columns import distinct
from spyglass.model import NONE, Frame, Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_called", "may_wait_for_peers", "worth_reading"]

#: Wait reasons (``waitReasonStrings``, runtime2.go) of locks, up to Go 1.19 "semacquire" for all, and of what
#: cannot happen.
_KNOTS = ("sync.Mutex.", "sync.RWMutex.", "semacquire", "chan send (nil", "chan receive (nil")
_IO = ("IO wait",)


def worth_reading(
    goroutines: Goroutines, reasons: tuple[str, ...], frames: Sequence[Frame]
) -> bool:
    """Whether goroutines wait for locks, for nil channels, or several of them long for IO in a function that
    others of the user's called. The arguments are those columns of a `Snapshot`."""
    if _waiting(goroutines, reasons, _KNOTS).any():
        return True
    g = goroutines
    long = _waiting(g, reasons, _IO) & (g.waiting_ns >= PEER_WAIT_NS) & (g.where != NONE)
    if int(long.sum()) < PEER_WAITERS:
        return False
    where, start = function_numbers(frames, np.stack((g.where[long], g.start[long])))
    return int((where != start).sum()) >= PEER_WAITERS


def may_wait_for_peers(
    goroutines: Goroutines, reasons: tuple[str, ...], frames: Sequence[Frame]
) -> NDArray[np.bool_]:
    """Which goroutines wait for IO so that a finding about their peers may come of it. The arguments are those columns of
    a `Snapshot`."""
    may = _waiting(goroutines, reasons, _IO)
    if not (goroutines.waiting_ns[may] >= PEER_WAIT_NS).any():
        return np.zeros(len(goroutines), np.bool_)
    rows = np.flatnonzero(may)
    may[rows] = is_called(goroutines, frames, rows)
    return may


def is_called(
    goroutines: Goroutines, frames: Sequence[Frame], rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of `rows` wait in a function that another one of the user's called: a worker that waits for work
    is in the function that it began with, and a connection's own goroutine in the standard library."""
    where, start = goroutines.where[rows], goroutines.start[rows]
    functions = function_numbers(frames, np.stack((where, start)))
    called: NDArray[np.bool_] = (where >= 0) & (start >= 0) & (functions[0] != functions[1])
    for frame in distinct(where[called]).tolist():
        if frames[frame].function.startswith(("net/http.", "net/http/")):
            called &= where != frame
    return called


def _waiting(
    goroutines: Goroutines, reasons: tuple[str, ...], beginnings: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Which of the user's goroutines wait for a reason with one of these `beginnings`."""
    wanted = np.array([*(text.startswith(beginnings) for text in reasons), False], np.bool_)
    waits: NDArray[np.bool_] = wanted[goroutines.wait_reason] & ~goroutines.system
    return waits
