"""The goroutines, stacks and frames of a document that was read, as columns of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from msgspec.structs import asdict

from spyglass.export import schema_types
from spyglass.export.schema_types import misfit
from spyglass.model import NONE, QUALITIES, STATUSES, UNREAD, Frame, Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Frames", "Rows", "elided", "flat"]

Value = TypeVar("Value", bound=Hashable)

_MAX_REASONS = np.iinfo(np.int16).max

#: A line of code, and the number of its frame if that is known.
_Key = tuple[str, str | None, int | None, int | None]


class Frames:
    """The frames of a document, and those that its places add to them."""

    def __init__(self, records: Sequence[schema_types.Frame]) -> None:
        self.all = [Frame(**asdict(record)) for record in records]
        self._firsts: dict[tuple[str, str | None, int | None], int] = {}
        for number, frame in enumerate(self.all):
            self._firsts.setdefault((frame.function, frame.file, frame.line), number)

    def column(
        self, name: str, places: Iterable[schema_types.FramedPlace | None]
    ) -> NDArray[np.int32]:
        """The number of the frame that each of `places`, field `name` of all goroutines, is."""
        known: dict[_Key, int] = {}
        numbers = []
        for row, place in enumerate(places):
            if place is None:
                numbers.append(NONE)
                continue
            key = place.function, place.file, place.line, place.frame
            if key not in known:
                known[key] = self._number(key, f"/goroutines/{row}/{name}/frame")
            numbers.append(known[key])
        return np.array(numbers, np.int32)

    def _number(self, key: _Key, pointer: str) -> int:
        function, file, line, number = key
        if number is None:
            return self._on_line(function, file, line)
        if number >= len(self.all):
            raise misfit(pointer, f"there is no frame {number:,}")
        frame = self.all[number]
        if (frame.function, frame.file, frame.line) != (function, file, line):
            raise misfit(pointer, f"frame {number:,} is another place")
        return number

    def _on_line(self, function: str, file: str | None, line: int | None) -> int:
        """The first frame on that line; if there is none, a new one without a pc."""
        number = self._firsts.setdefault((function, file, line), len(self.all))
        if number == len(self.all):
            self.all.append(Frame(function, file, line, pc=0))
        return number


class Rows:
    """The goroutines of a document as columns, and the words and labels that these have numbers of."""

    def __init__(
        self, records: Sequence[schema_types.Goroutine], frames: Frames, stack_count: int
    ) -> None:
        self.wait_reasons, reasons = _interned(g.wait_reason for g in records)
        if len(self.wait_reasons) > _MAX_REASONS:
            what = f"{len(self.wait_reasons):,} different reasons to wait"
            raise misfit("/goroutines", what)
        self.label_sets, labels = _labels(records)
        self.columns = Goroutines(
            id=np.array([g.id for g in records], np.uint64),
            status=_coded((g.status for g in records), STATUSES),
            wait_reason=reasons.astype(np.int16),
            waiting_ns=_numbers(g.waiting_ns for g in records),
            stack=_indices((g.stack for g in records), stack_count),
            where=frames.column("where", (g.where for g in records)),
            call=frames.column("call", (g.call for g in records)),
            start=frames.column("start", (g.start for g in records)),
            creator=frames.column("created_by", (g.created_by for g in records)),
            creator_id=_numbers(
                g.created_by.goroutine if g.created_by is not None else None for g in records
            ),
            m=_numbers(g.m for g in records),
            locked=np.array([g.locked_to_thread for g in records], np.bool_),
            system=np.array([g.system for g in records], np.bool_),
            labels=labels,
            quality=_coded((g.quality for g in records), QUALITIES),
        )


def _numbers(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([NONE if value is None else value for value in values], np.int64)


def _coded(words: Iterable[str], code: Sequence[str]) -> NDArray[np.uint8]:
    numbers = {word: number for number, word in enumerate(code)}
    return np.array([numbers[word] for word in words], np.uint8)


def _interned(values: Iterable[Value | None]) -> tuple[tuple[Value, ...], NDArray[np.int32]]:
    """The different ones of `values` in the order they come, and the number of each; None is `NONE`."""
    numbers: dict[Value | None, int] = {None: NONE}
    column = [numbers.setdefault(value, len(numbers) - 1) for value in values]
    return tuple(value for value in numbers if value is not None), np.array(column, np.int32)


def _labels(
    records: Sequence[schema_types.Goroutine],
) -> tuple[tuple[Mapping[str, str], ...], NDArray[np.int32]]:
    sets, column = _interned(tuple(g.labels.items()) if g.labels else None for g in records)
    column[np.array([g.labels is None for g in records], np.bool_)] = UNREAD
    return tuple(map(dict, sets)), column


def _indices(stacks: Iterable[int | None], number: int) -> NDArray[np.int32]:
    column = _numbers(stacks)
    for row in np.flatnonzero(column >= number)[:1].tolist():
        raise misfit(f"/goroutines/{row}/stack", f"there is no stack {column[row]:,}")
    return column.astype(np.int32)


def flat(
    stacks: Sequence[Sequence[int]], frame_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """``stack_offsets`` and ``stack_frames`` of `stacks`, indices of `frame_count` frames."""
    offsets = np.cumsum([0, *map(len, stacks)], dtype=np.int64)
    numbers = np.fromiter(chain.from_iterable(stacks), np.int64, int(offsets[-1]))
    for at in np.flatnonzero(numbers >= frame_count)[:1].tolist():
        stack = int(np.searchsorted(offsets, at, "right")) - 1
        raise misfit(f"/stacks/{stack}/{at - offsets[stack]}", f"there is no frame {numbers[at]:,}")
    return offsets, numbers.astype(np.int32)


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
