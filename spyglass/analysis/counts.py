"""How many of each: goroutines by status, state and label, threads by their state in the kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import CodeLine, code_line
from spyglass.model import NONE, STATUSES, Frame, Snapshot
from spyglass.words.states import state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["by_label", "by_line", "by_os_state", "by_state", "by_status", "by_wait_reason"]


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


def by_state(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many of `rows` are in each state, in the words of Go's traceback, the most frequent first."""
    g = snapshot.goroutines
    pairs = zip(g.status[rows].tolist(), g.wait_reason[rows].tolist(), strict=True)
    merged: Counter[str] = Counter()
    for (status, reason), number in Counter(pairs).items():
        merged[state_at(snapshot, status, reason)] += number
    return _descending(merged.items())


def by_label(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many of `rows` have each pprof label, as ``KEY=VALUE``, the most frequent first."""
    sets = snapshot.goroutines.labels[rows]
    found: Counter[str] = Counter()
    for index, number in Counter(sets[sets >= 0].tolist()).items():
        for key, value in snapshot.label_sets[index].items():
            found[f"{key}={value}"] += number
    return dict(found.most_common())


def by_line(snapshot: Snapshot, frames: NDArray[np.int32]) -> dict[Frame, int]:
    """How many of `frames` (indices) are on each line of code, the most frequent first, each line as
    the first frame that is on it; `NONE` is not counted."""
    lines: dict[CodeLine, Frame] = {}
    merged: Counter[Frame] = Counter()
    for index, number in Counter(frames[frames != NONE].tolist()).items():
        frame = snapshot.frames[index]
        merged[lines.setdefault(code_line(frame), frame)] += number
    return dict(merged.most_common())


def by_os_state(snapshot: Snapshot) -> dict[str | None, int]:
    """How many threads are in each state of the operating system, the most frequent first."""
    return dict(Counter(thread.os_state for thread in snapshot.threads).most_common())


def _descending(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = [(word, number) for word, number in counts if number]
    return dict(sorted(found, key=lambda item: -item[1]))
