"""Memory that remembers what was read of it."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.binary.image import BytesImage
from spyglass.cores import page_file, writer
from spyglass.cores.page_file import PAGE_BYTES, PageFile
from spyglass.cores.recording import RecordingMemory
from spyglass.cores.unchanged import Resting
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.allocator import new_buffer
from spyglass.memory.base import Gathered
from spyglass.memory.segmented import Layer, SegmentedMemory

BASE = 0x10000
PAGES = 8
#: Where the pages begin in the file, and the address of one that is not to be kept.
BEGIN = 3 * PAGE_BYTES
EXCLUDED = BASE + 4 * PAGE_BYTES


@pytest.fixture
def image() -> bytearray:
    return bytearray(np.random.default_rng(3).integers(0, 256, PAGES * PAGE_BYTES, np.uint8))


@pytest.fixture
def recording(image: bytearray) -> Iterator[RecordingMemory]:
    """Eight pages: the fifth is not to be kept, of the sixth there is only half."""
    half = 5 * PAGE_BYTES + PAGE_BYTES // 2
    pieces = np.array(
        [(BASE, half, 0), (BASE + 6 * PAGE_BYTES, 2 * PAGE_BYTES, 6 * PAGE_BYTES)], np.uint64
    )
    memory = SegmentedMemory([Layer(BytesImage(image), *pieces.T)])
    with (
        tempfile.TemporaryFile() as file,
        PageFile(file.fileno(), BEGIN, only(EXCLUDED)) as pages,
    ):
        yield RecordingMemory(memory, pages)


def only(page: int) -> Callable[[NDArray[np.uint64]], NDArray[np.bool_]]:
    return lambda addresses: addresses == page


def kept(recording: RecordingMemory) -> dict[int, bytes]:
    """What is in the file, by number of the page; it has nothing else."""
    pages = recording.pages
    pages.flush()
    numbers = ((pages.addresses - np.uint64(BASE)) // np.uint64(PAGE_BYTES)).tolist()
    assert numbers == sorted(set(numbers))
    places = range(BEGIN, BEGIN + len(numbers) * PAGE_BYTES, PAGE_BYTES)
    assert sorted(pages.offsets.tolist()) == list(places)
    if numbers:
        assert os.fstat(pages._file._descriptor).st_size == BEGIN + len(numbers) * PAGE_BYTES
    return {
        number: os.pread(pages._file._descriptor, PAGE_BYTES, offset)
        for number, offset in zip(numbers, pages.offsets.tolist(), strict=True)
    }


def page(image: bytearray, number: int) -> bytes:
    return bytes(image[number * PAGE_BYTES : (number + 1) * PAGE_BYTES])


def test_the_pages_that_were_read_are_kept(recording: RecordingMemory, image: bytearray) -> None:
    assert kept(recording) == {}
    assert recording.read(BASE + 4000, 200) == image[4000:4200]
    addresses = np.array([BASE + 8, BASE + 3 * PAGE_BYTES + 16, BASE + 8], np.uint64)
    found = recording.gather(addresses, 24)
    assert found.ok.all()
    for offset, address in zip(found.offsets.tolist(), addresses.tolist(), strict=True):
        assert offset % 8 == 0
        assert found.buffer[offset : offset + 24].tobytes() == image[address - BASE :][:24]
    assert kept(recording) == {number: page(image, number) for number in (0, 1, 3)}


def test_reads_in_order_are_kept_too(recording: RecordingMemory, image: bytearray) -> None:
    addresses = BASE + np.array([8, 2 * PAGE_BYTES - 8, 5 * PAGE_BYTES, 8], np.uint64)
    sizes = np.array([16, 16, PAGE_BYTES, 8], np.uint64)
    found = recording.gather_in_order(addresses.astype(np.uint64), sizes)
    assert found.ok.tolist() == [True, True, False, True]
    offset = int(found.offsets[1])
    assert found.buffer[offset : offset + 16].tobytes() == image[2 * PAGE_BYTES - 8 :][:16]
    assert kept(recording) == {number: page(image, number) for number in (0, 1, 2)}


def test_what_is_not_there_is_not_kept(recording: RecordingMemory, image: bytearray) -> None:
    with pytest.raises(MemoryFault):
        recording.read(BASE - 8, 8)
    found = recording.gather(np.array([BASE - 16, BASE + 6 * PAGE_BYTES], np.uint64), 8)
    assert found.ok.tolist() == [False, True]
    assert recording.gather(np.array([BASE - 16], np.uint64), 8).ok.tolist() == [False]
    assert kept(recording) == {6: page(image, 6)}
    with pytest.raises(BadDataError):
        recording.read(BASE, 1 << 40)
    with pytest.raises(BadDataError):
        recording.gather(np.array([BASE, BASE], np.uint64), 1 << 40)


def test_half_a_page_is_read_but_not_kept(recording: RecordingMemory, image: bytearray) -> None:
    at = 5 * PAGE_BYTES
    assert recording.read(BASE + at, 100) == image[at : at + 100]
    found = recording.gather(BASE + np.array([at, at + PAGE_BYTES], np.uint64), 16)
    assert found.ok.all()
    offset = int(found.offsets[0])
    assert found.buffer[offset : offset + 16].tobytes() == image[at : at + 16]
    assert kept(recording) == {6: page(image, 6)}


def test_the_last_look_counts(recording: RecordingMemory, image: bytearray) -> None:
    for value in range(20):
        image[40] = value
        recording.gather(np.array([BASE], np.uint64), 8)
        recording.read(BASE + PAGE_BYTES, 1)
    image[40] = 99
    assert kept(recording)[0][40] == 19
    assert recording.read(BASE + 40, 1) == b"\x63"
    assert kept(recording)[0][40] == 99


def test_pages_can_be_kept_as_they_were_up_to_a_moment(
    recording: RecordingMemory, image: bytearray
) -> None:
    recording.read(BASE, 1)
    recording.fix()
    first, second = image[0], image[PAGE_BYTES]
    image[0] = first ^ 1
    assert recording.read(BASE, PAGE_BYTES + 1)[0] == first ^ 1
    image[PAGE_BYTES] = second ^ 1
    recording.read(BASE + PAGE_BYTES, 1)
    pages = kept(recording)
    assert sorted(pages) == [0, 1]
    assert (pages[0][0], pages[1][0]) == (first, second)


def test_what_is_read_again_and_again_is_kept_once(
    recording: RecordingMemory, image: bytearray
) -> None:
    for number in (7, 1, 6, 0, 1, 2, 7):
        image[number * PAGE_BYTES] ^= 1
        recording.read(BASE + number * PAGE_BYTES, 8)
    assert kept(recording) == {number: page(image, number) for number in (0, 1, 2, 6, 7)}


def test_pages_are_known_that_came_with_different_contents(
    recording: RecordingMemory, image: bytearray
) -> None:
    for _ in range(2):
        recording.gather(BASE + np.array([0, 1, 2, 3], np.uint64) * np.uint64(PAGE_BYTES), 8)
        assert not recording.pages.changed.any()
    image[2 * PAGE_BYTES - 1] ^= 1
    recording.gather(np.array([BASE + PAGE_BYTES], np.uint64), 8)
    recording.lay_over(BASE + 3 * PAGE_BYTES, b"another moment")
    recording.read(BASE + 6 * PAGE_BYTES, 1)
    assert recording.pages.changed.tolist() == [False, True, False, True, False]
    assert not recording.lacks_some


def test_any_change_of_a_page_is_noticed() -> None:
    content = np.random.default_rng(4).integers(0, 256, (1, PAGE_BYTES), np.uint8)
    address = np.array([0x1000], np.uint64)
    with tempfile.TemporaryFile() as file:
        for number in range(0, PAGE_BYTES, 97):
            other = content.copy()
            other[0, number] ^= 1 << number % 8
            with PageFile(file.fileno(), 0, only(0)) as pages:
                pages.put(address, content, replace=True)
                pages.put(address, other, replace=True)
                pages.flush()
                assert pages.changed.all()
                assert os.pread(file.fileno(), PAGE_BYTES, 0) == other.tobytes()


def test_a_page_that_came_with_two_contents_at_once_has_changed() -> None:
    addresses = np.array([0x3000, 0x1000, 0x3000, 0x1000], np.uint64)
    content = np.repeat(np.array([1, 2, 3, 2], np.uint8), PAGE_BYTES).reshape(4, PAGE_BYTES)
    with tempfile.TemporaryFile() as file, PageFile(file.fileno(), 0, only(0)) as pages:
        pages.put(addresses, content, replace=True)
        assert pages.changed.tolist() == [False, True]


def test_what_did_not_change_is_not_written_again() -> None:
    addresses = np.array([0x1000, 0x2000], np.uint64)
    content = np.repeat(np.array([1, 2], np.uint8), PAGE_BYTES).reshape(2, PAGE_BYTES)
    with tempfile.TemporaryFile() as file, PageFile(file.fileno(), 0, only(0)) as pages:
        pages.put(addresses, content, replace=True)
        pages.flush()
        os.pwrite(file.fileno(), b"untouched", 0)
        pages.put(addresses[:1], content[:1].copy(), replace=True)
        pages.flush()
        assert os.pread(file.fileno(), 9, 0) == b"untouched"


def test_of_pages_that_are_kept_only_what_is_asked_for_is_read(
    recording: RecordingMemory, image: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.gather(BASE + np.array([0, PAGE_BYTES], np.uint64), 8)
    recording.fix()
    sizes: list[int] = []
    gather = recording.memory.gather

    def counted(addresses: NDArray[np.uint64], wanted: NDArray[np.uint64] | int) -> Gathered:
        sizes.append(int(np.broadcast_to(wanted, len(addresses)).sum()))
        return gather(addresses, wanted)

    monkeypatch.setattr(recording.memory, "gather", counted)
    places = [8, 2 * PAGE_BYTES + 16, PAGE_BYTES + 24, EXCLUDED - BASE + 8, 32]
    found = recording.gather(BASE + np.array(places, np.uint64), 8)
    expected = b"".join(image[place : place + 8] for place in places)
    assert found.ok.all()
    assert found.words(1)[:, 0].tobytes() == expected
    assert sorted(sizes) == [4 * 8, PAGE_BYTES]
    assert sorted(kept(recording)) == [0, 1, 2]


def test_a_page_of_which_there_is_only_a_part_is_noticed(recording: RecordingMemory) -> None:
    recording.gather(np.array([BASE + 5 * PAGE_BYTES], np.uint64), 16)
    assert recording.lacks_some


@pytest.mark.parametrize("direct", ["as the file system can", "not opened", "not written"])
def test_large_pieces_are_written_whichever_way_can(
    direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, opened, write = OSError(errno.EINVAL, "as some do"), os.open, writer.pwrite

    def open_(path: str, flags: int, mode: int = 0o777) -> int:
        if direct == "not opened" and flags & os.O_DIRECT:
            raise refused
        return opened(path, flags, mode)

    def pwrite(descriptor: int, content: memoryview, offset: int) -> None:
        if direct == "not written" and descriptor != file.fileno():
            raise refused
        write(descriptor, content, offset)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(page_file, "pwrite", pwrite)
    count = 100
    content = new_buffer(count * PAGE_BYTES).reshape(count, PAGE_BYTES)
    content[:] = np.arange(count, dtype=np.uint8)[:, None]
    addresses = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(PAGE_BYTES)
    with tempfile.TemporaryFile() as file, PageFile(file.fileno(), BEGIN, only(0)) as pages:
        pages.put(addresses, content, replace=True)
        pages.put(addresses[3:4], content[5:6], replace=True)
        pages.flush()
        content[3] = content[5]
        assert os.pread(file.fileno(), content.nbytes, BEGIN) == content.tobytes()


@pytest.mark.parametrize("size", [0, 8, 1 << 18, (1 << 20) + 8])
def test_a_large_buffer_begins_at_a_page(size: int) -> None:
    buffer = new_buffer(size)
    assert len(buffer) == size
    assert size < 1 << 18 or buffer.ctypes.data % PAGE_BYTES == 0


def test_goroutines_rest_that_have_nothing_in_pages_that_changed() -> None:
    pointers = np.array([0x10000, 0x11000, 0x12FF8, 0x13000], np.uint64)
    low = np.array([0x20010, 0x21FF8, 0x23000, 0x25008], np.uint64)
    high = np.array([0x20800, 0x22000, 0x24800, 0x25800], np.uint64)
    resting = Resting(pointers, low, high, 16)

    def doubtful(*changed: int) -> list[int]:
        more = np.append(pointers, np.uint64(0x99000))
        others: list[int] = resting.others(more, np.array(changed, np.uint64)).tolist()
        return others

    assert doubtful() == [0x99000]
    assert doubtful(0x10000, 0x22000) == [0x10000, 0x99000]
    assert doubtful(0x13000) == [0x12FF8, 0x13000, 0x99000]
    assert doubtful(0x21000, 0x24000, 0x26000) == [0x11000, 0x12FF8, 0x99000]


def test_bytes_of_another_moment_are_laid_over(
    recording: RecordingMemory, image: bytearray
) -> None:
    content = b"x" * 100
    recording.lay_over(BASE + 2 * PAGE_BYTES - 50, content)
    expected = bytearray(image)
    expected[2 * PAGE_BYTES - 50 : 2 * PAGE_BYTES + 50] = content
    assert kept(recording) == {number: page(expected, number) for number in (1, 2)}
    recording.lay_over(BASE + PAGES * PAGE_BYTES - 8, content)  # its second page is not there
    assert sorted(kept(recording)) == [1, 2, 7]
    assert kept(recording)[7].endswith(b"x" * 8)


def test_more_pages_than_one_read_may_have(
    recording: RecordingMemory, image: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.cores.recording.MAX_READ_BYTES", 2 * PAGE_BYTES)
    addresses = BASE + np.arange(5, dtype=np.uint64) * np.uint64(PAGE_BYTES)
    found = recording.gather(addresses, 8)
    rows = found.words(1)[:, 0].tobytes()
    assert rows == b"".join(page(image, number)[:8] for number in range(5))
    assert sorted(kept(recording)) == [0, 1, 2, 3]


def test_pages_that_are_excluded_are_read_but_not_kept(
    recording: RecordingMemory, image: bytearray
) -> None:
    assert recording.read(EXCLUDED - 8, PAGE_BYTES) == image[EXCLUDED - BASE - 8 :][:PAGE_BYTES]
    found = recording.gather(np.array([EXCLUDED + 16, BASE], np.uint64), 8)
    assert found.ok.all()
    assert kept(recording) == {number: page(image, number) for number in (0, 3)}


@pytest.mark.parametrize("replace", [False, True])
def test_of_a_page_that_comes_twice_the_last_is_kept(replace: bool) -> None:
    addresses = np.array([0x3000, 0x1000, 0x3000], np.uint64)
    content = np.repeat(np.array([1, 2, 3], np.uint8), PAGE_BYTES).reshape(3, PAGE_BYTES)
    with tempfile.TemporaryFile() as file, PageFile(file.fileno(), 0, only(0)) as pages:
        pages.put(addresses, content, replace=replace)
        pages.put(addresses[:1], content[:1], replace=replace)
        pages.flush()
        assert pages.addresses.tolist() == [0x1000, 0x3000]
        assert [os.pread(file.fileno(), 1, offset)[0] for offset in pages.offsets.tolist()] == [
            2,
            1 if replace else 3,
        ]


def test_a_write_that_fails_is_an_error_when_it_is_waited_for() -> None:
    with (
        open(os.devnull, "rb") as read_only,
        PageFile(read_only.fileno(), 0, only(0)) as pages,
    ):
        pages.put(np.array([0x1000], np.uint64), np.zeros((1, PAGE_BYTES), np.uint8), replace=True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            pages.flush()


def test_what_waits_to_be_written_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    began, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        began.set()
        go_on.wait(5)

    monkeypatch.setattr(page_file, "pwrite", slow)
    monkeypatch.setattr(page_file, "_WAITING_BYTES", 2 * PAGE_BYTES)
    content = np.zeros((1, PAGE_BYTES), np.uint8)
    with tempfile.TemporaryFile() as file, PageFile(file.fileno(), 0, only(0)) as pages:
        for number in range(1, 9):
            if number == 4:  # the next has to wait
                assert began.wait(5)
                go_on.set()
            pages.put(np.array([number * PAGE_BYTES], np.uint64), content, replace=True)
            most = max(most, pages._waiting_bytes)
    assert most == 3 * PAGE_BYTES
