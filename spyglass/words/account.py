"""What a dump says of itself: how many goroutines it shows, and how far they can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import QUALITIES, Snapshot
from spyglass.words.text import count, duration, moment, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["account"]


def account(snapshot: Snapshot, rows: NDArray[np.int64], matched_of: int, remark: str = "") -> str:
    """One line about `rows`, which were chosen from so many; `remark` stands behind their number."""
    number, total = count(len(rows)), count(matched_of)
    who = f"{total} goroutines" if number == total else f"{number} of {total} goroutines match"
    qualities = np.bincount(snapshot.goroutines.quality[rows], minlength=len(QUALITIES)).tolist()
    trust = ", ".join(f"{count(n)} {word}" for n, word in zip(qualities, QUALITIES, strict=True))
    took = f"read in {snapshot.took_ns / 1e9:.2f} s{_intrusion(snapshot)}"
    return f"{_saved(snapshot)}{who}{remark}: {trust}; {took}"


def _saved(snapshot: Snapshot) -> str:
    if snapshot.file is None:
        return ""
    return f"{visible(snapshot.file)}, taken {moment(snapshot.taken_at)}: "


def _intrusion(snapshot: Snapshot) -> str:
    if snapshot.source.kind != "process":
        return ""
    if not snapshot.source.stopped:
        return " without stopping the program"
    held = snapshot.source.stopped_ns
    return " while the program was stopped" + (
        f", for {duration(held)}" if held is not None else ""
    )
