"""Goroutines that do the same: in one state, at one line and in one call, created by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import CodeLines, function_numbers
from spyglass.analysis.grouped import grouped
from spyglass.analysis.selection import selected
from spyglass.columns import combined
from spyglass.model import NONE, STATUSES, Frame, Snapshot
from spyglass.words.states import DOUBTFUL, state_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Group", "at_work_first", "at_work_ranks", "groups"]


#: The statuses of goroutines that run or wait for nothing but a P, those that run first.
_AT_WORK = ("running", "runnable", "preempted", "copystack")


@dataclass(frozen=True, slots=True)
class Group:
    """Goroutines with one state, one line of code that they wait at, one function that this line
    called, and one creator.

    `where` and `call`: as in `Goroutines`, None if not known. `start`: where they began if `where` is
    None, otherwise None. `longest_wait_ns` is None when none is known. `doubtful` of them were
    torn or unreadable. `rows` (int64) index `Snapshot.goroutines`.
    """

    count: int
    status: str
    wait_reason: str | None
    longest_wait_ns: int | None
    where: Frame | None
    call: Frame | None
    start: Frame | None
    creator: Frame | None
    doubtful: int
    rows: NDArray[np.int64]

    @property
    def state(self) -> str:
        """What Go's traceback would print between the brackets."""
        return state_words(self.status, self.wait_reason)

    @property
    def is_at_work(self) -> bool:
        """Whether its goroutines run, or would if they had a P."""
        return self.status in _AT_WORK


def groups(snapshot: Snapshot, *, system: bool = False) -> list[Group]:
    """The groups, largest first; those of one size in the order of their first goroutine."""
    g = snapshot.goroutines
    rows = selected(g, system=system)
    found = grouped(rows, _keys(snapshot, rows))
    waits = found.reduced(np.maximum, g.waiting_ns)
    doubts = found.reduced(np.add, np.isin(g.quality, DOUBTFUL))
    return [
        _group(snapshot, some, wait, doubt)
        for some, wait, doubt in zip(found, waits.tolist(), doubts.tolist(), strict=True)
    ]


def at_work_ranks(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `rows` 0 if it runs, more if it could run, and most if it waits."""
    ranks = np.array(
        [_AT_WORK.index(each) if each in _AT_WORK else len(_AT_WORK) for each in STATUSES], np.int64
    )
    found: NDArray[np.int64] = ranks[snapshot.goroutines.status[rows]]
    return found


def at_work_first(found: Sequence[Group], most: int) -> list[Group]:
    """`found` with at most `most` of the groups that are at work first, those that run before all others;
    the remaining ones in their order, and other groups at work last."""
    at_work = sorted(
        (each for each in found if each.is_at_work), key=lambda each: _AT_WORK.index(each.status)
    )
    others = [each for each in found if not each.is_at_work]
    return [*at_work[:most], *others, *at_work[most:]]


def _group(snapshot: Snapshot, rows: NDArray[np.int64], wait_ns: int, doubtful: int) -> Group:
    g, row = snapshot.goroutines, rows[0]
    where, reason = int(g.where[row]), int(g.wait_reason[row])
    return Group(
        count=len(rows),
        status=STATUSES[g.status[row]],
        wait_reason=snapshot.wait_reasons[reason] if reason != NONE else None,
        longest_wait_ns=wait_ns if wait_ns >= 0 else None,
        where=snapshot.frame(where),
        call=snapshot.frame(int(g.call[row])),
        start=snapshot.frame(int(g.start[row])) if where == NONE else None,
        creator=snapshot.frame(int(g.creator[row])),
        doubtful=doubtful,
        rows=rows,
    )


def _keys(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number per row, equal where state, line, called function and creator are.

    Not the line in the called function: that depends on what the compiler inlined there.
    """
    g, lines = snapshot.goroutines, CodeLines()
    where = g.where[rows]
    known = where != NONE
    return combined(
        g.status[rows],
        g.wait_reason[rows],
        known,
        lines.of(snapshot.frames, np.where(known, where, g.start[rows])),
        function_numbers(snapshot.frames, g.call[rows]),
        lines.of(snapshot.frames, g.creator[rows]),
    )
