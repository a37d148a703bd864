"""``sync.Cond`` values that goroutines wait on.

Source: runtime/sema.go (``notifyList``, ``notifyListWait``), sync/cond.go. Since Go 1.26 the entry of the queue,
to which ``g.waiting`` leads, has the address of the list. Before, two words of the stack do: the entry, and the
Cond or its list, which is confirmed by the queue that begins or ends there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.stack_words import find_entries, find_words
from spyglass.runtime.waiting.sudogs import Sudogs, index_of, ranked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["REASON", "find_conditions"]

REASON = "sync.Cond.Wait"
#: ``sync.Cond`` {L Locker; notify notifyList}, ``notifyList`` {wait, notify uint32; lock; head, tail *sudog}.
_LIST_AT, _HEAD_AT, _LOCK_AT = 16, 16, 8
#: How far before the list the word may point: at the Cond, the list, or its lock.
_BEFORE = (_LIST_AT, 0, -_LOCK_AT)


def find_conditions(population: Population, rows: NDArray[np.int64]) -> Found:
    """What the goroutines `rows` wait on, of those that wait for a Cond."""
    held = find_entries(population, rows, _fits)
    there = np.flatnonzero(held.words)
    rows, entries = rows[there], Sudogs(population.runtime, held.words[there])
    good = np.flatnonzero(_fits(population, rows, entries))
    rows, address, entry = rows[good], entries.addresses[good], entries.elem[good]
    following = index_of(entries.next[good], address)
    first, position = ranked(following)
    lists = _lists(population, rows, entry, _Ends.of(address, following, first))
    known = np.flatnonzero(lists)
    return Found.of_goroutines(
        rows[known],
        kind=kind("cond"),
        address=lists[known] - np.uint64(_LIST_AT),
        operation=operation("wait"),
        sudog=address[known],
        pointer=entry[known],
        slot=held.slots[there][good][known],
        order=(np.maximum(first, 0) << 31)[known] + position[known],
    )


def _fits(population: Population, rows: NDArray[np.int64], entries: Sudogs) -> NDArray[np.bool_]:
    """Which `entries` can be those of the goroutines `rows` in the queue of a Cond."""
    good: NDArray[np.bool_] = entries.ok & (entries.g == population.pointers[rows])
    good &= (entries.c == 0) & (entries.elem % np.uint64(8) == 0) & ~entries.is_select
    return good


class _Ends:
    """The first and the last entry of the queue of each goroutine, by its row of the population."""

    def __init__(self, heads: NDArray[np.uint64], tails: NDArray[np.uint64]) -> None:
        self.heads = heads
        self.tails = tails

    @classmethod
    def of(
        cls, address: NDArray[np.uint64], following: NDArray[np.int64], first: NDArray[np.int64]
    ) -> _Ends:
        """Of entries at `address`; see `ranked`."""
        queue = np.where(first >= 0, first, 0)
        tails = np.zeros(len(address), np.uint64)
        last = np.flatnonzero((following < 0) & (first >= 0))
        tails[queue[last]] = address[last]
        known = first >= 0
        heads = np.where(known, address[queue] if len(address) else address, np.uint64(0))
        return cls(heads, np.where(known, tails[queue] if len(address) else tails, np.uint64(0)))


def _lists(
    population: Population, rows: NDArray[np.int64], elem: NDArray[np.uint64], ends: _Ends
) -> NDArray[np.uint64]:
    """The address of the notifyList that each of `rows` is in, 0 if it was not found."""
    lists = np.zeros(len(rows), np.uint64)
    at = np.full(len(population.pointers), -1, np.int64)
    at[rows] = np.arange(len(rows))

    def confirmed(some: NDArray[np.int64], candidates: NDArray[np.uint64]) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = (candidates != 0) & (candidates % np.uint64(8) == 0)
        gathered = population.runtime.memory.gather(candidates[good] + np.uint64(_HEAD_AT), 16)
        head, tail = gathered.words(2).T
        mine = at[some[good]]
        good[good] = gathered.ok & ((head == ends.heads[mine]) | (tail == ends.tails[mine]))
        return good

    told = np.flatnonzero(elem)
    lists[told] = np.where(confirmed(rows[told], elem[told]), elem[told], np.uint64(0))
    for before in _BEFORE:
        left = np.flatnonzero(lists == 0)
        more = np.uint64(before % (1 << 64))
        words = find_words(
            population,
            rows[left],
            lambda some, words, more=more: confirmed(some, words + more),  # type: ignore[misc]
        ).words
        lists[left] = np.where(words != 0, words + more, np.uint64(0))
    return lists
