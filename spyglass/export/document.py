"""A snapshot as a document of plain values: ``spyglass.snapshot/1``, see ``snapshot.schema.json``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.selection import selected
from spyglass.model import QUALITIES, STATUSES, Frame, Snapshot
from spyglass.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SCHEMA", "document", "goroutine_rows", "header"]

#: The name and version of what `document` makes. A new number: something lost its meaning.
SCHEMA = "spyglass.snapshot/1"

_SURROGATE = re.compile("[\ud800-\udfff]")

#: Goroutines made into documents at a time, so that a million of them need no gigabytes.
_BATCH_ROWS = 16384

Document = dict[str, Any]


def document(snapshot: Snapshot) -> Document:
    """All of `snapshot` in values that JSON knows; dead goroutines are left out."""
    goroutines = [
        dict(zip(names, row, strict=True))
        for names, rows in goroutine_rows(snapshot, encode=lambda value: value)
        for row in rows
    ]
    return header(snapshot) | {"goroutines": goroutines}


def header(snapshot: Snapshot) -> Document:
    """The document with its list of goroutines left empty."""
    return {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "taken_at": _plain(snapshot.taken_at),
        "took_ns": snapshot.took_ns,
        "timings_ns": snapshot.timings_ns,
        "source": _record(snapshot.source),
        "process": _record(snapshot.process),
        "scheduler": _record(snapshot.scheduler),
        "processors": [_record(processor) for processor in snapshot.processors],
        "threads": [_record(thread) for thread in snapshot.threads],
        "memory": _record(snapshot.memory),
        "chosen_from": snapshot.chosen_from,
        "goroutines": [],
        "stacks": _stacks(snapshot),
        "elided": [
            {"stack": stack, "after": after, "frames": frames}
            for stack, (after, frames) in sorted(snapshot.elided.items())
        ],
        "frames": [_record(frame) for frame in snapshot.frames],
        "problems": [_record(problem) for problem in snapshot.problems],
    }


def goroutine_rows(
    snapshot: Snapshot, encode: Callable[[Any], Any]
) -> Iterator[tuple[list[str], Iterator[tuple[Any, ...]]]]:
    """The goroutines that are not dead, some thousands at a time: names of columns, and rows.

    `encode` is applied to values that many rows share (a place in the code, a word, null); numbers
    are left as they are. A million goroutines share a few hundred places, so whoever encodes them
    as text does it a few hundred times.
    """
    rows = selected(snapshot.goroutines, system=True)
    columns = _Columns(snapshot, encode)
    for first in range(0, len(rows), _BATCH_ROWS):
        batch = columns.of(rows[first : first + _BATCH_ROWS])
        yield list(batch), zip(*batch.values(), strict=True)


class _Columns:
    """The columns of goroutines in a document, with their shared values encoded once."""

    def __init__(self, snapshot: Snapshot, encode: Callable[[Any], Any]) -> None:
        self._snapshot = snapshot
        self._encode = encode
        self._none = encode(None)
        self._booleans = [encode(False), encode(True)]
        self._statuses = [encode(word) for word in STATUSES]
        self._qualities = [encode(word) for word in QUALITIES]
        self._reasons = [encode(_plain(word)) for word in snapshot.wait_reasons]
        self._places = [encode(_place(frame)) for frame in snapshot.frames]
        labels = [encode(_labels(each)) for each in snapshot.label_sets]
        # Behind them what UNREAD and NONE stand for, which as indices count from the end.
        self._labels = [*labels, self._none, encode({})]
        self._creators: dict[tuple[int, int], Any] = {}

    def of(self, rows: NDArray[np.int64]) -> dict[str, list[Any]]:
        """The columns for `rows`, all of their length."""
        g = self._snapshot.goroutines
        return {
            "id": g.id[rows].tolist(),
            "status": self._looked_up(self._statuses, g.status[rows]),
            "wait_reason": self._looked_up(self._reasons, g.wait_reason[rows]),
            "waiting_ns": self._numbers(g.waiting_ns[rows]),
            "stack": self._numbers(g.stack[rows]),
            "where": self._looked_up(self._places, g.where[rows]),
            "start": self._looked_up(self._places, g.start[rows]),
            "created_by": self._created_by(g.creator[rows], g.creator_id[rows]),
            "m": self._numbers(g.m[rows]),
            "locked_to_thread": self._looked_up(self._booleans, g.locked[rows]),
            "system": self._looked_up(self._booleans, g.system[rows]),
            "labels": [self._labels[index] for index in g.labels[rows].tolist()],
            "quality": self._looked_up(self._qualities, g.quality[rows]),
        }

    def _looked_up(self, things: Sequence[Any], indices: NDArray[Any]) -> list[Any]:
        return [things[index] if index >= 0 else self._none for index in indices.tolist()]

    def _numbers(self, column: NDArray[Any]) -> list[Any]:
        return [number if number >= 0 else self._none for number in column.tolist()]

    def _created_by(self, frames: NDArray[np.int32], goroutines: NDArray[np.int64]) -> list[Any]:
        pairs = list(zip(frames.tolist(), goroutines.tolist(), strict=True))
        for pair in set(pairs) - self._creators.keys():
            self._creators[pair] = self._encode(_creator(self._snapshot, *pair))
        return [self._creators[pair] for pair in pairs]


def _stacks(snapshot: Snapshot) -> list[list[int]]:
    offsets, frames = snapshot.stack_offsets.tolist(), snapshot.stack_frames.tolist()
    return [frames[low:high] for low, high in pairwise(offsets)]


def _creator(snapshot: Snapshot, index: int, goroutine: int) -> Document | None:
    frame = snapshot.frame(index)
    if frame is None:
        return None
    return _place(frame) | {"goroutine": goroutine if goroutine >= 0 else None}


def _labels(labels: Mapping[str, str]) -> Document:
    return {_plain(key): _plain(value) for key, value in labels.items()}


def _place(frame: Frame) -> Document:
    return {"function": _plain(frame.function), "file": _plain(frame.file), "line": frame.line}


def _record(part: Any) -> Document:
    """A dataclass of the model: its fields have the names that they have in the document."""
    return {field.name: _plain(getattr(part, field.name)) for field in fields(part)}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _unicode(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _unicode(text: str) -> str:
    r"""`text` without surrogates, which other parsers of JSON refuse: a stray byte becomes ``\xff``."""
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    # `os.fsdecode` hides the byte 0xff, where it is not UTF-8, in U+DCFF.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
