"""Heap, block and mutex profiles read from files: documents of `site_document`, and profile.proto of any origin.

A file can come from anyone: its size and the memory that it needs are bounded, its shape is checked while it is
decoded, and indices are checked before they are used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from msgspec import Struct

from spyglass.errors import BadDataError
from spyglass.export import profile_proto as proto
from spyglass.export import schema_types
from spyglass.export.decompress import MAX_BYTES, contents, json_text
from spyglass.export.document_rows import OBJECT_BYTES, BatchedArray, FrameRows, Memory, StackRows
from spyglass.export.file_kinds import is_document
from spyglass.export.json_stream import Elements, read_object
from spyglass.export.pprof_reader import read_times
from spyglass.export.pprof_tables import PprofTables, opened
from spyglass.export.profile_proto import is_pprof
from spyglass.export.profile_reader import is_profile, load_profile
from spyglass.export.protobuf import Message
from spyglass.export.schema_numbers import Count, KnownCount
from spyglass.export.schema_types import checked, misfit
from spyglass.export.site_document import SCHEMA
from spyglass.export.snapshot_reader import MIN_MEMORY_BYTES, model_part, moment_of, process_of
from spyglass.model import NONE, Problem
from spyglass.profile import Profile
from spyglass.site_profile import SiteKind, SiteProfile, ValueKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_any_profile", "load_any_profile"]

#: The comment of a file that `site_pprof` wrote.
_COMMENT = re.compile(r"spyglass [\w.+-]+: (.+)", re.DOTALL)
#: What all samples may stand for: sums of them fit into 64 bits.
_MAX_TOTAL = 1 << 62
_MAX_KINDS = 16
#: What the values of samples are called in profiles of these kinds; block and mutex profiles call them alike.
_KINDS: dict[str, SiteKind] = {
    "inuse_space": "heap",
    "alloc_space": "heap",
    "contentions": "contention",
}


class _Kind(Struct, frozen=True):
    name: str
    unit: str


class _Period(_Kind, frozen=True):
    value: Count


class _Sample(Struct, frozen=True):
    stack: Count
    object_bytes: KnownCount
    values: list[Count]


class _Document(Struct, frozen=True):
    schema: str
    kind: Literal["heap", "block", "mutex", "contention"]
    process: schema_types.AnyProcess
    taken_at: str | None
    kinds: list[_Kind]
    period: _Period
    problems: list[schema_types.Problem]
    frames: list[schema_types.Frame]
    stacks: list[list[Count]]
    samples: list[_Sample]
    remark: str | None = None


class _Schema(Struct, frozen=True):
    schema: str = ""


_DOCUMENT = msgspec.json.Decoder(_Document)
_SCHEMA = msgspec.json.Decoder(_Schema)


def is_any_profile(file: str | os.PathLike[str]) -> bool:
    """Whether `file` begins as a profile of any kind that `load_any_profile` reads; False where it cannot be read."""
    return is_profile(file) or _is_sites(file)


def load_any_profile(
    file: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES
) -> Profile | SiteProfile:
    """The profile that was saved in `file`, of time or of sites: JSON, also packed, or in the form of pprof.

    Raises as `spyglass.export.profile_reader.load_profile`.
    """
    name = os.fspath(file)
    try:
        with open(file, "rb") as stream:
            pieces, start = contents(stream, max_bytes)
            most = max(max_bytes, MIN_MEMORY_BYTES)
            if is_pprof(start):
                return _of_pprof(pieces, most)
            if is_document(start, SCHEMA):
                return _of_document(json_text(pieces, start, max_bytes), most)
    except BadDataError as error:
        raise BadDataError(f"{name}: {error.message}", error.hint) from None
    return load_profile(file, max_bytes=max_bytes)


def _is_sites(file: str | os.PathLike[str]) -> bool:
    try:
        with open(file, "rb") as stream:
            return is_document(contents(stream)[1], SCHEMA)
    except (BadDataError, OSError):
        return False


def _of_pprof(pieces: Iterable[bytes], max_bytes: int) -> Profile | SiteProfile:
    top, memory = opened(pieces, max_bytes)
    tables = _SiteFile(top, memory)
    kind = next((_KINDS[each.name] for each in tables.value_kinds if each.name in _KINDS), None)
    return read_times(top, Memory(max_bytes)) if kind is None else tables.profile(kind)


class _SiteFile(PprofTables):
    """The tables of one file whose samples are sites."""

    def __init__(self, top: Message, memory: Memory) -> None:
        super().__init__(top, memory)
        kinds = self.kinds(top.pieces(proto.SAMPLE_TYPE)[:_MAX_KINDS])
        self.value_kinds = tuple(ValueKind(*each) for each in kinds)

    def profile(self, kind: SiteKind) -> SiteProfile:
        """The file as a profile of `kind`."""
        self.read_locations()
        amounts, stack, sizes = self._samples()
        offsets, frames = self.stack_columns()
        periods = self.kinds(self.top.pieces(proto.PERIOD_TYPE))
        return SiteProfile(
            kind=kind, process=self.process(), taken_at=self.taken_at(), kinds=self.value_kinds,
            amounts=amounts, stack=stack, object_bytes=sizes, frames=tuple(self.frames),
            stack_offsets=offsets, stack_frames=frames,
            period_kind=ValueKind(*periods[-1]) if periods else ValueKind("", ""),
            period=max(self.top.number(proto.PERIOD), 0), remark=self._remark(),
        )  # fmt: skip

    def _remark(self) -> str | None:
        """What spyglass has said of the numbers in a comment."""
        for number in self.top.numbers(proto.COMMENT)[:_MAX_KINDS]:
            if found := _COMMENT.fullmatch(self.text(number)):
                return found[1]
        return None

    def _samples(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """The values, the stack, and the size of the objects of each sample."""
        many, totals = len(self.value_kinds), [0] * len(self.value_kinds)
        rows: list[tuple[int, ...]] = []
        for at, raw in enumerate(self.top.pieces(proto.SAMPLE)):
            self.memory.need((4 + many) * OBJECT_BYTES)
            sample = Message(raw)
            values = sample.numbers(proto.SAMPLE_VALUE)
            if len(values) != many:
                raise BadDataError(f"sample {at:,} has {len(values)} values")
            totals = [total + value for total, value in zip(totals, values, strict=True)]
            if min(values) < 0 or max(totals) > _MAX_TOTAL:
                raise BadDataError(f"sample {at:,}: a value is negative, or the sum too large")
            locations = self.locations_of(sample)
            self.memory.need(OBJECT_BYTES * len(locations))
            rows.append((self.stacks[locations], self._size(sample), *values))
        columns = np.array(rows, np.int64).reshape(-1, 2 + many)
        return columns[:, 2:], columns[:, 0].astype(np.int32), columns[:, 1]

    def _size(self, sample: Message) -> int:
        """The label "bytes" of a sample, which Go gives to the size of objects."""
        for raw in sample.pieces(proto.SAMPLE_LABEL):
            label = Message(raw)
            if self.text(label.number(proto.LABEL_KEY)) == "bytes":
                return max(label.number(proto.LABEL_NUM), NONE)
        return NONE


def _of_document(pieces: Iterable[bytes], max_bytes: int) -> SiteProfile:
    memory = Memory(max_bytes)
    frames, stacks, samples = FrameRows(memory), StackRows(memory), _SampleRows(memory)
    arrays: dict[str, Elements] = {"frames": frames, "stacks": stacks, "samples": samples}
    document = _decoded(read_object(pieces, arrays))
    for name, elements in arrays.items():
        if values := getattr(document, name):  # left in the text
            elements.begin()
            elements.add(values)
    offsets, stack_frames = stacks.finish(frames.count)
    amounts, stack, sizes = samples.finish(stacks.count, len(document.kinds))
    taken_at = document.taken_at
    return SiteProfile(
        kind=document.kind, process=process_of(document.process),
        taken_at=None if taken_at is None else moment_of(taken_at, "/taken_at"),
        kinds=tuple(ValueKind(each.name, each.unit) for each in document.kinds), amounts=amounts,
        stack=stack, object_bytes=sizes, frames=tuple(frames.all), stack_offsets=offsets,
        stack_frames=stack_frames,
        period_kind=ValueKind(document.period.name, document.period.unit),
        period=document.period.value, remark=document.remark,
        problems=tuple(model_part(Problem, each) for each in document.problems),
    )  # fmt: skip


def _decoded(text: bytes) -> _Document:
    if checked(_SCHEMA, text).schema != SCHEMA:
        raise BadDataError(f"it is not a {SCHEMA}", "`spyglass memory --heap` saves one as .json")
    found = checked(_DOCUMENT, text)
    if not 0 < len(found.kinds) <= _MAX_KINDS:
        raise misfit("/kinds", f"there are {len(found.kinds)} kinds of values")
    return found


class _SampleRows(BatchedArray):
    """The samples of a document as columns."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("samples", _Sample, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._rows: list[tuple[int, ...]] = []

    def add(self, records: Sequence[_Sample]) -> None:
        """Add the next samples."""
        for each in records:
            self._memory.need((4 + len(each.values)) * OBJECT_BYTES)
            size = NONE if each.object_bytes is None else each.object_bytes
            self._rows.append((each.stack, size, *each.values))
        self.count += len(records)

    def finish(
        self, stack_count: int, many: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """Values, of which each sample has `many`, stacks, of which there are `stack_count`, and sizes."""
        for row, values in enumerate(self._rows):
            if len(values) != 2 + many:
                raise misfit(f"/samples/{row}/values", f"there are {len(values) - 2} values")
            if values[0] >= stack_count:
                raise misfit(f"/samples/{row}/stack", f"there is no stack {values[0]:,}")
        if any(sum(column) > _MAX_TOTAL for column in zip(*self._rows, strict=True)):
            raise misfit("/samples", "the sum of all is too large")
        columns = np.array(self._rows, np.int64).reshape(-1, 2 + many)
        return columns[:, 2:], columns[:, 0].astype(np.int32), columns[:, 1]
