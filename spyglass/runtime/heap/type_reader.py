"""What the runtime keeps of the types of objects in the heap.

Since Go 1.22 the type of an object with pointers is kept where it is larger than 512 bytes: of a large one in its span, of
others in their first word. Of smaller ones the runtime keeps which words are pointers (`spyglass.runtime.heap.shapes`), of
objects without pointers nothing.

Knowledge: ``runtime/mbitmap.go: typePointersOfUnchecked``, ``malloc.go: mallocgc`` (``heapSetTypeSmallHeader``,
``heapSetTypeLarge``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import MissingInfo
from spyglass.heap_objects import MAX_CANDIDATES
from spyglass.runtime.heap.allocated import allocated_objects, require_allocation
from spyglass.runtime.heap.descriptors import Descriptors
from spyglass.runtime.heap.modules import read_modules
from spyglass.runtime.heap.shapes import MAX_SHAPED_BYTES, Candidates, bitmap_offset, masks_of
from spyglass.runtime.heap.type_names import type_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.heap_objects import Certainty
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.spans import Spans

__all__ = ["NOTHING", "ObjectType", "TypeReader"]

#: ``MallocHeaderSize``.
_HEADER_BYTES = 8
#: Objects whose headers are read, and spans whose bitmaps are read, at a time.
_HEADERS, _SPANS = 1 << 17, 1 << 12


class ObjectType(NamedTuple):
    """What an object is: one of the types `each` (row of the descriptors, and whether it is several values of it), empty if
    there are more than `MAX_CANDIDATES` of them, of which there are `number`."""

    certainty: Certainty
    each: tuple[tuple[int, bool], ...]
    number: int = 0


NOTHING = ObjectType("unknown", ())


class TypeReader:
    """Reads the types of objects of `spans`. Raises `MissingInfo` if the runtime does not keep any, as before Go 1.22."""

    def __init__(self, runtime: Runtime, spans: Spans) -> None:
        require_allocation(runtime)
        if not runtime.layouts.has("mspan", "largeType"):
            raise MissingInfo("before Go 1.22 the runtime does not keep the types of objects")
        self._runtime = runtime
        self.types = Descriptors.read(runtime.memory, read_modules(runtime))
        self.candidates = Candidates.of(self.types)
        offset = bitmap_offset(spans)
        if offset is None:
            raise MissingInfo("the spans of small objects do not end with bitmaps of pointers")
        self._offset = offset

    def parts(self, spans: Spans, used: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
        """The spans with pointers (indices) in pieces of equal spans, those first of whose size most bytes are `used`."""
        rows = np.flatnonzero(spans.pointers)
        kinds = {}
        sizes = np.where(spans.large[rows], 0, spans.object_bytes[rows])
        for size in set(sizes.tolist()):
            kinds[size] = rows[sizes == size]
        for size, chosen in sorted(kinds.items(), key=lambda kind: -int(used[kind[1]].sum())):
            chosen = chosen[spans.count[chosen] == spans.count[chosen[0]]]
            if 0 < size <= MAX_SHAPED_BYTES:
                chosen = chosen[spans.pages[chosen] == 1]
            count = int(spans.count[chosen[0]])
            step = _SPANS if size <= MAX_SHAPED_BYTES else max(_HEADERS // count, 1)
            yield from (chosen[at : at + step] for at in range(0, len(chosen), step))

    def kept(self, spans: Spans) -> NDArray[np.int64]:
        """The type of each object of `spans`, which are equal and have objects of more than 512 bytes: the row of its
        descriptor, -1 where there is none, shape (spans, objects)."""
        large = bool(spans.large.all())
        address = spans.large_type[:, None] if large else self._headers(spans)
        row = self.types.find(address.reshape(-1)).reshape(address.shape)
        fits = self.types.size[row].astype(np.int64) <= self.room(spans)[:, None]
        return np.where(fits & (self.types.pointer_bytes[row] > 0), row, -1)

    def room(self, spans: Spans) -> NDArray[np.int64]:
        """How many bytes an object of each of `spans` has for values, beside its header."""
        header = ~spans.large & (spans.object_bytes > MAX_SHAPED_BYTES)
        return spans.object_bytes - np.where(header, _HEADER_BYTES, 0)

    def _headers(self, spans: Spans) -> NDArray[np.uint64]:
        numbers = np.arange(int(spans.count[0])).astype(np.uint64)
        begin = spans.start[:, None] + numbers * np.uint64(spans.object_bytes[0])
        gathered = self._runtime.memory.gather(begin.reshape(-1), _HEADER_BYTES)
        return np.where(gathered.ok, gathered.words(1)[:, 0], np.uint64(0)).reshape(begin.shape)

    def masks(self, spans: Spans) -> NDArray[np.uint64]:
        """Which words of each object of `spans`, which are equal and have objects of up to 512 bytes, are pointers: a bit
        for each, shape (spans, objects)."""
        return masks_of(self._runtime.memory, spans, self._offset)

    def allocated(self, spans: Spans) -> NDArray[np.bool_]:
        """Which objects of `spans` are allocated, shape (spans, objects)."""
        return allocated_objects(self._runtime.memory, spans)

    def several(self, rows: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which of the types `rows` an object with so much `room` holds several values: one alone would be in a smaller
        object."""
        many: NDArray[np.bool_] = (rows >= 0) & (room >= 2 * self.types.size[rows].astype(np.int64))
        return many

    def of_object(self, span: Spans, index: int) -> ObjectType:
        """What object `index` of `span` (one span) is."""
        size = int(span.object_bytes[0])
        if not span.pointers[0]:
            return NOTHING
        if not span.large[0] and size <= MAX_SHAPED_BYTES:
            return self.of_shape(size, int(self.masks(span)[0, index]))
        row = self.kept(span)[:, index]
        many = bool(self.several(row, self.room(span))[0])
        return ObjectType("exact", ((int(row[0]), many),), 1) if row[0] >= 0 else NOTHING

    def of_shape(self, object_bytes: int, mask: int) -> ObjectType:
        """What an object of so many bytes, at most 512, is whose pointers are at `mask`."""
        found = self.candidates.find(object_bytes, mask)
        count = sum(len(rows) for rows, _ in found)
        if not count:
            return NOTHING
        each: tuple[tuple[int, bool], ...] = ()
        if count <= MAX_CANDIDATES:
            each = tuple((row, values > 1) for rows, values in found for row in rows.tolist())
        return ObjectType("only candidate" if count == 1 else "candidates", each, count)

    def all_of_shape(self, object_bytes: int, mask: int) -> list[tuple[int, bool]]:
        """As `of_shape`: all that it can be, however many these are."""
        found = self.candidates.find(object_bytes, mask)
        return [(row, values > 1) for rows, values in found for row in rows.tolist()]

    def texts(self, each: tuple[tuple[int, bool], ...]) -> tuple[str, ...]:
        """How the types `each` of an `ObjectType` are called; "" for one whose name cannot be read."""
        names = self.names(np.array([row for row, _ in each], np.int64))
        pairs = zip(each, names, strict=True)
        return tuple("[]" * many + name if name else "" for (_, many), name in pairs)

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The names of the types in `rows` of the descriptors; "" where one cannot be read."""
        return type_names(self._runtime, self.types.address[rows])
