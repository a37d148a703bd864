"""What changed from one snapshot of a program to the next: how a leak of goroutines is found.

Two goroutines of one process are the same if their ids are: no id is used twice (``runtime/proc.go``,
`newproc1`). Groups of goroutines are matched by what their stacks, or creators, look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.redaction import redacted
from spyglass.analysis.same_process import caveats, is_same_process
from spyglass.analysis.selection import selected
from spyglass.analysis.stack_matching import StackMatcher
from spyglass.analysis.wait_verdicts import verdicts
from spyglass.columns import among
from spyglass.model import NONE, STATUSES, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Difference", "Growth", "difference"]

_MINUTE_NS = 60_000_000_000
#: Nothing that these do is waiting.
_AT_WORK = [STATUSES.index("running"), STATUSES.index("runnable")]
#: Moments are known by a clock that may be slewed, waits by another one.
_SLACK_NS = 1_000_000_000
#: As long as three of these can be added: what a file claims may be longer.
_AGES_NS = 1 << 61


@dataclass(frozen=True, slots=True)
class Growth:
    """A group of goroutines with one stack, or one creator, over all snapshots.

    `counts`: their number in each snapshot. `created` and `exited`: how many are only in the last
    snapshot, and only in the first; `stuck`: how many are in both at the same stack, and known not to have
    moved; `longest_stuck_ns`: the longest time that one of these is known to be stuck. None: ids cannot be
    compared. `never`: how many in the last snapshot can never be woken (`spyglass.analysis.wait_verdicts`,
    `stuck`); None: the heap was not marked then. `snapshot` and `row` are where one of the group is found.
    """

    counts: tuple[int, ...]
    created: int | None
    exited: int | None
    stuck: int | None
    longest_stuck_ns: int | None
    never: int | None
    snapshot: Snapshot = field(repr=False)
    row: int

    @property
    def difference(self) -> int:
        """The change of their number from the first snapshot to the last."""
        return self.counts[-1] - self.counts[0]


@dataclass(frozen=True)
class Difference:
    """Snapshots in the order of their time, and what became of goroutines from the first to the last.

    `rows` (int64) are the goroutines of each snapshot that are compared. `created` are rows of the last
    snapshot, `exited` of the first, `stuck` of the last, each stuck for at least `stuck_ns`; all four are
    None if ids cannot be compared. `caveats` are sentences that a reader of the result must know. `stuck_in` are indices into `by_stack`.
    """

    snapshots: tuple[Snapshot, ...]
    rows: tuple[NDArray[np.int64], ...]
    caveats: tuple[str, ...]
    by_stack: tuple[Growth, ...]
    by_creator: tuple[Growth, ...]
    created: NDArray[np.int64] | None
    exited: NDArray[np.int64] | None
    stuck: NDArray[np.int64] | None
    stuck_ns: NDArray[np.int64] | None
    stuck_in: NDArray[np.int64] | None

    @property
    def first(self) -> Snapshot:
        """The earliest."""
        return self.snapshots[0]

    @property
    def last(self) -> Snapshot:
        """The latest."""
        return self.snapshots[-1]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many goroutines each snapshot has."""
        return tuple(map(len, self.rows))

    @cached_property
    def elapsed_ns(self) -> int:
        """The time from the first to the last."""
        return _between_ns(self.first, self.last)

    def per_minute(self, change: int) -> float | None:
        """`change` as a rate; None if no time went by."""
        return change * _MINUTE_NS / self.elapsed_ns if self.elapsed_ns else None


def difference(snapshots: Sequence[Snapshot], *, system: bool = False) -> Difference:
    """Compare `snapshots`, two or more of one program; `system`: with the runtime's own goroutines."""
    ordered = sorted(snapshots, key=lambda each: each.taken_at)
    remarks = {remark: None for each in ordered[1:] for remark in caveats(ordered[0], each)}
    if ordered != list(snapshots):
        remarks["they are compared in the order in which they were taken"] = None
    same = all(is_same_process(ordered[0], each) for each in ordered[1:])
    if any(each.redacted for each in ordered):
        ordered = [redacted(each) for each in ordered]
    rows = [selected(each.goroutines, system=system) for each in ordered]
    return _Comparison(ordered, rows, same).result(tuple(remarks))


class _Comparison:
    """Goroutines of snapshots, in the order of time, with the numbers of their stacks and creators."""

    def __init__(
        self, snapshots: Sequence[Snapshot], rows: Sequence[NDArray[np.int64]], same: bool
    ) -> None:
        self.snapshots = tuple(snapshots)
        self.rows = tuple(rows)
        matcher = StackMatcher(snapshots)
        pairs = [*zip(snapshots, rows, strict=True)]
        self.stacks = [matcher.stacks(snapshot)[chosen] for snapshot, chosen in pairs]
        self.creators = [matcher.creators(snapshot)[chosen] for snapshot, chosen in pairs]
        self.fates = _Fates(self) if same else None

    def result(self, remarks: tuple[str, ...]) -> Difference:
        by_stack, order = self._growths(self.stacks)
        by_creator, _ = self._growths(self.creators)
        fates = self.fates
        return Difference(
            snapshots=self.snapshots,
            rows=self.rows,
            caveats=remarks,
            by_stack=by_stack,
            by_creator=by_creator,
            created=self.rows[-1][fates.created] if fates else None,
            exited=self.rows[0][fates.exited] if fates else None,
            stuck=self.rows[-1][fates.stuck] if fates else None,
            stuck_ns=fates.stuck_ns if fates else None,
            stuck_in=order[self.stacks[-1][fates.stuck] - NONE] if fates else None,
        )

    def _growths(
        self, keys: Sequence[NDArray[np.int64]]
    ) -> tuple[tuple[Growth, ...], NDArray[np.int64]]:
        """Groups of goroutines with one of `keys`, largest growth first, and the place of each key."""
        shifted = [each - NONE for each in keys]  # NONE is a key, too
        number = max((int(each.max(initial=-1)) for each in shifted), default=-1) + 1
        counts = np.stack([np.bincount(each, minlength=number) for each in shifted])
        snapshot, row = self._examples(shifted, number)
        there = np.flatnonzero(counts.any(axis=0))
        change = counts[-1] - counts[0]
        ranked = there[np.lexsort((there, -counts[-1][there], -change[there]))]
        fates = self._fates_of(shifted, number, ranked)
        never = self._never(shifted[-1], number, ranked)
        examples = zip(snapshot[ranked].tolist(), row[ranked].tolist(), strict=True)
        found = tuple(
            Growth(tuple(each), *fate, lost, self.snapshots[at], example)
            for each, fate, lost, (at, example) in zip(
                counts[:, ranked].T.tolist(), fates, never, examples, strict=True
            )
        )
        order = np.zeros(number, np.int64)
        order[ranked] = np.arange(len(ranked))
        return found, order

    def _examples(
        self, keys: Sequence[NDArray[np.int64]], number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each key the latest snapshot that has it, and a row there."""
        snapshot, row = np.zeros(number, np.int64), np.zeros(number, np.int64)
        for at, (each, rows) in enumerate(zip(keys, self.rows, strict=True)):
            snapshot[each] = at
            row[each] = rows
        return snapshot, row

    def _fates_of(
        self, keys: Sequence[NDArray[np.int64]], number: int, ranked: NDArray[np.int64]
    ) -> list[tuple[int | None, int | None, int | None, int | None]]:
        """For each of the keys `ranked`: how many were created, exited, are stuck, and the longest time."""
        fates = self.fates
        if fates is None:
            return [(None, None, None, None)] * len(ranked)
        created = np.bincount(keys[-1][fates.created], minlength=number)
        exited = np.bincount(keys[0][fates.exited], minlength=number)
        stuck = np.bincount(keys[-1][fates.stuck], minlength=number)
        longest = np.full(number, NONE, np.int64)
        np.maximum.at(longest, keys[-1][fates.stuck], fates.stuck_ns)
        known = [wait_ns if wait_ns >= 0 else None for wait_ns in longest[ranked].tolist()]
        numbers = (each[ranked].tolist() for each in (created, exited, stuck))
        return list(zip(*numbers, known, strict=True))

    def _never(
        self, keys: NDArray[np.int64], number: int, ranked: NDArray[np.int64]
    ) -> Sequence[int | None]:
        """For each of the keys `ranked`: how many goroutines of the last snapshot can never be woken."""
        last, rows = self.snapshots[-1], self.rows[-1]
        known = verdicts(last)
        if known is None or not known.graph.looked_at.marks:
            return [None] * len(ranked)
        lost = known.ids[known.stuck == 1]
        counts = np.bincount(keys[among(last.goroutines.id[rows], lost)], minlength=number)
        never: list[int | None] = counts[ranked].tolist()
        return never


class _Fates:
    """Which goroutines of one process were created, exited or are stuck: indices into the rows of the last
    snapshot (`exited`: of the first)."""

    def __init__(self, compared: _Comparison) -> None:
        ids = [
            each.goroutines.id[rows]
            for each, rows in zip(compared.snapshots, compared.rows, strict=True)
        ]
        self.created = np.flatnonzero(~among(ids[-1], ids[0]))
        self.exited = np.flatnonzero(~among(ids[0], ids[-1]))
        candidates = self._candidates(compared, among(ids[-1], ids[0]))
        for each, stacks in zip(ids[:-1], compared.stacks[:-1], strict=True):
            at = _places(each, ids[-1][candidates])
            candidates, at = candidates[at != NONE], at[at != NONE]
            candidates = candidates[stacks[at] == compared.stacks[-1][candidates]]
        self.stuck, self.stuck_ns = self._waiting(compared, candidates, ids[0], ids[-1])

    @staticmethod
    def _candidates(compared: _Comparison, stayed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The goroutines that neither run nor could run and whose location is known."""
        g, rows = compared.snapshots[-1].goroutines, compared.rows[-1]
        is_known = (g.stack[rows] != NONE) | (g.where[rows] != NONE)
        return np.flatnonzero(stayed & is_known & ~np.isin(g.status[rows], _AT_WORK))

    @staticmethod
    def _waiting(
        compared: _Comparison,
        places: NDArray[np.int64],
        before_ids: NDArray[np.uint64],
        ids: NDArray[np.uint64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of `places` are known not to have moved in between, and for how long at least.

        The runtime forgets how long a goroutine has waited when it runs (`execute`), and the next
        garbage collection records it again. So one whose recorded time is later, or gone, has moved;
        of one without such a time in the first snapshot nothing is known, unless it has waited since before.
        """
        first, last = compared.snapshots[0], compared.snapshots[-1]
        elapsed_ns = _between_ns(first, last)
        earlier = compared.rows[0][_places(before_ids, ids[places])]
        later = compared.rows[-1][places]
        before_ns = np.minimum(first.goroutines.printed_ns[earlier], _AGES_NS)
        now_ns = np.minimum(last.goroutines.printed_ns[later], _AGES_NS)
        slack_ns = min(_SLACK_NS + first.took_ns + last.took_ns, _AGES_NS)
        kept = (now_ns >= 0) & (now_ns >= before_ns + elapsed_ns - slack_ns)
        waiting_ns = last.goroutines.waiting_ns[later]
        stuck = np.where(before_ns >= 0, kept, waiting_ns >= elapsed_ns)
        waited_ns = np.maximum(np.minimum(first.goroutines.waiting_ns[earlier], _AGES_NS), 0)
        stuck_ns = np.maximum(waited_ns + elapsed_ns, waiting_ns)
        return places[stuck], stuck_ns[stuck]


def _places(ids: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where in `ids` each of those `wanted` is; `NONE` if it is not there."""
    if not len(ids):
        return np.full(len(wanted), NONE, np.int64)
    order = np.argsort(ids, kind="stable")
    at = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    return np.where(ids[at] == wanted, at, NONE)


def _between_ns(first: Snapshot, last: Snapshot) -> int:
    return min(round((last.taken_at - first.taken_at).total_seconds() * 1e9), _AGES_NS)
