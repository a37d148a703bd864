"""The spans of the heap that are in use, and which object of them an address is in.

Knowledge: ``runtime/mheap.go`` (``mheap.allspans``, ``mspan``, ``mSpanInUse``, ``spanClass.noscan``) and
``mbitmap.go: findObject``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["UNUSED_NUMBERS", "ObjectNumbers", "Spans", "read_rows", "span_pointers"]

PAGE_BYTES = 8192
#: ``mSpanInUse``: the collector's, not stacks.
_IN_USE = 1
#: 128 GiB of heap in spans of one page; and that many pages.
_MAX_SPANS = _MAX_PAGES = 1 << 24
_MAX_ADDRESS = 1 << 48
#: Pages of a span of more than one object; the runtime's have 10 at most (``sizeclasses.go``).
_MAX_PAGES_OF_MANY = 1 << 12
#: See `ObjectNumbers`.
UNUSED_NUMBERS = 2
#: Structs of spans that are read in one step.
_STEP = 1 << 15
_PAGE_SHIFT = 13


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans in use, in the order of their addresses; none overlaps another.

    `start` (uint64): the first address. `pages` (int64): how many of 8 KiB. `object_bytes` (int64), `count`
    (int64): its objects, one after the other from the start. `pointers` (bool): the objects may hold
    pointers. `specials` (uint64): the first of its records of finalizers and the like, 0 for none.
    `large` (bool): it has one object that is larger than all size classes. `free_index` (int64): objects before it are
    allocated. `alloc_count` (int64): as ``mspan.allocCount``. `alloc_bits` (uint64): where the bits of allocated
    objects are. `large_type` (uint64): the descriptor of the type of a large object. `sweep` (int64): as ``mspan.sweepgen``; these five are
    0 where the layout is not known.
    """

    start: NDArray[np.uint64]
    pages: NDArray[np.int64]
    object_bytes: NDArray[np.int64]
    count: NDArray[np.int64]
    pointers: NDArray[np.bool_]
    specials: NDArray[np.uint64]
    large: NDArray[np.bool_]
    free_index: NDArray[np.int64]
    alloc_count: NDArray[np.int64]
    alloc_bits: NDArray[np.uint64]
    large_type: NDArray[np.uint64]
    sweep: NDArray[np.int64]

    @classmethod
    def read(cls, runtime: Runtime) -> Spans:
        """The spans of ``mheap_.allspans`` that are in use.

        Raises `MissingInfo` if the heap is not known in this program, `MemoryFault`, and `BadDataError` if
        what is there is no heap.
        """
        dtype = runtime.layouts["mspan"]
        pointers = span_pointers(runtime)
        steps = (pointers[at : at + _STEP] for at in range(0, len(pointers), _STEP))
        parts = [_decoded(read_rows(runtime, each, dtype)) for each in steps]
        spans = cls(
            **{
                each.name: np.concatenate([part[each.name] for part in parts])
                for each in fields(cls)
            }
        )
        spans = spans.select(np.argsort(spans.start, kind="stable"))
        end = np.maximum.accumulate(spans.end)
        apart = np.ones(len(spans), np.bool_)
        apart[1:] = spans.start[1:] >= end[:-1]
        spans = spans.select(apart)
        if not len(spans) or int(spans.pages.sum()) > _MAX_PAGES:
            raise BadDataError("implausible heap: no spans, or too many pages")
        return spans

    def __len__(self) -> int:
        return len(self.start)

    @property
    def end(self) -> NDArray[np.uint64]:
        """The first address behind each."""
        return self.start + (self.pages << _PAGE_SHIFT).astype(np.uint64)

    def select(self, rows: NDArray[Any]) -> Spans:
        """The spans `rows` (indices, or a bool for each)."""
        return Spans(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def that_matter(self, addresses: NDArray[np.uint64]) -> Spans:
        """The spans that hold pointers, and those that `addresses` are in; equal ones in a row."""
        place = self.find(addresses)
        matters = self.pointers.copy()
        matters[place[place >= 0]] = True
        spans = self.select(matters)
        order = np.lexsort((spans.start, spans.count, spans.object_bytes, spans.pointers))
        return spans.select(order)

    def find(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index of the span that each of `addresses` is in, -1 for none."""
        at = np.searchsorted(self.start, addresses, side="right") - 1
        inside = (at >= 0) & (addresses < self.end[np.maximum(at, 0)])
        return np.where(inside, at, -1)


def span_pointers(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses of all structs of spans (``mheap_.allspans``), those not in use too. Raises as `Spans.read`."""
    heap = runtime.memory.array(runtime.address("mheap_"), runtime.layouts["mheap"], 1)[0]
    pointer, length, capacity = (int(word) for word in heap["allspans"])
    if not 0 < length <= capacity or length > _MAX_SPANS or pointer % 8:
        raise BadDataError(f"implausible heap: {length} of {capacity} spans at {pointer:#x}")
    pointers: NDArray[np.uint64] = runtime.memory.array(pointer, "<u8", length)
    good = pointers[(pointers != 0) & (pointers % np.uint64(8) == 0)]
    return np.sort(good)


def read_rows(runtime: Runtime, pointers: NDArray[np.uint64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The structs at `pointers` (ascending) that can be read. They lie in chunks, one behind the other
    (``mfixalloc.go``), so that neighbours are read as one range."""
    size = dtype.itemsize
    parts = [np.zeros(0, dtype)]
    for low in range(0, len(pointers), _STEP):
        some = pointers[low : low + _STEP]
        first = np.flatnonzero(np.diff(some, prepend=some[:1] - np.uint64(1)) != size)
        count = np.diff(first, append=len(some))
        gathered = runtime.memory.gather(some[first], (count * size).astype(np.uint64))
        within = np.arange(len(some)) - np.repeat(first, count)
        each = replace(
            gathered,
            offsets=np.repeat(gathered.offsets, count) + within * size,
            ok=np.repeat(gathered.ok, count),
        )
        parts.append(each.rows(dtype)[each.ok])
    return np.concatenate(parts)


def _decoded(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The columns of those of `rows` (``mspan``) that are in use and can be what they say."""
    pages, size = rows["npages"].astype(np.uint64), rows["elemsize"].astype(np.uint64)
    count, start = rows["nelems"].astype(np.uint64), rows["startAddr"].astype(np.uint64)
    good = (rows["state"] == _IN_USE) & (pages > 0) & (pages <= _MAX_PAGES)
    good &= (start % np.uint64(PAGE_BYTES) == 0) & (start > 0) & (start < _MAX_ADDRESS)
    good &= (size > 0) & (size % np.uint64(8) == 0) & (size <= pages * np.uint64(PAGE_BYTES))
    good &= (count > 0) & (count <= pages * np.uint64(PAGE_BYTES) // np.maximum(size, 1))
    good &= (count == 1) | (pages <= _MAX_PAGES_OF_MANY)
    rows, count = rows[good], count[good]
    noscan = (rows["spanclass"] & 1).astype(np.bool_)
    free_index = _field(rows, "freeindex").astype(np.uint64)
    return {
        "start": start[good],
        "pages": pages[good].astype(np.int64),
        "object_bytes": size[good].astype(np.int64),
        "count": count.astype(np.int64),
        "pointers": ~noscan,
        "specials": rows["specials"].astype(np.uint64),
        "large": rows["spanclass"] >> 1 == 0,
        "free_index": np.minimum(free_index, count).astype(np.int64),
        "alloc_count": _field(rows, "allocCount").astype(np.int64),
        "alloc_bits": _field(rows, "allocBits").astype(np.uint64),
        "large_type": _field(rows, "largeType").astype(np.uint64),
        "sweep": _field(rows, "sweepgen").astype(np.int64),
    }


def _field(rows: NDArray[Any], name: str) -> NDArray[Any]:
    """The field `name`, zeros where this version does not have it."""
    return rows[name] if name in (rows.dtype.names or ()) else np.zeros(len(rows), np.uint64)


class ObjectNumbers:
    """The objects of `spans`, numbered: those of a span in a row, the spans in their order.

    `first` (int64): the number of the first object of each span, and last the end of all numbers. A span
    has `UNUSED_NUMBERS` more than objects: for what is left behind its last object, and for rounding.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.first = np.concatenate([[0], np.cumsum(spans.count + UNUSED_NUMBERS)]).astype(np.int64)
        if self.first[-1] >= 1 << 31:
            raise BadDataError(f"implausible heap: {self.first[-1]} objects")
        self._low = spans.start.min() if len(spans) else np.uint64(0)
        self._bytes = spans.end.max() - self._low if len(spans) else np.uint64(0)
        # As mspan.objIndex: offset * factor >> 32, plus the first number; of one large object the first. All
        # of it with a product and a sum of words that may overflow.
        start = spans.start - self._low
        size = spans.object_bytes.astype(np.uint64)
        factor = np.uint64(0xFFFFFFFF) // size + np.uint64(1)
        self._factor = np.where(spans.count > 1, factor, np.uint64(0))
        first = self.first[:-1].astype(np.uint64) << np.uint64(32)
        self._summand = first - start * self._factor
        self._page_spans = self._spans_of_pages(start)

    def __len__(self) -> int:
        return int(self.first[-1])

    def bytes_of(self, objects: NDArray[np.uint32]) -> int:
        """The size of `objects` in all."""
        span = np.searchsorted(self.first, objects, side="right") - 1
        return int(self.spans.object_bytes[span].sum())

    def _spans_of_pages(self, start: NDArray[np.uint64]) -> NDArray[np.int32] | None:
        """The span of each page from the lowest on, -1 for none; None if the heap is spread too far."""
        total = int(self._bytes) >> _PAGE_SHIFT
        if total > _MAX_PAGES:
            return None
        pages = self.spans.pages
        table = np.full(total + 1, -1, np.int32)
        within = np.arange(int(pages.sum())) - np.repeat(np.cumsum(pages) - pages, pages)
        begin = np.repeat((start >> np.uint64(_PAGE_SHIFT)).astype(np.int64), pages)
        table[begin + within] = np.repeat(np.arange(len(pages), dtype=np.int32), pages)
        return table

    def find(self, words: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Which of `words` (shape (n,)) point into a span, and the numbers of the objects there."""
        distance = words - self._low
        at = np.flatnonzero(distance < self._bytes)
        distance = distance.take(at)
        span = self._span(distance)
        if (span < 0).any():
            known = np.flatnonzero(span >= 0)
            at, span, distance = at.take(known), span.take(known), distance.take(known)
        distance *= self._factor.take(span)
        distance += self._summand.take(span)
        distance >>= np.uint64(32)
        return at, distance.astype(np.uint32)

    def _span(self, distance: NDArray[np.uint64]) -> NDArray[Any]:
        """The index of the span at `distance` from the lowest, -1 for none."""
        if self._page_spans is not None:
            return self._page_spans.take((distance >> np.uint64(_PAGE_SHIFT)).view(np.int64))
        order = np.argsort(self.spans.start)
        at = self.spans.select(order).find(distance + self._low)
        return np.where(at >= 0, order[at], -1)
