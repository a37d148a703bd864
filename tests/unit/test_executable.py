"""What an ELF file says, and what becomes of one that says what cannot be."""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path

import pytest

from spyglass.binary.executable import MAX_SECTION_BYTES, Segment
from spyglass.binary.go_executable import GoExecutable
from spyglass.errors import BadDataError, UnsupportedProgram
from tests.elf_writer import ARM64, PT_LOAD, PT_NOTE, Part, note, symbols, write_elf

COMPRESSED = 0x800
WRITABLE, EXECUTABLE = 2, 1

CODE = Part(".text", b"code" * 4, 0x1000, PT_LOAD, flags=EXECUTABLE)
DATA = Part(".data", b"data" * 4, 0x2000, PT_LOAD, flags=WRITABLE)


def executable(*parts: Part, **header: int) -> GoExecutable:
    return GoExecutable(write_elf(parts, **header), "program")  # type: ignore[arg-type]


def patched(image: bytes, at: int, value: bytes) -> bytes:
    return image[:at] + value + image[at + len(value) :]


# Headers.


def test_the_header_is_read() -> None:
    program = executable(CODE, entry=0x1004)
    assert (program.arch, program.pie, program.entry) == ("amd64", False, 0x1004)
    library = executable(CODE, kind=3, machine=ARM64)
    assert (library.arch, library.pie) == ("arm64", True)


@pytest.mark.parametrize(
    ("at", "value", "error", "says"),
    [
        (0, b"\x7fELG", BadDataError, "not an ELF file"),
        (4, b"\x01", UnsupportedProgram, "32-bit"),
        (5, b"\x02", UnsupportedProgram, "big-endian"),
        (18, b"\x28\x00", UnsupportedProgram, "another processor"),
        (32, struct.pack("<Q", 1 << 63), BadDataError, "no 112 bytes"),
        (32, struct.pack("<Q", (1 << 64) - 1), BadDataError, "no 112 bytes"),
        (54, struct.pack("<H", 0), BadDataError, "implausible table"),
        (54, struct.pack("<H", 57), BadDataError, "implausible table"),
        (56, struct.pack("<H", 0xFFFF), BadDataError, "implausible table"),
    ],
)
def test_headers_that_cannot_be_are_refused(
    at: int, value: bytes, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        GoExecutable(patched(write_elf([CODE, DATA]), at, value), "program")


@pytest.mark.parametrize("length", [0, 1, 4, 16, 63, 64, 100, 119])
def test_a_file_that_is_cut_off_in_its_headers_is_refused(length: int) -> None:
    with pytest.raises(BadDataError):
        GoExecutable(write_elf([CODE])[:length], "program")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(BadDataError, match="is not an executable file"):
            GoExecutable.open(str(path))


# Segments.


def test_segments_are_sorted_by_address() -> None:
    program = executable(DATA, CODE)
    assert [segment.address for segment in program.segments] == [0x1000, 0x2000]
    assert [(s.writable, s.executable) for s in program.segments] == [(False, True), (True, False)]


def test_bytes_are_found_at_their_addresses() -> None:
    program = executable(CODE, DATA)
    assert program.read(0x1004, 8) == b"codecode"
    assert program.read(0x200C, 4) == b"data"


@pytest.mark.parametrize(
    ("address", "size"),
    [(0xFFF, 4), (0x100D, 4), (0x1000, 17), (0x1000, -1), (1 << 64, 1), (-1, 1), (0x1000, 1 << 62)],
)
def test_bytes_that_are_not_in_the_file(address: int, size: int) -> None:
    with pytest.raises(BadDataError, match="has no"):
        executable(CODE).read(address, size)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1 << 63, 16), ((1 << 64) - 8, 16), (64, 1 << 63), (64, (1 << 64) - 64), (0, (1 << 64) - 1)],
)
def test_segments_outside_the_file_are_left_out(offset: int, size: int) -> None:
    far = Part(".far", b"", 0x3000, PT_LOAD, offset=offset, size=size)
    program = executable(CODE, far)
    assert [segment.address for segment in program.segments] == [0x1000]
    assert isinstance(program.segments[0], Segment)


# Sections.


def test_sections_have_their_names_and_contents() -> None:
    program = executable(CODE, DATA, Part(".debug_info", b"words"))
    assert set(program.sections) == {".text", ".data", ".debug_info", ".shstrtab"}
    assert bytes(program.section_data(".debug_info")) == b"words"
    assert bytes(program.section_data(".debug_line")) == b""
    assert program.stripped


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (40, struct.pack("<Q", 1 << 63)),
        (40, struct.pack("<Q", (1 << 64) - 64)),
        (58, struct.pack("<H", 1)),
        (60, struct.pack("<H", 0xFFFF)),
        (60, struct.pack("<H", 4)),
        (62, struct.pack("<H", 0xFFFF)),
    ],
)
def test_section_headers_that_cannot_be_are_none(at: int, value: bytes) -> None:
    program = GoExecutable(patched(write_elf([CODE, DATA]), at, value), "program")
    assert program.sections == {}
    assert len(program.segments) == 2


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, 1 << 20])
def test_sections_outside_the_file_are_left_out(size: int) -> None:
    program = executable(CODE, Part(".far", b"", size=size))
    assert ".far" not in program.sections


def test_names_of_sections_are_not_read_for_ever() -> None:
    names = Part("x" * 5000)
    program = executable(CODE, names)
    assert max(map(len, program.sections)) == 256


def deflated(content: bytes, size: int, kind: int = 1) -> bytes:
    return struct.pack("<IIQQ", kind, 0, size, 1) + zlib.compress(content)


def test_compressed_sections_are_read() -> None:
    modern = Part(".debug_info", deflated(b"words" * 9, 45), section_flags=COMPRESSED)
    old = Part(".zdebug_line", b"ZLIB" + (45).to_bytes(8, "big") + zlib.compress(b"lines" * 9))
    program = executable(modern, old)
    assert bytes(program.section_data(".debug_info")) == b"words" * 9
    assert bytes(program.section_data(".debug_line")) == b"lines" * 9


@pytest.mark.parametrize("compressed", [False, True])
def test_a_section_larger_than_asked_for_is_refused(compressed: bool) -> None:
    content = deflated(bytes(5000), 5000) if compressed else bytes(5000)
    flags = COMPRESSED if compressed else 0
    program = executable(Part(".debug_abbrev", content, section_flags=flags))
    assert program.section_data(".debug_abbrev", 5000) == bytes(5000)
    with pytest.raises(BadDataError, match="5000 bytes"):
        program.section_data(".debug_abbrev", 4999)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_bomb_is_unpacked_as_far_as_it_says(size: int) -> None:
    bomb = Part(".debug_info", deflated(bytes(1 << 24), size), section_flags=COMPRESSED)
    assert bytes(executable(bomb).section_data(".debug_info")) == bytes(size)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (deflated(b"words", MAX_SECTION_BYTES + 1), "implausible size"),
        (deflated(b"words", (1 << 64) - 1), "implausible size"),
        (deflated(b"words", 5, kind=2), "something else than zlib"),
        (struct.pack("<IIQQ", 1, 0, 5, 1) + b"words", "damaged"),
        (b"", "something else than zlib"),
    ],
)
def test_compressed_sections_that_cannot_be(content: bytes, says: str) -> None:
    section = Part(".debug_info", content, section_flags=COMPRESSED)
    with pytest.raises(BadDataError, match=says):
        executable(section).section_data(".debug_info")


# Symbols.

TABLE = symbols(
    ("runtime.allgs", 1, 0x2000, 24),
    ("xruntime.allm", 1, 0x2020, 8),
    ("runtime.elsewhere", 0, 0, 0),
    ("runtime.elsewhere", 2, 0x2040, 16),
)


def test_symbols_are_found_by_their_whole_names() -> None:
    program = executable(CODE, *TABLE)
    assert not program.stripped
    assert program.symbol("runtime.allgs") == 0x2000
    assert program.symbol_range("runtime.allgs") == (0x2000, 24)
    assert program.symbol("runtime.allm") is None
    assert program.symbol("runtime.allg") is None
    assert program.symbol("runtime.elsewhere") == 0x2040


@pytest.mark.parametrize("parts", [[], TABLE[:1], TABLE[1:], [Part(".symtab"), Part(".strtab")]])
def test_there_may_be_no_symbols(parts: list[Part]) -> None:
    assert executable(CODE, *parts).symbol("runtime.allgs") is None


def test_of_a_name_that_is_there_very_often_only_some_are_looked_at() -> None:
    names = Part(".strtab", b"runtime.allgs\0" * 100_000)
    began = time.monotonic()
    assert executable(CODE, TABLE[0], names).symbol("runtime.allgs") is None
    assert time.monotonic() - began < 5


# Notes.


def test_a_build_id_shows_no_raw_bytes() -> None:
    raw = Part(".n", note("Go", 4, b"a\x1b[31m\n\xff"), segment=PT_NOTE)
    assert executable(raw).build_id == r"a\x1b[31m\n\xff"


def test_the_build_id_is_gos_or_else_the_linkers() -> None:
    gnu = note("GNU", 3, bytes.fromhex("c0ffee"))
    go = note("Go", 4, b"abc/def")
    assert executable(Part(".n", gnu, segment=PT_NOTE)).build_id == "c0ffee"
    assert executable(Part(".n", gnu + go, segment=PT_NOTE)).build_id == "abc/def"
    assert executable(CODE).build_id is None


@pytest.mark.parametrize(
    "part",
    [
        Part(".n", note("Go", 4, b"x" * 2000), segment=PT_NOTE),
        Part(".n", note("Go", 4, b"abc")[:-2], segment=PT_NOTE),
        Part(".n", struct.pack("<III", 1 << 31, 1 << 31, 4), segment=PT_NOTE),
        Part(".n", b"", segment=PT_NOTE, size=1 << 63),
        Part(".n", b"", segment=PT_NOTE, offset=1 << 63, size=100),
    ],
)
def test_notes_that_cannot_be_are_none(part: Part) -> None:
    assert executable(part).build_id is None


# Whether it is Go.


def test_a_huge_file_of_nothing_is_not_searched_for_ever(tmp_path: Path) -> None:
    everything = Part(".data", b"", 0x1000, PT_LOAD, offset=0, size=1 << 40)
    file = tmp_path / "sparse"
    file.write_bytes(write_elf([everything], named=False))
    os.truncate(file, 1 << 40)
    began = time.monotonic()
    with GoExecutable.open(str(file)) as program:
        assert not program.is_go
    assert time.monotonic() - began < 20
