"""Files that snapshots are kept in: packed, in a page, broken, too large, and something else."""

from __future__ import annotations

import base64
import gzip
import io
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

import spyglass
from spyglass.errors import BadDataError, SpyglassError
from spyglass.export.snapshot_reader import load
from tests.saved import differences, text_of, with_everything

TEXT = text_of(with_everything())

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "json": lambda text: text,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "page": lambda text: b'<!doctype html>\n<script type="application/json" id="spyglass-snapshot">'
    + text.replace(b"<", b"\\u003c") + b"</script></html>",
    "packed page": lambda text: (
        b'<!DOCTYPE html><script>1</script><script type="application/json" id="spyglass-snapshot" '
        b'data-encoding="gzip-base64">' + base64.b64encode(gzip.compress(text)) + b"\n</script>"
    ),
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_is_known_by_its_first_bytes(packing: str, tmp_path: Path) -> None:
    hostile = replace(with_everything(), host="</script><img onerror=alert(1)>")
    raw = PACKINGS[packing](text_of(hostile))
    path = tmp_path / "whatever"
    path.write_bytes(raw)
    found = spyglass.load(path)
    assert differences(found, hostile) == []
    assert found.file == str(path)
    assert differences(load(io.BytesIO(raw)), hostile) == []


@pytest.mark.parametrize("packing", PACKINGS)
def test_wherever_it_is_cut_off_it_is_refused(packing: str) -> None:
    raw = PACKINGS[packing](TEXT)
    for size in {*range(0, len(raw) - 16, max(len(raw) // 50, 1)), len(raw) - 12}:
        with pytest.raises(BadDataError, match=r"^snapshot: "):
            load(io.BytesIO(raw[:size]))


@pytest.mark.parametrize("packing", ["gzip", "zstd", "packed page"])
def test_what_is_damaged_raises_nothing_else(packing: str) -> None:
    raw = PACKINGS[packing](TEXT)
    for at in range(0, len(raw), max(len(raw) // 200, 1)):
        damaged = bytearray(raw)
        damaged[at] ^= 0x55
        with suppress(SpyglassError):
            load(io.BytesIO(bytes(damaged)))


@pytest.mark.parametrize("packing", PACKINGS)
def test_size_is_bounded(packing: str) -> None:
    raw = PACKINGS[packing](TEXT)
    whole = max(len(TEXT), len(raw))
    assert len(load(io.BytesIO(raw), max_bytes=whole).goroutines) == 5
    with pytest.raises(
        BadDataError, match=rf"^snapshot: it is larger than {len(TEXT) - 1:,} bytes"
    ):
        load(io.BytesIO(raw), max_bytes=len(TEXT) - 1)


@pytest.mark.parametrize("packing", ["gzip", "zstd", "packed page"])
def test_bombs_stop_before_they_go_off(packing: str) -> None:
    size = 1 << 28
    if packing == "zstd":
        raw = zstandard.compress(bytes(size))
    else:
        packer = zlib.compressobj(9, wbits=31)
        raw = b"".join([packer.compress(bytes(1 << 24)) for _ in range(16)]) + packer.flush()
    if packing == "packed page":
        raw = PACKINGS["packed page"](b"{}").replace(
            base64.b64encode(gzip.compress(b"{}")), base64.b64encode(raw)
        )
    assert len(raw) < size / 100
    tracemalloc.start()
    try:
        with pytest.raises(BadDataError, match="it is larger than 4,194,304 bytes"):
            load(io.BytesIO(raw), max_bytes=1 << 22)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "it is not a snapshot that spyglass saved"),
        (b"\x7fELF\x02\x01\x01", "it is not a snapshot that spyglass saved"),
        (b"goroutine 1 [running]:\n", "it is not a snapshot that spyglass saved"),
        (b"[]", "it is not a snapshot that spyglass saved"),
        (b"<html></html>", "there is no snapshot in this page"),
        (
            gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0),
            "it is not a snapshot that spyglass saved",
        ),
        (gzip.compress(b"{}", mtime=0), "the document: Object missing required field `schema`"),
    ],
)
def test_files_that_are_something_else(raw: bytes, complaint: str) -> None:
    with pytest.raises(BadDataError) as caught:
        load(io.BytesIO(raw))
    assert caught.value.message == f"snapshot: {complaint}"
    assert ("core" in (caught.value.hint or "")) is raw.startswith(b"\x7fELF")


def test_a_page_of_nothing_but_beginnings_is_refused_at_once() -> None:
    """A search for the end behind each of them takes hours."""
    begin = b'<script type="application/json" id="spyglass-snapshot"'
    for page in (begin + b">", begin):
        with pytest.raises(BadDataError, match="there is no snapshot in this page"):
            load(io.BytesIO(b"<html>" + page * 200_000))


def test_a_stream_without_an_end_is_left() -> None:
    with open("/dev/zero", "rb") as zeros, pytest.raises(BadDataError, match="is larger than"):
        load(zeros, max_bytes=1 << 22)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(OSError):  # noqa: PT011  (which one is the system's)
            load(path)


def test_without_zstandard_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(SpyglassError) as caught:
        load(io.BytesIO(zstandard.compress(TEXT)))
    assert "spyglass[zstd]" in (caught.value.hint or "")
