"""The goroutines of a snapshot in groups that have the same keys in every snapshot."""

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
from spyglass.analysis.selection import selected
from spyglass.model import NONE, Frame, Snapshot
from spyglass.words.states import state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.query import Query

__all__ = ["GroupRow", "Growth", "Question", "group_rows", "wanted_rows"]

_WINDOW = 10
_MIN_RISES = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What the view shows: groups `by` (`spyglass.analysis.group_by`) of the goroutines that match
    `query`; `system`: with the runtime's own."""

    by: str
    query: Query
    system: bool = False

    @property
    def needs_stacks(self) -> bool:
        """Whether whole stacks must be read to answer it."""
        return self.by == "stack" or self.query.function is not None


@dataclass(frozen=True)
class GroupRow:
    """One group: `rows` (int64) of `snapshot`; `key` identifies it in every snapshot.

    `change` of its number since the previous tick, and `since` the baseline; None: not comparable.
    `growing`: it grew at most of the last ticks and never shrank.
    """

    key: Hashable
    snapshot: Snapshot
    rows: NDArray[np.int64]
    change: int | None = None
    since: int | None = None
    growing: bool = False

    @property
    def count(self) -> int:
        """The number of its goroutines."""
        return len(self.rows)

    @cached_property
    def wait_ns(self) -> int | None:
        """The longest known wait in ns."""
        longest = int(self.snapshot.goroutines.waiting_ns[self.rows].max(initial=NONE))
        return longest if longest >= 0 else None

    @cached_property
    def state(self) -> str:
        """The most frequent state, and ``+N`` if there are N other states."""
        g, reasons = self.snapshot.goroutines, self.snapshot.wait_reasons
        mixed = g.status[self.rows].astype(np.int64) * (len(reasons) + 1)
        row, others = _most(mixed + g.wait_reason[self.rows] - NONE)
        row = self.rows[row]
        words = state_at(self.snapshot, int(g.status[row]), int(g.wait_reason[row]))
        return f"{words} +{others}" if others else words

    @cached_property
    def where(self) -> tuple[Frame | None, bool]:
        """The most frequent location, and whether it is only the start function, `where` being unknown."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.where[self.rows])[0]]
        where = self.snapshot.frame(int(g.where[row]))
        return (where, False) if where else (self.snapshot.frame(int(g.start[row])), True)

    @cached_property
    def call(self) -> Frame | None:
        """The most frequent call made at the most frequent location."""
        g = self.snapshot.goroutines
        where = g.where[self.rows]
        rows = self.rows[where == where[_most(where)[0]]]
        return self.snapshot.frame(int(g.call[rows[_most(g.call[rows])[0]]]))

    @cached_property
    def creator(self) -> Frame | None:
        """The most frequent creator."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.creator[self.rows])[0]]
        return self.snapshot.frame(int(g.creator[row]))


def wanted_rows(snapshot: Snapshot, question: Question) -> NDArray[np.int64]:
    """The rows of the goroutines that match `question`."""
    rows = selected(snapshot.goroutines, system=question.system)
    return matching(snapshot, rows, question.query.filter(snapshot))


def group_rows(snapshot: Snapshot, question: Question) -> dict[Hashable, NDArray[np.int64]]:
    """The groups by their keys, the largest first."""
    return groups_by_key(snapshot, wanted_rows(snapshot, question), question.by)


class Growth:
    """Finds the groups that keep growing, which are possible leaks."""

    def __init__(self) -> None:
        self._counts: deque[Mapping[Hashable, int]] = deque(maxlen=_WINDOW)

    def note(self, counts: Mapping[Hashable, int]) -> None:
        """Add the counts of the next tick."""
        self._counts.append(counts)

    def is_growing(self, key: Hashable) -> bool:
        """Whether the group never shrank in the window, and grew at half of the ticks or more."""
        if not self._counts or self._counts[-1].get(key, 0) <= self._counts[0].get(key, 0):
            return False  # a shortcut that holds for most groups
        counts = [each.get(key, 0) for each in self._counts]
        rises = [after - before for before, after in pairwise(counts)]
        grown = sum(rise > 0 for rise in rises)
        return grown >= max(_MIN_RISES, (len(rises) + 1) // 2) and min(rises) >= 0


def _most(values: NDArray[np.int32] | NDArray[np.int64]) -> tuple[int, int]:
    """The index of the first of the most frequent value, and the number of other values."""
    _, firsts, counts = np.unique(values, return_index=True, return_counts=True)
    return int(firsts[counts.argmax()]), len(counts) - 1
