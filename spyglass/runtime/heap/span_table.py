"""All spans of the heap: where they are, what they are for, and how much of them is used.

Knowledge: ``runtime/mheap.go`` (``mheap.allspans``, ``mspan``, ``mSpanState``, ``initSpan``, ``arenaBase``), ``stack.go``
(``stackpoolalloc``, ``stackalloc``), ``mgcwork.go`` (``getempty``), ``mcache.go`` (``refill``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import distinct
from spyglass.errors import BadDataError, MissingInfo
from spyglass.runtime.heap.spans import PAGE_BYTES, read_rows, span_pointers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = [
    "HEAP",
    "STACK",
    "WORK",
    "Arenas",
    "SpanTable",
    "read_arenas",
    "read_span_table",
]

#: What a span is for: objects, stacks of goroutines, the collector's buffers.
HEAP, STACK, WORK = range(3)
#: ``mSpanInUse``, ``mSpanManual`` (mheap.go).
_IN_USE, _MANUAL = 1, 2
_MAX_ADDRESS = 1 << 48
#: 128 GiB.
_MAX_PAGES = 1 << 24
#: ``heapArenaBytes``, ``arenaBaseOffset`` (malloc.go) on 64-bit Linux.
ARENA_BYTES = 1 << 26
ARENA_BASES = {"amd64": 0xFFFF800000000000, "arm64": 0}
_MAX_ARENAS = 1 << 18


@dataclass(frozen=True, slots=True)
class SpanTable:
    """Spans in use by address; none overlaps another.

    `start`, `end` (uint64): from the first address to the one behind the last. `kind` (uint8): `HEAP`, `STACK` or `WORK`.
    `used` (int64): bytes of objects in it, 0 for others. `cached` (bool): a P allocates from it, so `used` is all of it,
    used or not. `bitmap` (uint64): where its bitmap is, 0 if not known. `structs` (uint64): addresses of all structs
    of spans, those that are not in use too.
    """

    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    used: NDArray[np.int64]
    cached: NDArray[np.bool_]
    bitmap: NDArray[np.uint64]
    structs: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.start)


def read_span_table(runtime: Runtime) -> SpanTable:
    """The spans of ``mheap_.allspans`` that are in use, for whatever.

    Raises `MissingInfo` if the heap is not known in this program, `MemoryFault`, and `BadDataError` if what is
    there is no heap.
    """
    dtype = runtime.layouts["mspan"]
    structs = span_pointers(runtime)
    rows = read_rows(runtime, structs, dtype)
    pages, start = rows["npages"].astype(np.uint64), rows["startAddr"].astype(np.uint64)
    state = rows["state"]
    good = ((state == _IN_USE) | (state == _MANUAL)) & (pages > 0) & (pages <= _MAX_PAGES)
    good &= (start % np.uint64(PAGE_BYTES) == 0) & (start > 0) & (start < _MAX_ADDRESS)
    rows = rows[good]
    rows = rows[np.argsort(rows["startAddr"], kind="stable")]
    start = rows["startAddr"].astype(np.uint64)
    end = start + rows["npages"].astype(np.uint64) * np.uint64(PAGE_BYTES)
    apart = np.ones(len(rows), np.bool_)
    apart[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    if not apart.any():
        raise BadDataError("implausible heap: no spans")
    return _table(runtime, rows[apart], start[apart], end[apart], structs)


def _table(
    runtime: Runtime,
    rows: NDArray[Any],
    start: NDArray[np.uint64],
    end: NDArray[np.uint64],
    structs: NDArray[np.uint64],
) -> SpanTable:
    # The size of a stack is noted in its span; that of the collector's buffers is not.
    kind = np.where(rows["elemsize"] > 0, STACK, WORK)
    kind[rows["state"] == _IN_USE] = HEAP
    size = (end - start).astype(np.int64)
    names, heap = rows.dtype.names or (), kind == HEAP
    used, cached = np.where(heap, size, 0), np.zeros(len(rows), np.bool_)
    if "allocCount" in names:
        objects = rows["allocCount"].astype(np.int64) * rows["elemsize"].astype(np.int64)
        used = np.where(heap, np.clip(objects, 0, size), 0)
    if "sweepgen" in names and (generation := _generation(runtime)) is not None:
        # mheap.go, at mspan.sweepgen: cached before, or while, the present sweep.
        ahead = rows["sweepgen"] - np.uint32(generation)
        cached = heap & ((ahead == 1) | (ahead == 3))
    bitmap = rows["allocBits"] if "allocBits" in names else np.zeros(len(rows), np.uint64)
    return SpanTable(
        start, end, kind.astype(np.uint8), used, cached, bitmap.astype(np.uint64), structs
    )


def _generation(runtime: Runtime) -> int | None:
    if not runtime.layouts.has("mheap", "sweepgen"):
        return None
    heap = runtime.memory.array(runtime.address("mheap_"), runtime.layouts["mheap"], 1)[0]
    return int(heap["sweepgen"])


@dataclass(frozen=True, slots=True)
class Arenas:
    """Go's heap and stacks. `ranges`: of addresses (start, end), ascending and apart. `structs` (uint64): where what the
    runtime notes of them is, outside of them."""

    ranges: list[tuple[int, int]]
    structs: NDArray[np.uint64]


def read_arenas(runtime: Runtime, spans: SpanTable) -> Arenas:
    """The arenas of the heap. Raises `BadDataError`, `MemoryFault`, `MissingInfo`."""
    if not runtime.layouts.has("mheap", "heapArenas"):
        raise MissingInfo("where this version keeps the arenas of its heap is not known")
    heap = runtime.memory.array(runtime.address("mheap_"), runtime.layouts["mheap"], 1)[0]
    pointer, length, capacity = (int(word) for word in heap["heapArenas"])
    if not 0 < length <= capacity or length > _MAX_ARENAS or pointer % 8:
        raise BadDataError(f"implausible heap: {length} of {capacity} arenas at {pointer:#x}")
    numbers = runtime.memory.array(pointer, "<u8", length)
    base = np.uint64(ARENA_BASES[runtime.arch])
    known = numbers * np.uint64(ARENA_BYTES) + base
    # Those of arenas that the program itself asked for are not in that list.
    of_spans = spans.start // np.uint64(ARENA_BYTES) * np.uint64(ARENA_BYTES)
    starts = distinct(np.concatenate([known, of_spans]))
    starts = starts[(starts > 0) & (starts < _MAX_ADDRESS)]
    first = np.flatnonzero(np.diff(starts, prepend=np.uint64(0)) != ARENA_BYTES)
    last = np.append(first[1:], len(starts)) - 1
    ends = starts[last] + np.uint64(ARENA_BYTES)
    ranges = list(zip(starts[first].tolist(), ends.tolist(), strict=True))
    return Arenas(ranges, _structs_of_arenas(runtime, heap, numbers))


def _structs_of_arenas(
    runtime: Runtime, heap: Any, numbers: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Where ``mheap_.arenas`` has the arenas `numbers`, and where its ``heapArena`` are; what cannot be read is left out."""
    table = int(heap["arenas"][0]) if "arenas" in heap.dtype.names else 0
    if not table or table % 8 or len(heap["arenas"]) > 1:
        return np.zeros(0, np.uint64)
    places = np.uint64(table) + numbers * np.uint64(8)
    gathered = runtime.memory.gather(places, 8)
    return np.concatenate([places, gathered.words(1)[gathered.ok].reshape(-1)])
