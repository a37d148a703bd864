"""Address ranges as columns: neighbours joined, so that one read serves many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Merged", "apart", "merge", "spread"]

#: Ranges closer than this are read as one: a range costs about as much as copying this many bytes.
MERGE_GAP_BYTES = 512


@dataclass(frozen=True, slots=True)
class Merged:
    """Disjoint ranges in ascending order (`starts`, `sizes`: uint64), and for each of the original
    ranges the index of the one that holds it (`owner`: int64)."""

    starts: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    owner: NDArray[np.int64]

    def offsets_in_buffer(self) -> NDArray[np.int64]:
        """Where each merged range begins when they are laid one after the other."""
        ends = np.cumsum(self.sizes).astype(np.int64)
        return ends - self.sizes.astype(np.int64)


def spread(sizes: NDArray[np.uint64] | int, count: int) -> NDArray[np.uint64]:
    """`sizes` as an array of `count`, whether it was one number or an array."""
    return np.broadcast_to(np.asarray(sizes, np.uint64), (count,))


def merge(
    addresses: NDArray[np.uint64], sizes: NDArray[np.uint64], gap_bytes: int = MERGE_GAP_BYTES
) -> Merged:
    """Join ranges that overlap or lie within `gap_bytes` of each other.

    Starts keep their alignment modulo 8, and sizes become multiples of 8, when all addresses are
    multiples of 8, so that words in the joined buffer stay aligned.
    """
    if len(addresses) == 0:
        return apart(addresses, sizes)
    ends = addresses + _padded(addresses, sizes)
    order = np.argsort(addresses, kind="stable")
    starts, reach = addresses[order], np.maximum.accumulate(ends[order])
    gap = np.where(starts[1:] > reach[:-1], starts[1:] - np.minimum(reach[:-1], starts[1:]), 0)
    first = np.concatenate([[True], gap > gap_bytes])
    group = np.cumsum(first) - 1
    last = np.concatenate([np.flatnonzero(first)[1:] - 1, [len(starts) - 1]])
    owner = np.empty(len(starts), np.int64)
    owner[order] = group
    merged_starts = starts[first]
    return Merged(merged_starts, reach[last] - merged_starts, owner)


def apart(addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> Merged:
    """The ranges as they are, none joined: for few of them `merge` takes longer than it saves."""
    return Merged(addresses, _padded(addresses, sizes), np.arange(len(addresses)))


def _padded(addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`sizes` as multiples of 8, less at the end of all addresses."""
    room = ~np.uint64(0) - addresses
    padded: NDArray[np.uint64] = np.minimum(sizes + np.uint64(7), room) & ~np.uint64(7)
    return padded
