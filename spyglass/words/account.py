"""One line about a whole snapshot: the number of goroutines, their qualities, and the cost of reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.escape import visible
from spyglass.model import QUALITIES, Snapshot
from spyglass.words.population import Population
from spyglass.words.units import count, duration, moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["account"]


def account(snapshot: Snapshot, rows: NDArray[np.int64], remark: str = "") -> str:
    """The line for goroutines `rows` (int64) of `snapshot`; `remark` follows their number."""
    whole, found = Population.whole(snapshot), Population.of(snapshot, rows)
    goroutines = f"{found.out_of(whole)} goroutines{'' if found.is_all(whole) else ' match'}"
    qualities = np.bincount(snapshot.goroutines.quality[rows], minlength=len(QUALITIES)).tolist()
    trust = ", ".join(f"{count(n)} {word}" for n, word in zip(qualities, QUALITIES, strict=True))
    took = f"read in {snapshot.took_ns / 1e9:.2f} s{_intrusion(snapshot)}"
    return f"{_saved(snapshot)}{goroutines}{remark}: {trust}; {took}"


def _saved(snapshot: Snapshot) -> str:
    if snapshot.file is None:
        return ""
    return f"{visible(snapshot.file)}, taken {moment(snapshot.taken_at)}: "


def _intrusion(snapshot: Snapshot) -> str:
    """Whether the program was stopped, for a snapshot of a process."""
    if snapshot.source.kind != "process":
        return ""
    if not snapshot.source.stopped:
        return " without stopping the program"
    paused_ns = snapshot.source.stopped_ns
    suffix = "" if paused_ns is None else f", for {duration(paused_ns)}"
    return f" while the program was stopped{suffix}"
