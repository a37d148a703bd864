"""What goroutines wait on, and who could wake them: plain data beside a snapshot.

Objects, waits and holders are columns (numpy arrays), because a program may have a million of each.
Goroutines are referred to by their ids, which stay the same when filters leave some of them out.
The JSON form is described in ``export/waits.schema.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from spyglass.frozen import Frozen
from spyglass.model import NONE, Frame
from spyglass.table import Table, column

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "EVIDENCE",
    "KINDS",
    "MODES",
    "OPERATIONS",
    "UNKNOWN",
    "UNRESOLVED",
    "Connection",
    "Holder",
    "Holders",
    "LookedAt",
    "Stuck",
    "Unresolved",
    "WaitGraph",
    "WaitObject",
    "WaitObjects",
    "Waiter",
    "Waits",
]

Value = TypeVar("Value")

#: Kinds of objects; a column holds the index. "timer": a sleep, or a timer that a goroutine waits for;
#: "nothing": what cannot happen (``select {}``, a nil channel); "runtime": an event inside the runtime.
KINDS: tuple[str, ...] = (
    "channel",
    "mutex",
    "rwmutex",
    "waitgroup",
    "cond",
    "once",
    "semaphore",
    "fd",
    "timer",
    "nothing",
    "runtime",
)

#: What a goroutine wants to do with the object.
OPERATIONS: tuple[str, ...] = (
    "send",
    "receive",
    "lock",
    "rlock",
    "wait",
    "read",
    "write",
    "accept",
    "connect",
    "sleep",
)

#: How an object is held: a lock for writing (or a Mutex), a lock for reading, a WaitGroup's Done to come.
MODES: tuple[str, ...] = ("write", "read", "done")

#: The evidence for a holder by its grade; 0 is not used. Grades 1 to 3 name a holder, 4 a likely one,
#: 5 only a reference.
EVIDENCE: tuple[str, ...] = (
    "",
    "deferred unlock pending",
    "locked here on every path",
    "locked here on some paths",
    "refers to it, and unlocks further on",
    "has a reference",
)

#: Why it is not known what a waiting goroutine waits on.
UNRESOLVED: tuple[str, ...] = ("moved while it was read", "not understood")

#: In a column: the value is not known. Not `NONE`, because values may be negative.
UNKNOWN = int(np.iinfo(np.int64).min)


class Connection(Frozen):
    """What a file descriptor is of. None: not known, or the kind has none.

    `target`: "socket:tcp", "socket:unix", "pipe", "eventfd", "tty", ... `local`, `remote`: addresses as
    "10.0.3.7:5432", "[::1]:80", or a path. `state`: the kernel's word for TCP ("ESTABLISHED").
    Queues in bytes, of TCP connections that are established: received and not yet read, sent and not yet acknowledged.
    """

    target: str
    local: str | None = None
    remote: str | None = None
    state: str | None = None
    receive_queue_bytes: int | None = None
    send_queue_bytes: int | None = None


@dataclass(init=False, eq=False, repr=False)
class WaitObjects(Table):
    """What goroutines wait on, each object once.

    ==============  ======  ================================================================
    column          dtype   meaning
    ==============  ======  ================================================================
    kind            uint8   index into `KINDS`
    address         uint64  where it is (of a Mutex inside an RWMutex or a Once: of that); 0: nowhere
    name            int32   index into `WaitGraph.names`: "main.(*pool).mu", a global; `NONE`
    type            int32   index into `WaitGraph.names`: "chan main.job"; `NONE`
    length          int64   of a channel's buffer, in elements
    capacity        int64   of a channel's buffer, in elements
    closed          int8    whether a channel is closed
    locked          int8    whether a lock's state says that it is held for writing
    readers         int64   how many hold an RWMutex for reading
    waiters_state   int64   how many wait, as the object's own state counts them
    counter         int64   of a WaitGroup
    fd              int32   file descriptor, or `NONE`
    connection      int32   index into `WaitGraph.connections`, or `NONE`
    deadline_in_ns  int64   when an IO wait ends by itself; negative: due
    due_in_ns       int64   when a timer fires; negative: due
    left_locked     int8    locked, and no goroutine that could unlock it was found
    ==============  ======  ================================================================

    int64 columns: `UNKNOWN` where there is no value. int8 columns: 0 no, 1 yes, -1 not known.
    """

    kind: NDArray[np.uint8] = column(np.uint8)
    address: NDArray[np.uint64] = column(np.uint64)
    name: NDArray[np.int32] = column(np.int32, NONE)
    type: NDArray[np.int32] = column(np.int32, NONE)
    length: NDArray[np.int64] = column(np.int64, UNKNOWN)
    capacity: NDArray[np.int64] = column(np.int64, UNKNOWN)
    closed: NDArray[np.int8] = column(np.int8, -1)
    locked: NDArray[np.int8] = column(np.int8, -1)
    readers: NDArray[np.int64] = column(np.int64, UNKNOWN)
    waiters_state: NDArray[np.int64] = column(np.int64, UNKNOWN)
    counter: NDArray[np.int64] = column(np.int64, UNKNOWN)
    fd: NDArray[np.int32] = column(np.int32, NONE)
    connection: NDArray[np.int32] = column(np.int32, NONE)
    deadline_in_ns: NDArray[np.int64] = column(np.int64, UNKNOWN)
    due_in_ns: NDArray[np.int64] = column(np.int64, UNKNOWN)
    left_locked: NDArray[np.int8] = column(np.int8, -1)


@dataclass(init=False, eq=False, repr=False)
class Waits(Table):
    """Who waits on which object: a row for each goroutine and object (a ``select`` has several), ordered by
    the objects.

    `goroutine` (uint64): goid. `object` (int32): row of `WaitObjects`. `operation` (uint8): index into
    `OPERATIONS`. Rows of one object are in the order of its queue, first to be woken first, where that is
    known.
    """

    goroutine: NDArray[np.uint64] = column(np.uint64)
    object: NDArray[np.int32] = column(np.int32)
    operation: NDArray[np.uint8] = column(np.uint8)


@dataclass(init=False, eq=False, repr=False)
class Holders(Table):
    """Who holds which object, ordered by the objects.

    `object` (int32): row of `WaitObjects`. `goroutine` (uint64): goid. `mode` (uint8): index into `MODES`.
    `grade` (uint8): index into `EVIDENCE`. `frame` (int32): index into `WaitGraph.frames`, the call that
    holds it, or `NONE`.
    """

    object: NDArray[np.int32] = column(np.int32)
    goroutine: NDArray[np.uint64] = column(np.uint64)
    mode: NDArray[np.uint8] = column(np.uint8)
    grade: NDArray[np.uint8] = column(np.uint8)
    frame: NDArray[np.int32] = column(np.int32, NONE)


@dataclass(init=False, eq=False, repr=False)
class Unresolved(Table):
    """Waiting goroutines whose object is not known: `goroutine` (uint64, goid), `why` (uint8: index into
    `UNRESOLVED`)."""

    goroutine: NDArray[np.uint64] = column(np.uint64)
    why: NDArray[np.uint8] = column(np.uint8)


@dataclass(init=False, eq=False, repr=False)
class Stuck(Table):
    """Goroutines of which it was decided whether something can wake them: `goroutine` (uint64, goid),
    `stuck` (bool): nothing that is alive can wake it. A goroutine that is not in it was not looked at."""

    goroutine: NDArray[np.uint64] = column(np.uint64)
    stuck: NDArray[np.bool_] = column(np.bool_)


class LookedAt(Frozen):
    """What was looked at to decide which goroutines nothing can wake.

    `stacks`, `globals`: whether all of them were; `heap_bytes`: how much of the heap that holds pointers;
    `heap_complete`: whether that was all of it; `marks`: how often the heap was marked (3 times or more if
    something is stuck in a process that runs).
    """

    stacks: bool = False
    globals: bool = False
    heap_bytes: int = 0
    heap_complete: bool = False
    marks: int = 0


class Waiter(NamedTuple):
    """A goroutine (goid) that waits on an object, and what it wants to do: one of `OPERATIONS`."""

    goroutine: int
    operation: str


class Holder(NamedTuple):
    """A goroutine (goid) that holds an object: how (`MODES`), the grade of the `evidence` for it (`EVIDENCE`), and
    the call that holds it, if it is known. Grades 4 and 5 do not make it certain."""

    goroutine: int
    mode: str
    grade: int
    evidence: str
    frame: Frame | None


class WaitObject(NamedTuple):
    """One row of `WaitObjects`, with its indices looked up. None: not known, or its kind has none."""

    kind: str
    address: int
    name: str | None
    type: str | None
    length: int | None
    capacity: int | None
    closed: bool | None
    locked: bool | None
    readers: int | None
    waiters_state: int | None
    counter: int | None
    fd: int | None
    connection: Connection | None
    deadline_in_ns: int | None
    due_in_ns: int | None
    left_locked: bool | None
    waiters: tuple[Waiter, ...]
    holders: tuple[Holder, ...]


class WaitGraph(Frozen, eq=False):
    """What goroutines wait on, who holds it, and who is stuck.

    Iterating gives each object as a `WaitObject`. `Waits` and `Holders` are ordered by their objects.
    """

    objects: WaitObjects
    waits: Waits
    holders: Holders
    unresolved: Unresolved
    stuck: Stuck
    looked_at: LookedAt = LookedAt()
    names: tuple[str, ...] = ()
    connections: tuple[Connection, ...] = ()
    frames: tuple[Frame, ...] = ()

    def __iter__(self) -> Iterator[WaitObject]:
        return (self.object(row) for row in range(len(self.objects)))

    def object(self, row: int) -> WaitObject:
        """Row `row` of `objects`, with everything looked up."""
        o = self.objects
        return WaitObject(
            kind=KINDS[int(o.kind[row])],
            address=int(o.address[row]),
            name=_at(self.names, o.name[row]),
            type=_at(self.names, o.type[row]),
            length=_number(o.length[row]),
            capacity=_number(o.capacity[row]),
            closed=_answer(o.closed[row]),
            locked=_answer(o.locked[row]),
            readers=_number(o.readers[row]),
            waiters_state=_number(o.waiters_state[row]),
            counter=_number(o.counter[row]),
            fd=int(o.fd[row]) if o.fd[row] >= 0 else None,
            connection=_at(self.connections, o.connection[row]),
            deadline_in_ns=_number(o.deadline_in_ns[row]),
            due_in_ns=_number(o.due_in_ns[row]),
            left_locked=_answer(o.left_locked[row]),
            waiters=self._waiters(row),
            holders=self._holders(row),
        )

    def _waiters(self, row: int) -> tuple[Waiter, ...]:
        begin, end = np.searchsorted(self.waits.object, [row, row + 1])
        goids = self.waits.goroutine[begin:end].tolist()
        operations = self.waits.operation[begin:end].tolist()
        return tuple(
            Waiter(goid, OPERATIONS[operation])
            for goid, operation in zip(goids, operations, strict=True)
        )

    def _holders(self, row: int) -> tuple[Holder, ...]:
        begin, end = np.searchsorted(self.holders.object, [row, row + 1])
        return tuple(
            Holder(
                int(self.holders.goroutine[at]),
                MODES[int(self.holders.mode[at])],
                int(self.holders.grade[at]),
                EVIDENCE[int(self.holders.grade[at])],
                _at(self.frames, self.holders.frame[at]),
            )
            for at in range(begin, end)
        )


def _at(values: tuple[Value, ...], index: np.int32) -> Value | None:
    return values[int(index)] if index >= 0 else None


def _number(value: np.int64) -> int | None:
    return None if value == UNKNOWN else int(value)


def _answer(value: np.int8) -> bool | None:
    return None if value < 0 else bool(value)
