"""Which goroutines are in a core as they were in the process: those whose memory was the same whenever it was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import among
from spyglass.cores.page_file import PAGE_BYTES
from spyglass.model import NONE
from spyglass.runtime.goroutines.consistency import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["Resting"]

#: Stacks of which more is used are read again: most are smaller, and what is used of a stack may be nonsense.
_MAX_STACK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Resting:
    """Goroutines that waited, and did not run while they were read, whose ``g`` and stack are all there is of them: no M
    and no labels.

    Of each the address of its ``g`` (of `g_bytes`), and the part of its stack that is in use (uint64).
    """

    pointers: NDArray[np.uint64]
    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    g_bytes: int

    @classmethod
    def of(cls, population: Population) -> Resting:
        """Those of `population`."""
        goroutines, g = population.goroutines, population.g
        size = population.runtime.layouts["g"].itemsize
        low, high = g["sched"]["sp"], g["stack"]["hi"]
        rests = population.waiting & population.steady & (goroutines.quality == Quality.STABLE)
        rests &= (goroutines.m == NONE) & (goroutines.labels == NONE)
        rests &= (low < high) & (high - low <= np.uint64(_MAX_STACK_BYTES))
        rows = np.flatnonzero(rests)
        return cls(population.pointers[rows], low[rows], high[rows], size)

    def outside(self, pages: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The addresses of those that have nothing in `pages` (addresses, ascending)."""
        page = np.uint64(PAGE_BYTES)
        inside = np.zeros(len(self.pointers), np.bool_)
        for begin, end in (
            (self.pointers, self.pointers + np.uint64(self.g_bytes)),
            (self.low, self.high),
        ):
            first = np.searchsorted(pages, begin & ~(page - np.uint64(1)))
            inside |= first < np.searchsorted(pages, end)
        return self.pointers[~inside]

    def others(self, pointers: NDArray[np.uint64], pages: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Those of the goroutines at `pointers` that are not of these, or have something in `pages`."""
        return pointers[~among(pointers, self.outside(pages))]
