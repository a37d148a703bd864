"""Addresses that frames tell: evaluated for many frames of the same call at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.lock_facts import Place
    from spyglass.memory.base import Memory

__all__ = ["Roots", "addresses_of", "words_at"]


class Roots(NamedTuple):
    """What places count from, a row for each frame or call (uint64); 0 where there is none.

    `frame`: the address of its return address. `context`: the closure that is called. `arguments`: where its
    arguments begin in memory. `waited`: the lock that the goroutine waits for.
    """

    frame: NDArray[np.uint64]
    context: NDArray[np.uint64]
    arguments: NDArray[np.uint64]
    waited: NDArray[np.uint64]

    @classmethod
    def of(cls, count: int, **known: NDArray[np.uint64]) -> Roots:
        """`count` rows of which only these columns are `known`."""
        nothing = np.zeros(count, np.uint64)
        return cls(**{name: known.get(name, nothing) for name in cls._fields})

    def select(self, rows: NDArray[np.intp]) -> Roots:
        """The rows `rows`."""
        return Roots(*(column[rows] for column in self))


_COLUMNS = {
    "frame": "frame",
    "context": "context",
    "argument": "arguments",
    "waited": "waited",
}


def words_at(memory: Memory, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The word at each of `addresses`, 0 where there is none."""
    good = (addresses != 0) & (addresses & np.uint64(7) == 0)
    rows = np.flatnonzero(good)
    words = np.zeros(len(addresses), np.uint64)
    if len(rows):
        gathered = memory.gather(addresses[rows], 8)
        words[rows] = np.where(gathered.ok, gathered.words(1)[:, 0], np.uint64(0))
    return words


def addresses_of(memory: Memory, place: Place, roots: Roots) -> NDArray[np.uint64]:
    """The address that `place` is, for each row of `roots`; 0 where it cannot be found."""
    first, *others = place.steps
    if place.root == "number":
        value = np.full(len(roots.frame), first & (1 << 64) - 1, np.uint64)
        good = np.ones(len(value), np.bool_)
    else:
        start = getattr(roots, _COLUMNS[place.root])
        value, good = start + _word(first), start != 0
    for step in others:
        word = words_at(memory, np.where(good, value, np.uint64(0)))
        value, good = word + _word(step), good & (word != 0)
    return np.where(good, value, np.uint64(0))


def _word(step: int) -> np.uint64:
    return np.uint64(step & (1 << 64) - 1)
