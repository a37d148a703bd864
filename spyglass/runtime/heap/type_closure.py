"""Types of small objects that follow from what refers to them.

A field of type ``*T`` of an object whose type the runtime keeps points to a T. Of the types that an object of that shape
can have, those that have no T at that place are ruled out; if one is left, that is the type of the object, and its own
fields say more. Fields of types without pointers prove nothing: bytes of anything are taken as such with package unsafe.

Only objects in spans that are swept count: in others there may be dead objects, which refer to what was freed and has
become something else (``runtime/mheap.go: mspan.sweepgen``). If a sweep begins meanwhile, nothing is proven.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.value_descriptors import ValueDescriptors
from spyglass.binary.value_types import KINDS
from spyglass.columns import combined, distinct, numbered
from spyglass.errors import BadDataError, SpyglassError
from spyglass.runtime.heap.modules import read_modules
from spyglass.runtime.heap.spans import ObjectNumbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.binary.value_types import ValueType
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.spans import Spans
    from spyglass.runtime.heap.type_reader import TypeReader

__all__ = ["Proven", "TypeClosure"]

#: Parts of one type that are looked at, and types that one shape can have.
_MAX_PARTS, _MAX_CANDIDATES = 1024, 4096
_MAX_DEPTH = 16
_POINTER_BYTES = 8
#: Bytes of objects, and words of them, that are examined at a time.
_BATCH_BYTES = 1 << 24
#: In the column of types: not known; proven to be two different ones.
_UNKNOWN, _REFUTED = -1, -2

#: How many objects of a size and mask are proven to be of a row of the descriptors, one value or several.
Proven = Counter[tuple[int, int, int, bool]]


class _Place(NamedTuple):
    """A pointer `offset` bytes behind the begin of a value, to the type in `row` of the descriptors."""

    offset: int
    row: int


class TypeClosure:
    """What follows of types of objects of `spans`. First all that is known is added, then `proven` is called. Raises as
    `ValueDescriptors` and `ObjectNumbers`."""

    def __init__(self, runtime: Runtime, reader: TypeReader, spans: Spans) -> None:
        self._runtime, self._memory, self._reader = runtime, runtime.memory, reader
        self._numbers = ObjectNumbers(spans)
        self._generation = _generation(runtime)
        behind = (spans.sweep - (self._generation or 0)) & 0xFFFFFFFF
        # Swept, or swept and then given to a P; of others it is not known what is dead.
        self._swept = (behind == 0) | (behind == 3)
        row = read_modules(runtime)[0]
        self._types = ValueDescriptors(runtime.memory, int(row["types"]), int(row["etypes"]))
        self._composed = np.isin(
            reader.types.kind, [KINDS.index(kind) for kind in ("array", "struct")]
        )
        #: Of each object its type (twice the row of the descriptors, one more for several values), and its shape.
        self._type = np.full(len(self._numbers), _UNKNOWN, np.int32)
        self._shape = np.full(len(self._numbers), -1, np.int32)
        self._shapes: list[tuple[int, int]] = []
        self._until = float("inf")
        self._known = [np.zeros(0, np.int64)]
        self._places: dict[int, tuple[_Place, ...]] = {}
        #: Of types in rows of the descriptors: what they consist of (`_nodes`), None if that is not known.
        self._parts: dict[int, frozenset[tuple[int, int]] | None] = {}
        self._verdicts: dict[tuple[int, int, int], int] = {}

    def add_types(
        self,
        part: NDArray[np.intp],
        rows: NDArray[np.int64],
        several: NDArray[np.bool_],
        allocated: NDArray[np.bool_],
    ) -> None:
        """The types of the objects of the spans `part` are those in `rows` of the descriptors, -1: not known, and whether
        they are `several` values; all of shape (spans, objects)."""
        good = allocated & (rows >= 0) & self._swept[part][:, None]
        numbers = self._numbers_of(part, good)
        self._type[numbers] = 2 * rows[good] + several[good]
        self._known.append(numbers)

    def add_shapes(
        self,
        part: NDArray[np.intp],
        size: int,
        masks: NDArray[np.uint64],
        allocated: NDArray[np.bool_],
    ) -> None:
        """The objects of the spans `part`, of `size` bytes, have pointers at `masks` (shape (spans, objects))."""
        good = allocated & self._swept[part][:, None]
        different, which = numbered(masks[good])
        self._shape[self._numbers_of(part, good)] = which + len(self._shapes)
        self._shapes += [(size, mask) for mask in different.tolist()]

    def _numbers_of(self, part: NDArray[np.intp], good: NDArray[np.bool_]) -> NDArray[np.int64]:
        span, index = np.nonzero(good)
        return self._numbers.first[part[span]] + index

    def proven(self, until: float) -> Proven:
        """Follow the pointers of objects of known types, then of those that became known, until that moment of
        ``time.monotonic``. What is proven of shapes that more than one type has."""
        if self._generation is None:
            return Counter()
        self._until = until
        work = np.concatenate(self._known)
        while len(work) and time.monotonic() < until:
            work = distinct(np.concatenate([np.zeros(0, np.int64), *self._follow(work)]))
        if _generation(self._runtime) != self._generation:
            self._type[self._shape >= 0] = _UNKNOWN
        return self._counted()

    def objects_of(self, kinds: set[tuple[int, bool]]) -> NDArray[np.uint32]:
        """The objects of up to 512 bytes that are proven to be of one of `kinds`: rows of the descriptors, and whether several
        values. After `proven`."""
        wanted = np.array([2 * row + many for row, many in kinds], np.int32)
        return np.flatnonzero((self._shape >= 0) & np.isin(self._type, wanted)).astype(np.uint32)

    def unknown(self, numbers: NDArray[np.int64]) -> int:
        """How many of the objects `numbers` are not proven to be anything. After `proven`."""
        return int((self._type[numbers] < 0).sum())

    def kind(self, number: int) -> tuple[int, bool] | None:
        """What object `number`, of up to 512 bytes, is proven to be; None: nothing. After `proven`."""
        kind = int(self._type[number])
        return (kind >> 1, bool(kind & 1)) if kind >= 0 and self._shape[number] >= 0 else None

    def _counted(self) -> Proven:
        small = np.flatnonzero((self._shape >= 0) & (self._type >= 0))
        found, which = numbered(combined(self._shape[small], self._type[small]))
        first = np.zeros(len(found), np.int64)
        first[which] = np.arange(len(which))
        objects = np.bincount(which, minlength=len(found)).tolist()
        proven: Proven = Counter()
        for at, many in zip(small[first].tolist(), objects, strict=True):
            kind, shape = int(self._type[at]), self._shapes[self._shape[at]]
            if self._reader.of_shape(*shape).number > 1:
                proven[(*shape, kind >> 1, bool(kind & 1))] += many
        return proven

    def _follow(self, objects: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The objects whose types become known because `objects` refer to them."""
        spans, first = self._numbers.spans, self._numbers.first
        span = np.searchsorted(first, objects, side="right") - 1
        size = spans.object_bytes[span]
        order = np.lexsort((size, self._type[objects]))
        kinds = combined(self._type[objects], size)[order]
        for rows in np.split(order, np.flatnonzero(np.diff(kinds)) + 1):
            kind, room = int(self._type[objects[rows[0]]]), int(size[rows[0]])
            places = self._places_of(kind) if kind >= 0 else ()
            step = max(_BATCH_BYTES // room, 1)
            for low in range(0, len(rows) if places else 0, step):
                part = rows[low : low + step]
                at = span[part]
                begin = spans.start[at] + ((objects[part] - first[at]) * size[part]).astype(
                    np.uint64
                )
                header = room - int(self._reader.room(spans.select(at[:1]))[0])
                yield from self._read(kind, begin + np.uint64(header), room - header)

    def _read(self, kind: int, begin: NDArray[np.uint64], room: int) -> Iterator[NDArray[np.int64]]:
        """As `_follow`, for objects of `kind` whose values are at `begin`, in `room` bytes; of a value that is larger than
        `_BATCH_BYTES` the begin."""
        own = int(self._reader.types.size[kind >> 1])
        values = room // own if kind & 1 else 1
        step = max(_BATCH_BYTES // own, 1)
        for first in range(0, values, step):
            if time.monotonic() > self._until:
                return
            some = min(step, values - first)
            lanes = min(some * own, _BATCH_BYTES) // 8
            gathered = self._memory.gather(begin + np.uint64(first * own), 8 * lanes)
            table = gathered.words(lanes)[gathered.ok]
            for place in self._places_of(kind):
                columns = (place.offset + own * np.arange(some)) // 8
                words = table[:, columns[columns < lanes]].reshape(-1)
                yield self._pointed(distinct(words), place.row)

    def _pointed(self, words: NDArray[np.uint64], row: int) -> NDArray[np.int64]:
        """The objects whose types become known because `words` point to values of the type in `row`."""
        at, found = self._numbers.find(words)
        objects = found.astype(np.int64)
        good = self._shape[objects] >= 0
        objects, words = objects[good], words[at][good]
        spans, first = self._numbers.spans, self._numbers.first
        span = np.searchsorted(first, objects, side="right") - 1
        inner = (words - spans.start[span]).astype(np.int64)
        inner -= (objects - first[span]) * spans.object_bytes[span]
        different, which = numbered(combined(self._shape[objects], inner))
        one = np.zeros(len(different), np.int64)
        one[which] = np.arange(len(which))
        verdicts = [
            self._verdict(int(self._shape[objects[each]]), int(inner[each]), row)
            for each in one.tolist()
        ]
        kind = np.array(verdicts, np.int32)[which]
        objects, kind = objects[kind >= 0], kind[kind >= 0]
        before: NDArray[np.int32] = self._type[objects]
        self._type[objects[(before >= 0) & (before != kind)]] = _REFUTED
        new = before == _UNKNOWN
        self._type[objects[new]] = kind[new]
        found_now: NDArray[np.int64] = objects[new]
        return found_now

    def _verdict(self, shape: int, inner: int, row: int) -> int:
        """What an object of a shape is that has a value of the type in `row` at `inner`, `_UNKNOWN` if more than one type fits,
        or too many would have to be looked at."""
        key = (shape, inner, row)
        if key not in self._verdicts:
            fitting, wanted = [], int(self._reader.types.address[row])
            candidates = self._candidates(shape, wanted)
            for each, several in candidates[:_MAX_CANDIDATES]:
                if time.monotonic() > self._until:
                    return _UNKNOWN
                if self._has(each, several, inner, wanted):
                    fitting.append(2 * each + several)
            sure = len(fitting) == 1 and len(candidates) <= _MAX_CANDIDATES
            self._verdicts[key] = fitting[0] if sure else _UNKNOWN
        return self._verdicts[key]

    def _candidates(self, shape: int, wanted: int) -> list[tuple[int, bool]]:
        """The rows of types that objects of `shape` can have, and whether several values, without those that consist of
        nothing but themselves, and are not the type at `wanted`."""
        types, found = self._reader.types, []
        for rows, values in self._reader.candidates.find(*self._shapes[shape]):
            kept = rows[self._composed[rows] | (types.address[rows] == np.uint64(wanted))]
            found += [(row, values > 1) for row in kept.tolist()]
        return found

    def _has(self, row: int, several: bool, inner: int, wanted: int) -> bool:
        """Whether values of the type in `row` have one of the type at `wanted` at `inner`. True if it cannot be told, so that
        nothing is ruled out."""
        if row not in self._parts:
            try:
                value = self._types.at(int(self._reader.types.address[row]))
                nodes = list(islice(_nodes(value), _MAX_PARTS))
                parts = frozenset((offset, part.origin) for offset, part in nodes)
                self._parts[row] = parts if len(nodes) < _MAX_PARTS else None
            except SpyglassError:
                self._parts[row] = None
        known, size = self._parts[row], int(self._reader.types.size[row])
        return known is None or (inner % size if several else inner, wanted) in known

    def _places_of(self, kind: int) -> tuple[_Place, ...]:
        """The pointers of a value of `kind` that prove something."""
        if kind not in self._places:
            try:
                value = self._types.at(int(self._reader.types.address[kind >> 1]))
                pointers = [
                    (offset, part.element().origin)
                    for offset, part in islice(_nodes(value), _MAX_PARTS)
                    if part.kind in ("pointer", "slice") and part.element is not None
                ]
            except SpyglassError:
                pointers = []
            rows = self._reader.types.find(np.array([each for _, each in pointers], np.uint64))
            self._places[kind] = tuple(
                _Place(offset, row)
                for (offset, _), row in zip(pointers, rows.tolist(), strict=True)
                if row >= 0 and self._reader.types.pointer_bytes[row]
            )
        return self._places[kind]


def _nodes(value: ValueType, offset: int = 0, depth: int = 0) -> Iterator[tuple[int, ValueType]]:
    """All that `value` at `offset` consists of, at any depth, and where; of long arrays the first elements. What is smaller than a
    pointer is left out. There may be endlessly many. Raises `BadDataError`."""
    yield offset, value
    if depth > _MAX_DEPTH:
        raise BadDataError("a type is nested too deep")
    if value.kind == "array" and value.element is not None:
        element = value.element()
        if element.size >= _POINTER_BYTES:
            for number in range(min(value.length, _MAX_PARTS)):
                yield from _nodes(element, offset + number * element.size, depth + 1)
    elif value.kind == "struct" and value.fields is not None:
        for each in value.fields():
            kind = each.type()
            if kind.size >= _POINTER_BYTES:
                yield from _nodes(kind, offset + each.offset, depth + 1)


def _generation(runtime: Runtime) -> int | None:
    """``mheap_.sweepgen``: the number of sweeps, twice; None where it is not known, or not of which spans."""
    if not (runtime.layouts.has("mspan", "sweepgen") and runtime.layouts.has("mheap", "sweepgen")):
        return None
    row = runtime.memory.array(runtime.address("mheap_"), runtime.layouts["mheap"], 1)[0]
    return int(row["sweepgen"])
