"""What goroutines wait on, of a document that is read, as columns of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import asdict

from spyglass.export import schema_types
from spyglass.export.document_rows import OBJECT_BYTES, BatchedArray, Memory, Numbers
from spyglass.export.schema_types import misfit
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

__all__ = ["ObjectRows", "WaiterRows", "wait_graph"]

_KIND_NUMBERS = {word: number for number, word in enumerate(KINDS)}
_OPERATION_NUMBERS = {word: number for number, word in enumerate(OPERATIONS)}
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
        size = sum(getattr(part, name).nbytes for name in WaitObjects.columns())
        self._memory.need(2 * size + 4 * OBJECT_BYTES * (self._known() - known))
        self.count += len(records)

    def graph(self, waits: Waits, rest: schema_types.Waits) -> WaitGraph:
        """The graph of these objects, of who waits on them, and of the rest."""
        parts = self._parts or [WaitObjects.of(0)]
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in WaitObjects.columns()
        }
        held = np.array(self._holders, np.int64).reshape(-1, 5).T
        kinds = Holders.columns()
        holders = {
            name: values.astype(kinds[name].dtype) for name, values in zip(kinds, held, strict=True)
        }
        return WaitGraph(
            objects=WaitObjects(**columns),
            waits=waits,
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


class WaiterRows(BatchedArray):
    """Who waits on which object, of a document."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("waiters", schema_types.Waiter, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._parts: list[Waits] = []

    def add(self, records: Sequence[schema_types.Waiter]) -> None:
        """Add the next ones."""
        objects = np.array([each.object for each in records], np.int64)
        self._check(objects, np.iinfo(np.int32).max, self.count)
        self._parts.append(
            Waits(
                goroutine=np.array([each.goroutine for each in records], np.uint64),
                object=objects.astype(np.int32),
                operation=np.array(
                    [_OPERATION_NUMBERS[each.operation] for each in records], np.uint8
                ),
            )
        )
        self._memory.need(2 * 13 * len(records))
        self.count += len(records)

    def finish(self, object_count: int) -> Waits:
        """All of them, which wait on `object_count` objects."""
        parts = self._parts or [Waits.of(0)]
        waits = Waits(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in Waits.columns()
            }
        )
        self._check(waits.object, object_count, 0)
        ordered: Waits = waits.select(np.argsort(waits.object, kind="stable"))
        return ordered

    def _check(self, objects: NDArray[Any], object_count: int, first: int) -> None:
        for row in np.flatnonzero(objects >= object_count)[:1].tolist():
            number = int(objects[row])
            raise misfit(f"/waiters/{first + row}/object", f"there is no object {number:,}")


def wait_graph(
    objects: ObjectRows, waiters: WaiterRows, rest: schema_types.Waits | None
) -> WaitGraph | None:
    """The graph of a document; None if it has none."""
    waits = waiters.finish(objects.count)
    return None if rest is None else objects.graph(waits, rest)


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
