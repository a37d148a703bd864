"""How many of each: goroutines by status and by state, threads by what the kernel says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import STATUSES, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["by_os_state", "by_status", "by_wait_reason"]


def by_status(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many of `rows` have each status, the most frequent first."""
    counts = np.bincount(snapshot.goroutines.status[rows], minlength=len(STATUSES))
    return _descending(zip(STATUSES, counts.tolist(), strict=False))


def by_wait_reason(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many of `rows` wait for each reason, the most frequent first; no reason, not counted."""
    reasons = snapshot.goroutines.wait_reason[rows]
    counts = np.bincount(reasons[reasons >= 0], minlength=len(snapshot.wait_reasons))
    merged: Counter[str] = Counter()
    for reason, number in zip(snapshot.wait_reasons, counts.tolist(), strict=True):
        merged[reason] += number
    return _descending(merged.items())


def by_os_state(snapshot: Snapshot) -> dict[str | None, int]:
    """How many threads are in each state of the operating system, the most frequent first."""
    return dict(Counter(thread.os_state for thread in snapshot.threads).most_common())


def _descending(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = [(word, number) for word, number in counts if number]
    return dict(sorted(found, key=lambda item: -item[1]))
