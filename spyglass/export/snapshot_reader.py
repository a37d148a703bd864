"""A snapshot read back from the document that it was saved as: the reverse of `snapshot_writer`.

Such a file comes with a ticket, from anyone. Its size is bounded while it is unpacked, its text is
decoded in pieces (`spyglass.export.json_stream`), its shape is checked while it is decoded
(`spyglass.export.schema_types`), indices are checked before they are used, and what is made of it is
bounded as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import BinaryIO, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from spyglass.errors import BadDataError
from spyglass.export import account_types, schema_types
from spyglass.export.decompress import MAX_BYTES, unpacked
from spyglass.export.document_rows import FrameRows, GoroutineRows, Memory, StackRows, elided
from spyglass.export.json_stream import Elements, read_object
from spyglass.export.wait_columns import ObjectRows
from spyglass.memory_account import (
    CLASSES,
    GcStats,
    GoMemory,
    MemoryAccount,
    ResidentMapping,
    ResidentPart,
)
from spyglass.memory_limits import MemoryLimit, MemoryLimits, MemoryPressure
from spyglass.model import (
    CpuSample,
    CpuUse,
    MemoryStats,
    Problem,
    Process,
    Processor,
    Scheduler,
    Snapshot,
    Source,
    Thread,
    Throttling,
)
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor

__all__ = ["MIN_MEMORY_BYTES", "load", "model_part", "moment_of", "process_of", "snapshot_of"]

Part = TypeVar("Part")

#: What a document may need in memory even if less text is allowed.
MIN_MEMORY_BYTES = 1 << 26
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z", re.ASCII)


def load(file: str | os.PathLike[str] | BinaryIO, *, max_bytes: int = MAX_BYTES) -> Snapshot:
    """The snapshot that was saved in `file`: JSON, also packed by gzip or zstd, or an HTML report.

    `file` is a path or a stream of bytes. Raises `OSError` if it cannot be read, and `BadDataError`,
    which says where, if it is no such file, does not fit the schema, or has more than `max_bytes`
    bytes, packed, unpacked or in memory. ``snapshot.file`` is its name.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as stream:
            return _load(stream, os.fspath(file), max_bytes)
    return _load(file, str(getattr(file, "name", "snapshot")), max_bytes)


def _load(stream: BinaryIO, name: str, max_bytes: int) -> Snapshot:
    try:
        return _snapshot(unpacked(stream, max_bytes), name, max_bytes)
    except BadDataError as error:
        raise BadDataError(f"{name}: {error.message}", error.hint) from None


def snapshot_of(text: bytes, file: str | None = None) -> Snapshot:
    """The snapshot that the JSON `text` describes; `BadDataError` with a JSON pointer if it does not.

    `file` is the name of where `text` is from.
    """
    return _snapshot([text], file, MAX_BYTES)


def _snapshot(pieces: Iterable[bytes], file: str | None, max_bytes: int) -> Snapshot:
    """The snapshot that the JSON text in `pieces` describes, which may need `max_bytes` of memory."""
    memory = Memory(max(max_bytes, MIN_MEMORY_BYTES))
    goroutines, stacks, frames = GoroutineRows(memory), StackRows(memory), FrameRows(memory)
    objects = ObjectRows(memory)
    arrays: dict[str, Elements] = {
        "goroutines": goroutines, "stacks": stacks, "frames": frames, "wait_objects": objects,
    }  # fmt: skip
    rest = read_object(pieces, arrays)
    document = schema_types.decoded(rest)
    for name, elements in arrays.items():
        if values := getattr(document, name):  # left in the text
            elements.begin()
            elements.add(values)
    offsets, stack_frames = stacks.finish(frames.count)
    threads = _threads(document.threads, frames.count)
    columns = goroutines.finish(frames, stacks.count)
    process = process_of(document.process)
    limits = None if document.memory_limits is None else _limits(document.memory_limits)
    account = document.memory_account
    return Snapshot(
        taken_at=moment_of(document.taken_at, "/taken_at"),
        took_ns=document.took_ns,
        source=model_part(Source, document.source),
        process=process,
        scheduler=model_part(Scheduler, document.scheduler),
        processors=tuple(model_part(Processor, each) for each in document.processors),
        threads=threads,
        memory=_memory(document.memory),
        goroutines=columns,
        wait_reasons=goroutines.wait_reasons,
        frames=tuple(frames.all),
        stack_offsets=offsets,
        stack_frames=stack_frames,
        elided=elided(document.elided, offsets),
        label_sets=goroutines.label_sets,
        matched_of=document.chosen_from,
        matched_of_system=min(document.chosen_from_system or 0, document.chosen_from or 0),
        problems=tuple(model_part(Problem, each) for each in document.problems),
        cpu=None if document.cpu is None else _cpu(document.cpu, frames.count),
        limits=limits,
        account=None if account is None else _account(account, process, limits),
        window=None if document.window is None else _window(document.window),
        waits=None if document.waits is None else objects.graph(document.waits),
        host=document.host,
        redacted=document.redacted,
        file=file,
        timings_ns=document.timings_ns,
    )


def model_part(kind: Callable[..., Part], record: Struct) -> Part:
    """A dataclass of the model: its fields have the names that they have in the document."""
    return kind(**asdict(record))


def _threads(records: list[schema_types.Thread], frames: int) -> tuple[Thread, ...]:
    for at, record in enumerate(records):
        for place, frame in enumerate(record.stack or ()):
            if frame >= frames:
                raise schema_types.misfit(
                    f"/threads/{at}/stack/{place}", f"there is no frame {frame:,}"
                )
    stacks = [None if record.stack is None else tuple(record.stack) for record in records]
    return tuple(
        replace(model_part(Thread, record), stack=stack)
        for record, stack in zip(records, stacks, strict=True)
    )


def _cpu(record: schema_types.CpuUse, frames: int) -> CpuUse:
    for at, sample in enumerate(record.samples):
        if sample.where is not None and sample.where >= frames:
            raise schema_types.misfit(
                f"/cpu/samples/{at}/where", f"there is no frame {sample.where:,}"
            )
    throttling = None if record.throttling is None else model_part(Throttling, record.throttling)
    samples = tuple(model_part(CpuSample, sample) for sample in record.samples)
    return replace(model_part(CpuUse, record), throttling=throttling, samples=samples)


def _window(record: schema_types.Window) -> SchedulerWindow:
    return replace(
        model_part(SchedulerWindow, record),
        processors=tuple(model_part(WindowProcessor, each) for each in record.processors),
        calls=tuple(model_part(LongCall, each) for each in record.calls),
    )


def _limits(record: schema_types.MemoryLimits) -> MemoryLimits:
    return replace(
        model_part(MemoryLimits, record),
        rows=tuple(map(_limit, record.rows)),
        pressure=tuple(model_part(MemoryPressure, each) for each in record.pressure),
    )


def _limit(record: schema_types.MemoryLimit) -> MemoryLimit:
    fields = asdict(record)
    del fields["headroom_bytes"]
    return MemoryLimit(**fields)


def _account(
    record: account_types.MemoryAccount, process: Process, limits: MemoryLimits | None
) -> MemoryAccount:
    if record.rss_bytes not in (None, sum(each.bytes for each in record.resident)):
        raise schema_types.misfit("/memory_account/rss_bytes", "it is not the sum of resident")
    for at, each in enumerate(record.resident):
        if max(each.doubtful_bytes, each.lazy_free_bytes) > each.bytes:
            raise schema_types.misfit(
                f"/memory_account/resident/{at}", "more than all of it is doubtful or LazyFree"
            )
    gc = replace(
        model_part(GcStats, record.go.gc),
        last_at=_known_moment(record.go.gc.last_at, "/memory_account/go/gc/last_at"),
        pauses_ns=tuple(record.go.gc.pauses_ns),
        pause_ends_ns=tuple(record.go.gc.pause_ends_ns),
    )
    classes = {name: record.go.classes.get(name) for name in CLASSES}
    fields = asdict(record) | {
        "process": process,
        "limits": limits,
        "taken_at": moment_of(record.taken_at, "/memory_account/taken_at"),
        "resident": tuple(model_part(ResidentPart, each) for each in record.resident),
        "mappings": tuple(model_part(ResidentMapping, each) for each in record.mappings),
        "go": replace(model_part(GoMemory, record.go), classes=classes, gc=gc),
    }
    return MemoryAccount(**fields)


def process_of(record: schema_types.AnyProcess) -> Process:
    """The program of a document; `BadDataError` if it started at no time."""
    fields = asdict(record)
    fields["cmdline"] = tuple(record.cmdline)
    fields["started_at"] = _known_moment(record.started_at, "/process/started_at")
    return Process(**fields)


def _memory(record: schema_types.Memory) -> MemoryStats:
    fields = asdict(record)
    fields["last_gc_at"] = _known_moment(record.last_gc_at, "/memory/last_gc_at")
    return MemoryStats(**fields)


def _known_moment(text: str | None, pointer: str) -> datetime | None:
    return None if text is None else moment_of(text, pointer)


def moment_of(text: str, pointer: str) -> datetime:
    """The time in `text`, which is at `pointer` of the document; `BadDataError` if it is none."""
    if _MOMENT.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:  # a thirteenth month
            pass
    raise schema_types.misfit(pointer, f"{text[:40]!r} is not a date and a time in UTC")
