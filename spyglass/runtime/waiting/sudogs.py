"""Entries of queues (``runtime2.go: sudog``), and the order that they have in their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["Sudogs", "index_of", "pointer_in", "pointers_to", "ranked"]


_BATCH = 1 << 15


class Sudogs:
    """``sudog`` structures that were read: a row for each of `addresses` (uint64).

    `ok` (bool): it could be read. `g`, `next`, `waitlink`, `elem`, `c`, `ticket` (uint64), `is_select`
    (bool): the fields.
    """

    def __init__(self, runtime: Runtime, addresses: NDArray[np.uint64]) -> None:
        count = len(addresses)
        self.addresses = addresses
        self.ok, self.is_select = np.zeros((2, count), np.bool_)
        # An array each: one that is kept does not keep the others.
        columns = (np.zeros(count, np.uint64) for _ in range(6))
        self.g, self.next, self.waitlink, self.elem, self.c, self.ticket = columns
        for begin in range(0, count, _BATCH):
            self._read(runtime, slice(begin, begin + _BATCH))

    def _read(self, runtime: Runtime, part: slice) -> None:
        rows, self.ok[part] = pointers_to(runtime, "sudog", self.addresses[part])
        self.g[part], self.next[part] = rows["g"], rows["next"]
        self.waitlink[part], self.is_select[part] = rows["waitlink"], rows["isSelect"]
        self.elem[part], self.c[part] = pointer_in(rows["elem"]), pointer_in(rows["c"])
        self.ticket[part] = rows["ticket"]


def pointer_in(column: NDArray[Any]) -> NDArray[np.uint64]:
    """The pointer in a field that is one, or a struct around one (``maybeTraceablePtr``, since Go 1.26)."""
    while column.dtype.names:
        column = column[column.dtype.names[0]]
    return column


def pointers_to(
    runtime: Runtime, struct: str, addresses: NDArray[np.uint64]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The structures at `addresses`, and which of them could be read; no pointer is nil or odd."""
    dtype = runtime.layouts[struct]
    size = -(-dtype.itemsize // 8) * 8
    possible = (addresses != 0) & (addresses % np.uint64(8) == 0)
    rows, ok = np.zeros(len(addresses), dtype), np.zeros(len(addresses), np.bool_)
    some = np.flatnonzero(possible)
    gathered = runtime.memory.gather(addresses[some], size)
    rows[some], ok[some] = gathered.rows(dtype), gathered.ok
    return rows, ok


def index_of(values: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each of `values` an index of it in `among`, -1 if it is not there."""
    if not len(among):
        return np.full(len(values), -1, np.int64)
    order = np.argsort(among, kind="stable")
    at = np.minimum(np.searchsorted(among[order], values), len(among) - 1)
    return np.where(among[order[at]] == values, order[at], -1)


def ranked(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For entries of queues the first entry of their queue, and how many are before them.

    `following`: for each entry the index of the next one, -1 for none. Entries that follow each other in a
    circle have no first one: -1. By pointer doubling: as many steps as the logarithm of the longest
    queue.
    """
    count = len(following)
    before = np.full(count, -1, np.int64)
    has_next = np.flatnonzero(following >= 0)
    before[following[has_next]] = has_next
    jump = np.where(before >= 0, before, np.arange(count))
    position = (before >= 0).astype(np.int64)
    for _ in range(count.bit_length() + 1):
        further = jump[jump]
        if (further == jump).all():
            break
        position += position[jump]
        jump = further
    first = np.where(before[jump] < 0, jump, -1) if count else jump
    return first, np.where(first >= 0, position, 0)
