"""Pages of a process, kept in a file as they are read: the contents of a small core."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from spyglass.columns import among
from spyglass.cores.writer import pwrite

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["PAGE_BYTES", "PageFile"]

Number = TypeVar("Number", bound=np.generic)

#: The smallest page of either processor; where the kernel's are larger fewer bytes are kept.
PAGE_BYTES = 1 << 12
#: At most this much waits to be written: what bounds memory where the disk is slower than the reading.
_WAITING_BYTES = 16 << 20
#: Pieces of this size and more bypass the kernel's page cache, which takes four times as long as the disk.
_DIRECT_BYTES = 1 << 18


class PageFile:
    """Whole pages in the open file `descriptor`, from offset `begin` on, in the order they came.

    The page at ``addresses[i]`` (uint64, ascending) is at ``offsets[i]`` (int64) of the file, and
    ``changed[i]`` (bool) tells whether it came with different contents. Only this index is in
    memory. Pages that are `excluded` (a function from addresses to a mask) are not kept.
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
        self.changed = np.zeros(0, np.bool_)
        self._sums = np.zeros(0, np.uint64)
        self._factors = np.frombuffer(secrets.token_bytes(PAGE_BYTES), np.uint64) | np.uint64(1)
        self._file = _PieceWriter(descriptor)
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
        self._file.close()

    def flush(self) -> None:
        """Wait until all that was put is in the file. Raises `OSError`, also for an earlier write."""
        self._wait(0)

    def has(self, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the pages at `addresses` need not be put: they are kept, or are not to be."""
        with self._lock:
            return self._find(addresses)[1] | self._excluded(addresses)

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
        sums = self._sums_of(content)
        rows, different = _last_of_each(addresses, sums)
        rows = rows[~self._excluded(addresses[rows])]
        at, known = self._find(addresses[rows])
        new, old = rows[~known], rows[known]
        self._add(addresses[new], sums[new], at[~known])
        if replace:
            at = self._find(addresses[old])[0]
            other = self._sums[at] != sums[old]
            self.changed[at[other]] = True
            self._sums[at[other]] = sums[old[other]]
            rows = np.sort(np.concatenate([new, old[other]]))
        else:
            rows = new
        if len(different):
            self.changed |= among(self.addresses, different)
        self._write(self.offsets[self._find(addresses[rows])[0]], rows, content)

    def _sums_of(self, content: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """A number for each row of `content`, which is different for different ones.

        The sum of its words, each times an odd random number: when one word changes it changes for certain,
        when several do almost so.
        """
        words = content.view(np.uint64)
        sums: NDArray[np.uint64] = np.einsum("ij,j->i", words, self._factors)
        return sums

    def _find(self, addresses: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each of `addresses` is in the index, or would be, and whether it is."""
        at = np.searchsorted(self.addresses, addresses)
        there = at < len(self.addresses)
        there[there] = self.addresses[at[there]] == addresses[there]
        return at, there

    def _add(
        self, addresses: NDArray[np.uint64], sums: NDArray[np.uint64], at: NDArray[np.intp]
    ) -> None:
        """Give the pages at `addresses`, which ascend, the next places in the file; `at`: where they
        belong in the index."""
        if not len(addresses):
            return
        number = np.arange(len(addresses))
        offsets = self._end + number * PAGE_BYTES
        places = at + number
        old = np.ones(len(self.addresses) + len(addresses), np.bool_)
        old[places] = False
        self.addresses = _inserted(self.addresses, old, addresses, places)
        self.offsets = _inserted(self.offsets, old, offsets, places)
        self.changed = _inserted(self.changed, old, np.zeros(len(addresses), np.bool_), places)
        self._sums = _inserted(self._sums, old, sums, places)
        self._end += len(addresses) * PAGE_BYTES

    def _write(
        self, offsets: NDArray[np.int64], rows: NDArray[np.intp], content: NDArray[np.uint8]
    ) -> None:
        """Have ``content[rows]`` written at `offsets` of the file, when the thread comes to it."""
        if not len(rows):
            return
        self._wait(_WAITING_BYTES)
        future = self._writer.submit(self._file.write, offsets, rows, content)
        self._waiting.append((future, content.nbytes))
        self._waiting_bytes += content.nbytes

    def _wait(self, waiting_bytes: int) -> None:
        """Wait until no more than `waiting_bytes` have still to be written."""
        while self._waiting and (self._waiting_bytes > waiting_bytes or self._waiting[0][0].done()):
            future, size = self._waiting.popleft()
            self._waiting_bytes -= size
            future.result()


def _inserted(
    column: NDArray[Number],
    old: NDArray[np.bool_],
    new: NDArray[Number],
    places: NDArray[np.intp],
) -> NDArray[Number]:
    """`column` where `old` says, and `new` at the other `places`: as `numpy.insert`, which is slower."""
    longer = np.empty(len(old), column.dtype)
    longer[old], longer[places] = column, new
    return longer


def _last_of_each(
    addresses: NDArray[np.uint64], sums: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """The last row of each page, by address, and the pages of which rows have different `sums`."""
    if (addresses[1:] > addresses[:-1]).all():
        return np.arange(len(addresses)), addresses[:0]
    order = np.argsort(addresses, kind="stable")
    pages, sums = addresses[order], sums[order]
    again = pages[1:] == pages[:-1]
    last = np.concatenate([~again, [True]])
    return order[last], pages[1:][again & (sums[1:] != sums[:-1])]


class _PieceWriter:
    """Writes pages to the open file `descriptor`.

    Large pieces are written past the page cache (open(2), ``O_DIRECT``), where the file system allows it and they
    begin at a page in memory. The kernel keeps both ways of writing coherent; one thread writes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._direct: int | None = None
        self._tried = False

    def close(self) -> None:
        """Close what was opened to write past the page cache."""
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def write(
        self, offsets: NDArray[np.int64], rows: NDArray[np.intp], content: NDArray[np.uint8]
    ) -> None:
        """Write the pages ``content[rows]`` at `offsets` of the file: those that follow each other at once."""
        follows = (np.diff(offsets) == PAGE_BYTES) & (np.diff(rows) == 1)
        first = np.flatnonzero(np.concatenate([[True], ~follows]))
        counts = np.diff(np.append(first, len(rows)))
        for offset, row, count in zip(
            offsets[first].tolist(), rows[first].tolist(), counts.tolist(), strict=True
        ):
            piece = np.ascontiguousarray(content[row : row + count]).reshape(-1)
            if not self._write_directly(piece, offset):
                pwrite(self._descriptor, piece.data, offset)

    def _write_directly(self, piece: NDArray[np.uint8], offset: int) -> bool:
        """Write `piece` past the page cache; whether that could be done."""
        if len(piece) < _DIRECT_BYTES or piece.ctypes.data % PAGE_BYTES:
            return False
        if not self._tried:
            self._tried = True
            with suppress(OSError):  # a file system that cannot
                path = f"/proc/self/fd/{self._descriptor}"
                self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        if self._direct is None:
            return False
        try:
            pwrite(self._direct, piece.data, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.close()  # the disk wants other alignments
            return False
        return True
