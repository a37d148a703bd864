"""What objects that goroutines wait on say of themselves: columns of `WaitObjects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import distinct, numbered
from spyglass.model import NONE
from spyglass.runtime.heap.type_names import type_names
from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.polls import deadlines_in_ns
from spyglass.runtime.waiting.sudogs import pointers_to
from spyglass.runtime.waiting.timers import channel_dues, timer_dues
from spyglass.wait_graph import UNKNOWN, WaitObjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets.target_process import TargetProcess
    from spyglass.wait_graph import Connection

__all__ = ["StateReader"]

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
_MAX_FDS = 1 << 30


class _Names:
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


class StateReader:
    """Reads what objects that goroutines of `population`, which are of `process`, wait on say of themselves.

    `names` and `connections` get what the columns refer to.
    """

    def __init__(self, population: Population, process: TargetProcess) -> None:
        self._population = population
        self._process = process
        self._runtime = population.runtime
        self._memory = population.runtime.memory
        self._now_ns = population.moment.now_ns
        self.names = _Names()
        self.connections: list[Connection] = []

    def read(self, objects: Found) -> WaitObjects:
        """`objects`, each once, with what their own memory tells."""
        known = WaitObjects.columns()
        columns = {
            name: np.full(len(objects), column.default, column.dtype)
            for name, column in known.items()
        }
        columns["kind"], columns["address"] = objects.kind, objects.address
        some = np.flatnonzero(objects.reason >= 0)
        texts = _numbers(self.names, list(self._population.reasons))
        columns["name"][some] = texts[objects.reason[some]]
        for name, read in _READERS.items():
            rows = np.flatnonzero((objects.kind == kind(name)) & (objects.address != 0))
            if len(rows):
                for column, values in read(self, objects.select(rows)).items():
                    columns[column][rows] = values
        return WaitObjects(**columns)

    def channels(self, objects: Found) -> Columns:
        """Buffers and types of channels, and when a timer feeds them."""
        rows, ok = pointers_to(self._runtime, "hchan", objects.address)
        length, capacity = rows["qcount"].astype(np.int64), rows["dataqsiz"].astype(np.int64)
        ok &= (length >= 0) & (length <= capacity) & (capacity < _MAX_ELEMENTS)
        element = np.where(ok, rows["elemtype"].astype(np.uint64), np.uint64(0))
        elements, which = numbered(element)
        types = type_names(self._runtime, elements)
        numbers = _numbers(self.names, [_of_channel(text) for text in types])
        timed = np.array([text == "time.Time" for text in types], np.bool_)[which]
        due = self._dues(objects.address, rows, timed & (capacity == 1))
        if "timer" in (rows.dtype.names or ()):
            # What is in the buffer, no code sees (runtime/chan.go: ``chanlen``, ``chancap``).
            length, capacity = (
                np.where(rows["timer"] != 0, 0, each) for each in (length, capacity)
            )
        return {
            "length": np.where(ok, length, UNKNOWN),
            "capacity": np.where(ok, capacity, UNKNOWN),
            "closed": np.where(ok, rows["closed"] != 0, -1),
            "type": numbers[which],
            "due_in_ns": due,
        }

    def _dues(
        self, addresses: NDArray[np.uint64], rows: NDArray[Any], timed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """When a timer feeds the channels `rows`, of those that may be `timed`."""
        some = np.flatnonzero(timed)
        named = "timer" in (rows.dtype.names or ())
        timers = rows["timer"][some].astype(np.uint64) if named else np.zeros(len(some), np.uint64)
        dues = np.full(len(rows), UNKNOWN, np.int64)
        if len(some):
            dues[some] = channel_dues(self._runtime, addresses[some], timers, self._now_ns)
        return dues

    def mutexes(self, objects: Found) -> Columns:
        """The state of Mutexes."""
        return _mutex_state(*_words32(self._memory, objects.address, 1))

    def onces(self, objects: Found) -> Columns:
        """A Once has its Mutex behind the word that says that it is done (since Go 1.13)."""
        words, ok = _words32(self._memory, objects.address, 2)
        return _mutex_state(words[:, 1:], ok)

    def rwmutexes(self, objects: Found) -> Columns:
        """sync/rwmutex.go: {w Mutex; writerSem, readerSem uint32; readerCount, readerWait int32}.

        While a writer waits for the readers to leave, `readerWait` counts them; when it has the lock, that
        is 0. The count of readers has those who wait for it, too. Further writers wait for the Mutex.
        """
        words, ok = _words32(self._memory, objects.address, 6)
        count, leaving = words[:, 4].astype(np.int64), words[:, 5].astype(np.int64)
        writer = count < 0
        readers = np.where(writer, leaving, count)
        waiting = np.where(writer, count + _MAX_READERS - leaving, 0)
        good = ok & (readers >= 0) & (waiting >= 0)
        waiting += writer & (leaving > 0)
        waiting += (words[:, 0].astype(np.int64) & 0xFFFFFFFF) >> _WAITERS_SHIFT
        return {
            "locked": np.where(good, writer & (leaving == 0), -1),
            "readers": np.where(good, readers, UNKNOWN),
            "waiters_state": np.where(good, waiting, UNKNOWN),
        }

    def wait_groups(self, objects: Found) -> Columns:
        """Up to Go 1.17 the state of one at an odd multiple of 4 is behind its semaphore."""
        state = objects.address + (objects.address & np.uint64(4))
        words, ok = _words32(self._memory, state, 2)
        waiters = words[:, 0].astype(np.int64) & _WAITERS_MASK
        return {
            "counter": np.where(ok, words[:, 1].astype(np.int64), UNKNOWN),
            "waiters_state": np.where(ok, waiters, UNKNOWN),
        }

    def conditions(self, objects: Found) -> Columns:
        """sync/cond.go: {L Locker; notify {wait, notify uint32; ...}}, of which the difference waits."""
        words, ok = _words32(self._memory, objects.address + np.uint64(16), 2)
        waiting = (words[:, 0] - words[:, 1]).astype(np.int64)
        return {"waiters_state": np.where(ok & (waiting >= 0), waiting, UNKNOWN)}

    def timers(self, objects: Found) -> Columns:
        """When timers fire."""
        return {"due_in_ns": timer_dues(self._runtime, objects.address, self._now_ns)}

    def poll_descs(self, objects: Found) -> Columns:
        """File descriptors, and what they are of."""
        rows, ok = pointers_to(self._runtime, "pollDesc", objects.address)
        fds = rows["fd"].astype(np.uint64)
        columns = self._files(fds, ok)
        columns["deadline_in_ns"] = np.where(ok, deadlines_in_ns(rows, self._now_ns), UNKNOWN)
        return columns

    def semaphores(self, objects: Found) -> Columns:
        """Of those that are an ``internal/poll.FD`` {fdmu fdMutex (16 bytes); Sysfd int} the file descriptor."""
        addresses = np.where(objects.operation == operation("wait"), 0, objects.address)
        some = np.flatnonzero(addresses)
        gathered = self._memory.gather(addresses[some] + np.uint64(16), 8)
        fds, ok = np.zeros(len(addresses), np.uint64), np.zeros(len(addresses), np.bool_)
        fds[some], ok[some] = gathered.words(1)[:, 0], gathered.ok
        return self._files(fds, ok)

    def _files(self, fds: NDArray[np.uint64], ok: NDArray[np.bool_]) -> Columns:
        known = ok & (fds < _MAX_FDS)
        column = np.where(known, fds, 0).astype(np.int32)
        found = self._process.connections(distinct(column[known]).tolist())
        first = len(self.connections)
        self.connections += found.values()
        number = {fd: first + at for at, fd in enumerate(found)}
        numbers = [number.get(fd, NONE) for fd in np.where(known, column, NONE).tolist()]
        return {"fd": np.where(known, column, NONE), "connection": np.array(numbers, np.int32)}


def _of_channel(element: str) -> str:
    """The type of a channel of `element`, as Go writes it; "" if that is not known."""
    if element.startswith("<-"):
        return f"chan ({element})"
    return f"chan {element}" if element else ""


def _numbers(names: _Names, texts: list[str]) -> NDArray[np.int32]:
    return np.array([names.number(text) for text in texts], np.int32)


def _mutex_state(words: NDArray[np.int32], ok: NDArray[np.bool_]) -> Columns:
    state = words[:, 0].astype(np.int64)
    return {
        "locked": np.where(ok, state & _LOCKED, -1),
        "waiters_state": np.where(ok, (state & 0xFFFFFFFF) >> _WAITERS_SHIFT, UNKNOWN),
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


_READERS: dict[str, Callable[[StateReader, Found], Columns]] = {
    "channel": StateReader.channels,
    "mutex": StateReader.mutexes,
    "once": StateReader.onces,
    "rwmutex": StateReader.rwmutexes,
    "waitgroup": StateReader.wait_groups,
    "cond": StateReader.conditions,
    "timer": StateReader.timers,
    "fd": StateReader.poll_descs,
    "semaphore": StateReader.semaphores,
}
