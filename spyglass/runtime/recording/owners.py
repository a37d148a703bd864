"""Whose stack an address is on, while goroutines come and go.

All goroutines are listed now and then; the one that a thread runs at a sample is read again at once. Two
readings of one goroutine with equal goid prove that it lived all the time between them: goids are not
used again (``runtime/proc.go: newproc1``), while a ``g`` and its stack are (``gfput, gfget``).
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, MemoryFault
from spyglass.runtime.goroutines.decode import (
    COPYSTACK,
    LEAKED,
    PREEMPTED,
    RUNNABLE,
    RUNNING,
    SCAN,
    SYSCALL,
    WAITING,
    fields_of,
    g_pointers,
    plausible,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime

__all__ = ["Seen", "StackOwners", "Words"]

#: The list is made anew once a second, later if it took long: a share of `_MAX_SHARE` of the time.
_LIST_SECONDS = 1.0
_MAX_SHARE = 0.02
#: After an address that is on no known stack, as often as every `_MISS_SECONDS`.
_MISS_SECONDS = 0.02
_PAGE_BITS = 12
#: As `spyglass.runtime.goroutines.decode.plausible`; the statuses of goroutines that can run or wait.
_MAX_GOID, _MAX_STACK = 1 << 48, 1 << 32
_FIELDS = ("stack.lo", "stack.hi", "sched.g", "goid", "labels", "atomicstatus", "sched.sp")
_LIVE = frozenset({RUNNABLE, RUNNING, SYSCALL, WAITING, COPYSTACK, PREEMPTED, LEAKED})


class Seen(NamedTuple):
    """A goroutine as it was read at `at_ns` (CLOCK_MONOTONIC): the address of its ``g``, its goid, the bounds
    of its stack, and what ``g.labels`` points at. `sp`: where it stopped running; 0 if it runs, or for one out
    of a list."""

    pointer: int
    goid: int
    low: int
    high: int
    labels: int
    at_ns: int
    sp: int = 0


class StackOwners:
    """The goroutines of one process by their stacks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._dtype = fields_of(runtime.layouts["g"], ("labels",))
        self._one = Words(self._dtype, _FIELDS)
        self._listed = _Listed(np.zeros(0, np.uint64), np.zeros(0, self._dtype), 0)
        self._next_list = self._next_miss = 0.0
        #: Pages that are of no stack that was listed, until all are listed again.
        self._missed: set[int] = set()
        #: Goroutines that were read one by one since they were listed, by the address of the ``g``.
        self._read: dict[int, Seen] = {}
        #: The same before that.
        self._older: dict[int, Seen] = {}

    def list_all(self) -> None:
        """List all goroutines if it is time for that."""
        if time.monotonic() >= self._next_list:
            self._missed.clear()
            self._list()

    def at(self, address: int) -> int:
        """The address of the ``g`` on whose stack `address` is; 0 if it is on none that is known."""
        found = self._listed.at(address)
        page = address >> _PAGE_BITS
        if not found and page not in self._missed and time.monotonic() >= self._next_miss:
            self._list()
            found = self._listed.at(address)
            if not found:  # a system stack
                self._missed.add(page)
        return found

    def seen(self, pointer: int, until_ns: int) -> Seen | None:
        """The goroutine with the ``g`` at `pointer` as it was last seen until `until_ns`; None if it was not."""
        for find in (self._read.get, self._listed.seen, self._older.get):
            sighting = find(pointer)
            if sighting is not None and sighting.at_ns <= until_ns:
                return sighting
        return None

    def read(self, pointer: int) -> Seen | None:
        """The goroutine with the ``g`` at `pointer` now; None if there is none."""
        if not pointer or pointer % 8:
            return None
        try:
            words = self._one.read(self._runtime.memory, pointer)
        except (MemoryFault, BadDataError):
            return None
        seen = _seen(pointer, words, time.monotonic_ns())
        if seen is not None:
            self._read[pointer] = seen
        return seen

    def _list(self) -> None:
        began = time.monotonic()
        pointers = g_pointers(self._runtime)
        gathered = self._runtime.memory.gather(pointers, self._dtype.itemsize)
        listed_ns = time.monotonic_ns()
        rows = gathered.rows(self._dtype)
        # Dead ones too: the next goroutine may get this g with its stack.
        has_stack = (rows["stack"]["lo"] != 0) & (rows["stack"]["lo"] < rows["stack"]["hi"])
        order = np.flatnonzero(gathered.ok & has_stack & plausible(pointers, rows))
        order = order[np.argsort(rows["stack"]["lo"][order], kind="stable")]
        self._listed = _Listed(pointers[order], rows[order], listed_ns)
        self._older, self._read = self._read, {}
        now = time.monotonic()
        self._next_miss = now + max(_MISS_SECONDS, (now - began) / _MAX_SHARE)
        self._next_list = now + max(_LIST_SECONDS, (now - began) / _MAX_SHARE)


class _Listed:
    """Goroutines that were listed at `at_ns`: the addresses of their ``g``, in the order of their stacks, and `rows`.

    One is found by bisection of plain numbers: numpy takes ten times as long for a single one.
    """

    def __init__(self, pointers: NDArray[np.uint64], rows: NDArray[Any], at_ns: int) -> None:
        self._at_ns = at_ns
        self._pointers = pointers.data
        stack = rows["stack"]
        self._lows, self._highs, self._goids, self._labels = (
            column.astype(np.uint64).data
            for column in (stack["lo"], stack["hi"], rows["goid"], rows["labels"])
        )
        order = np.argsort(pointers)
        self._by_pointer, self._rows = pointers[order].data, order.data

    def at(self, address: int) -> int:
        """As `StackOwners.at`, of those that were listed."""
        row = bisect_right(self._lows, address) - 1
        return self._pointers[row] if row >= 0 and address < self._highs[row] else 0

    def seen(self, pointer: int) -> Seen | None:
        """The goroutine with the ``g`` at `pointer`; None if it was not listed."""
        at = bisect_left(self._by_pointer, pointer)
        if at == len(self._by_pointer) or self._by_pointer[at] != pointer:
            return None
        row = self._rows[at]
        low, high = self._lows[row], self._highs[row]
        return Seen(pointer, self._goids[row], low, high, self._labels[row], self._at_ns)


class Words:
    """Fields of a structure, for a single one without numpy: 1 us, not 30."""

    def __init__(self, dtype: np.dtype[Any], names: Sequence[str]) -> None:
        places = [_place(dtype, name) for name in names]
        self._begin = min(at for at, _ in places)
        self._size = max(at + size for at, size in places) - self._begin
        self._places = [(at - self._begin, at - self._begin + size) for at, size in places]

    def read(self, memory: Memory, address: int) -> list[int]:
        """The fields of the structure at `address`. Raises `MemoryFault` or `BadDataError`."""
        raw = memory.read(address + self._begin, self._size)
        return [int.from_bytes(raw[at:end], "little") for at, end in self._places]


def _seen(pointer: int, words: Sequence[int], at_ns: int) -> Seen | None:
    """The goroutine whose `_FIELDS` were `words`, as `decode.alive` and `decode.plausible` tell; None if it is not
    one."""
    low, high, own, goid, labels, status, sp = words
    lives = 0 < goid < _MAX_GOID and status & ~SCAN in _LIVE
    if not lives or own not in (0, pointer) or low % 8 or not 0 < high - low <= _MAX_STACK:
        return None
    return Seen(pointer, goid, low, high, labels, at_ns, 0 if status & ~SCAN == RUNNING else sp)


def _place(dtype: np.dtype[Any], path: str) -> tuple[int, int]:
    """Where field `path` is in `dtype`, and its size in bytes."""
    at = 0
    for name in path.split("."):
        assert dtype.fields is not None
        dtype, offset = dtype.fields[name][:2]
        at += offset
    return at, dtype.itemsize
