"""Words of the innermost frames that tell what a goroutine waits on.

Where the compiler keeps a local variable of the function that parked is a constant of the program, but not
one of the Go version. So it is learned: from a few goroutines all words of the innermost frames are
examined, then that word is read of all goroutines. Whether a word is what is looked for is checked for
each goroutine, so that nothing depends on what was learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.runtime.waiting.sudogs import Sudogs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["StackWords", "find_entries", "find_words"]

#: Words above sp that are examined: the frames of gopark, of what called it, and arguments of that.
_WORDS = 64
#: Goroutines that are learned from at a time.
_SAMPLE = 64
#: Places of one program: most programs have one.
_MAX_PLACES = 16
#: No Go program has memory below 64 KiB, where the linker puts nothing and mmap(2) begins, or where no page tables lead
#: to (57 bits of addresses on amd64 with five levels, half of them the kernel's).
_LEAST_ADDRESS, _END = np.uint64(1 << 16), np.uint64(1 << 56)

#: Whether words (uint64, shape (n,)) of the goroutines at rows of the population (n) are what is looked for.
Fits = Callable[["NDArray[np.int64]", "NDArray[np.uint64]"], "NDArray[np.bool_]"]


class StackWords(NamedTuple):
    """A word for each of some goroutines, and its address; 0 where there is none."""

    words: NDArray[np.uint64]
    slots: NDArray[np.uint64]


def find_words(population: Population, rows: NDArray[np.int64], fits: Fits) -> StackWords:
    """For each goroutine of `rows` a word of its innermost frames that `fits`."""
    words, slots = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    left = np.arange(len(rows))
    for _ in range(_MAX_PLACES):
        place = _learn(population, rows[left[:: max(1, len(left) // _SAMPLE)]], fits)
        if place is None:
            break
        address = _sp(population, rows[left]) + np.uint64(8 * place)
        gathered = population.runtime.memory.gather(address, 8)
        found = gathered.words(1)[:, 0]
        good = gathered.ok & (address < population.g["stack"]["hi"][rows[left]])
        good[good] = fits(rows[left[good]], found[good])
        words[left[good]], slots[left[good]] = found[good], address[good]
        left = left[~good]
    return StackWords(words, slots)


def find_entries(
    population: Population,
    rows: NDArray[np.int64],
    fits: Callable[[Population, NDArray[np.int64], Sudogs], NDArray[np.bool_]],
) -> StackWords:
    """For each goroutine of `rows` the address of its entry of a queue that `fits`, and of the word of its
    stack that told it: 0 where ``g.waiting`` did, which it does of all entries since Go 1.26."""
    words, slots = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
    if "waiting" in (population.g.dtype.names or ()):
        pointers = population.g["waiting"][rows].astype(np.uint64)
        told = np.flatnonzero(pointers)
        good = told[fits(population, rows[told], Sudogs(population.runtime, pointers[told]))]
        words[good] = pointers[good]
    left = np.flatnonzero(words == 0)
    found = find_words(
        population,
        rows[left],
        lambda some, words: fits(population, some, Sudogs(population.runtime, words)),
    )
    words[left], slots[left] = found.words, found.slots
    return StackWords(words, slots)


def _learn(population: Population, rows: NDArray[np.int64], fits: Fits) -> int | None:
    """Which word above sp fits for most of `rows`; None if none does for any."""
    sp = _sp(population, rows)
    room = (population.g["stack"]["hi"][rows].astype(np.uint64) - sp) >> np.uint64(3)
    sizes = np.where(room < 1 << 30, np.minimum(room, _WORDS), 0).astype(np.uint64)
    gathered = population.runtime.memory.gather(sp, sizes * np.uint64(8))
    table = gathered.words(_WORDS)
    there = gathered.ok[:, None] & (np.arange(_WORDS) < sizes.astype(np.int64)[:, None])
    # Reading where no memory can be takes long: one call for each.
    there &= (table >= _LEAST_ADDRESS) & (table < _END)
    row, place = np.nonzero(there)
    good = fits(rows[row], table[row, place])
    hits = np.bincount(place[good], minlength=_WORDS)
    return int(hits.argmax()) if good.any() else None


def _sp(population: Population, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    sp: NDArray[np.uint64] = population.g["sched"]["sp"][rows].astype(np.uint64) & ~np.uint64(7)
    return sp
