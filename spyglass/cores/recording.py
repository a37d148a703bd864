"""Memory whose pages are kept in a file as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.cores.page_file import PAGE_BYTES, PageFile
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import MAX_READ_BYTES, Gathered, Memory
from spyglass.memory.ranges import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RecordingMemory"]

_INSIDE = np.uint64(PAGE_BYTES - 1)


class RecordingMemory(Memory):
    """`memory`, read by whole pages, each of which is kept in `pages` as it was when it was last read.

    As it was read, and not as it is later: what was found by reading it belongs together.
    `lacks_some`: of a page only a part could be read, which is not kept.
    """

    def __init__(self, memory: Memory, pages: PageFile) -> None:
        self.memory = memory
        self.pages = pages
        self.lacks_some = False
        self._fixed = False

    def fix(self) -> None:
        """From now on keep only pages that were not read before."""
        self._fixed = True

    def close(self) -> None:
        """Close the memory that is read; the file stays open."""
        self.memory.close()

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; `MemoryFault` if one of them cannot be read."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise BadDataError(f"implausible size {size} at {address:#x}")
        begin, end = address & -PAGE_BYTES, -(-(address + size) // PAGE_BYTES) * PAGE_BYTES
        try:
            whole = self.memory.read(begin, end - begin)
        except (MemoryFault, BadDataError):  # perhaps of a page that there is only a part of
            part = self.memory.read(address, size)
            self.lacks_some = True
            return part
        self._keep(begin, np.frombuffer(whole, np.uint8))
        return whole[address - begin : address - begin + size]

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        """Many ranges at once; what cannot be read is masked."""
        sizes = spread(sizes, len(addresses))
        begins, counts = _page_ranges(addresses, sizes)
        if int(counts.sum()) * PAGE_BYTES > MAX_READ_BYTES:
            return self._gather_in_halves(addresses, sizes)
        if self._fixed:
            return self._gather_new(addresses, sizes, begins, counts)
        return self._gather_pages(addresses, sizes, begins, counts)

    def _gather_new(
        self,
        addresses: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        begins: NDArray[np.uint64],
        counts: NDArray[np.int64],
    ) -> Gathered:
        """Read whole pages only where there are some that are not kept."""
        new = ~self.pages.has(_pages(begins, counts))
        before = np.concatenate([[0], np.cumsum(new)])
        ends = np.cumsum(counts)
        rows = np.flatnonzero(before[ends] != before[ends - counts])
        if not len(rows):
            return self.memory.gather(addresses, sizes)
        fresh = self._gather_pages(addresses[rows], sizes[rows], begins[rows], counts[rows])
        if len(rows) == len(addresses):
            return fresh
        others = np.delete(np.arange(len(addresses)), rows)
        old = self.memory.gather(addresses[others], sizes[others])
        return _joined(fresh, rows, old, others)

    def _gather_pages(
        self,
        addresses: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        begins: NDArray[np.uint64],
        counts: NDArray[np.int64],
    ) -> Gathered:
        """Read the pages of all ranges, the `counts` from `begins` on, and keep them."""
        unique = distinct(_pages(begins, counts))
        found = self.memory.gather(unique, PAGE_BYTES)
        if found.ok.all():  # without a copy
            content = _rows(found.buffer, found.offsets)
            self._put(unique, content)
        else:
            content = np.zeros((len(unique), PAGE_BYTES), np.uint8)
            content[found.ok] = _rows(found.buffer, found.offsets[found.ok])
            self._put(unique[found.ok], content[found.ok])
        # The pages of a range follow each other in memory, so they do in the buffer.
        first = np.searchsorted(unique, begins)
        missing = np.concatenate([[0], np.cumsum(~found.ok)])
        ok = missing[first + counts] == missing[first]
        offsets = first * PAGE_BYTES + (addresses & _INSIDE).astype(np.int64)
        read = Gathered(content.reshape(-1), offsets, ok)
        if ok.all():
            return read
        # Of the others perhaps not the whole pages are there.
        failed = np.flatnonzero(~ok)
        extra = self.memory.gather(addresses[failed], sizes[failed])
        self.lacks_some |= bool(extra.ok.any())
        return _joined(read, np.arange(len(ok)), extra, failed)

    def _gather_in_halves(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> Gathered:
        """Ranges whose pages are too many for one read, although they themselves may not be."""
        if len(addresses) < 2:
            raise BadDataError(f"implausible size {int(sizes.sum())}")
        low, high = np.array_split(np.arange(len(addresses)), 2)
        one, other = (self.gather(addresses[part], sizes[part]) for part in (low, high))
        return _joined(one, low, other, high)

    def gather_in_order(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> Gathered:
        """As `gather`, one range after the other: neighbours in the arguments are microseconds apart.

        Addresses and sizes must be multiples of 8.
        """
        begins, counts = _page_ranges(addresses, sizes)
        found = self.memory.gather_in_order(
            begins, counts.astype(np.uint64) * np.uint64(PAGE_BYTES)
        )
        ok = np.repeat(found.ok, counts)
        at = np.repeat(found.offsets, counts) + _steps(counts) * PAGE_BYTES
        self._put(_pages(begins, counts)[ok], _rows(found.buffer, at[ok]))
        inside = (addresses & _INSIDE).astype(np.int64)
        return Gathered(found.buffer, found.offsets + inside, found.ok)

    def lay_over(self, address: int, content: bytes) -> None:
        """Keep the pages around `address` with `content` there, as it was at another moment.

        Also if only pages that were not read before are kept. Pages that cannot be read are left out.
        """
        for begin in range(address & -PAGE_BYTES, address + len(content), PAGE_BYTES):
            try:
                page = bytearray(self.memory.read(begin, PAGE_BYTES))
            except MemoryFault:
                continue
            low, high = max(begin, address), min(begin + PAGE_BYTES, address + len(content))
            page[low - begin : high - begin] = content[low - address : high - address]
            whole = np.frombuffer(bytes(page), np.uint8).reshape(1, -1)
            self.pages.put(np.array([begin], np.uint64), whole, replace=True)

    def _keep(self, begin: int, content: NDArray[np.uint8]) -> None:
        count = len(content) // PAGE_BYTES
        addresses = np.uint64(begin) + np.arange(count, dtype=np.uint64) * np.uint64(PAGE_BYTES)
        self._put(addresses, content.reshape(-1, PAGE_BYTES))

    def _put(self, addresses: NDArray[np.uint64], content: NDArray[np.uint8]) -> None:
        self.pages.put(addresses, content, replace=not self._fixed)


def _joined(
    one: Gathered, at: NDArray[np.intp], other: Gathered, other_at: NDArray[np.intp]
) -> Gathered:
    """The ranges of `one` at the rows `at`, and those of `other` at `other_at`, which count where both are."""
    count = max(int(each.max(initial=-1)) for each in (at, other_at)) + 1
    ok, offsets = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    ok[at], offsets[at] = one.ok, one.offsets
    behind = -(-len(one.buffer) // 8) * 8
    ok[other_at], offsets[other_at] = other.ok, other.offsets + behind
    between = np.zeros(behind - len(one.buffer), np.uint8)
    return Gathered(np.concatenate([one.buffer, between, other.buffer]), offsets, ok)


def _rows(buffer: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pages that begin at `offsets`, all multiples of a page's size: a view if they follow
    each other."""
    pages = buffer[: len(buffer) // PAGE_BYTES * PAGE_BYTES].reshape(-1, PAGE_BYTES)
    numbers = offsets // PAGE_BYTES
    if len(numbers) and (np.diff(numbers) == 1).all():
        return pages[numbers[0] : numbers[0] + len(numbers)]
    rows: NDArray[np.uint8] = pages[numbers]
    return rows


def _page_ranges(
    addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The first page of each range, and how many pages it is in (one at least)."""
    room = ~np.uint64(0) - addresses
    last = addresses + np.minimum(np.maximum(sizes, np.uint64(1)) - np.uint64(1), room)
    begins = addresses & ~_INSIDE
    counts = (((last & ~_INSIDE) - begins) // np.uint64(PAGE_BYTES)).astype(np.int64) + 1
    return begins, np.minimum(counts, MAX_READ_BYTES)


def _pages(begins: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The pages of ranges of `counts` pages, one range after the other."""
    return np.repeat(begins, counts) + _steps(counts).astype(np.uint64) * np.uint64(PAGE_BYTES)


def _steps(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... up to each of `counts`, one after the other."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
