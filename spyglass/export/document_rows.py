"""The goroutines, stacks and frames of a document that is read, as columns of numbers.

Each of these arrays of the document comes in batches (`spyglass.export.json_stream`), of which only the
columns are kept. What they refer to is checked when all of it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from spyglass.errors import BadDataError
from spyglass.export import schema_types
from spyglass.export.schema_numbers import Count
from spyglass.export.schema_types import CREATOR, PLACE, checked, misfit
from spyglass.model import NONE, QUALITIES, STATUSES, UNREAD, Frame, Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "OBJECT_BYTES", "BatchedArray", "FrameRows", "GoroutineRows", "Memory", "Numbers", "StackRows", "elided",
]  # fmt: skip

Value = TypeVar("Value")
Place = TypeVar("Place")

_MAX_REASONS = np.iinfo(np.int16).max
_MAX_INDEX = np.iinfo(np.int32).max
#: What an object of Python needs at least, with what it takes to refer to it.
OBJECT_BYTES = 128

#: Texts of places whose numbers are kept, to be looked up.
_TEXTS_KEPT = 1 << 16

#: A line of code, and the number of its frame if that is known.
_Place = tuple[str, str | None, int | None, int | None]
_place = attrgetter("function", "file", "line", "frame")
_line = attrgetter("function", "file", "line")
#: The columns that are indices of frames.
_PLACES = [name for name, column in Goroutines.columns().items() if column.index_of == "frames"]
_STATUS_NUMBERS = {word: number for number, word in enumerate(STATUSES)}
_QUALITY_NUMBERS = {word: number for number, word in enumerate(QUALITIES)}


class Memory:
    """How many bytes a document may need when it is read: text of a few bytes may need a hundred."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left = max_bytes

    def need(self, size: int) -> None:
        """Take `size` bytes; `BadDataError` if there are not as many."""
        self._left -= size
        if self._left < 0:
            what = f"it needs more than {self._max_bytes:,} bytes of memory"
            raise BadDataError(what, "--max-size allows more, if you trust it")


class Numbers(dict[Any, int]):
    """Things with their numbers, in the order they came."""

    def __missing__(self, thing: Any) -> int:
        self[thing] = number = len(self)
        return number


class BatchedArray:
    """What the arrays have in common: a decoder of batches, and how many elements there are."""

    def __init__(self, name: str, kind: Any, memory: Memory) -> None:
        self._name = name
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[kind])
        self._memory = memory
        self.begin()

    def begin(self) -> None:
        """Forget what was added: the array begins, perhaps for a second time."""
        self.count = 0

    def decode(self, text: bytes) -> Any:
        """The next elements, the JSON array `text`; `BadDataError` if they do not fit the schema."""
        return checked(self._decoder, text, f"/{self._name}", self.count)


class FrameRows(BatchedArray):
    """The frames of a document (`all`), and further ones for places of goroutines that name no frame."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("frames", schema_types.Frame, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self.all: list[Frame] = []
        self._firsts: dict[tuple[str, str | None, int | None], int] = {}

    def add(self, records: Sequence[schema_types.Frame]) -> None:
        """Add the next frames."""
        self._memory.need(4 * OBJECT_BYTES * len(records))
        for number, r in enumerate(records, self.count):
            frame = Frame(r.function, r.file, r.line, r.pc, r.inlined, r.hidden, r.offset)
            self.all.append(frame)
            self._firsts.setdefault(_line(frame), number)
        self.count += len(records)

    def number(self, place: _Place) -> int:
        """The number of the frame that `place` is, a new one if it names none; `LookupError`, which says
        why, if it names a frame that it cannot be."""
        function, file, line, number = place
        if number is None:
            return self._on_line(function, file, line)
        if number >= self.count:
            raise LookupError(f"there is no frame {number:,}")
        if _line(self.all[number]) != (function, file, line):
            raise LookupError(f"frame {number:,} is another place")
        return number

    def _on_line(self, function: str, file: str | None, line: int | None) -> int:
        """The first frame on that line; if there is none, a new one without a pc."""
        number = self._firsts.setdefault((function, file, line), len(self.all))
        if number == len(self.all):
            self.all.append(Frame(function, file, line, pc=0))
        return number


class StackRows(BatchedArray):
    """The stacks of a document: `offsets` and `frames` are those of a snapshot when all were added."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("stacks", list[Count], memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._lengths: list[NDArray[np.int64]] = []
        self._frames: list[NDArray[np.int32]] = []

    def add(self, stacks: Sequence[Sequence[int]]) -> None:
        """Add the next stacks."""
        lengths = np.fromiter(map(len, stacks), np.int64, len(stacks))
        total = int(lengths.sum())
        # For a moment they are there twice, in batches and as a whole.
        self._memory.need(2 * (8 * len(stacks) + 4 * total))
        numbers = np.fromiter(chain.from_iterable(stacks), np.int64, total)
        self._check(numbers, _MAX_INDEX, np.cumsum(lengths), self.count)
        self._lengths.append(lengths)
        self._frames.append(numbers.astype(np.int32))
        self.count += len(stacks)

    def finish(self, frame_count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """``stack_offsets`` and ``stack_frames``, indices of `frame_count` frames."""
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *self._lengths]))
        frames = np.concatenate([np.zeros(0, np.int32), *self._frames])
        self._check(frames, frame_count, offsets[1:], 0)
        return offsets, frames

    def _check(
        self, numbers: NDArray[Any], frame_count: int, ends: NDArray[np.int64], first: int
    ) -> None:
        """Refuse stacks that end at `ends` of `numbers`, the first number `first`, if there are not as
        many frames."""
        for at in np.flatnonzero(numbers >= frame_count)[:1].tolist():
            stack = int(np.searchsorted(ends, at, "right"))
            begin = int(ends[stack - 1]) if stack else 0
            pointer = f"/stacks/{first + stack}/{at - begin}"
            raise misfit(pointer, f"there is no frame {int(numbers[at]):,}")


class GoroutineRows(BatchedArray):
    """The goroutines of a document as columns, and the words and labels that these have numbers of."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("goroutines", schema_types.Goroutine, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in Goroutines.columns()}
        self._places = Numbers()
        self._reasons = Numbers()
        self._labels = Numbers()
        self._place_texts: dict[bytes, int] = {}
        self._creator_texts: dict[bytes, tuple[int, int]] = {}

    @property
    def wait_reasons(self) -> tuple[str, ...]:
        """The words that the column ``wait_reason`` has numbers of."""
        return tuple(self._reasons)

    @property
    def label_sets(self) -> tuple[Mapping[str, str], ...]:
        """What the column ``labels`` has numbers of."""
        return tuple(map(dict, self._labels))

    def add(self, records: Sequence[schema_types.Goroutine]) -> None:
        """Add the next goroutines."""
        known = self._known()
        creators = self._creators([g.created_by for g in records])
        columns: dict[str, NDArray[Any]] = {
            "id": np.array([g.id for g in records], np.uint64),
            "status": np.array([_STATUS_NUMBERS[g.status] for g in records], np.uint8),
            "wait_reason": _interned(self._reasons, [g.wait_reason for g in records]),
            "waiting_ns": _numbers(g.waiting_ns for g in records),
            "printed_ns": _numbers(_printed_ns(g) for g in records),
            "stack": _numbers(g.stack for g in records),
            "where": self._places_of("where", [g.where for g in records]),
            "call": self._places_of("call", [g.call for g in records]),
            "start": self._places_of("start", [g.start for g in records]),
            "creator": creators[:, 0].astype(np.int32),
            "creator_id": creators[:, 1].copy(),
            "m": _numbers(g.m for g in records),
            "locked": np.array([g.locked_to_thread for g in records], np.bool_),
            "system": np.array([g.system for g in records], np.bool_),
            "labels": self._of_labels([g.labels for g in records]),
            "quality": np.array([_QUALITY_NUMBERS[g.quality] for g in records], np.uint8),
        }
        self._check_index(columns["stack"], "stack", _MAX_INDEX)
        columns["stack"] = columns["stack"].astype(np.int32)
        # For a moment each column is there twice, in batches and as a whole.
        size = sum(column.nbytes for column in columns.values())
        self._memory.need(2 * size + 4 * OBJECT_BYTES * (self._known() - known))
        for name, column in columns.items():
            self._parts[name].append(column)
        self.count += len(records)

    def finish(self, frames: FrameRows, stack_count: int) -> Goroutines:
        """All goroutines, whose places are `frames`."""
        if len(self._reasons) > _MAX_REASONS:
            raise misfit("/goroutines", f"{len(self._reasons):,} different reasons to wait")
        columns = {name: self._whole(name) for name in Goroutines.columns()}
        for row in np.flatnonzero(columns["stack"] >= stack_count)[:1].tolist():
            number = int(columns["stack"][row])
            raise misfit(f"/goroutines/{row}/stack", f"there is no stack {number:,}")
        numbers = self._frame_numbers(frames, columns)
        for name in _PLACES:
            columns[name] = numbers[columns[name]]
        return Goroutines(**columns)

    def _known(self) -> int:
        return len(self._places) + 2 * len(self._labels) + len(self._reasons)

    def _places_of(self, name: str, texts: Sequence[bytes]) -> NDArray[np.int32]:
        """The numbers of places, the fields `name` of the next goroutines."""

        def number(place: schema_types.FramedPlace | None) -> int:
            return NONE if place is None else self._places[_place(place)]

        found = self._looked_up(name, self._place_texts, texts, PLACE, number)
        return np.array(found, np.int32)

    def _creators(self, texts: Sequence[bytes]) -> NDArray[np.int64]:
        """The number of the place, and the goroutine, that created each of the next goroutines."""

        def pair(creator: schema_types.Creator | None) -> tuple[int, int]:
            if creator is None:
                return NONE, NONE
            goroutine = NONE if creator.goroutine is None else creator.goroutine
            return self._places[_place(creator)], goroutine

        found = self._looked_up("created_by", self._creator_texts, texts, CREATOR, pair)
        return np.array(found, np.int64).reshape(-1, 2)

    def _looked_up(
        self,
        name: str,
        known: dict[bytes, Value],
        texts: Sequence[bytes],
        decoder: msgspec.json.Decoder[Place],
        value: Callable[[Place], Value],
    ) -> list[Value]:
        """The `value` of each place in `texts`, fields `name`; each text in `known` is decoded once."""
        if len(known) > _TEXTS_KEPT:
            known.clear()
        keys = list(map(bytes, texts))
        for row, key in enumerate(keys):
            if key not in known:
                pointer = f"/goroutines/{self.count + row}/{name}"
                known[key] = value(checked(decoder, key, pointer))
        return [known[key] for key in keys]

    def _of_labels(self, labels: Sequence[Mapping[str, str] | None]) -> NDArray[np.int32]:
        numbers = self._labels
        return np.array(
            [
                numbers[tuple(each.items())] if each else UNREAD if each is None else NONE
                for each in labels
            ],
            np.int32,
        )

    def _check_index(self, column: NDArray[np.int64], name: str, count: int) -> None:
        for row in np.flatnonzero(column >= count)[:1].tolist():
            pointer = f"/goroutines/{self.count + row}/{name}"
            raise misfit(pointer, f"there is no {name} {int(column[row]):,}")

    def _whole(self, name: str) -> NDArray[Any]:
        parts, column = self._parts.pop(name), Goroutines.columns()[name]
        if not parts:  # of a column that documents do not have
            return np.full(self.count, column.default, column.dtype)
        return np.concatenate(parts).astype(column.dtype, copy=False)

    def _frame_numbers(
        self, frames: FrameRows, columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.int32]:
        """The frame of each place that has a number, and `NONE` for `NONE`, the last."""
        numbers = []
        for number, place in enumerate(self._places):
            try:
                numbers.append(frames.number(place))
            except LookupError as error:
                raise misfit(_first_use(columns, number), str(error.args[0])) from None
        return np.array([*numbers, NONE], np.int32)


def _first_use(columns: Mapping[str, NDArray[Any]], place: int) -> str:
    """The JSON pointer of the first goroutine's field that has the number `place`."""
    for name in _PLACES:
        for row in np.flatnonzero(columns[name] == place)[:1].tolist():
            return f"/goroutines/{row}/{'created_by' if name == 'creator' else name}/frame"
    raise AssertionError


def _numbers(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([NONE if value is None else value for value in values], np.int64)


def _interned(numbers: Numbers, values: Iterable[Hashable]) -> NDArray[np.int32]:
    column = [NONE if value is None else numbers[value] for value in values]
    return np.array(column, np.int32)


def _printed_ns(record: schema_types.Goroutine) -> int | None:
    """Files of spyglass 0.2 and earlier have it as `waiting_ns`."""
    return record.waiting_ns if record.printed_ns is msgspec.UNSET else record.printed_ns


def elided(
    gaps: Sequence[schema_types.Elided], offsets: NDArray[np.int64]
) -> dict[int, tuple[int, int]]:
    """What was left out of the stacks that `offsets` cut."""
    for number, gap in enumerate(gaps):
        if gap.stack >= len(offsets) - 1:
            raise misfit(f"/elided/{number}/stack", f"there is no stack {gap.stack:,}")
        if gap.after > offsets[gap.stack + 1] - offsets[gap.stack]:
            raise misfit(f"/elided/{number}/after", "the stack has fewer frames")
    return {gap.stack: (gap.after, gap.frames) for gap in gaps}
