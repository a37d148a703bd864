"""The goroutines of a snapshot in groups that are known again in the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.filters import matching
from spyglass.analysis.group_by import groups_by_key
from spyglass.analysis.groups import state_words
from spyglass.analysis.selection import selected
from spyglass.model import NONE, STATUSES, Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.query import Query

__all__ = ["GroupRow", "Growth", "Question", "group_rows", "wanted_rows"]

_WINDOW = 10
_MIN_RISES = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is shown: groups `by` what they have in common (`spyglass.analysis.group_by`), of the
    goroutines that `query` asks for, and with `system` of the runtime's own."""

    by: str
    query: Query
    system: bool = False

    @property
    def needs_stacks(self) -> bool:
        """Whether it takes whole stacks to answer it."""
        return self.by == "stack" or self.query.function is not None


@dataclass(frozen=True)
class GroupRow:
    """One group: `rows` of `snapshot`, which `key` tells from others in every snapshot.

    `change` since the tick before and `since` the baseline; None: that had no such groups to compare.
    """

    key: Hashable
    snapshot: Snapshot
    rows: NDArray[np.int64]
    change: int | None = None
    since: int | None = None
    growing: bool = False

    @property
    def count(self) -> int:
        """How many goroutines it has."""
        return len(self.rows)

    @cached_property
    def wait_ns(self) -> int | None:
        """The longest known wait."""
        longest = int(self.snapshot.goroutines.waiting_ns[self.rows].max(initial=NONE))
        return longest if longest >= 0 else None

    @cached_property
    def state(self) -> str:
        """The state that most of them are in; how many other states there are stands behind it."""
        g, reasons = self.snapshot.goroutines, self.snapshot.wait_reasons
        mixed = g.status[self.rows].astype(np.int64) * (len(reasons) + 1)
        row, others = _most(mixed + g.wait_reason[self.rows] - NONE)
        row = self.rows[row]
        reason = int(g.wait_reason[row])
        words = state_words(STATUSES[g.status[row]], reasons[reason] if reason != NONE else None)
        return f"{words} +{others}" if others else words

    @cached_property
    def where(self) -> tuple[Frame | None, bool]:
        """Where most of them are; whether that is where they began, the place not being known."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.where[self.rows])[0]]
        where = self.snapshot.frame(int(g.where[row]))
        return (where, False) if where else (self.snapshot.frame(int(g.start[row])), True)

    @cached_property
    def creator(self) -> Frame | None:
        """Where most of them were created."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.creator[self.rows])[0]]
        return self.snapshot.frame(int(g.creator[row]))


def wanted_rows(snapshot: Snapshot, question: Question) -> NDArray[np.int64]:
    """The goroutines that are asked for."""
    rows = selected(snapshot.goroutines, system=question.system)
    return matching(snapshot, rows, question.query.filter(snapshot))


def group_rows(snapshot: Snapshot, question: Question) -> dict[Hashable, NDArray[np.int64]]:
    """The groups by what tells them from others, the largest first."""
    return groups_by_key(snapshot, wanted_rows(snapshot, question), question.by)


class Growth:
    """Which groups have grown without a pause for a while: a leak in the making."""

    def __init__(self) -> None:
        self._counts: deque[Mapping[Hashable, int]] = deque(maxlen=_WINDOW)

    def note(self, counts: Mapping[Hashable, int]) -> None:
        """The next tick's counts."""
        self._counts.append(counts)

    def is_growing(self, key: Hashable) -> bool:
        """Whether it never became smaller, and more often larger than not."""
        if not self._counts or self._counts[-1].get(key, 0) <= self._counts[0].get(key, 0):
            return False  # as of most, which is told soonest so
        counts = [each.get(key, 0) for each in self._counts]
        rises = [after - before for before, after in pairwise(counts)]
        grown = sum(rise > 0 for rise in rises)
        return grown >= max(_MIN_RISES, (len(rises) + 1) // 2) and min(rises) >= 0


def _most(values: NDArray[np.int32] | NDArray[np.int64]) -> tuple[int, int]:
    """Where the most frequent of `values` is first, and how many others there are."""
    _, firsts, counts = np.unique(values, return_index=True, return_counts=True)
    return int(firsts[counts.argmax()]), len(counts) - 1
