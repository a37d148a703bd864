"""Waits without an object: for what cannot happen, and for events inside the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.inner_calls import told_by_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["find_nowhere"]

#: Wait reasons of what cannot happen, and what the goroutine wants to do. A ``select`` whose channels are
#: all nil has no entry in any queue (``runtime/select.go: selectgo``).
_NOTHING = {
    "select (no cases)": "wait",
    "select": "wait",
    "chan receive (nil chan)": "receive",
    "chan send (nil chan)": "send",
}


#: The functions that wait so. Others may park a goroutine with the same reason, and wake it.
_PARKING = frozenset({"runtime.selectgo", "runtime.block", "runtime.chanrecv", "runtime.chansend"})


def _parks_for_nothing(functions: Iterator[str]) -> bool:
    return not _PARKING.isdisjoint(functions)


def find_nowhere(population: Population, rows: NDArray[np.int64]) -> Found:
    """What the goroutines `rows` wait for, by their wait reasons: an object for each reason."""
    reason = population.goroutines.wait_reason[rows].astype(np.int64)
    texts = [text.removesuffix(" (durable)") for text in population.reasons]
    wants = np.array([operation(_NOTHING.get(text, "wait")) for text in texts], np.uint8)
    nothing = np.array([text in _NOTHING for text in texts], np.bool_)
    named = reason >= 0
    rows, reason = rows[named], reason[named]
    for_nothing = nothing[reason]
    if for_nothing.any():
        parks, which = told_by_calls(population, rows[for_nothing], _parks_for_nothing)
        for_nothing[for_nothing] = np.array(parks, np.bool_)[which]
    return Found.of_goroutines(
        rows,
        kind=np.where(for_nothing, kind("nothing"), kind("runtime")),
        operation=wants[reason],
        reason=reason,
    )
