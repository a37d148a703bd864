"""Find the numbers of many keys at once: a hash table in numpy, for `spyglass.runtime.stacks.stack_tree`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KeyIndex"]

_NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Places for each key, up to 2**20 places, so that few keys meet; a larger table has half of its places in
#: use at most.
_PLACES_PER_KEY = 64
_LARGE_BITS = 20
#: How many places a key can have. That none of them is free has a probability of 2**-63.
_PROBES = 64
#: The factor of the first place is 2**64 divided by the golden ratio: the high bits of products with it
#: are spread evenly (Knuth, The Art of Computer Programming, 6.4). Those of the others are random, so that
#: a target cannot choose program counters whose keys all meet.
_FACTORS = np.frombuffer(os.urandom(8 * _PROBES), np.uint64) | np.uint64(1)
_FACTORS[0] = 0x9E3779B97F4A7C15


class KeyIndex:
    """The numbers (1 and more) of different keys (uint64, below 2**64 - 1).

    Open addressing: a key is at the first of its places that was free when it was added. `places_per_key`: with more
    of them keys are found faster.
    """

    def __init__(self, room: int, places_per_key: int = _PLACES_PER_KEY) -> None:
        self._places_per_key = places_per_key
        self._keys = np.full(room, _NO_KEY)
        self._make_places()

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """The number of each of `keys`, 0 for none; and the indices of keys without a number."""
        numbers: NDArray[np.int64] = self._places[keys * _FACTORS[0] >> self._shift]
        missing = np.flatnonzero(self._keys[numbers] != keys)
        if len(missing):
            pending = missing[numbers[missing] != 0]
            numbers[missing] = 0
            self._find_further(keys, numbers, pending)
            missing = missing[numbers[missing] == 0]
        return numbers, missing

    def _find_further(
        self, keys: NDArray[np.uint64], numbers: NDArray[np.int64], pending: NDArray[np.intp]
    ) -> None:
        """Set those of `numbers` at `pending` whose keys are not at their first place."""
        for probe in range(1, _PROBES):
            if not len(pending):
                return
            wanted = keys[pending]
            there = self._places[self._places_of(wanted, probe)]
            found = self._keys[there] == wanted
            numbers[pending[found]] = there[found]
            pending = pending[~found & (there != 0)]

    def add(self, keys: NDArray[np.uint64], first: int) -> None:
        """Number `keys`, all different and new, from `first` on."""
        end = first + len(keys)
        room = len(self._keys)
        while room < end:
            room *= 2
        grows = room > len(self._keys)
        if grows:
            extra = np.full(room - len(self._keys), _NO_KEY)
            self._keys = np.concatenate([self._keys, extra])
        self._keys[first:end] = keys
        if grows:
            self._make_places()
        else:
            self._place(np.arange(first, end))

    def _make_places(self) -> None:
        """Make a table for as many keys as there is room for, with the present ones."""
        room = len(self._keys)
        roomy, tight = (self._places_per_key * room - 1).bit_length(), (2 * room - 1).bit_length()
        bits = max(min(roomy, _LARGE_BITS), tight)
        self._shift = np.uint64(64 - bits)
        self._places = np.zeros(1 << bits, np.int64)
        self._place(np.flatnonzero(self._keys != _NO_KEY))

    def _place(self, pending: NDArray[np.int64]) -> None:
        """Put the numbers `pending` each at the first free place of its key."""
        for probe in range(_PROBES):
            if not len(pending):
                return
            at = self._places_of(self._keys[pending], probe)
            free = self._places[at] == 0
            self._places[at[free]] = pending[free]
            pending = pending[self._places[at] != pending]

    def _places_of(self, keys: NDArray[np.uint64], probe: int) -> NDArray[np.uint64]:
        mixed = keys * _FACTORS[probe]
        if probe:
            mixed = (mixed ^ mixed >> np.uint64(32)) * _FACTORS[probe]
        places: NDArray[np.uint64] = mixed >> self._shift
        return places
