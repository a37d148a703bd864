"""What objects that goroutines wait on say of themselves: columns of `WaitObjects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import NONE
from spyglass.runtime.waiting.found import Found, kind
from spyglass.runtime.waiting.sudogs import pointers_to
from spyglass.runtime.waiting.type_names import type_names
from spyglass.wait_graph import UNKNOWN, WaitObjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.waiting.population import Population

__all__ = ["Names", "read_state"]

Columns = dict[str, "NDArray[Any]"]

#: Of a Mutex (internal/sync/mutex.go): who waits is counted above three bits, the first of which says that it is locked.
_LOCKED, _WAITERS_SHIFT = 1, 3
#: ``rwmutexMaxReaders`` (sync/rwmutex.go): subtracted from the count of readers while a writer waits, or writes.
_MAX_READERS = 1 << 30
#: In the state of a WaitGroup the counter is above the count of waiters, whose highest bit is a flag since
#: Go 1.25 (sync/waitgroup.go).
_WAITERS_MASK = (1 << 31) - 1
#: More elements than any buffer has.
_MAX_ELEMENTS = 1 << 48


class Names:
    """Names of objects and types, each with a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of `text`; `NONE` if it is empty."""
        return self._numbers.setdefault(text, len(self._numbers)) if text else NONE

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts by their numbers."""
        return tuple(self._numbers)


def read_state(population: Population, objects: Found, names: Names) -> Columns:
    """The columns of `WaitObjects` for `objects` that their own memory tells."""
    known = WaitObjects.columns()
    columns: Columns = {
        name: np.full(len(objects), column.default, column.dtype)
        for name, column in known.items()
        if name not in ("kind", "address")
    }
    some = np.flatnonzero(objects.reason >= 0)
    texts = np.array([names.number(text) for text in population.reasons] or [NONE], np.int32)
    columns["name"][some] = texts[objects.reason[some]]
    for name, read in _READERS.items():
        rows = np.flatnonzero((objects.kind == kind(name)) & (objects.address != 0))
        if len(rows):
            for column, values in read(population.runtime, objects.address[rows], names).items():
                columns[column][rows] = values
    return columns


def _channels(runtime: Runtime, addresses: NDArray[np.uint64], names: Names) -> Columns:
    rows, ok = pointers_to(runtime, "hchan", addresses)
    length, capacity = rows["qcount"].astype(np.int64), rows["dataqsiz"].astype(np.int64)
    ok &= (length >= 0) & (length <= capacity) & (capacity < _MAX_ELEMENTS)
    element = np.where(ok, rows["elemtype"].astype(np.uint64), np.uint64(0))
    return {
        "length": np.where(ok, length, UNKNOWN),
        "capacity": np.where(ok, capacity, UNKNOWN),
        "closed": np.where(ok, rows["closed"] != 0, -1),
        "type": _numbers(names, [_of_channel(text) for text in type_names(runtime, element)]),
    }


def _of_channel(element: str) -> str:
    """The type of a channel of `element`, as Go writes it; "" if that is not known."""
    if element.startswith("<-"):
        return f"chan ({element})"
    return f"chan {element}" if element else ""


def _numbers(names: Names, texts: list[str]) -> NDArray[np.int32]:
    return np.array([names.number(text) for text in texts], np.int32)


def _mutexes(runtime: Runtime, addresses: NDArray[np.uint64], _: Names) -> Columns:
    return _mutex_state(*_words32(runtime.memory, addresses, 1))


def _onces(runtime: Runtime, addresses: NDArray[np.uint64], _: Names) -> Columns:
    """A Once has its Mutex behind the word that says that it is done (since Go 1.13)."""
    words, ok = _words32(runtime.memory, addresses, 2)
    return _mutex_state(words[:, 1:], ok)


def _mutex_state(words: NDArray[np.int32], ok: NDArray[np.bool_]) -> Columns:
    state = words[:, 0].astype(np.int64)
    return {
        "locked": np.where(ok, state & _LOCKED, -1),
        "waiters_state": np.where(ok, (state & 0xFFFFFFFF) >> _WAITERS_SHIFT, UNKNOWN),
    }


def _rwmutexes(runtime: Runtime, addresses: NDArray[np.uint64], _: Names) -> Columns:
    """sync/rwmutex.go: {w Mutex; writerSem, readerSem uint32; readerCount, readerWait int32}.

    While a writer waits for the readers to leave, `readerWait` counts them; when it has the lock, that is 0. The
    count of readers has those who wait for it, too. Further writers wait for the Mutex.
    """
    words, ok = _words32(runtime.memory, addresses, 6)
    count, leaving = words[:, 4].astype(np.int64), words[:, 5].astype(np.int64)
    writer = count < 0
    readers = np.where(writer, leaving, count)
    waiting = np.where(writer, count + _MAX_READERS - leaving, 0)
    waiting += (writer & (leaving > 0)) + (words[:, 0].astype(np.int64) >> _WAITERS_SHIFT)
    good = ok & (readers >= 0) & (waiting >= 0)
    return {
        "locked": np.where(good, writer & (leaving == 0), -1),
        "readers": np.where(good, readers, UNKNOWN),
        "waiters_state": np.where(good, waiting, UNKNOWN),
    }


def _wait_groups(runtime: Runtime, addresses: NDArray[np.uint64], _: Names) -> Columns:
    """Up to Go 1.17 the state of one at an odd multiple of 4 is behind its semaphore."""
    state = addresses + (addresses & np.uint64(4))
    words, ok = _words32(runtime.memory, state, 2)
    waiters = words[:, 0].astype(np.int64) & _WAITERS_MASK
    return {
        "counter": np.where(ok, words[:, 1], UNKNOWN),
        "waiters_state": np.where(ok, waiters, UNKNOWN),
    }


def _words32(
    memory: Memory, addresses: NDArray[np.uint64], count: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """`count` words of 4 bytes at each of `addresses` (multiples of 4), and which could be read."""
    odd = (addresses >> np.uint64(2)) & np.uint64(1)
    lanes = count // 2 + 1
    gathered = memory.gather(addresses - odd * np.uint64(4), lanes * 8)
    table = gathered.words(lanes).view(np.int32)
    return table[
        np.arange(len(table))[:, None], odd.astype(np.int64)[:, None] + np.arange(count)
    ], gathered.ok


_READERS: dict[str, Callable[[Runtime, NDArray[np.uint64], Names], Columns]] = {
    "channel": _channels,
    "mutex": _mutexes,
    "once": _onces,
    "rwmutex": _rwmutexes,
    "waitgroup": _wait_groups,
}
