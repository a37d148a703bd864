"""The text of a snapshot document out of the file it was saved in: packed, or inside a report."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, cast

from spyglass.errors import BadDataError, SpyglassError

__all__ = ["MAX_BYTES", "contents", "json_text", "limited", "too_large", "unpacked"]

#: The longest document, unless its reader allows more: that of four million goroutines.
MAX_BYTES = 2 << 30

_PIECE_BYTES = 1 << 20
#: How much of a file tells its format.
_START_BYTES = 256
_GZIP, _ZSTD, _ELF = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x7fELF"
#: A gzip header in front, in zlib's words (``inflateInit2``).
_GZIP_WBITS = 31
#: The window of zstd, which its own tools limit to this by default (zstd(1), ``--memory``).
_ZSTD_WINDOW_BYTES = 1 << 27

#: Where an HTML report keeps its snapshot: an element with this tag, up to the next end tag.
_EMBEDDED = re.compile(
    rb'<script type="application/json" id="spyglass-snapshot"([^>]{0,256})>', re.DOTALL
)
_EMBEDDED_END = b"</script"
_PACKED = re.compile(rb'\sdata-encoding="gzip-base64"')


def unpacked(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> Iterator[bytes]:
    """The JSON text in `stream` in pieces, which may be packed by gzip or zstd, or in an HTML report.

    The format is recognised by its first bytes; the name does not matter. Raises `BadDataError` if it is none of
    these, is broken, or has more than `max_bytes` bytes, packed or unpacked.
    """
    return json_text(*contents(stream, max_bytes), max_bytes)


def contents(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> tuple[Iterator[bytes], bytes]:
    """What is in `stream`, which may be packed by gzip or zstd, in pieces, and what that begins with."""
    pieces, start = _peeked(limited(iter(lambda: stream.read(_PIECE_BYTES), b""), max_bytes))
    if start.startswith((_GZIP, _ZSTD)):
        unpack = _gunzipped if start.startswith(_GZIP) else _unzstd
        pieces, start = _peeked(limited(unpack(pieces), max_bytes))
    return pieces, start


def json_text(pieces: Iterator[bytes], start: bytes, max_bytes: int) -> Iterator[bytes]:
    """The JSON text in `contents`. Raises as `unpacked`."""
    if start.lstrip().startswith(b"<"):
        return limited(_embedded(b"".join(pieces)), max_bytes)
    if start.lstrip().startswith(b"{"):
        return pieces
    for _ in pieces:  # too large comes before not a snapshot
        pass
    hint = (
        "it is an ELF file: give a core by its path, a process by its pid"
        if start.startswith(_ELF)
        else None
    )
    raise BadDataError("it is not a snapshot that spyglass saved", hint)


def _peeked(pieces: Iterator[bytes]) -> tuple[Iterator[bytes], bytes]:
    """`pieces`, and what they begin with."""
    first = next(pieces, b"")
    while len(first) < _START_BYTES and (piece := next(pieces, b"")):
        first += piece
    return chain([first], pieces), first[:_START_BYTES]


def limited(pieces: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """`pieces`, which must not have more than `max_bytes` bytes."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise too_large(max_bytes)
        yield piece


def too_large(max_bytes: int) -> BadDataError:
    """The error for a file that has, or needs, more than `max_bytes` bytes."""
    return BadDataError(
        f"it is larger than {max_bytes:,} bytes", "--max-size allows more, if you trust it"
    )


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP_WBITS)
    try:
        for piece in chain(pieces, [b""]):
            text = unpacker.decompress(piece, _PIECE_BYTES)
            while text:
                yield text
                text = unpacker.decompress(unpacker.unconsumed_tail, _PIECE_BYTES)
            if unpacker.eof:
                return
    except zlib.error as error:
        raise BadDataError(f"gzip cannot unpack it: {error}") from None
    raise BadDataError("it is cut off: gzip's end is missing")


def _unzstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise SpyglassError(
            "it is compressed by zstd, which needs Python's zstandard",
            "`pip install 'spyglass[zstd]'`, or unpack it with `zstd -d`",
        ) from None
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    try:
        with unpacker.stream_reader(cast("BinaryIO", _Joined(pieces))) as reader:
            while text := reader.read(_PIECE_BYTES):
                yield text
    except zstandard.ZstdError as error:
        raise BadDataError(f"zstd cannot unpack it: {error}") from None


class _Joined:
    """Pieces of bytes as a stream, for zstandard; each read gives one piece at the most."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end."""
        self._left = self._left or next(self._pieces, b"")
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return found


def _embedded(page: bytes) -> Iterator[bytes]:
    found = _EMBEDDED.search(page)
    end = page.find(_EMBEDDED_END, found.end()) if found else -1
    if found is None or end < 0:
        raise BadDataError("there is no snapshot in this page")
    text = page[found.end() : end]
    if not _PACKED.search(found[1]):
        return iter([text])
    try:
        raw = base64.b64decode(text)
    except binascii.Error as error:
        raise BadDataError(f"the snapshot in this page is broken: {error}") from None
    return _gunzipped([raw])
