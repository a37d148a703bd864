"""Which objects of the heap are meant by a type, or by an address."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import distinct
from spyglass.errors import MissingInfo, SpyglassError, TargetError
from spyglass.runtime.heap.allocated import allocated_objects
from spyglass.runtime.heap.shapes import MAX_SHAPED_BYTES, counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.value_descriptors import ValueDescriptors
    from spyglass.memory.base import Memory
    from spyglass.runtime.heap.spans import ObjectNumbers, Spans
    from spyglass.runtime.heap.type_closure import TypeClosure
    from spyglass.runtime.heap.type_reader import TypeReader

__all__ = ["WantedObjects", "address_of", "at_address", "of_type"]

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


class WantedObjects(NamedTuple):
    """Numbers of the objects that are meant (uint32), their size in all, how many more are `possible`, whether all spans
    were looked at, and how many different types have the name."""

    numbers: NDArray[np.uint32]
    bytes: int
    possible: int = 0
    complete: bool = True
    types: int = 1


def address_of(text: str) -> int | None:
    """The address that `text` is, such as 0xc000132018; None if it is none, but a type."""
    return int(text, 16) if _ADDRESS.fullmatch(text) else None


def at_address(memory: Memory, numbers: ObjectNumbers, address: int) -> WantedObjects:
    """The object that `address` is in. Raises `TargetError` if there is none."""
    spans = numbers.spans
    (row,) = _span_of(spans, np.array([address], np.uint64)).tolist()
    if row >= 0:
        index = (address - int(spans.start[row])) // int(spans.object_bytes[row])
        span = spans.select(np.array([row]))
        if index < int(span.count[0]) and allocated_objects(memory, span)[0, index]:
            number = np.array([numbers.first[row] + index], np.uint32)
            return WantedObjects(number, int(span.object_bytes[0]))
    raise TargetError(f"there is no object of the Go heap at {address:#x}")


def _span_of(spans: Spans, address: NDArray[np.uint64]) -> NDArray[np.int64]:
    """As `Spans.find`, for spans in any order."""
    order = np.argsort(spans.start)
    at = spans.select(order).find(address)
    return np.where(at >= 0, order[at], -1)


def of_type(
    reader: TypeReader,
    types: ValueDescriptors,
    closure: TypeClosure,
    numbers: ObjectNumbers,
    name: str,
    until: float,
) -> WantedObjects:
    """The objects of type `name`, as `TypeRow.type` has it, which are looked for until that moment of ``time.monotonic``.

    `closure`: of the same spans; all types are added to it. Raises `TargetError` if the program has no such type,
    `MissingInfo` if it has no pointers: of such objects the runtime keeps no type.
    """
    kinds = _kinds(reader, types, name)
    if not kinds:
        raise TargetError(
            f"the program has no objects of a type {name}",
            "spyglass memory --types lists types, as in main.Config or []main.Config",
        )
    rows = [row for row, _ in kinds]
    if not reader.types.pointer_bytes[rows].any():
        raise MissingInfo(f"{name} has no pointers: nothing tells which objects are of such a type")
    spans = numbers.spans
    found, possible, complete = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], True
    for part in reader.parts(spans, spans.object_bytes * spans.count):
        if time.monotonic() > until:
            complete = False
            break
        some, which = spans.select(part), _Which(kinds)
        allocated = reader.allocated(some)
        if some.large[0] or some.object_bytes[0] > MAX_SHAPED_BYTES:
            which.by_types(reader, closure, part, some, allocated)
        else:
            which.by_shapes(reader, closure, part, some, allocated)
        row, index = np.nonzero(which.known & allocated)
        found.append(numbers.first[part[row]] + index)
        row, index = np.nonzero(which.may & allocated)
        possible.append(numbers.first[part[row]] + index)
    closure.proven(until)
    sure = np.concatenate(found).astype(np.uint32)
    objects = distinct(np.concatenate([sure, closure.objects_of(kinds)]))
    may = closure.unknown(np.concatenate(possible))
    same_name = max(sum(each == many for _, each in kinds) for many in (False, True))
    return WantedObjects(objects, numbers.bytes_of(objects), may, complete, same_name)


def _kinds(reader: TypeReader, types: ValueDescriptors, name: str) -> set[tuple[int, bool]]:
    """The rows of the descriptors that are called so, and whether several values of them are meant ("[]T")."""
    found: set[tuple[int, bool]] = set()
    for text, many in ((name, False), (name.removeprefix("[]"), True)):
        if many and text == name:
            continue
        try:
            addresses = np.array([each.origin for each in types.all_named(text)], np.uint64)
        except SpyglassError:
            continue
        found |= {(row, many) for row in reader.types.find(addresses).tolist() if row >= 0}
    return found


class _Which:
    """Which objects of some equal spans are of one of `kinds` (`known`), and which may be (`may`), of shape (spans, objects)."""

    known: NDArray[np.bool_]
    may: NDArray[np.bool_]

    def __init__(self, kinds: set[tuple[int, bool]]) -> None:
        self._kinds = kinds

    def by_types(
        self,
        reader: TypeReader,
        closure: TypeClosure,
        part: NDArray[np.intp],
        spans: Spans,
        allocated: NDArray[np.bool_],
    ) -> None:
        """Of objects whose types the runtime keeps."""
        rows = reader.kept(spans)
        several = reader.several(rows, reader.room(spans)[:, None])
        closure.add_types(part, rows, several, allocated)
        self.known, self.may = np.zeros(rows.shape, np.bool_), np.zeros(rows.shape, np.bool_)
        for row, many in self._kinds:
            self.known |= (rows == row) & (several == many)

    def by_shapes(
        self,
        reader: TypeReader,
        closure: TypeClosure,
        part: NDArray[np.intp],
        spans: Spans,
        allocated: NDArray[np.bool_],
    ) -> None:
        """Of others."""
        size, masks = int(spans.object_bytes[0]), reader.masks(spans)
        closure.add_shapes(part, size, masks, allocated)
        certain, likely = [], []
        for mask in counted(masks.reshape(-1), size // 8)[0].tolist():
            fitting = set(reader.all_of_shape(size, mask))
            if fitting and fitting <= self._kinds:
                certain.append(mask)
            elif fitting & self._kinds:
                likely.append(mask)
        self.known = np.isin(masks, np.array(certain, np.uint64))
        self.may = np.isin(masks, np.array(likely, np.uint64))
