"""The buckets of the runtime's profiles: what was sampled, by stack (``runtime/mprof.go: bucket``).

A bucket is never freed or moved, and new ones are put before the first: a reading needs no stop. Of each the
hash of its stack and size is computed again, so that no other memory passes for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct, offsets_of
from spyglass.errors import BadDataError, MemoryFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = [
    "BLOCK", "CYCLES", "MEMORY", "MUTEX", "Buckets", "Contentions", "kind_of", "read_buckets", "read_contentions",
]  # fmt: skip

#: ``memProfile``, ``blockProfile``, ``mutexProfile`` (mprof.go).
MEMORY, BLOCK, MUTEX = 1, 2, 3
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
#: ``blockRecord``: a number of events, and the time of all in ticks.
_CONTENTION_WORDS = 2
#: A number of events of at least one is beyond this if it is a float64 (since Go 1.18 or so), and never if it is
#: an integer.
_LEAST_FLOAT = np.float64(1).view(np.uint64)
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


@dataclass(frozen=True, slots=True)
class Contentions:
    """Buckets of waits, stacks as in `Buckets`. `count` (int64): how many events; `ticks` (int64): how long they took in
    all, in ticks of the processor's clock."""

    stacks: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    count: NDArray[np.int64]
    ticks: NDArray[np.int64]
    rejected: int
    complete: bool


def kind_of(memory: Memory, first: int) -> int:
    """The kind of the bucket at `first`; 0 if there is none."""
    if not first or first % 8 or first >= _END:
        return 0
    return int(_Pages(memory).words(first, _HEADER_WORDS)[_KIND])


def read_buckets(memory: Memory, first: int) -> Buckets:
    """The buckets of allocations from the one at `first` on; 0: none. Raises `BadDataError` if `first` is
    not one."""
    return _decoded(_walk(memory, first, MEMORY, _RECORD_WORDS))


def read_contentions(memory: Memory, first: int, kind: int) -> Contentions:
    """The buckets of `kind`, `BLOCK` or `MUTEX`, from the one at `first` on; 0: none. Raises as `read_buckets`."""
    found = _walk(memory, first, kind, _CONTENTION_WORDS)
    counts = found.records[:, 0]
    is_float = counts >= _LEAST_FLOAT
    with np.errstate(invalid="ignore"):
        counts = np.where(is_float, counts.view(np.float64), counts.astype(np.float64))
    ticks = found.records[:, 1].astype(np.int64)
    good = found.is_sound() & (counts < _MOST) & (ticks >= 0)
    return Contentions(
        stacks=found.stacks_of(good),
        offsets=found.offsets_of(good),
        count=counts[good].astype(np.int64),
        ticks=ticks[good],
        rejected=int((~good).sum()),
        complete=found.complete,
    )


@dataclass(frozen=True, slots=True)
class _Walk:
    """Buckets as they are in memory: headers (uint64, shape (n, 6)), stacks, records; `complete`: to the list's end."""

    header: NDArray[np.uint64]
    stacks: list[NDArray[np.uint64]]
    records: NDArray[np.uint64]
    complete: bool

    def is_sound(self) -> NDArray[np.bool_]:
        """Which have the hash of their stack and size, and a size that may be."""
        depth, size = self.header[:, _DEPTH].astype(np.int64), self.header[:, _SIZE]
        sound: NDArray[np.bool_] = _hashes(self.stacks, depth, size) == self.header[:, _HASH]
        return sound & (size < _MOST)

    def stacks_of(self, good: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """The return addresses of those that are `good`."""
        kept = [stack for stack, is_good in zip(self.stacks, good.tolist(), strict=True) if is_good]
        return np.concatenate([np.zeros(0, np.uint64), *kept])

    def offsets_of(self, good: NDArray[np.bool_]) -> NDArray[np.int64]:
        """What cuts `stacks_of`."""
        depth = self.header[good, _DEPTH].astype(np.int64)
        return offsets_of(depth)


def _walk(memory: Memory, first: int, kind: int, record_words: int) -> _Walk:
    """The list of buckets of `kind` that begins at `first`."""
    pages = _Pages(memory)
    headers: list[NDArray[np.uint64]] = []
    rows: list[NDArray[np.uint64]] = []
    seen: set[int] = set()
    at, left = first, _MAX_WORDS
    while at and at % 8 == 0 and at < _END and at not in seen and len(seen) < _MAX_BUCKETS:
        header = pages.words(at, _HEADER_WORDS)
        left -= int(min(header[_DEPTH], _MAX_WORDS)) + record_words
        if header[_KIND] != kind or header[_DEPTH] > _MAX_DEPTH or left < 0:
            break
        seen.add(at)
        headers.append(header)
        rows.append(pages.words(at + 8 * _HEADER_WORDS, int(header[_DEPTH]) + record_words))
        at = int(header[_NEXT])
    if first and not rows:
        raise BadDataError(f"no bucket of a profile of this kind at {first:#x}")
    records = np.array([row[-record_words:] for row in rows], np.uint64)
    return _Walk(
        np.array(headers, np.uint64).reshape(-1, _HEADER_WORDS),
        [row[:-record_words] for row in rows],
        records.reshape(-1, record_words),
        at == 0,
    )


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


def _decoded(found: _Walk) -> Buckets:
    size = found.header[:, _SIZE]
    allocs, frees = _counts(found.records, size)
    most = np.maximum(allocs, frees).max(axis=1, initial=0)
    good = found.is_sound() & (np.minimum(allocs, frees) >= 0).all(axis=1) & (most < _MOST)
    return Buckets(
        stacks=found.stacks_of(good),
        offsets=found.offsets_of(good),
        size=size[good].astype(np.int64),
        allocs=allocs[good],
        frees=frees[good],
        rejected=int((~good).sum()),
        complete=found.complete,
    )


def _hashes(
    stacks: list[NDArray[np.uint64]], depth: NDArray[np.int64], size: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """The hash of each stack and size (``stkbucket``)."""
    found = np.zeros(len(stacks), np.uint64)
    for each in distinct(depth).tolist():
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
