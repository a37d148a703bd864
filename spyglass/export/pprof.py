"""Goroutines as a profile that ``go tool pprof`` reads: profile.proto, compressed by gzip.

The form is that of Go's own goroutine profile (``runtime/pprof/proto.go``): one value, goroutine/count;
whole stacks without ``runtime.goexit`` and without wrappers; a location for each pc, with a line for each
call that was inlined there. Labels tell more than Go's profile does: those of the program, and what the
goroutine does (`_STATE` and following).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spyglass.columns import combined, numbered
from spyglass.export.plain_values import plain
from spyglass.export.protobuf import number, packed, piece, varint
from spyglass.export.pseudo_frames import WholeStacks, counted, whole_stacks
from spyglass.model import NONE, QUALITIES, STATUSES, Frame, Snapshot
from spyglass.version import __version__
from spyglass.words.states import DOUBTFUL

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_pprof"]

#: Field numbers of profile.proto, by message.
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING = 1, 2, 3, 4, 5, 6
_TIME_NANOS, _PERIOD_TYPE, _PERIOD, _COMMENT = 9, 11, 12, 13
_TYPE_TYPE, _TYPE_UNIT = 1, 2
_SAMPLE_LOCATION, _SAMPLE_VALUE, _SAMPLE_LABEL = 1, 2, 3
_LABEL_KEY, _LABEL_STR, _LABEL_NUM, _LABEL_NUM_UNIT = 1, 2, 3, 4
_MAPPING_ID, _MAPPING_FILE, _MAPPING_BUILD_ID = 1, 5, 6
_MAPPING_HAS = (7, 8, 9, 10)  # functions, file names, line numbers, inlined frames
_LOCATION_ID, _LOCATION_MAPPING, _LOCATION_ADDRESS, _LOCATION_LINE = 1, 2, 3, 4
_LINE_FUNCTION, _LINE_LINE = 1, 2
_FUNCTION_ID, _FUNCTION_NAME, _FUNCTION_SYSTEM_NAME, _FUNCTION_FILE = 1, 2, 3, 4

#: The keys of our labels: the status; the wait reason; a lower bound of the wait, in steps of a minute
#: as in Go's traceback, but in seconds, which pprof knows; and torn or unreadable, if the stack is doubtful.
_STATE, _WAIT_REASON, _WAIT, _QUALITY = (
    "goroutine_state", "wait_reason", "wait_at_least", "goroutine_quality",
)  # fmt: skip
_MINUTE_NS = 60_000_000_000

#: More inlined calls at one pc than this become several locations.
_MAX_LINES = 128
_BATCH_FIELDS = 4096
#: How many encoded sets of labels, and values, are kept: a request may have labels of its own.
_LABELS_KEPT = 65536
_GZIP_LEVEL = 3


def write_pprof(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write the profile of `snapshot` to `stream`, which stays open."""
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as zipped:
        for part in _Profile(snapshot).parts():
            zipped.write(part)


class _Profile:
    """The profile of one snapshot. Its tables of functions and strings grow while it is written."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._whole = whole_stacks(snapshot)
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._labels = lru_cache(_LABELS_KEPT)(self._encoded_labels)
        self._value = lru_cache(_LABELS_KEPT)(lambda count: piece(_SAMPLE_VALUE, varint(count)))

    def parts(self) -> Iterator[bytes]:
        """The fields of the profile in pieces."""
        kind = number(_TYPE_TYPE, self._string("goroutine")) + number(
            _TYPE_UNIT, self._string("count")
        )
        yield piece(_SAMPLE_TYPE, kind) + piece(_PERIOD_TYPE, kind) + number(_PERIOD, 1)
        yield number(_TIME_NANOS, int(self._snapshot.taken_at.timestamp() * 1e6) * 1000)
        yield number(_COMMENT, self._string(self._comment())) + self._mapping()
        locations = _Locations(self._whole)
        yield from _batches(self._samples(locations))
        yield from _batches(
            self._location(index, frames) for index, frames in enumerate(locations.frames(), 1)
        )
        yield from _batches(
            self._function(index, *names) for names, index in self._functions.items()
        )
        yield from _batches(piece(_STRING, text.encode()) for text in self._strings)

    def _string(self, text: str | None) -> int:
        return self._strings.setdefault(plain(text or ""), len(self._strings))

    def _comment(self) -> str:
        process = self._snapshot.process
        version = process.go_version or "unknown Go version"
        return f"spyglass {__version__}: goroutines of process {process.pid}, {version}"

    def _mapping(self) -> bytes:
        """The one mapping. Its addresses are left out: a saved snapshot does not have them, and the
        frames have names already."""
        process = self._snapshot.process
        fields = [
            number(_MAPPING_ID, 1),
            number(_MAPPING_FILE, self._string(process.library or process.exe)),
            number(_MAPPING_BUILD_ID, self._string(process.build_id)),
            *(number(field, 1) for field in _MAPPING_HAS),
        ]
        return piece(_MAPPING, b"".join(fields))

    def _samples(self, locations: _Locations) -> Iterator[bytes]:
        """One sample for all goroutines with one stack and the same labels, the largest first."""
        g = self._snapshot.goroutines
        minutes = np.maximum(g.waiting_ns, 0) // _MINUTE_NS
        quality = np.where(np.isin(g.quality, DOUBTFUL), g.quality, 0)
        columns = (g.labels, g.status, g.wait_reason, minutes, quality)
        counts, rows = counted(self._snapshot, self._whole.of_goroutines, *columns)
        stacks = self._whole.of_goroutines[rows].tolist()
        keys = zip(*(column[rows].tolist() for column in columns), strict=True)
        for stack, count, key in zip(stacks, counts.tolist(), keys, strict=True):
            yield self._sample(locations.of_stack(stack), count, key)

    def _sample(self, locations: bytes, count: int, key: tuple[int, ...]) -> bytes:
        labels = self._labels(key)
        return piece(_SAMPLE, piece(_SAMPLE_LOCATION, locations) + self._value(count) + labels)

    def _encoded_labels(self, key: tuple[int, ...]) -> bytes:
        labels, status, reason, minutes, quality = key
        own = dict(self._snapshot.label_sets[labels]) if labels >= 0 else {}
        encoded = [self._label(key, value) for key, value in own.items()]
        encoded.append(self._label(_STATE, STATUSES[status]))
        if reason >= 0:
            encoded.append(self._label(_WAIT_REASON, self._snapshot.wait_reasons[reason]))
        if minutes:
            content = number(_LABEL_KEY, self._string(_WAIT)) + number(_LABEL_NUM, 60 * minutes)
            unit = number(_LABEL_NUM_UNIT, self._string("seconds"))
            encoded.append(piece(_SAMPLE_LABEL, content + unit))
        if quality:
            encoded.append(self._label(_QUALITY, QUALITIES[quality]))
        return b"".join(encoded)

    def _label(self, key: str, value: str) -> bytes:
        content = number(_LABEL_KEY, self._string(key)) + number(_LABEL_STR, self._string(value))
        return piece(_SAMPLE_LABEL, content)

    def _location(self, index: int, numbers: list[int]) -> bytes:
        frames = [self._whole.frames[each] for each in numbers]
        is_real = numbers[0] < self._whole.real
        fields = [
            number(_LOCATION_ID, index),
            number(_LOCATION_MAPPING, int(is_real)),
            number(_LOCATION_ADDRESS, _address(frames) if is_real else 0),
            *(piece(_LOCATION_LINE, self._line(frame)) for frame in frames),
        ]
        return piece(_LOCATION, b"".join(fields))

    def _line(self, frame: Frame) -> bytes:
        key = frame.function, frame.file or ""
        function = self._functions.setdefault(key, len(self._functions) + 1)
        return number(_LINE_FUNCTION, function) + number(_LINE_LINE, frame.line or 0)

    def _function(self, index: int, name: str, file: str) -> bytes:
        fields = [
            number(_FUNCTION_ID, index),
            number(_FUNCTION_NAME, self._string(name)),
            number(_FUNCTION_SYSTEM_NAME, self._string(name)),
            number(_FUNCTION_FILE, self._string(file)),
        ]
        return piece(_FUNCTION, b"".join(fields))


def _batches(fields: Iterator[bytes]) -> Iterator[bytes]:
    """`fields`, some thousands at a time: each write to a compressor takes a microsecond."""
    while batch := b"".join(islice(fields, _BATCH_FIELDS)):
        yield batch


class _Locations:
    """The locations of all stacks: frames that are inlined in one another, at one pc."""

    def __init__(self, whole: WholeStacks) -> None:
        self._frames, begins, lengths = _runs(whole)
        self._begins, self._lengths = begins[lengths > 0], lengths[lengths > 0]
        kinds = self._kinds()
        first = np.full(kinds.max(initial=-1) + 1, NONE, np.int64)
        first[kinds[::-1]] = np.arange(len(kinds))[::-1]
        #: The run that stands for each location.
        self._first = first[first != NONE]
        encoded, at = packed(np.cumsum(first != NONE)[kinds])
        self._encoded = encoded
        # The locations of a stack are those whose run begins in it.
        self._offsets = at[np.searchsorted(self._begins, _kept_offsets(whole))].tolist()

    def of_stack(self, stack: int) -> bytes:
        """The ids of the locations of `stack`, innermost first, as packed varints."""
        return self._encoded[self._offsets[stack] : self._offsets[stack + 1]]

    def frames(self) -> Iterator[list[int]]:
        """The frames of each location, by id from 1 on, innermost first."""
        for run in self._first.tolist():
            begin = self._begins[run]
            yield self._frames[begin : begin + self._lengths[run]].tolist()

    def _kinds(self) -> NDArray[np.int64]:
        """A number for each run, equal where all frames of the runs are."""
        kinds = self._frames[self._begins].astype(np.int64)
        for depth in range(1, int(self._lengths.max(initial=0))):
            longer = self._lengths > depth
            further = self._frames[self._begins[longer] + depth]
            _, extended = numbered(combined(kinds[longer], further))
            kinds[longer] = extended + kinds.max() + 1
        return kinds


def _runs(
    whole: WholeStacks,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """The frames that a profile has, and begin and length of each run of those that are at one pc.

    A run ends at the frame that is not inlined, and with its stack. Its length is 0 if a profile has
    none of its frames.
    """
    is_last = np.array([not frame.inlined for frame in whole.frames], np.bool_)[whole.stack_frames]
    ends = whole.offsets[1:][np.diff(whole.offsets) > 0] - 1
    is_last[ends] = True
    before = np.concatenate([[0], np.flatnonzero(is_last) + 1])
    within = np.arange(len(is_last)) - np.repeat(before[:-1], np.diff(before))
    run_ends = np.flatnonzero(is_last | (within % _MAX_LINES == _MAX_LINES - 1)) + 1
    kept_before = np.concatenate([[0], np.cumsum(_is_kept(whole))])
    bounds = kept_before[np.concatenate([[0], run_ends])]
    return whole.stack_frames[_is_kept(whole)], bounds[:-1], np.diff(bounds)


def _kept_offsets(whole: WholeStacks) -> NDArray[np.int64]:
    """The offsets of the stacks in the frames that a profile has."""
    kept_before: NDArray[np.int64] = np.concatenate([[0], np.cumsum(_is_kept(whole))])
    return kept_before[whole.offsets]


def _is_kept(whole: WholeStacks) -> NDArray[np.bool_]:
    """Which of the frames of stacks a profile has: no goexit and no wrapper, as Go's."""
    kept: NDArray[np.bool_] = np.array([_is_in_profile(each) for each in whole.frames], np.bool_)
    return kept[whole.stack_frames]


def _is_in_profile(frame: Frame) -> bool:
    """Whether a profile has `frame`. What is hidden and not the runtime's is a wrapper that the compiler
    made (``runtime/traceback.go``: `tracebackPCs` leaves it out)."""
    name = frame.function
    is_runtimes = name.startswith("runtime.") or "." not in name or frame.inlined
    return name != "runtime.goexit" and (is_runtimes or not frame.hidden)


def _address(frames: list[Frame]) -> int:
    """The address of the call: the return address less one, but for a function that has just begun.

    A frame does not say whether its pc was interrupted instead: where a goroutine runs, the address is
    that of the byte before. Names and lines are right in either case.
    """
    outermost = frames[-1]
    return outermost.pc if not outermost.inlined and not outermost.offset else outermost.pc - 1
