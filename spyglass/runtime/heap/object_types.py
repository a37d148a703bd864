"""The objects of the heap by type."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import combined, numbered
from spyglass.errors import MissingInfo
from spyglass.heap_objects import HeapTypes, TypeRow
from spyglass.runtime.heap.allocated import allocated_counts, require_allocation
from spyglass.runtime.heap.shapes import MAX_SHAPED_BYTES, counted
from spyglass.runtime.heap.spans import Spans
from spyglass.runtime.heap.type_closure import TypeClosure
from spyglass.runtime.heap.type_reader import NOTHING, TypeReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from numpy.typing import NDArray

    from spyglass.heap_objects import Certainty
    from spyglass.model import Process
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.type_closure import Proven

__all__ = ["read_heap_types"]

#: Shapes that are listed, those of most bytes; the objects of others are counted as unknown.
_MAX_SHAPES = 2_000


def read_heap_types(
    runtime: Runtime,
    process: Process,
    taken_at: datetime,
    seconds: float,
    progress: Callable[[float], None] | None = None,
) -> HeapTypes:
    """The objects by type; what is not looked at in `seconds` is not examined, sizes with most memory come first.

    `progress` is called with the part that was examined. Raises as `Spans.read`.
    """
    until = time.monotonic() + seconds
    require_allocation(runtime)
    spans = Spans.read(runtime)
    allocated = allocated_counts(runtime.memory, spans)
    used = allocated * spans.object_bytes
    total, plain = int(used.sum()), ~spans.pointers
    found = _Found(int(allocated[plain].sum()), int(used[plain].sum()))
    reader, why_not = None, None
    try:
        reader = TypeReader(runtime, spans)
    except MissingInfo as error:
        why_not = error.message
    else:
        own, used = spans.select(spans.pointers), used[spans.pointers]
        closure = runtime.part("types", lambda: TypeClosure(runtime, reader, own), None)
        for part in reader.parts(own, used):
            if time.monotonic() > until:
                break
            found.add(reader, own, part, closure)
            if progress is not None:
                progress(found.examined_bytes / total)
        if closure is not None:
            found.prove(runtime.part("types", lambda: closure.proven(until), Counter()))
    return HeapTypes(
        process, taken_at, tuple(found.rows(reader)), total, found.examined_bytes, why_not,
        tuple(runtime.problems),
    )  # fmt: skip


class _Found:
    """Counts objects: of which type they are, or of which shape. `plain_objects` and `plain_bytes` have no pointers."""

    def __init__(self, plain_objects: int, plain_bytes: int) -> None:
        self._plain = TypeRow(None, "unknown", plain_objects, plain_bytes, pointers=False)
        self.examined_bytes = plain_bytes
        #: By row of the descriptors (-1: none), whether there are several values of it in an object, and the object's size.
        self._kept: Counter[tuple[int, bool, int]] = Counter()
        #: Of which only one type fits because of what refers to them, by the same.
        self._proven: Counter[tuple[int, bool, int]] = Counter()
        #: By size of an object, and mask.
        self._shapes: Counter[tuple[int, int]] = Counter()
        #: Of which not even candidates are known: how many objects, by size.
        self._unknown: Counter[int] = Counter()

    def add(
        self,
        reader: TypeReader,
        every: Spans,
        part: NDArray[np.intp],
        closure: TypeClosure | None,
    ) -> None:
        """Count the objects of the spans `part` of `every`, which are equal (`TypeReader.parts`), and add them to `closure`."""
        spans = every.select(part)
        allocated = reader.allocated(spans)
        if spans.large[0] or spans.object_bytes[0] > MAX_SHAPED_BYTES:
            row = reader.kept(spans)
            many = reader.several(row, reader.room(spans)[:, None])
            self._add_kept(row, many, spans, allocated)
            if closure is not None:
                closure.add_types(part, row, many, allocated)
        else:
            masks, size = reader.masks(spans), int(spans.object_bytes[0])
            self._add_shapes(masks[allocated], size)
            if closure is not None:
                closure.add_shapes(part, size, masks, allocated)
        self.examined_bytes += int((allocated.sum(axis=1) * spans.object_bytes).sum())

    def _add_kept(
        self,
        row: NDArray[np.int64],
        many: NDArray[np.bool_],
        spans: Spans,
        allocated: NDArray[np.bool_],
    ) -> None:
        whole = np.broadcast_to(spans.object_bytes[:, None], row.shape)
        row, many, whole = row[allocated], many[allocated], whole[allocated]
        _, which = numbered(combined(row, many, whole))
        objects = np.bincount(which)
        one = np.zeros(len(objects), np.int64)
        one[which] = np.arange(len(which))
        kinds = zip(row[one].tolist(), many[one].tolist(), whole[one].tolist(), strict=True)
        self._kept.update(dict(zip(kinds, objects.tolist(), strict=True)))

    def _add_shapes(self, masks: NDArray[np.uint64], size: int) -> None:
        different, objects = counted(masks, size // 8)
        shapes = ((size, mask) for mask in different.tolist())
        self._shapes.update(dict(zip(shapes, objects.tolist(), strict=True)))

    def prove(self, proven: Proven) -> None:
        """Take objects that are proven to be of a type out of those of which only the shape is known. The program runs on:
        there may be fewer of these now."""
        for (size, mask, row, many), objects in proven.items():
            objects = min(objects, self._shapes[size, mask])
            if objects:
                self._shapes[size, mask] -= objects
                self._proven[row, many, size] += objects

    def rows(self, reader: TypeReader | None) -> list[TypeRow]:
        """All that was found, most bytes first; `reader` read it."""
        rows = [self._plain] if self._plain.objects else []
        if reader is not None:
            rows += self._kept_rows(reader, self._kept, "exact")
            rows += self._kept_rows(reader, self._proven, "only candidate")
            rows += self._shape_rows(reader)
        if self._unknown:
            objects = sum(self._unknown.values())
            size = sum(size * many for size, many in self._unknown.items())
            rows.append(TypeRow(None, "unknown", objects, size))
        return sorted(rows, key=lambda row: -row.bytes)

    def _kept_rows(
        self, reader: TypeReader, counted: Counter[tuple[int, bool, int]], certainty: Certainty
    ) -> Iterator[TypeRow]:
        """Objects of one type are one row, whatever their size."""
        kinds: dict[tuple[int, bool], Counter[int]] = {}
        for (row, many, size), objects in counted.items():
            kinds.setdefault((row, many), Counter())[size] += objects
        texts = reader.names(np.array([row for row, _ in kinds], np.int64))
        for ((row, many), sizes), text in zip(kinds.items(), texts, strict=True):
            if row < 0 or not text:
                self._unknown.update(sizes)
                continue
            yield TypeRow(
                "[]" * many + text, certainty, sum(sizes.values()),
                sum(size * objects for size, objects in sizes.items()),
                next(iter(sizes)) if len(sizes) == 1 else None,
            )  # fmt: skip

    def _shape_rows(self, reader: TypeReader) -> Iterator[TypeRow]:
        """Objects of one shape are one row."""
        shapes = sorted((+self._shapes).items(), key=lambda shape: -shape[0][0] * shape[1])
        for at, ((size, mask), objects) in enumerate(shapes):
            found = reader.of_shape(size, mask) if at < _MAX_SHAPES else NOTHING
            names = reader.texts(found.each)
            if not found.number or not all(names):
                self._unknown[size] += objects
                continue
            only = names[0] if found.number == 1 else None
            yield TypeRow(
                only, found.certainty, objects, size * objects, size,
                candidates=() if only else names, candidate_count=0 if only else found.number,
            )  # fmt: skip
