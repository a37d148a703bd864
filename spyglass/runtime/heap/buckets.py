"""The buckets of the runtime's profiles: what was sampled, by stack (``runtime/mprof.go: bucket``).

A bucket is never freed or moved, and new ones are put before the first: a reading needs no stop. Of each the
hash of its stack and size is computed again, so that no other memory passes for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError, MemoryFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["CYCLES", "MEMORY", "Buckets", "read_buckets"]

#: ``memProfile`` (mprof.go).
MEMORY = 1
#: ``memRecord``: what is published, and three cycles to come.
CYCLES = 4
#: Words of ``bucket``: next, allnext, typ, hash, size, nstk; behind it the stack and the record.
_HEADER_WORDS = 6
_NEXT, _KIND, _HASH, _SIZE, _DEPTH = 1, 2, 3, 4, 5
#: ``maxProfStackDepth`` (mprof.go).
_MAX_DEPTH = 1024
#: More than any program has, of which 20,000 would be many; the words of all, and the pages that are kept.
_MAX_BUCKETS, _MAX_WORDS, _MAX_PAGES = 1 << 18, 1 << 25, 1 << 13
_RECORD_WORDS = 4 * CYCLES
#: Buckets lie in blocks of memory behind each other: they are read so many bytes at a time.
_PAGE_BYTES, _LEAST_BYTES = 1 << 14, 1 << 12
_FITTING = 0.9
#: User memory ends below.
_END = 1 << 56
#: No program has as many objects, nor one of as many bytes.
_MOST = 1 << 47


@dataclass(frozen=True, slots=True)
class Buckets:
    """Buckets of allocations. `stacks`: return addresses (uint64), innermost first; `offsets` (int64, one more than
    there are buckets) cuts them. `size` (int64): of each object. `allocs`, `frees` (int64, shape (n, 4)): how many,
    published and in three cycles to come. `rejected`: how many were left out because their hash or their numbers are wrong;
    `complete`: whether the list was read to its end."""

    stacks: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    size: NDArray[np.int64]
    allocs: NDArray[np.int64]
    frees: NDArray[np.int64]
    rejected: int
    complete: bool


def read_buckets(memory: Memory, first: int) -> Buckets:
    """The buckets of allocations from the one at `first` on; 0: none. Raises `BadDataError` if `first` is
    not one."""
    pages = _Pages(memory)
    headers: list[NDArray[np.uint64]] = []
    rows: list[NDArray[np.uint64]] = []
    seen: set[int] = set()
    at, left = first, _MAX_WORDS
    while at and at % 8 == 0 and at < _END and at not in seen and len(seen) < _MAX_BUCKETS:
        header = pages.words(at, _HEADER_WORDS)
        left -= int(min(header[_DEPTH], _MAX_WORDS)) + _RECORD_WORDS
        if header[_KIND] != MEMORY or header[_DEPTH] > _MAX_DEPTH or left < 0:
            break
        seen.add(at)
        headers.append(header)
        rows.append(pages.words(at + 8 * _HEADER_WORDS, int(header[_DEPTH]) + _RECORD_WORDS))
        at = int(header[_NEXT])
    if first and not rows:
        raise BadDataError(f"no bucket of a heap profile at {first:#x}")
    return _decoded(headers, rows, at == 0)


class _Pages:
    """Memory as it was when it was first read."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._known: dict[int, bytes] = {}

    def words(self, address: int, count: int) -> NDArray[np.uint64]:
        """`count` words at `address`; zeros where nothing can be read."""
        low, end = address // _PAGE_BYTES, (address + 8 * count - 1) // _PAGE_BYTES
        raw = b"".join(self._page(number) for number in range(low, end + 1))
        return np.frombuffer(raw, np.uint64, count, address - low * _PAGE_BYTES)

    def _page(self, number: int) -> bytes:
        known = self._known.get(number)
        if known is None:
            if len(self._known) >= _MAX_PAGES:
                self._known.clear()
            known = self._known[number] = self._read(number * _PAGE_BYTES)
        return known

    def _read(self, address: int) -> bytes:
        try:
            return self._memory.read(address, _PAGE_BYTES)
        except (MemoryFault, BadDataError):
            parts = range(address, address + _PAGE_BYTES, _LEAST_BYTES)
            return b"".join(self._part(each) for each in parts)

    def _part(self, address: int) -> bytes:
        """A page of the processor, or zeros if it cannot be read."""
        try:
            return self._memory.read(address, _LEAST_BYTES)
        except (MemoryFault, BadDataError):
            return bytes(_LEAST_BYTES)


def _decoded(
    headers: list[NDArray[np.uint64]], rows: list[NDArray[np.uint64]], complete: bool
) -> Buckets:
    header = np.array(headers, np.uint64).reshape(-1, _HEADER_WORDS)
    depth = header[:, _DEPTH].astype(np.int64)
    stacks = [row[:-_RECORD_WORDS] for row in rows]
    records = np.array([row[-_RECORD_WORDS:] for row in rows], np.uint64)
    records = records.reshape(-1, _RECORD_WORDS)
    good = _hashes(stacks, depth, header[:, _SIZE]) == header[:, _HASH]
    allocs, frees = _counts(records, header[:, _SIZE])
    most = np.maximum(allocs, frees).max(axis=1, initial=0)
    good &= (np.minimum(allocs, frees) >= 0).all(axis=1) & (most < _MOST)
    good &= header[:, _SIZE] < _MOST
    kept = [stack for stack, is_good in zip(stacks, good.tolist(), strict=True) if is_good]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(depth[good])])
    return Buckets(
        stacks=np.concatenate([np.zeros(0, np.uint64), *kept]),
        offsets=offsets.astype(np.int64),
        size=header[good, _SIZE].astype(np.int64),
        allocs=allocs[good],
        frees=frees[good],
        rejected=int((~good).sum()),
        complete=complete,
    )


def _hashes(
    stacks: list[NDArray[np.uint64]], depth: NDArray[np.int64], size: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """The hash of each stack and size (``stkbucket``)."""
    found = np.zeros(len(stacks), np.uint64)
    for each in np.unique(depth).tolist():
        rows = np.flatnonzero(depth == each)
        words = np.array([stacks[row] for row in rows.tolist()], np.uint64).reshape(len(rows), each)
        for level in range(each):
            found[rows] = _mixed(found[rows] + words[:, level])
    found = _mixed(found + size)
    found += found << np.uint64(3)
    return found ^ (found >> np.uint64(11))


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + (value << np.uint64(10))
    return value ^ (value >> np.uint64(6))


def _counts(
    records: NDArray[np.uint64], size: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of allocations and frees, shape (n, 4). Up to Go 1.26 a ``memRecordCycle`` has their bytes too:
    what the numbers and the size of an object make."""
    four = records.reshape(-1, CYCLES, 4)
    some = four.any(axis=(1, 2))
    fits = (four[:, :, 2:] == four[:, :, :2] * size[:, None, None]).all(axis=(1, 2))
    has_bytes = not some.any() or fits[some].mean() >= _FITTING
    two = records[:, : 2 * CYCLES].reshape(-1, CYCLES, 2)
    counts = (four if has_bytes else two).astype(np.int64)
    return counts[:, :, 0], counts[:, :, 1]
