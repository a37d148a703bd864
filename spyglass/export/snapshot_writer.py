"""A snapshot written as JSON text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import BinaryIO

from spyglass.errors import SpyglassError
from spyglass.export.snapshot_document import OWN, goroutine_rows, header, stack_batches
from spyglass.model import Snapshot

__all__ = ["write_gzip", "write_json", "write_zstd"]

#: More costs much time and saves little: the text of a hundred thousand goroutines becomes a thirtieth.
_GZIP_LEVEL = 3
_ZSTD_LEVEL = 3

#: Goroutines written at a time: what a processor's cache holds of their text.
_BATCH_ROWS = 256


def write_json(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write ``document(snapshot)`` on one line of ASCII, which does no harm to a terminal either."""
    for piece in _pieces(snapshot):
        stream.write(piece.encode("ascii"))
    stream.write(b"\n")


def write_gzip(snapshot: Snapshot, stream: BinaryIO) -> None:
    """Write the document of `snapshot`, compressed by gzip, to `stream`, which stays open."""
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as packed:
        write_json(snapshot, packed)  # type: ignore[arg-type]


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
    lists = {"goroutines": _goroutines, "stacks": _stacks}
    before = "{"
    for name, value in header(snapshot).items():
        yield f"{before}{_compact(name)}:"
        if name in lists:
            yield "["
            yield from lists[name](snapshot)
            yield "]"
        else:
            yield _compact(value)
        before = ","
    yield "}"


def _goroutines(snapshot: Snapshot) -> Iterator[str]:
    # What they share begins with a brace, too.
    template = "{" + "".join(f"{_compact(name)}:%s," for name in OWN) + "%s"
    rows = goroutine_rows(snapshot, _compact, lambda shared: _compact(shared).removeprefix("{"))
    before = ""
    while batch := [template % row for row in islice(rows, _BATCH_ROWS)]:
        yield before + ",".join(batch)
        before = ","


def _stacks(snapshot: Snapshot) -> Iterator[str]:
    before = ""
    for batch in stack_batches(snapshot):
        yield before + _compact(batch)[1:-1]
        before = ","


# `json.dumps` makes an encoder for each value.
_compact = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
