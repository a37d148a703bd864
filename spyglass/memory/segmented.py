"""Memory that lies in files: a core's segments, and below them what its program's file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import MAX_READ_BYTES, Gathered, Memory
from spyglass.memory.ranges import merge, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Layer", "MissingBytes", "SegmentedMemory", "Source"]

#: Ranges closer than this are read as one: in a file that costs less than another system call.
_GAP_BYTES = 1 << 12


class Source(Protocol):
    """Bytes by their offset."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes from `offset` on; how many there were."""
        ...


class MissingBytes:
    """What should be there and is not: it hides what is in the layers below."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Nothing."""
        return 0


@dataclass(frozen=True, slots=True)
class Layer:
    """Where `source` has memory: `sizes` bytes at `addresses` are those from `offsets` on.

    uint64 columns of one length, in any order. Of ranges that overlap the lowest one counts.
    """

    source: Source
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    offsets: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Disjoint ranges in ascending order: beginnings, ends, offsets, and the number of the source."""

    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    sources: NDArray[np.int64]


class SegmentedMemory(Memory):
    """Memory made of `layers`: where the first has nothing the next counts, and so on."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._sources = [layer.source for layer in layers]
        pieces = _empty()
        for number, layer in enumerate(layers):
            pieces = _joined(_over(pieces, _disjoint(layer, number)))
        self._pieces = pieces
        sizes = pieces.ends - pieces.starts
        # How many bytes there are before each piece: equal differences mean nothing is missing.
        self._before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes, dtype=np.uint64)])

    @property
    def size_bytes(self) -> int:
        """How much memory there is."""
        return int(self._before[-1])

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; `MemoryFault` if one of them is not there."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise BadDataError(f"implausible size {size} at {address:#x}")
        if not 0 <= address <= (1 << 64) - 1 - size:
            raise MemoryFault(address, size)
        start, end = np.array([address], np.uint64), np.array([address + size], np.uint64)
        if not self._covered(start, end)[0]:
            raise MemoryFault(address, size)
        buffer = np.empty(size, np.uint8)
        if len(self._fill(buffer, start, end, np.zeros(1, np.int64))):
            raise MemoryFault(address, size)
        return buffer.tobytes()

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        """Many ranges at once; neighbours are read together, what is not there is masked."""
        sizes = spread(sizes, len(addresses))
        ends = addresses + np.minimum(sizes, ~np.uint64(0) - addresses)
        ok = self._covered(addresses, ends) & (ends - addresses == sizes)
        offsets = np.zeros(len(addresses), np.int64)
        merged = merge(addresses[ok], sizes[ok], _GAP_BYTES)
        total = int(merged.sizes.sum())
        if total > MAX_READ_BYTES:
            raise BadDataError(f"implausible size {total} of {len(addresses)} ranges")
        begins = merged.offsets_in_buffer()
        buffer = np.zeros((total + 7) & ~7, np.uint8)
        bad = self._fill(buffer, merged.starts, merged.starts + merged.sizes, begins)
        within = addresses[ok].astype(np.int64) - merged.starts[merged.owner].astype(np.int64)
        offsets[ok] = begins[merged.owner] + within
        for start, end in bad.tolist():
            ok &= (offsets >= end) | (offsets + sizes.astype(np.int64) <= start)
        return Gathered(buffer, offsets, ok)

    def _covered(self, starts: NDArray[np.uint64], ends: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether all bytes from `starts` to `ends` are there."""
        covered: NDArray[np.bool_] = self._below(ends) - self._below(starts) == ends - starts
        return covered

    def _below(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """How many of the bytes that there are lie below each of `addresses`."""
        pieces = self._pieces
        at = np.searchsorted(pieces.starts, addresses, side="right")
        if not len(pieces.starts):
            return np.zeros(len(addresses), np.uint64)
        last = np.maximum(at - 1, 0)
        beyond = pieces.ends[last] - np.minimum(pieces.ends[last], addresses)
        return self._before[at] - np.where(at > 0, beyond, 0).astype(np.uint64)

    def _fill(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.uint64],
        ends: NDArray[np.uint64],
        begins: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Put what there is of the ranges (disjoint, ascending) into `buffer`, each at its `begins`.

        Returns the parts of the buffer, from and to, that should have been there and could not be read.
        """
        pieces, bad = self._pieces, []
        first = np.searchsorted(pieces.ends, starts, side="right")
        last = np.searchsorted(pieces.starts, ends, side="left")
        counts = np.maximum(last - first, 0)
        owner = np.repeat(np.arange(len(starts)), counts)
        piece = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + first[owner]
        low = np.maximum(starts[owner], pieces.starts[piece])
        high = np.minimum(ends[owner], pieces.ends[piece])
        at = begins[owner] + (low - starts[owner]).astype(np.int64)
        offsets = pieces.offsets[piece] + (low - pieces.starts[piece])
        columns = (at, (high - low), offsets, pieces.sources[piece])
        view = memoryview(buffer.data)
        for begin, size, offset, source in zip(*(each.tolist() for each in columns), strict=True):
            got = self._sources[source].read_into(view[begin : begin + size], offset)
            if got < size:
                bad.append((begin + got, begin + size))
        return np.array(bad, np.int64).reshape(-1, 2)


def _empty() -> _Pieces:
    none = np.zeros(0, np.uint64)
    return _Pieces(none, none, none, np.zeros(0, np.int64))


def _disjoint(layer: Layer, number: int) -> _Pieces:
    """The ranges of `layer` in ascending order, each without what those before it have."""
    order = np.argsort(layer.addresses, kind="stable")
    starts, offsets = layer.addresses[order], layer.offsets[order]
    sizes = np.minimum(layer.sizes[order], ~np.uint64(0) - starts)
    ends = starts + sizes
    reach = np.concatenate([np.zeros(1, np.uint64), np.maximum.accumulate(ends)[:-1]])[: len(ends)]
    begin = np.maximum(starts, reach)
    keep = begin < ends
    begin, skipped = begin[keep], (begin - starts)[keep]
    sources = np.full(len(begin), number, np.int64)
    return _Pieces(begin, ends[keep], offsets[keep] + skipped, sources)


def _over(upper: _Pieces, lower: _Pieces) -> _Pieces:
    """`upper`, and of `lower` what lies in its gaps."""
    if not len(upper.starts) or not len(lower.starts):
        return upper if len(upper.starts) else lower
    # The gaps of the upper one, cut at the ends of the lower pieces: both ascend and are disjoint.
    gap_starts = np.concatenate([np.zeros(1, np.uint64), upper.ends])
    gap_ends = np.concatenate([upper.starts, np.full(1, ~np.uint64(0))])
    first = np.searchsorted(gap_ends, lower.starts, side="right")
    last = np.searchsorted(gap_starts, lower.ends, side="left")
    counts = np.maximum(last - first, 0)
    owner = np.repeat(np.arange(len(lower.starts)), counts)
    gap = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + first[owner]
    starts = np.maximum(lower.starts[owner], gap_starts[gap])
    ends = np.minimum(lower.ends[owner], gap_ends[gap])
    keep = starts < ends
    starts, ends, owner = starts[keep], ends[keep], owner[keep]
    offsets = lower.offsets[owner] + (starts - lower.starts[owner])
    return _sorted(
        np.concatenate([upper.starts, starts]),
        np.concatenate([upper.ends, ends]),
        np.concatenate([upper.offsets, offsets]),
        np.concatenate([upper.sources, lower.sources[owner]]),
    )


def _sorted(
    starts: NDArray[np.uint64],
    ends: NDArray[np.uint64],
    offsets: NDArray[np.uint64],
    sources: NDArray[np.int64],
) -> _Pieces:
    order = np.argsort(starts, kind="stable")
    return _Pieces(starts[order], ends[order], offsets[order], sources[order])


def _joined(pieces: _Pieces) -> _Pieces:
    """`pieces` with those made one that follow each other in memory and in their file."""
    if not len(pieces.starts):
        return pieces
    size = pieces.ends - pieces.starts
    follows = (pieces.starts[1:] == pieces.ends[:-1]) & (pieces.sources[1:] == pieces.sources[:-1])
    follows &= pieces.offsets[1:] == pieces.offsets[:-1] + size[:-1]
    first = np.concatenate([[True], ~follows])
    last = np.concatenate([~follows, [True]])
    return _Pieces(
        pieces.starts[first], pieces.ends[last], pieces.offsets[first], pieces.sources[first]
    )
