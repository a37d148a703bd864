"""Memory whose pages are kept in a file as they are read: the contents of a small core."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.cores.writer import pwrite
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import MAX_READ_BYTES, Gathered, Memory
from spyglass.memory.ranges import spread

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["PAGE_BYTES", "PageFile", "RecordingMemory"]

#: The smallest page of either processor; where the kernel's are larger fewer bytes are kept.
PAGE_BYTES = 1 << 12
_INSIDE = np.uint64(PAGE_BYTES - 1)
#: At most this much waits to be written: what bounds memory where the disk is slower than the reading.
_WAITING_BYTES = 16 << 20


class PageFile:
    """Whole pages in the open file `descriptor`, from offset `begin` on, in the order they came.

    The page at ``addresses[i]`` (uint64, ascending) is at ``offsets[i]`` (int64) of the file. Only this
    index is in memory. Pages that are `excluded` (a function from addresses to a mask) are not kept.
    A thread writes them, in the order of `put`, while more are read; `flush` waits for it.
    """

    def __init__(
        self,
        descriptor: int,
        begin: int,
        excluded: Callable[[NDArray[np.uint64]], NDArray[np.bool_]],
    ) -> None:
        self.addresses = np.zeros(0, np.uint64)
        self.offsets = np.zeros(0, np.int64)
        self._descriptor = descriptor
        self._end = begin
        self._excluded = excluded
        self._writer = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()  # of a large process one thread reads ahead of another

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(cancel_futures=True)

    def flush(self) -> None:
        """Wait until all that was put is in the file. Raises `OSError`, also for an earlier write."""
        self._wait(0)

    def put(
        self, addresses: NDArray[np.uint64], content: NDArray[np.uint8], *, replace: bool
    ) -> None:
        """Keep `content` (uint8, a row for each of `addresses`), of several of one page the last. Of
        pages that are there already only if `replace`. `content` must not change afterwards. Raises
        `OSError`, also for an earlier write."""
        with self._lock:
            self._put(addresses, content, replace)

    def _put(
        self, addresses: NDArray[np.uint64], content: NDArray[np.uint8], replace: bool
    ) -> None:
        kept = ~self._excluded(addresses)
        known = self._find(addresses)[1]
        new = distinct(addresses[kept & ~known])
        if len(new):
            self._add(new)
        if not replace:
            kept &= ~known
        rows = np.flatnonzero(kept)
        self._write(self.offsets[self._find(addresses[rows])[0]], rows, content)

    def _find(self, addresses: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each of `addresses` is in the index, or would be, and whether it is."""
        at = np.searchsorted(self.addresses, addresses)
        there = at < len(self.addresses)
        there[there] = self.addresses[at[there]] == addresses[there]
        return at, there

    def _add(self, addresses: NDArray[np.uint64]) -> None:
        """Give the pages at `addresses`, which ascend, the next places in the file."""
        at = np.searchsorted(self.addresses, addresses)
        offsets = self._end + np.arange(len(addresses), dtype=np.int64) * PAGE_BYTES
        self.addresses = np.insert(self.addresses, at, addresses)
        self.offsets = np.insert(self.offsets, at, offsets)
        self._end += len(addresses) * PAGE_BYTES

    def _write(
        self, offsets: NDArray[np.int64], rows: NDArray[np.intp], content: NDArray[np.uint8]
    ) -> None:
        """Have ``content[rows]`` written at `offsets` of the file, when the thread comes to it."""
        if not len(rows):
            return
        self._wait(_WAITING_BYTES)
        future = self._writer.submit(_write_rows, self._descriptor, offsets, rows, content)
        self._waiting.append((future, content.nbytes))
        self._waiting_bytes += content.nbytes

    def _wait(self, waiting_bytes: int) -> None:
        """Wait until no more than `waiting_bytes` have still to be written."""
        while self._waiting and (self._waiting_bytes > waiting_bytes or self._waiting[0][0].done()):
            future, size = self._waiting.popleft()
            self._waiting_bytes -= size
            future.result()


def _write_rows(
    descriptor: int,
    offsets: NDArray[np.int64],
    rows: NDArray[np.intp],
    content: NDArray[np.uint8],
) -> None:
    """Write the pages ``content[rows]`` at `offsets` of the file: those that follow each other at once."""
    follows = (np.diff(offsets) == PAGE_BYTES) & (np.diff(rows) == 1)
    first = np.flatnonzero(np.concatenate([[True], ~follows]))
    counts = np.diff(np.append(first, len(rows)))
    for offset, row, count in zip(
        offsets[first].tolist(), rows[first].tolist(), counts.tolist(), strict=True
    ):
        piece = np.ascontiguousarray(content[row : row + count])
        pwrite(descriptor, piece.reshape(-1).data, offset)


class RecordingMemory(Memory):
    """`memory`, read by whole pages, each of which is kept in `pages` as it was when it was last read.

    As it was read, and not as it is later: what was found by reading it belongs together.
    """

    def __init__(self, memory: Memory, pages: PageFile) -> None:
        self.memory = memory
        self.pages = pages
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
            return self.memory.read(address, size)
        self._keep(begin, np.frombuffer(whole, np.uint8))
        return whole[address - begin : address - begin + size]

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        """Many ranges at once; what cannot be read is masked."""
        sizes = spread(sizes, len(addresses))
        begins, counts = _page_ranges(addresses, sizes)
        if int(counts.sum()) * PAGE_BYTES > MAX_READ_BYTES:
            return self._gather_in_halves(addresses, sizes)
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
        if not ok.all():
            return self._gather_again(Gathered(content.reshape(-1), offsets, ok), addresses, sizes)
        return Gathered(content.reshape(-1), offsets, ok)

    def _gather_again(
        self, first: Gathered, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> Gathered:
        """Read the ranges whose whole pages could not be read, without the rest of the pages."""
        failed = ~first.ok
        extra = self.memory.gather(addresses[failed], sizes[failed])
        ok, offsets = first.ok.copy(), first.offsets.copy()
        ok[failed], offsets[failed] = extra.ok, extra.offsets + len(first.buffer)
        return Gathered(np.concatenate([first.buffer, extra.buffer]), offsets, ok)

    def _gather_in_halves(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> Gathered:
        """Ranges whose pages are too many for one read, although they themselves may not be."""
        if len(addresses) < 2:
            raise BadDataError(f"implausible size {int(sizes.sum())}")
        middle = len(addresses) // 2
        low, high = (
            self.gather(addresses[part], sizes[part])
            for part in (slice(None, middle), slice(middle, None))
        )
        return Gathered(
            np.concatenate([low.buffer, high.buffer]),
            np.concatenate([low.offsets, high.offsets + len(low.buffer)]),
            np.concatenate([low.ok, high.ok]),
        )

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
