"""Files that change while they are read end in an error, not in a signal."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest

from spyglass.binary.executable import Executable
from spyglass.binary.image import BytesImage, FileImage
from spyglass.errors import BadDataError


def image_of(path: Path) -> FileImage:
    return FileImage(os.open(path, os.O_RDONLY))


def test_what_is_read_is_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10_000)
    for image in (image_of(path), BytesImage(path.read_bytes())):
        assert image.read(300, 3) == bytes([44, 45, 46])
        buffer = bytearray(4)
        assert image.read_into(memoryview(buffer), len(image) - 2) == 2
        assert buffer[:2] == bytes([254, 255])


def test_a_pattern_is_found_across_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes((1 << 20) - 2) + b"needle" + bytes(10))
    image = image_of(path)
    assert image.find(b"needle", 0, len(image)) == (1 << 20) - 2
    assert image.find(b"needle", 0, (1 << 20) + 3) == -1
    assert image.find(b"needle", (1 << 20) - 1, len(image)) == -1


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 11), (10, 1), (0, -1), (1 << 70, 1)])
def test_bytes_that_are_not_there(offset: int, size: int) -> None:
    with pytest.raises(BadDataError):
        BytesImage(bytes(10)).read(offset, size)


def test_what_is_shared_is_in_memory_once_and_no_longer_than_its_file_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: WeakValueDictionary[Any, Any] = WeakValueDictionary()  # of no other test
    monkeypatch.setattr("spyglass.binary.image._PIECES", pieces)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    (tmp_path / "other").write_bytes(b"0123456789")
    images = [image_of(path), image_of(path)]
    first, second = (image.read_shared(2, 3) for image in images)
    assert first is second
    assert first == b"234"
    assert image_of(tmp_path / "other").read_shared(2, 3) is not first
    assert len(pieces) == 1
    for size in range(4, 8):
        assert images[0].read_shared(2, size) == b"2345678"[:size]
        assert images[1].read_shared(2, 3) is first
    assert len(pieces) == 2
    images.clear()
    assert len(pieces) == 0


def test_what_was_read_of_a_file_before_it_was_changed_is_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    before = image_of(path)
    assert before.read_shared(2, 3) == b"234"
    status = path.stat()
    time.sleep(0.02)  # the kernel's clock of files has ticks of up to 10 ms
    path.write_bytes(b"abcdefghij")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert image_of(path).read_shared(2, 3) == b"cde"
    assert before.read_shared(2, 3) == b"234"


def test_parts_that_are_not_there_are_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with pytest.raises(BadDataError):
        image_of(path).read_shared(2, 9)


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(Path("/bin/true").read_bytes())
    with Executable.open(str(path)) as executable:
        segment = executable.segments[-1]
        os.truncate(path, 100)
        with pytest.raises(BadDataError, match="cut off"):
            executable.read(segment.address, segment.file_size)
