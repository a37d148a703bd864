"""The objects of a chain: what they are, and where each refers to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import SpyglassError
from spyglass.heap_objects import Link
from spyglass.runtime.heap.type_reader import NOTHING, ObjectType, TypeReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spyglass.binary.value_descriptors import ValueDescriptors
    from spyglass.binary.value_types import ValueType
    from spyglass.memory.base import Memory
    from spyglass.runtime.heap.spans import ObjectNumbers, Spans
    from spyglass.runtime.heap.type_closure import TypeClosure

__all__ = ["ChainReader"]

#: Of a larger object, references are looked for up to here.
_MAX_BYTES = 1 << 24
_MAX_DEPTH = 16
_HEADER_BYTES = 8
#: Which word of a value of this kind is a pointer.
_POINTER_WORDS = {
    "pointer": 0, "map": 0, "chan": 0, "func": 0, "unsafe.Pointer": 0, "string": 0, "slice": 0, "interface": 1,
}  # fmt: skip


class ChainReader:
    """Describes the objects of `numbers`. `reader` and `types` tell their types; `closure` what follows; None: not known in this program."""

    def __init__(
        self,
        memory: Memory,
        numbers: ObjectNumbers,
        reader: TypeReader | None,
        types: ValueDescriptors | None,
        closure: TypeClosure | None,
    ) -> None:
        self._closure = closure
        self._memory, self.numbers = memory, numbers
        self._reader, self._types = reader, types

    def place(self, number: int) -> tuple[int, int]:
        """Where object `number` begins, and its size."""
        span, index = self._span(number)
        size = int(span.object_bytes[0])
        return int(span.start[0]) + index * size, size

    def links(self, path: Sequence[int], after: int | None = None) -> list[Link]:
        """The objects `path`, each of which refers to the next; `after`: what comes before them in the chain."""
        found = []
        for number in path:
            found.append(self._link(number, after))
            after = number
        return found

    def _span(self, number: int) -> tuple[Spans, int]:
        first = self.numbers.first
        row = int(np.searchsorted(first, number, side="right")) - 1
        return self.numbers.spans.select(np.array([row])), number - int(first[row])

    def _link(self, number: int, before: int | None) -> Link:
        kind = self._kind(number)
        texts = self._reader.texts(kind.each) if self._reader is not None else ()
        certainty = kind.certainty if texts and all(texts) else "unknown"
        only = texts[0] if certainty in ("exact", "only candidate") else None
        address, size = self.place(number)
        candidates = texts if certainty == "candidates" else ()
        if before is None:
            return Link(address, size, only, certainty, candidates)
        offset, field, sure = self._reference(before, address, size)
        return Link(address, size, only, certainty, candidates, offset, field, sure)

    def _kind(self, number: int) -> ObjectType:
        if self._reader is None:
            return NOTHING
        proven = self._closure.kind(number) if self._closure is not None else None
        if proven is not None:
            return ObjectType("only candidate", (proven,), 1)
        try:
            return self._reader.of_object(*self._span(number))
        except (SpyglassError, IndexError):
            return NOTHING

    def _reference(
        self, number: int, begin: int, size: int
    ) -> tuple[int | None, str | None, bool | None]:
        """Where object `number` refers to what is at `begin`, the first place that its type says is a pointer, else the first
        of all: the offset, what is there, and whether it is a pointer. Nothing if it does not any more."""
        own, room = self.place(number)
        gathered = self._memory.gather(np.array([own], np.uint64), min(room, _MAX_BYTES) & ~7)
        if not gathered.ok.all():
            return None, None, None
        words = gathered.buffer.view(np.uint64)[: min(room, _MAX_BYTES) // 8]
        offsets = (8 * np.flatnonzero(words - np.uint64(begin) < np.uint64(size))).tolist()
        found = [(each, *self._field(number, each)) for each in offsets[:_MAX_DEPTH]]
        best = next((each for each in found if each[2]), None)
        return best or (found[0] if found else (None, None, None))

    def _field(self, number: int, offset: int) -> tuple[str | None, bool | None]:
        """What is at `offset` of object `number`, and whether it is a pointer; None: not known."""
        kind = self._kind(number)
        if self._reader is None or self._types is None or kind.number != 1:
            return None, None
        span, _ = self._span(number)
        row, many = kind.each[0]
        header = int(span.object_bytes[0] - self._reader.room(span)[0])
        try:
            value = self._types.at(int(self._reader.types.address[row]))
            return field_at(value, offset - header, many)
        except (SpyglassError, RecursionError):
            return None, None


def field_at(value: ValueType, offset: int, many: bool) -> tuple[str | None, bool]:
    """The name of what is at `offset` of a value, or of several in a row, such as ".list" or "[3].next", and whether that word
    of it is a pointer. Raises `BadDataError` if the type cannot be."""
    path = ""
    if offset < 0 or not value.size:
        return None, False
    if many:
        path, offset = f"[{offset // value.size}]", offset % value.size
    for _ in range(_MAX_DEPTH):
        if value.kind == "array" and value.element is not None:
            value = value.element()
            if not value.size:
                return None, False
            path, offset = f"{path}[{offset // value.size}]", offset % value.size
        elif value.kind == "struct" and value.fields is not None:
            fields = [each for each in value.fields() if each.offset <= offset]
            fitting = [each for each in fields if offset < each.offset + each.type().size]
            if not fitting:
                return None, False
            path, offset = f"{path}.{fitting[-1].name}", offset - fitting[-1].offset
            value = fitting[-1].type()
        else:
            return path or None, _POINTER_WORDS.get(value.kind, -1) * 8 == offset
    return None, False
