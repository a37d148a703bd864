"""Memory out of files, compared with a plain table of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spyglass.binary.image import BytesImage, FileImage
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.segmented import Layer, SegmentedMemory

BASE = 0x400000
SIZE = 4096


def layer(content: bytes, *pieces: tuple[int, int, int]) -> Layer:
    """Pieces (address, size, offset) of `content`."""
    columns = np.array(pieces, np.uint64).reshape(-1, 3).T
    return Layer(BytesImage(content), *columns)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 16)
    opened = os.open(tmp_path / "file", os.O_RDWR)
    yield opened
    os.close(opened)


def gathered(memory: SegmentedMemory, *ranges: tuple[int, int]) -> list[bytes | None]:
    addresses, sizes = np.array(ranges, np.uint64).reshape(-1, 2).T
    found = memory.gather(addresses, sizes)
    return [
        found.buffer[offset : offset + size].tobytes() if ok else None
        for offset, size, ok in zip(
            found.offsets.tolist(), sizes.tolist(), found.ok.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("seed", range(40))
def test_layers_lie_over_each_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    known = np.full(SIZE, -1, np.int16)
    layers = []
    for _ in range(3):
        content = random.integers(0, 256, SIZE, np.uint8)
        pieces = [
            (start, min(size, SIZE - start, SIZE - offset), offset)
            for start, size, offset in random.integers(0, (SIZE, 300, SIZE), (20, 3)).tolist()
        ]
        free = known < 0
        seen = np.zeros(SIZE, np.bool_)
        for start, size, offset in sorted(pieces, key=lambda piece: piece[0]):
            mine = np.zeros(SIZE, np.bool_)
            mine[start : start + size] = True
            mine &= free & ~seen
            at = np.flatnonzero(mine)
            known[at] = content[at - start + offset]
            seen[start : start + size] = True
        layers.append(layer(content.tobytes(), *((BASE + a, s, o) for a, s, o in pieces)))
    memory = SegmentedMemory(layers)
    assert memory.size_bytes == (known >= 0).sum()
    ranges = [
        (BASE + start, size) for start, size in random.integers(0, (SIZE, 200), (500, 2)).tolist()
    ]
    for (address, size), found in zip(ranges, gathered(memory, *ranges), strict=True):
        expected = known[address - BASE : address - BASE + size]
        there = len(expected) == size and bool((expected >= 0).all())
        assert found == (expected.astype(np.uint8).tobytes() if there else None)
        if there:
            assert memory.read(address, size) == found
        else:
            with pytest.raises(MemoryFault):
                memory.read(address, size)


def test_aligned_ranges_are_aligned_in_the_buffer() -> None:
    memory = SegmentedMemory([layer(bytes(4096), (BASE, 1001, 0), (BASE + 2000, 1000, 1001))])
    found = memory.gather(np.array([BASE + 2000, BASE + 8, BASE + 2000], np.uint64), 13)
    assert found.ok.all()
    assert not (found.offsets % 8).any()
    assert found.words(1).shape == (3, 1)


def test_nothing_is_anywhere_in_memory_without_layers() -> None:
    memory = SegmentedMemory([])
    assert memory.size_bytes == 0
    assert gathered(memory, (BASE, 8), (0, 0)) == [None, b""]
    with pytest.raises(MemoryFault):
        memory.read(BASE, 1)


def test_a_range_may_end_at_the_end_of_all_addresses() -> None:
    top = (1 << 64) - 16
    memory = SegmentedMemory([layer(b"0123456789abcdef", (top, 16, 0))])
    assert memory.read(top, 15) == b"0123456789abcde"
    assert gathered(memory, (top, 8), (top + 8, 1 << 20)) == [b"01234567", None]


def test_absurd_sizes_are_refused() -> None:
    memory = SegmentedMemory([layer(bytes(16), *((i << 40, 1 << 40, 0) for i in range(1, 100)))])
    with pytest.raises(BadDataError):
        memory.read(1 << 40, 1 << 40)
    with pytest.raises(MemoryFault):
        memory.read((1 << 64) - 1, 16)
    with pytest.raises(BadDataError):
        memory.gather(np.array([1 << 40], np.uint64), 1 << 40)


def test_a_file_is_read_where_it_is_asked_for(descriptor: int) -> None:
    pieces = Layer(FileImage(os.dup(descriptor)), *np.array([[BASE], [256], [128]], np.uint64))
    assert SegmentedMemory([pieces]).read(BASE + 127, 3) == bytes([255, 0, 1])


def test_a_file_that_was_cut_short_is_a_fault(descriptor: int) -> None:
    pieces = Layer(FileImage(os.dup(descriptor)), *np.array([[BASE], [4096], [0]], np.uint64))
    memory = SegmentedMemory([pieces])
    assert memory.read(BASE + 4095, 1) == b"\xff"
    os.ftruncate(descriptor, 2000)
    with pytest.raises(MemoryFault):
        memory.read(BASE + 1999, 2)
    found = gathered(memory, (BASE + 1992, 8), (BASE + 1996, 8), (BASE + 2000, 8), (BASE, 1))
    assert found == [bytes(range(200, 208)), None, None, b"\0"]
