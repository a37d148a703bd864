"""Reading memory: what is there comes as it is, what is not is told, and neighbours do not matter."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.errors import BadDataError, MemoryFault, ProcessChanged
from spyglass.memory.base import MAX_READ_BYTES, Memory
from spyglass.memory.process import MAX_RANGES, ProcessMemory
from spyglass.memory.ranges import MERGE_GAP_BYTES, merge
from tests.children import sleeping
from tests.image import ImageMemory

PAGE = mmap.PAGESIZE
PAGES = 64
#: Pages that nobody may read.
HOLES = (3, 4, 17, 40, 63)

_LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def area() -> Iterator[tuple[int, bytes]]:
    """The address of memory of this process that has holes, and what is in it."""
    content = random.Random(1).randbytes(PAGES * PAGE)
    with mmap.mmap(-1, len(content)) as mapping, tempfile.TemporaryFile() as empty:
        mapping.write(content)
        anchor = ctypes.c_char.from_buffer(mapping)
        address = ctypes.addressof(anchor)
        for page in HOLES:
            make_hole(address + page * PAGE, empty.fileno())
        yield address, content
        del anchor


def make_hole(address: int, empty_file: int) -> None:
    """Show a page of a file there that has none: to be sure that nothing else comes there."""
    fixed, private = 0x10, 0x02
    _LIBC.mmap.restype = ctypes.c_void_p
    _LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = fixed | private
    assert _LIBC.mmap(address, PAGE, mmap.PROT_READ, flags, empty_file, 0) == address


@pytest.fixture(params=["process_vm_readv", "file"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    """The memory of this process, read by the system call, or by the file where that is forbidden."""
    own = ProcessMemory(os.getpid())
    if request.param == "file":
        monkeypatch.setattr(own, "_readv", _forbidden)
    yield own
    own.close()


def _forbidden(*arguments: object) -> int:
    ctypes.set_errno(1)  # EPERM
    return -1


def readable(begin: int, size: int) -> bool:
    pages = range(begin // PAGE, (begin + size - 1) // PAGE + 1)
    return not set(pages) & set(HOLES)


def test_ranges_are_read_again_at_every_call(memory: Memory) -> None:
    buffer = ctypes.create_string_buffer(b"one, two, three, four", 64)
    address = ctypes.addressof(buffer)
    read = memory.reader([(address + 5, 3), (address, 3), (address + 17, 4)])
    assert read() == b"twoonefour"
    ctypes.memmove(address + 5, b"TWO", 3)
    assert read() == b"TWOonefour"
    assert memory.reader([])() == b""


def test_a_range_that_cannot_be_read_fails_all(memory: Memory, area: tuple[int, bytes]) -> None:
    address, content = area
    hole = address + HOLES[0] * PAGE
    assert memory.reader([(address, 8), (hole, 8)])() is None
    assert memory.reader([(address, 8), (hole - 8, 16)])() is None
    assert memory.reader([(address, 8), (1 << 63, 8)])() is None
    assert memory.reader([(hole - 8, 8)])() == content[HOLES[0] * PAGE - 8 : HOLES[0] * PAGE]


def test_bytes_are_read_exactly(memory: Memory, area: tuple[int, bytes]) -> None:
    address, content = area
    assert memory.read(address + 5, 1000) == content[5:1005]
    assert memory.read(address, 3 * PAGE) == content[: 3 * PAGE]
    assert memory.read(address, 0) == b""
    assert memory.u64(address + 16) == int.from_bytes(content[16:24], "little")
    assert memory.array(address, "<u4", 3).tobytes() == content[:12]


@pytest.mark.parametrize("begin", [3 * PAGE - 1, 3 * PAGE, 5 * PAGE - 1, 63 * PAGE - 4])
def test_a_read_that_touches_a_hole_is_a_fault(
    memory: Memory, area: tuple[int, bytes], begin: int
) -> None:
    with pytest.raises(MemoryFault) as fault:
        memory.read(area[0] + begin, 8)
    assert (fault.value.address, fault.value.size) == (area[0] + begin, 8)


@pytest.mark.parametrize("address", [0, 8, (1 << 64) - 8, 1 << 63, (1 << 64) + 8, -8, 1 << 70])
def test_addresses_where_nothing_can_be(memory: Memory, address: int) -> None:
    with pytest.raises(MemoryFault):
        memory.read(address, 8)


@pytest.mark.parametrize("size", [-1, MAX_READ_BYTES + 1, 1 << 63, 1 << 70])
def test_sizes_that_cannot_be(memory: Memory, size: int) -> None:
    with pytest.raises(BadDataError, match="implausible size"):
        memory.read(0x1000, size)
    with pytest.raises(BadDataError, match="implausible count"):
        memory.array(0x1000, "<u8", size)


def assert_gathered(
    memory: Memory, area: tuple[int, bytes], begins: NDArray[np.int64], sizes: NDArray[np.int64]
) -> None:
    """Of each range what is there, unless a hole is in it, whatever is beside it."""
    address, content = area
    found = memory.gather((begins + address).astype(np.uint64), np.asarray(sizes).astype(np.uint64))
    for i, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist(), strict=True)):
        assert bool(found.ok[i]) is readable(begin, size), (begin, size)
        if found.ok[i]:
            at = int(found.offsets[i])
            assert found.buffer[at : at + size].tobytes() == content[begin : begin + size]
        assert found.offsets[i] % 8 == 0


@pytest.mark.parametrize("seed", range(10))
def test_many_ranges_come_as_they_are(memory: Memory, area: tuple[int, bytes], seed: int) -> None:
    noise = np.random.default_rng(seed)
    begins = noise.integers(0, PAGES * PAGE // 8 - 512, 3 * MAX_RANGES) * 8
    sizes = noise.choice([8, 16, 400, 4096], len(begins))
    assert_gathered(memory, area, begins, sizes)


@pytest.mark.parametrize("seed", range(20))
def test_few_ranges_come_as_they_are(memory: Memory, area: tuple[int, bytes], seed: int) -> None:
    noise = np.random.default_rng(seed)
    begins = noise.integers(0, PAGES * PAGE // 8 - 512, 1 + 2 * seed) * 8
    sizes = noise.choice([8, 13, 400, 4096, 3 * PAGE], len(begins))
    assert_gathered(memory, area, begins, np.minimum(sizes, PAGES * PAGE - begins))


def test_ranges_far_apart_are_more_than_fit_into_one_call(
    memory: Memory, area: tuple[int, bytes]
) -> None:
    begins = np.arange(0, PAGES * PAGE - 8, 2 * MERGE_GAP_BYTES)
    many = np.tile(begins, 20)
    assert_gathered(memory, area, many, np.full(len(many), 8))


def test_ranges_with_nothing_at_them_are_masked(memory: Memory, area: tuple[int, bytes]) -> None:
    addresses = np.array([area[0], 0, (1 << 64) - 8, area[0] + 8, 1 << 63, 8], np.uint64)
    found = memory.gather(addresses, 8)
    assert found.ok.tolist() == [True, False, False, True, False, False]
    assert found.words(1)[found.ok].tobytes() == area[1][:16]


@pytest.mark.parametrize("count", [1, 2, 32, 33])
@pytest.mark.parametrize("size", [8, 12, 64])
def test_ranges_of_one_size(memory: Memory, area: tuple[int, bytes], count: int, size: int) -> None:
    begins = np.arange(count)[::-1] * 16
    found = memory.gather((begins + area[0]).astype(np.uint64), size)
    assert found.ok.all()
    for begin, offset in zip(begins.tolist(), found.offsets.tolist(), strict=True):
        assert found.buffer[offset : offset + size].tobytes() == area[1][begin : begin + size]


def test_nothing_is_gathered_of_nothing(memory: Memory) -> None:
    found = memory.gather(np.zeros(0, np.uint64), 8)
    assert (len(found.ok), len(found.words(1))) == (0, 0)


def test_more_than_can_be_gathered_is_refused(memory: Memory) -> None:
    addresses = np.arange(2, dtype=np.uint64) << np.uint64(40)
    with pytest.raises(BadDataError, match="implausible size"):
        memory.gather(addresses, MAX_READ_BYTES)


def test_ranges_that_overlap_are_not_each_given_room(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.memory.process._FEW_RANGES", 0)
    with pytest.raises(BadDataError, match="implausible size"):
        memory.gather(np.array([8, 16], np.uint64), MAX_READ_BYTES // 4 * 3)


def test_rows_are_structures(memory: Memory, area: tuple[int, bytes]) -> None:
    address, content = area
    kind = np.dtype([("first", "<u8"), ("second", "<u4")])
    addresses = np.array([address, address + 64], np.uint64)
    rows = memory.gather(addresses, kind.itemsize).rows(kind)
    assert rows.tobytes() == content[:12] + content[64:76]


def test_what_the_kernel_has_no_memory_to_read_is_masked(
    area: tuple[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """process_vm_readv(2): ENOMEM, for its own copies of the ranges."""
    memory = ProcessMemory(os.getpid())
    begins = np.arange(4, dtype=np.uint64) * np.uint64(PAGE * 5) + np.uint64(area[0])
    read = memory._readv

    def short_of_memory(*arguments: int) -> int:
        if arguments[4] < 2:
            return int(read(*arguments))
        ctypes.set_errno(errno.ENOMEM)
        return -1

    monkeypatch.setattr(memory, "_readv", short_of_memory)
    found = memory.gather(begins, 8)
    assert found.ok.tolist() == [False, False, False, True]
    assert memory.read(area[0], 8) == area[1][:8]
    monkeypatch.setattr(memory, "_readv", lambda *arguments: short_of_memory(*[9] * 6))
    with pytest.raises(MemoryFault):
        memory.read(area[0], 8)


def test_a_process_that_has_ended() -> None:
    with sleeping() as child:
        memory = ProcessMemory(child.pid)
        child.kill()
        child.wait()
        with pytest.raises(ProcessChanged, match="has ended"):
            memory.read(0x400000, 8)


# Go's strings.


@pytest.mark.parametrize(
    ("content", "limit", "expected"),
    [
        (b"select", 64, "select"),
        (b"", 64, ""),
        ("gö".encode(), 64, "gö"),
        (b"\xff\xfe", 64, "\\xff\\xfe"),
    ],
)
def test_strings_are_read(content: bytes, limit: int, expected: str) -> None:
    memory = ImageMemory({0x1000: header(0x2000, len(content)), 0x2000: content})
    assert memory.string(0x1000, limit) == expected


@pytest.mark.parametrize(
    ("pointer", "length", "error"),
    [(0x2000, 65, BadDataError), (0x2000, (1 << 64) - 1, BadDataError), (0, 8, MemoryFault)],
)
def test_strings_that_cannot_be(pointer: int, length: int, error: type[Exception]) -> None:
    memory = ImageMemory({0x1000: header(pointer, length), 0x2000: bytes(64)})
    with pytest.raises(error):
        memory.string(0x1000, 64)


def header(pointer: int, length: int) -> bytes:
    return pointer.to_bytes(8, "little") + length.to_bytes(8, "little")


# Ranges.


@pytest.mark.parametrize("seed", range(20))
def test_merged_ranges_hold_the_original_ones(seed: int) -> None:
    noise = np.random.default_rng(seed)
    starts = (noise.integers(0, 1 << 16, 200) * 8).astype(np.uint64)
    sizes = noise.integers(1, 600, 200).astype(np.uint64)
    merged = merge(starts, sizes)
    ends = merged.starts + merged.sizes
    assert (merged.starts[merged.owner] <= starts).all()
    assert (starts + sizes <= ends[merged.owner]).all()
    assert (merged.starts[1:] > ends[:-1] + np.uint64(MERGE_GAP_BYTES)).all()
    assert (merged.starts % 8 == 0).all()
    assert (merged.sizes % 8 == 0).all()


def test_ranges_at_the_end_of_all_addresses_do_not_wrap_around() -> None:
    starts = np.array([(1 << 64) - 8, (1 << 64) - 4096, 0], np.uint64)
    merged = merge(starts, np.array([4096, 8, 8], np.uint64))
    assert (merged.starts + merged.sizes >= merged.starts).all()
    assert len(merged.starts) == 3
