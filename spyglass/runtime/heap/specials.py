"""What finalizers, cleanups and weak pointers keep alive: records outside of the heap that point into it.

Knowledge: ``runtime/mheap.go`` (``special``, ``specialfinalizer``, ``specialCleanup``,
``specialWeakHandle``) and ``mgcmark.go: markrootSpans``, ``gcScanFinalizer``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import MissingInfo
from spyglass.runtime.heap.modules import are_types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.spans import Spans

__all__ = ["words_of_specials"]

#: Of one span, which may have 1,024 objects with a few records each, and of all together.
_MAX_IN_A_SPAN = 1 << 13
_MAX_RECORDS = 1 << 22
#: Words of a record behind its ``special``: function, size of its results, and two types, for a finalizer.
_WORDS = 4
_TYPE_AT = 3
#: Objects with finalizers are looked at up to here, of one record of every span.
_MAX_OBJECT_BYTES = 1 << 28


def words_of_specials(
    runtime: Runtime, modules: NDArray[Any], spans: Spans, *, possible: bool
) -> NDArray[np.uint64]:
    """The words of all records of `spans`, and of the objects with finalizers.

    The kinds of records have other numbers in every few versions, so every record is looked at, whatever
    it is for: the bucket of a memory profile, for instance, is not in the heap. A record is one of a finalizer
    if the type of what the finalizer takes is where that would be.

    `possible`: also what the program may get hold of again, though nothing keeps it alive: objects with weak pointers
    (``weak.Pointer.Value``), whose addresses are added; and those of records that may be of finalizers, which take types that
    were made at run time. Raises `MissingInfo` if there are too many.
    """
    rows = np.flatnonzero(spans.specials != 0)
    address = spans.specials[rows]
    kind = runtime.layouts["special"]
    header = -(-kind.itemsize // 8)
    found, total = [np.zeros(0, np.uint64)], 0
    for _ in range(_MAX_IN_A_SPAN):
        good = (address != 0) & (address % np.uint64(8) == 0)
        rows, address = rows[good], address[good]
        total += len(rows)
        if not len(rows):
            return np.concatenate(found)
        if total > _MAX_RECORDS:
            break
        records = runtime.memory.gather(address, 8 * (header + _WORDS))
        words = records.words(header + _WORDS)[records.ok]
        rows = rows[records.ok]
        record = np.ascontiguousarray(words).view(np.uint8)[:, : kind.itemsize]
        special = np.ascontiguousarray(record).view(kind).reshape(-1)
        found.append(words[:, header:].reshape(-1))
        finalizer = are_types(modules, words[:, header + _TYPE_AT])
        if possible:
            finalizer |= spans.find(words[:, header + _TYPE_AT]) >= 0
            found.append(_weak(runtime, spans, rows, special["offset"], words[:, header]))
        found.append(_objects(runtime, spans, rows[finalizer], special["offset"][finalizer]))
        address = special["next"].astype(np.uint64)
    raise MissingInfo("there are too many records of finalizers to look at all of them")


def _weak(
    runtime: Runtime,
    spans: Spans,
    rows: NDArray[np.intp],
    offset: NDArray[Any],
    handle: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """The addresses of the objects at `offset` in the spans `rows` that the words at `handle` lead to."""
    some = np.flatnonzero((spans.find(handle) >= 0) & (handle % np.uint64(8) == 0))
    gathered = runtime.memory.gather(handle[some], 8)
    word = gathered.words(1)[:, 0]
    size = spans.object_bytes[rows[some]]
    begin = spans.start[rows[some]] + (offset[some].astype(np.int64) // size * size).astype(
        np.uint64
    )
    good = gathered.ok & (word - begin < size.astype(np.uint64))
    return word[good]


def _objects(
    runtime: Runtime, spans: Spans, rows: NDArray[np.intp], offset: NDArray[Any]
) -> NDArray[np.uint64]:
    """The words of the objects at `offset` in the spans `rows`: what a finalizer is given is kept alive
    with all that it refers to, but is not itself."""
    some = spans.pointers[rows] & (offset < (spans.pages[rows] << 13))
    rows, offset = rows[some], offset[some].astype(np.int64)
    size = spans.object_bytes[rows]
    if int(size.sum()) > _MAX_OBJECT_BYTES:
        raise MissingInfo("the objects with finalizers are too large to look at all of them")
    begin = spans.start[rows] + (offset // size * size).astype(np.uint64)
    gathered = runtime.memory.gather(begin, size.astype(np.uint64))
    return gathered.buffer[: len(gathered.buffer) & ~7].view(np.uint64)
