"""Profiles in the form of profile.proto, as ``go tool pprof`` reads them: stacks, labels and tables of strings.

The form is that of Go's own profiles (``runtime/pprof/proto.go``): whole stacks without
``runtime.goexit`` and without wrappers; a location for each pc, with a line for each call that was inlined
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.columns import combined, numbered
from spyglass.export import profile_proto as proto
from spyglass.export.gzip_stream import gzipped
from spyglass.export.plain_values import plain
from spyglass.export.protobuf import number, packed, piece
from spyglass.export.pseudo_frames import WholeStacks
from spyglass.model import NONE, Frame, Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ProfileEncoder", "call_address", "write_gzip"]

#: More inlined calls at one pc than this become several locations.
_MAX_LINES = 128
_BATCH_FIELDS = 4096


def write_gzip(fields: Iterable[bytes], stream: BinaryIO) -> None:
    """Write `fields` of a profile, compressed by gzip, to `stream`, which stays open."""
    with gzipped(stream) as zipped:
        for some in _batches(iter(fields)):
            zipped.write(some)


class ProfileEncoder:
    """The fields of one profile of `whole` stacks. Its tables of functions and strings grow while samples
    are encoded; `tables` comes last."""

    def __init__(self, whole: WholeStacks) -> None:
        self._whole = whole
        self._locations = _Locations(whole)
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}

    def values(self, *kinds: tuple[str, str]) -> bytes:
        """The kinds of the values of each sample: name and unit."""
        return b"".join(piece(proto.SAMPLE_TYPE, self._kind(*kind)) for kind in kinds)

    def shown_first(self, name: str) -> bytes:
        """The kind of value that is shown if the user names none; without this it is the last one."""
        return number(proto.DEFAULT_SAMPLE_TYPE, self._string(name))

    def period(self, kind: tuple[str, str], period: int) -> bytes:
        """One event every `period` of `kind`."""
        return piece(proto.PERIOD_TYPE, self._kind(*kind)) + number(proto.PERIOD, period)

    def time(self, began: datetime, duration_ns: int = 0) -> bytes:
        """When the profile was taken, and how long that took."""
        began_ns = int(began.timestamp() * 1e6) * 1000
        return number(proto.TIME_NANOS, began_ns) + number(proto.DURATION_NANOS, duration_ns)

    def comments(self, comments: Sequence[str]) -> bytes:
        """Texts that ``go tool pprof -comments`` shows."""
        return b"".join(number(proto.COMMENT, self._string(comment)) for comment in comments)

    def mapping(self, process: Process) -> bytes:
        """The one mapping. Its addresses are left out: a saved document does not have them, and the
        frames have names already."""
        fields = [
            number(proto.MAPPING_ID, 1),
            number(proto.MAPPING_FILE, self._string(process.library or process.exe)),
            number(proto.MAPPING_BUILD_ID, self._string(process.build_id)),
            *(number(field, 1) for field in proto.MAPPING_HAS),
        ]
        return piece(proto.MAPPING, b"".join(fields))

    def sample(self, stack: int, values: bytes, labels: bytes) -> bytes:
        """A sample with stack number `stack`; `values` are packed varints, `labels` encoded by `label`."""
        locations = piece(proto.SAMPLE_LOCATION, self._locations.of_stack(stack))
        return piece(proto.SAMPLE, locations + piece(proto.SAMPLE_VALUE, values) + labels)

    def label(self, key: str, value: str) -> bytes:
        """A label of a sample with a text."""
        content = number(proto.LABEL_KEY, self._string(key)) + number(
            proto.LABEL_STR, self._string(value)
        )
        return piece(proto.SAMPLE_LABEL, content)

    def number_label(self, key: str, value: int, unit: str = "") -> bytes:
        """A label of a sample with a number."""
        content = number(proto.LABEL_KEY, self._string(key)) + number(proto.LABEL_NUM, value)
        return piece(proto.SAMPLE_LABEL, content + number(proto.LABEL_NUM_UNIT, self._string(unit)))

    def tables(self, last: str | None = None) -> Iterator[bytes]:
        """What the samples refer to: locations, functions and strings; `last`: one more string."""
        for index, frames in enumerate(self._locations.frames(), 1):
            yield self._location(index, frames)
        for names, index in self._functions.items():
            yield self._function(index, *names)
        for text in (*self._strings, *([] if last is None else [last])):
            yield piece(proto.STRING, text.encode())

    def _kind(self, name: str, unit: str) -> bytes:
        return number(proto.TYPE_TYPE, self._string(name)) + number(
            proto.TYPE_UNIT, self._string(unit)
        )

    def _string(self, text: str | None) -> int:
        return self._strings.setdefault(plain(text or ""), len(self._strings))

    def _location(self, index: int, numbers: list[int]) -> bytes:
        frames = [self._whole.frames[each] for each in numbers]
        is_real = numbers[0] < self._whole.real
        fields = [
            number(proto.LOCATION_ID, index),
            number(proto.LOCATION_MAPPING, int(is_real)),
            number(proto.LOCATION_ADDRESS, call_address(frames) if is_real else 0),
            *(piece(proto.LOCATION_LINE, self._line(frame)) for frame in frames),
        ]
        return piece(proto.LOCATION, b"".join(fields))

    def _line(self, frame: Frame) -> bytes:
        key = frame.function, frame.file or ""
        function = self._functions.setdefault(key, len(self._functions) + 1)
        return number(proto.LINE_FUNCTION, function) + number(proto.LINE_LINE, frame.line or 0)

    def _function(self, index: int, name: str, file: str) -> bytes:
        fields = [
            number(proto.FUNCTION_ID, index),
            number(proto.FUNCTION_NAME, self._string(name)),
            number(proto.FUNCTION_SYSTEM_NAME, self._string(name)),
            number(proto.FUNCTION_FILE, self._string(file)),
        ]
        return piece(proto.FUNCTION, b"".join(fields))


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
    kept: NDArray[np.bool_] = np.array([is_in_profile(each) for each in whole.frames], np.bool_)
    return kept[whole.stack_frames]


def call_address(frames: list[Frame]) -> int:
    """The address of the call: the return address less one, but for a function that has just begun.

    A frame does not say whether its pc was interrupted instead: where a goroutine runs, the address is
    that of the byte before. Names and lines are right in either case.
    """
    outermost = frames[-1]
    return outermost.pc if not outermost.inlined and not outermost.offset else outermost.pc - 1
