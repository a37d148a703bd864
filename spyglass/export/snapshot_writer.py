"""A snapshot written as JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from spyglass.errors import SpyglassError
from spyglass.export.gzip_stream import GZIP_LEVEL, gzipped
from spyglass.export.json_text import (
    compact,
    compact_rest,
    joined,
    numbers_text,
    object_text,
    quoted,
    record_template,
    texts_object,
    write_line,
)
from spyglass.export.snapshot_document import OWN, goroutine_rows, header, stack_batches
from spyglass.export.wait_records import known_only, object_rows, waiters_of
from spyglass.model import Snapshot

if TYPE_CHECKING:
    from spyglass.wait_graph import WaitGraph

__all__ = ["write_gzip", "write_json", "write_zstd"]

_ZSTD_LEVEL = 3


def write_json(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write ``document(snapshot)`` on one line of ASCII, which does no harm to a terminal either."""
    write_line(_pieces(snapshot), stream)


def write_gzip(snapshot: Snapshot, stream: BinaryIO, *, level: int = GZIP_LEVEL) -> None:
    """Write the document of `snapshot`, compressed by gzip, to `stream`, which stays open."""
    with gzipped(stream, level) as packed:
        write_json(snapshot, packed)


def write_zstd(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write the document of `snapshot`, compressed by zstd, to `stream`, which stays open."""
    with _zstd(stream) as packed:
        write_json(snapshot, packed)


def _zstd(stream: BinaryIO) -> AbstractContextManager[BinaryIO]:
    try:
        import zstandard
    except ImportError:
        raise SpyglassError(
            "for .zst Python's zstandard is needed, and it is not installed",
            "`pip install 'spyglass[zstd]'`, or use a name that ends with .gz",
        ) from None
    return zstandard.ZstdCompressor(_ZSTD_LEVEL).stream_writer(stream, closefd=False)


def _pieces(snapshot: Snapshot) -> Iterator[str]:
    """The text in pieces: there may be a gigabyte of it."""
    lists: dict[str, Iterator[str]] = {
        "goroutines": _goroutines(snapshot),
        "stacks": _stacks(snapshot),
    }
    if snapshot.waits is not None:
        lists["wait_objects"] = _objects(snapshot.waits)
    yield from object_text(header(snapshot), lists)


def _goroutines(snapshot: Snapshot) -> Iterator[str]:
    template = record_template(OWN)
    return joined(template % row for row in goroutine_rows(snapshot, texts_object, compact_rest))


def _objects(graph: WaitGraph) -> Iterator[str]:
    rows = object_rows(
        graph, range(len(graph.objects)), compact, lambda shared: compact_rest(known_only(shared))
    )
    return joined(
        f'{{"address":{quoted(address)},"holders":{holders},"waiters":{_waiters(waiters)},{shared}'
        for (address, holders, shared), waiters in zip(rows, waiters_of(graph), strict=True)
    )


def _waiters(waiters: Mapping[str, list[int]]) -> str:
    lists = (f'"{operation}":{numbers_text(ids)}' for operation, ids in waiters.items())
    return f"{{{','.join(lists)}}}"


def _stacks(snapshot: Snapshot) -> Iterator[str]:
    before = ""
    for batch in stack_batches(snapshot):
        yield before + compact(batch)[1:-1]
        before = ","
