"""Which objects of spans are allocated.

Knowledge: ``runtime/mheap.go`` (``mspan.freeindex``, ``allocBits``, ``allocCount``), ``mbitmap.go: isFree``,
``mcache.go: refill``. An object that nothing refers to is allocated until its span is swept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import combined, numbered
from spyglass.errors import MissingInfo
from spyglass.heap_objects import HeapSpans, SizeClasses
from spyglass.runtime.heap.spans import PAGE_BYTES, Spans

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.model import Process
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.spans import ObjectNumbers

__all__ = [
    "allocated_counts", "allocated_objects", "free_objects", "read_heap_spans", "require_allocation",
]  # fmt: skip


def read_heap_spans(runtime: Runtime, process: Process, taken_at: datetime) -> HeapSpans:
    """The spans in use by size class. Raises as `Spans.read`."""
    require_allocation(runtime)
    spans = Spans.read(runtime)
    classes = _size_classes(spans, allocated_counts(runtime.memory, spans))
    return HeapSpans(process, taken_at, classes, tuple(runtime.problems))


def require_allocation(runtime: Runtime) -> None:
    """Raise `MissingInfo` if the program does not tell which objects are allocated."""
    for name in ("freeindex", "allocCount", "allocBits"):
        if not runtime.layouts.has("mspan", name):
            raise MissingInfo(f"where runtime.mspan has {name} in this version is not known")


def allocated_objects(memory: Memory, spans: Spans) -> NDArray[np.bool_]:
    """Which objects of `spans`, all of which have equally many, are allocated: shape (spans, objects)."""
    count = int(spans.count[0]) if len(spans) else 0
    numbers = np.arange(count)
    allocated: NDArray[np.bool_] = numbers < spans.free_index[:, None]
    rest = np.flatnonzero(spans.free_index < count)
    lanes = -(-count // 64)
    gathered = memory.gather(spans.alloc_bits[rest], 8 * lanes)
    bits = np.unpackbits(gathered.words(lanes).view(np.uint8), axis=1, bitorder="little")
    allocated[rest] |= bits[:, :count].astype(np.bool_) & gathered.ok[:, None]
    return allocated


def free_objects(memory: Memory, numbers: ObjectNumbers) -> NDArray[np.uint32]:
    """The numbers of the objects that are not allocated (uint32)."""
    spans = numbers.spans
    found = [np.zeros(0, np.int64)]
    rows = np.flatnonzero(spans.free_index < spans.count)
    rows = rows[np.argsort(spans.count[rows], kind="stable")]
    borders = np.flatnonzero(np.diff(spans.count[rows], prepend=-1))
    for each in np.split(rows, borders)[1:]:
        span, index = np.nonzero(~allocated_objects(memory, spans.select(each)))
        found.append(numbers.first[each[span]] + index)
    return np.concatenate(found).astype(np.uint32)


def allocated_counts(memory: Memory, spans: Spans) -> NDArray[np.int64]:
    """How many objects of each of `spans` are allocated (int64).

    The runtime counts them, but takes all objects of a span that a P allocates from as allocated: only the bits of
    such spans are read.
    """
    counts = np.minimum(spans.alloc_count, spans.count)
    doubtful = np.flatnonzero((counts == spans.count) & (spans.free_index < spans.count))
    doubtful = doubtful[np.argsort(spans.count[doubtful], kind="stable")]
    borders = np.flatnonzero(np.diff(spans.count[doubtful], prepend=-1))
    for each in np.split(doubtful, borders)[1:]:
        counts[each] = allocated_objects(memory, spans.select(each)).sum(axis=1)
    return counts


def _size_classes(spans: Spans, allocated: NDArray[np.int64]) -> SizeClasses:
    """`spans`, of which so many objects are `allocated`, by size class."""
    size = np.where(spans.large, 0, spans.object_bytes)
    _, row = numbered(combined(size, spans.pointers))
    different = int(row.max(initial=-1)) + 1
    first = np.zeros(different, np.int64)
    first[row] = np.arange(len(row))

    def total(column: NDArray[Any]) -> NDArray[np.int64]:
        # Sums of less than 2**53 bytes are exact.
        return np.bincount(row, column, different).astype(np.int64)

    return SizeClasses(
        size[first], spans.pointers[first], np.bincount(row, minlength=different),
        total(spans.pages * PAGE_BYTES), total(allocated), total(allocated * spans.object_bytes),
    )  # fmt: skip
