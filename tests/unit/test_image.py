"""Files that change while they are read end in an error, not in a signal."""

from __future__ import annotations

import os
from pathlib import Path

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


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(Path("/bin/true").read_bytes())
    with Executable.open(str(path)) as executable:
        segment = executable.segments[-1]
        os.truncate(path, 100)
        with pytest.raises(BadDataError, match="cut off"):
            executable.read(segment.address, segment.file_size)
