"""Goroutines that do the same: in the same state, at the same place, made by the same statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.selection import selected
from spyglass.model import NONE, STATUSES, Frame, Snapshot
from spyglass.words.states import DOUBTFUL, state_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Group", "groups"]


@dataclass(frozen=True, slots=True)
class Group:
    """Goroutines with one state, place and creator.

    `where` is None when no stack frame outside the runtime is known; `start` then is where they
    began, and None otherwise. `longest_wait_ns` is None when none is known. `doubtful` of them were
    torn or unreadable. `rows` (int64) index `Snapshot.goroutines`.
    """

    count: int
    status: str
    wait_reason: str | None
    longest_wait_ns: int | None
    where: Frame | None
    start: Frame | None
    creator: Frame | None
    doubtful: int
    rows: NDArray[np.int64]

    @property
    def state(self) -> str:
        """What Go's traceback would print between the brackets."""
        return state_words(self.status, self.wait_reason)


def groups(snapshot: Snapshot, *, system: bool = False) -> list[Group]:
    """The groups, largest first; those of one size in the order of their first goroutine."""
    rows = selected(snapshot.goroutines, system=system)
    if not len(rows):
        return []
    keys = _keys(snapshot, rows)
    order = np.argsort(keys, kind="stable")
    rows = rows[order]
    firsts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    counts = np.diff(np.append(firsts, len(rows)))
    waits = np.maximum.reduceat(snapshot.goroutines.waiting_ns[rows], firsts)
    doubtful = np.add.reduceat(
        np.isin(snapshot.goroutines.quality[rows], DOUBTFUL), firsts, dtype=np.int64
    )
    ranked = np.lexsort((rows[firsts], -counts))
    return [
        _group(snapshot, rows[first : first + count], wait, number)
        for first, count, wait, number in zip(
            firsts[ranked].tolist(),
            counts[ranked].tolist(),
            waits[ranked].tolist(),
            doubtful[ranked].tolist(),
            strict=True,
        )
    ]


def _group(snapshot: Snapshot, rows: NDArray[np.int64], wait_ns: int, doubtful: int) -> Group:
    g, row = snapshot.goroutines, rows[0]
    where, reason = int(g.where[row]), int(g.wait_reason[row])
    return Group(
        count=len(rows),
        status=STATUSES[g.status[row]],
        wait_reason=snapshot.wait_reasons[reason] if reason != NONE else None,
        longest_wait_ns=wait_ns if wait_ns >= 0 else None,
        where=snapshot.frame(where),
        start=snapshot.frame(int(g.start[row])) if where == NONE else None,
        creator=snapshot.frame(int(g.creator[row])),
        doubtful=doubtful,
        rows=rows,
    )


def _keys(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number per row, equal where state, place and creator are.

    Mixed from small numbers: 11 statuses, the few dozen wait reasons of the runtime, and no more
    places than there are goroutines; ten million of them stay below 2**63.
    """
    g = snapshot.goroutines
    reasons = g.wait_reason[rows].astype(np.int64) - NONE
    where = g.where[rows]
    unknown = where == NONE
    places, place_count = _places(snapshot.frames, np.where(unknown, g.start[rows], where))
    creators, creator_count = _places(snapshot.frames, g.creator[rows])
    keys: NDArray[np.int64] = g.status[rows] * np.int64(len(snapshot.wait_reasons) + 1) + reasons
    for numbers, number_count in ((unknown, 2), (places, place_count), (creators, creator_count)):
        keys = keys * number_count + numbers
    return keys


def _places(frames: tuple[Frame, ...], indices: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
    """Frame `indices` as numbers of lines of code, and how many there are; `NONE` is number 0.

    One line has many frames: each call, and each pc that a stack returns to, is one of its own.
    """
    used = np.zeros(len(frames) + 1, np.bool_)
    used[indices] = True
    used[NONE] = False
    numbers = np.zeros(len(frames) + 1, np.int64)  # the last is where NONE, -1, looks itself up
    lines: dict[tuple[str, str | None, int | None], int] = {}
    for index in np.flatnonzero(used).tolist():
        frame = frames[index]
        numbers[index] = lines.setdefault((frame.function, frame.file, frame.line), len(lines) + 1)
    return numbers[indices], len(lines) + 1
