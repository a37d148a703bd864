"""What goroutines wait on, of a document that is read, as columns of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec.structs import asdict

from spyglass.export import schema_types
from spyglass.export.document_rows import OBJECT_BYTES, BatchedArray, Memory, Numbers
from spyglass.model import NONE, Frame
from spyglass.wait_graph import (
    KINDS,
    MODES,
    OPERATIONS,
    UNKNOWN,
    UNRESOLVED,
    Connection,
    Holders,
    LookedAt,
    Stuck,
    Unresolved,
    WaitGraph,
    WaitObjects,
    Waits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ObjectRows"]

Columns = TypeVar("Columns", WaitObjects, Waits)

_KIND_NUMBERS = {word: number for number, word in enumerate(KINDS)}
_FLAGS = ("closed", "locked", "left_locked")
_NUMBERS = (
    "length", "capacity", "readers", "waiters_state", "counter", "deadline_in_ns", "due_in_ns",
)  # fmt: skip


class ObjectRows(BatchedArray):
    """The objects of a document, with who holds them."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("wait_objects", schema_types.WaitObject, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._parts: list[WaitObjects] = []
        self._names = Numbers()
        self._connections = Numbers()
        self._frames = Numbers()
        self._holders: list[tuple[int, int, int, int, int]] = []
        self._waits: list[Waits] = []

    def add(self, records: Sequence[schema_types.WaitObject]) -> None:
        """Add the next objects."""
        known = self._known()
        part = WaitObjects(
            kind=np.array([_KIND_NUMBERS[each.kind] for each in records], np.uint8),
            address=np.array([int(each.address or "0", 16) for each in records], np.uint64),
            name=_interned(self._names, (each.name for each in records)),
            type=_interned(self._names, (each.type for each in records)),
            fd=_column((each.fd for each in records), NONE, np.int32),
            connection=_interned(self._connections, map(_connection, records)),
            **{name: _values(records, name, UNKNOWN, np.int64) for name in _NUMBERS},
            **{name: _values(records, name, NONE, np.int8) for name in _FLAGS},
        )
        self._parts.append(part)
        for row, each in enumerate(records, self.count):
            self._holders += [self._holder(row, holder) for holder in each.holders]
        self._waits.append(_waits(records, self.count))
        size = sum(getattr(self._waits[-1], name).nbytes for name in Waits.columns())
        size += sum(getattr(part, name).nbytes for name in WaitObjects.columns())
        self._memory.need(2 * size + 4 * OBJECT_BYTES * (self._known() - known))
        self.count += len(records)

    def graph(self, rest: schema_types.Waits) -> WaitGraph:
        """The graph of these objects, and of the rest."""
        held = np.array(self._holders, np.int64).reshape(-1, 5).T
        kinds = Holders.columns()
        holders = {
            name: values.astype(kinds[name].dtype) for name, values in zip(kinds, held, strict=True)
        }
        return WaitGraph(
            objects=_whole(self._parts, WaitObjects),
            waits=_whole(self._waits, Waits),
            holders=Holders(**holders),
            unresolved=_unresolved(rest.unresolved),
            stuck=_stuck(rest.stuck, rest.not_stuck),
            looked_at=LookedAt(**asdict(rest.looked_at)),
            names=tuple(self._names),
            connections=tuple(self._connections),
            frames=tuple(self._frames),
        )

    def _known(self) -> int:
        others = len(self._connections) + len(self._frames) + len(self._holders)
        return len(self._names) + others

    def _holder(self, row: int, holder: schema_types.Holder) -> tuple[int, int, int, int, int]:
        frame = holder.frame
        place = (
            NONE
            if frame is None
            else self._frames[
                Frame(
                    frame.function, frame.file, frame.line, frame.pc, frame.inlined, frame.hidden,
                    frame.offset,
                )
            ]
        )  # fmt: skip
        return row, holder.goroutine, MODES.index(holder.mode), holder.grade, place


def _waits(records: Sequence[schema_types.WaitObject], first: int) -> Waits:
    """Who waits on the objects `records`, the first of which has the number `first`."""
    found = [
        (goroutine, row, number)
        for row, each in enumerate(records, first)
        for number, operation in enumerate(OPERATIONS)
        for goroutine in getattr(each.waiters, operation) or ()
    ]
    columns = np.array(found, np.int64).reshape(-1, 3).T
    kinds = Waits.columns()
    named = zip(kinds, columns, strict=True)
    return Waits(**{name: values.astype(kinds[name].dtype) for name, values in named})


def _whole(parts: Sequence[Columns], kind: type[Columns]) -> Columns:
    """`parts` as one."""
    names = kind.columns()
    if not parts:
        empty: Columns = kind.of(0)
        return empty
    return kind(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _connection(each: schema_types.WaitObject) -> Connection | None:
    if each.target is None:
        return None
    return Connection(
        each.target, each.local, each.remote, each.connection, each.receive_queue_bytes,
        each.send_queue_bytes,
    )  # fmt: skip


def _interned(numbers: Numbers, values: Iterable[Hashable]) -> NDArray[np.int32]:
    return np.array([NONE if each is None else numbers[each] for each in values], np.int32)


def _values(records: Sequence[Any], name: str, none: int, kind: type[np.generic]) -> NDArray[Any]:
    return _column((getattr(each, name) for each in records), none, kind)


def _column(values: Iterable[int | None], none: int, kind: type[np.generic]) -> NDArray[Any]:
    return np.array([none if each is None else each for each in values], kind)


def _unresolved(records: Sequence[schema_types.Unresolved]) -> Unresolved:
    return Unresolved(
        goroutine=np.array([each.goroutine for each in records], np.uint64),
        why=np.array([UNRESOLVED.index(each.why) for each in records], np.uint8),
    )


def _stuck(stuck: Sequence[int], not_stuck: Sequence[int]) -> Stuck:
    goroutines = np.array([*stuck, *not_stuck], np.uint64)
    return Stuck(goroutine=goroutines, stuck=np.arange(len(goroutines)) < len(stuck))
