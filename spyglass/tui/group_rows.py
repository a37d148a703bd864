"""The goroutines of a snapshot in groups that have the same keys in every snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import CodeLine, code_line
from spyglass.analysis.filters import matching
from spyglass.analysis.group_by import groups_by_key
from spyglass.analysis.selection import selected
from spyglass.analysis.waits import median_waits_ns
from spyglass.model import NONE, Frame, Snapshot
from spyglass.words.states import state_at
from spyglass.words.units import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.query import Query

__all__ = [
    "GroupRow",
    "Question",
    "functions_of",
    "group_rows",
    "label_value",
    "states_of",
    "wanted_rows",
]


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
    `growing`: it grew at most of the last ticks and never shrank. `seen_ns`: for each goroutine of the
    snapshot, how long it was seen waiting (`spyglass.tui.sightings`). `cpu_percent`: the processor time of its
    goroutines in the last seconds, of one processor; None: not known.
    """

    key: Hashable
    snapshot: Snapshot
    rows: NDArray[np.int64]
    change: int | None = None
    since: int | None = None
    growing: bool = False
    seen_ns: NDArray[np.int64] | None = None
    cpu_percent: float | None = None

    @property
    def count(self) -> int:
        """The number of its goroutines."""
        return len(self.rows)

    @cached_property
    def wait_ns(self) -> int | None:
        """The longest known wait in ns."""
        return _longest(self.snapshot.goroutines.waiting_ns, self.rows)

    @cached_property
    def seen_waiting_ns(self) -> int | None:
        """The longest time in ns that one of its goroutines was seen waiting."""
        return None if self.seen_ns is None else _longest(self.seen_ns, self.rows)

    @cached_property
    def median_wait_ns(self) -> int | None:
        """A lower bound of the median wait in ns; None if it is not known."""
        return None if self.wait_ns is None else median_waits_ns(self.snapshot, [self.rows])[0]

    @cached_property
    def states(self) -> dict[str, int]:
        """The number of goroutines in each state, the most frequent first."""
        return states_of(self.snapshot, self.rows)

    @property
    def state(self) -> str:
        """The most frequent state, and ``+N`` if there are N other states."""
        first, *others = self.states
        return f"{first} +{len(others)}" if others else first

    @cached_property
    def where(self) -> tuple[Frame | None, bool]:
        """The most frequent location, and whether it is only the start function, `where` being unknown."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.where[self.rows])]
        where = self.snapshot.frame(int(g.where[row]))
        return (where, False) if where else (self.snapshot.frame(int(g.start[row])), True)

    @cached_property
    def lines(self) -> set[CodeLine | None]:
        """The different lines of code that the goroutines are at, or start at."""
        g = self.snapshot.goroutines
        where = g.where[self.rows]
        return self._lines(np.where(where == NONE, g.start[self.rows], where))

    @cached_property
    def call(self) -> Frame | None:
        """The most frequent call made at the most frequent location."""
        g = self.snapshot.goroutines
        where = g.where[self.rows]
        rows = self.rows[where == where[_most(where)]]
        return self.snapshot.frame(int(g.call[rows[_most(g.call[rows])]]))

    @cached_property
    def calls(self) -> set[str | None]:
        """The different functions that are called; None: none is."""
        return functions_of(self._lines(self.snapshot.goroutines.call[self.rows]))

    @cached_property
    def creator(self) -> Frame | None:
        """The most frequent creator."""
        g = self.snapshot.goroutines
        row = self.rows[_most(g.creator[self.rows])]
        return self.snapshot.frame(int(g.creator[row]))

    @cached_property
    def creators(self) -> set[CodeLine | None]:
        """The different ``go`` statements that made the goroutines; None: not known, or none did."""
        return self._lines(self.snapshot.goroutines.creator[self.rows])

    def _lines(self, frames: NDArray[np.int32]) -> set[CodeLine | None]:
        found = map(self.snapshot.frame, _distinct(frames).tolist())
        return {None if frame is None else code_line(frame) for frame in found}


def wanted_rows(snapshot: Snapshot, question: Question) -> NDArray[np.int64]:
    """The rows of the goroutines that match `question`."""
    rows = selected(snapshot.goroutines, system=question.system)
    return matching(snapshot, rows, question.query.filter)


def group_rows(snapshot: Snapshot, question: Question) -> dict[Hashable, NDArray[np.int64]]:
    """The groups by their keys, the largest first."""
    return groups_by_key(snapshot, wanted_rows(snapshot, question), question.by)


def states_of(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[str, int]:
    """The number of `rows` in each state (`state_words`), the most frequent first."""
    g, reasons = snapshot.goroutines, len(snapshot.wait_reasons) + 1
    counts = np.bincount(g.status[rows] * np.int64(reasons) + g.wait_reason[rows] - NONE)
    found: Counter[str] = Counter()
    for number in np.flatnonzero(counts).tolist():
        status, reason = divmod(number, reasons)
        found[state_at(snapshot, status, reason + NONE)] += int(counts[number])
    return dict(found.most_common())


def functions_of(lines: set[CodeLine | None]) -> set[str | None]:
    """The different functions of `lines`."""
    return {line and line[0] for line in lines}


def label_value(by: str, key: Hashable) -> str:
    """The value of the label in the `key` of a group (`spyglass.analysis.group_by`) `by` label."""
    if not isinstance(key, tuple) or key[0]:
        return UNKNOWN
    return f"(no {by.replace(':', ' ', 1)})" if key[1] is None else str(key[1])


def _longest(waits_ns: NDArray[np.int64], rows: NDArray[np.int64]) -> int | None:
    longest = int(waits_ns[rows].max(initial=NONE))
    return longest if longest >= 0 else None


def _most(values: NDArray[np.int32] | NDArray[np.int64]) -> int:
    """The index of the first of the most frequent value."""
    if (values == values[0]).all():  # so in most groups, and much faster
        return 0
    _, firsts, counts = np.unique(values, return_index=True, return_counts=True)
    return int(firsts[counts.argmax()])


def _distinct(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return values[:1] if (values == values[0]).all() else np.unique(values)
