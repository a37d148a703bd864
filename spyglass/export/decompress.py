"""The text of a snapshot document out of the file it was saved in: packed, or inside a report."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from io import BytesIO
from typing import BinaryIO

from spyglass.errors import BadDataError, SpyglassError

__all__ = ["MAX_BYTES", "unpacked"]

#: A document may be so long, unless its reader allows more: that of four million goroutines.
MAX_BYTES = 2 << 30

_PIECE_BYTES = 1 << 20
_GZIP, _ZSTD, _ELF = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x7fELF"
#: A gzip header in front, in zlib's words (``inflateInit2``).
_GZIP_WBITS = 31
#: More memory than zstd's own tools grant a file unless told to (zstd(1), ``--memory``).
_ZSTD_WINDOW_BYTES = 1 << 27

#: Where an HTML report keeps its snapshot.
_EMBEDDED = re.compile(
    rb'<script type="application/json" id="spyglass-snapshot"([^>]*)>(.*?)</script', re.DOTALL
)
_PACKED = re.compile(rb'\sdata-encoding="gzip-base64"')


def unpacked(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> bytes:
    """The JSON text in `stream`, which may be packed by gzip or zstd, or in an HTML report.

    What it is shows in its first bytes, whatever its name. Raises `BadDataError` if it is none of
    these, is broken, or has more than `max_bytes` bytes, packed or unpacked.
    """
    raw = _limited(stream, max_bytes)
    if raw.startswith(_GZIP):
        raw = _gunzipped(raw, max_bytes)
    elif raw.startswith(_ZSTD):
        raw = _unzstd(raw, max_bytes)
    start = raw[:256].lstrip()
    if start.startswith(b"<"):
        return _embedded(raw, max_bytes)
    if start.startswith(b"{"):
        return raw
    hint = "it is an ELF file: a core is given by --core" if raw.startswith(_ELF) else None
    raise BadDataError("it is not a snapshot that spyglass saved", hint)


def _limited(stream: BinaryIO, max_bytes: int) -> bytes:
    """All that `stream` has, which must not be more than `max_bytes`."""
    pieces, size = [], 0
    while piece := stream.read(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
    return b"".join(pieces)


def _too_large(max_bytes: int) -> BadDataError:
    return BadDataError(
        f"it is larger than {max_bytes:,} bytes", "--max-size allows more, if you trust it"
    )


def _gunzipped(raw: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_WBITS)
    try:
        text = unpacker.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise BadDataError(f"gzip cannot unpack it: {error}") from None
    if len(text) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof:
        raise BadDataError("it is cut off: gzip's end is missing")
    return text


def _unzstd(raw: bytes, max_bytes: int) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise SpyglassError(
            "it is packed by zstd, and Python's zstandard is not installed",
            "`pip install 'spyglass[zstd]'`, or unpack it with `zstd -d`",
        ) from None
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    try:
        return _limited(unpacker.stream_reader(BytesIO(raw)), max_bytes)
    except zstandard.ZstdError as error:
        raise BadDataError(f"zstd cannot unpack it: {error}") from None


def _embedded(page: bytes, max_bytes: int) -> bytes:
    found = _EMBEDDED.search(page)
    if found is None:
        raise BadDataError("there is no snapshot in this page")
    attributes, text = found.groups()
    if not _PACKED.search(attributes):
        return text
    try:
        raw = base64.b64decode(text)
    except binascii.Error as error:
        raise BadDataError(f"the snapshot in this page is broken: {error}") from None
    return _gunzipped(raw, max_bytes)
