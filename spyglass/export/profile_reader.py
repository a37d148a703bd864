"""A profile read back from the document that it was saved as: the reverse of `profile_document`.

Such a file can come from anyone: its size and the memory that it needs are bounded, its shape is checked
while it is decoded, and indices are checked before they are used, as `snapshot_reader` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import asdict

from spyglass.errors import BadDataError
from spyglass.export import schema_types
from spyglass.export.decompress import MAX_BYTES, contents, json_text
from spyglass.export.document_rows import (
    OBJECT_BYTES,
    BatchedArray,
    FrameRows,
    Memory,
    Numbers,
    StackRows,
)
from spyglass.export.file_kinds import is_document
from spyglass.export.json_stream import Elements, read_object
from spyglass.export.profile_document import SCHEMA
from spyglass.export.profile_proto import is_pprof
from spyglass.export.schema_numbers import Count, KnownCount, Rate
from spyglass.export.schema_types import checked, misfit
from spyglass.export.snapshot_reader import MIN_MEMORY_BYTES, model_part, moment_of, process_of
from spyglass.model import NONE, Problem
from spyglass.profile import Account, Profile, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AccountRecord", "account_of", "is_profile", "load_profile"]

_MAX_STATES = np.iinfo(np.int16).max
#: What all samples may stand for: sums of them fit into 64 bits.
_MAX_TOTAL = 1 << 62

_Index = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
_Share = Annotated[float, Meta(ge=0, le=1e9)]


class AccountRecord(Struct, frozen=True):
    """The account of a document."""

    samples: Count
    lost: KnownCount
    throttled: KnownCount
    cut: KnownCount
    goroutine_known: KnownCount
    goroutine_unknown: KnownCount
    cpu_used_ns: KnownCount
    cpu_sampled_ns: Count
    threads_seen: KnownCount
    threads_missed: KnownCount
    own_cpu_ns: KnownCount
    coverage: _Share | None
    stopped_ns: KnownCount = None
    still_stopped: bool = False
    ended: str | None = None
    unfinished: bool = False


class _Sample(Struct, frozen=True):
    stack: _Index | None
    count: Count
    value_ns: Count
    goroutine: KnownCount
    labels: dict[str, str]
    state: str | None
    thread: KnownCount


class _Document(Struct, frozen=True):
    schema: str
    mode: Literal["cpu", "wall", "offcpu"]
    process: schema_types.AnyProcess
    started_at: str
    duration_ns: Count
    rate_hz: Rate
    account: AccountRecord
    problems: list[schema_types.Problem]
    frames: list[schema_types.Frame]
    stacks: list[list[Count]]
    samples: list[_Sample]
    spyglass_version: str = ""
    host: str | None = None
    chosen_from: KnownCount = None


class _Kind(Struct, frozen=True):
    schema: str = ""


_DOCUMENT = msgspec.json.Decoder(_Document)
_KIND = msgspec.json.Decoder(_Kind)


def is_profile(file: str | os.PathLike[str]) -> bool:
    """Whether `file` begins as a document of a profile that spyglass wrote, or as one of pprof, packed or not.

    False where it cannot be read.
    """
    try:
        with open(file, "rb") as stream:
            start = contents(stream)[1]
            return is_pprof(start) or is_document(start, SCHEMA)
    except (BadDataError, OSError):
        return False


def load_profile(file: str | os.PathLike[str] | BinaryIO, *, max_bytes: int = MAX_BYTES) -> Profile:
    """The profile that was saved in `file`: JSON, also packed by gzip or zstd, or in the form of pprof.

    `file` is a path or a stream of bytes. Raises `OSError` if it cannot be read, and `BadDataError`,
    which says where, if it is no such file, does not fit the schema, or has more than `max_bytes`
    bytes, packed, unpacked or in memory.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as stream:
            return _load(stream, os.fspath(file), max_bytes)
    return _load(file, str(getattr(file, "name", "profile")), max_bytes)


def _load(stream: BinaryIO, name: str, max_bytes: int) -> Profile:
    try:
        pieces, start = contents(stream, max_bytes)
        if is_pprof(start):
            from spyglass.export.pprof_reader import (
                read_pprof,
            )  # which reads parts of documents too

            return read_pprof(pieces, max(max_bytes, MIN_MEMORY_BYTES))
        return _profile(json_text(pieces, start, max_bytes), max_bytes)
    except BadDataError as error:
        raise BadDataError(f"{name}: {error.message}", error.hint) from None


def _profile(pieces: Iterable[bytes], max_bytes: int) -> Profile:
    memory = Memory(max(max_bytes, MIN_MEMORY_BYTES))
    frames, stacks, samples = FrameRows(memory), StackRows(memory), _SampleRows(memory)
    arrays: dict[str, Elements] = {"frames": frames, "stacks": stacks, "samples": samples}
    document = _decoded(read_object(pieces, arrays))
    for name, elements in arrays.items():
        if values := getattr(document, name):  # left in the text
            elements.begin()
            elements.add(values)
    offsets, stack_frames = stacks.finish(frames.count)
    columns = samples.finish(stacks.count)
    return Profile(
        mode=document.mode,
        process=process_of(document.process),
        started_at=moment_of(document.started_at, "/started_at"),
        duration_ns=document.duration_ns,
        rate_hz=document.rate_hz,
        account=account_of(document.account),
        samples=columns,
        frames=tuple(frames.all),
        stack_offsets=offsets,
        stack_frames=stack_frames,
        states=samples.states,
        label_sets=samples.label_sets,
        problems=tuple(model_part(Problem, each) for each in document.problems),
        host=document.host,
        chosen_from=document.chosen_from,
    )


def _decoded(text: bytes) -> _Document:
    if checked(_KIND, text).schema != SCHEMA:
        raise BadDataError(f"it is not a {SCHEMA}", "`spyglass record` saves one as .json")
    return checked(_DOCUMENT, text)


def account_of(found: AccountRecord) -> Account:
    """The account that a document has."""
    values = asdict(found)
    del values["coverage"]  # follows from the others
    return Account(**values)


class _SampleRows(BatchedArray):
    """The samples of a document as columns, and the words and labels that these have numbers of."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("samples", _Sample, memory)

    def begin(self) -> None:
        """Forget what was added."""
        super().begin()
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in Samples.__slots__}
        self._states, self._labels = Numbers(), Numbers()
        self._totals = [0, 0]

    @property
    def states(self) -> tuple[str, ...]:
        """The words that the column ``state`` has numbers of."""
        return tuple(self._states)

    @property
    def label_sets(self) -> tuple[dict[str, str], ...]:
        """What the column ``labels`` has numbers of."""
        return tuple(map(dict, self._labels))

    def add(self, records: Sequence[_Sample]) -> None:
        """Add the next samples."""
        known = self._known()
        states, labels = self._states, self._labels
        columns: dict[str, NDArray[Any]] = {
            "stack": _numbers(r.stack for r in records).astype(np.int32),
            "count": _numbers(r.count for r in records),
            "value_ns": _numbers(r.value_ns for r in records),
            "goroutine": _numbers(r.goroutine for r in records),
            "labels": _numbers(
                labels[tuple(r.labels.items())] if r.labels else None for r in records
            ).astype(np.int32),
            "state": _numbers(None if r.state is None else states[r.state] for r in records),
            "thread": _numbers(r.thread for r in records),
        }
        if len(states) > _MAX_STATES:
            raise misfit("/samples", f"{len(states):,} different states")
        self._check_totals(records)
        size = sum(column.nbytes for column in columns.values())
        # For a moment each column is there twice, in batches and as a whole.
        self._memory.need(2 * size + 4 * OBJECT_BYTES * (self._known() - known))
        for name, column in columns.items():
            self._parts[name].append(column)
        self.count += len(records)

    def finish(self, stack_count: int) -> Samples:
        """All samples; `stack_count`: how many stacks there are."""
        whole = {
            name: np.concatenate([np.zeros(0, np.int64), *parts])
            for name, parts in self._parts.items()
        }
        for row in np.flatnonzero(whole["stack"] >= stack_count)[:1].tolist():
            number = int(whole["stack"][row])
            raise misfit(f"/samples/{row}/stack", f"there is no stack {number:,}")
        narrow = {"stack": np.int32, "labels": np.int32, "state": np.int16}
        return Samples(
            **{name: each.astype(narrow.get(name, np.int64)) for name, each in whole.items()}
        )

    def _known(self) -> int:
        return 2 * len(self._labels) + len(self._states)

    def _check_totals(self, records: Sequence[_Sample]) -> None:
        """Refuse numbers whose sums do not fit into a column."""
        for at, name in enumerate(("count", "value_ns")):
            self._totals[at] += sum(getattr(record, name) for record in records)
            if self._totals[at] > _MAX_TOTAL:
                raise misfit(f"/samples/{self.count}/{name}", "the sum of all is too large")


def _numbers(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([NONE if value is None else value for value in values], np.int64)
