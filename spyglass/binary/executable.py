"""An ELF executable: what the file itself says, whatever process runs it.

Headers, notes and compressed sections are left to pyelftools; symbols are not, because it makes an
object of each and a Go program has a hundred thousand.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from spyglass.binary.buildinfo import BuildInfo, find_build_info
from spyglass.binary.image import BytesImage, FileImage, Image
from spyglass.errors import BadDataError, UnsupportedProgram

__all__ = ["Executable", "Section", "Segment"]

#: Sections larger than this are not believed; the largest seen in the wild is a fifth of it.
MAX_SECTION_BYTES = 1 << 30
MAX_SYMBOL_HITS = 64
_MIN_BYTES = 64

_MACHINES = {"EM_X86_64": "amd64", "EM_AARCH64": "arm64"}
_SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
#: Sections that only Go's linker writes.
_GO_SECTIONS = (
    ".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid", ".go.module",
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD program header (elf(5)): `offset` and `file_size` in the file, the rest in memory."""

    address: int
    offset: int
    file_size: int
    memory_size: int
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A section header (elf(5)); `address` is 0 for those that are not loaded."""

    name: str
    address: int
    offset: int
    size: int
    compressed: bool


class Executable:
    """An ELF file, never read whole.

    Every number in it is untrusted: what does not fit raises `BadDataError`, a file for another kind
    of machine `UnsupportedProgram`.
    """

    def __init__(self, image: Image | bytes, path: str) -> None:
        self.image = BytesImage(image) if isinstance(image, bytes) else image
        self.path = path
        self._elf = self._guard(self._open_elf)
        self.arch = _MACHINES[str(self._elf["e_machine"])]
        self.pie = self._elf["e_type"] == "ET_DYN"
        self.entry = int(self._elf["e_entry"])

    @classmethod
    def open(cls, path: str) -> Executable:
        """Open `path` (for a process /proc/PID/exe itself, which works for a deleted file too).

        Raises OSError if it cannot be opened, `BadDataError` if it is not an ELF file.
        """
        image = FileImage(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            if not image.is_regular or len(image) < _MIN_BYTES:
                raise BadDataError(f"{path} is not an executable file")
            return cls(image, path)
        except BaseException:
            image.close()
            raise

    def close(self) -> None:
        """Let go of the file. What was read of it stays."""
        self.image.close()

    def __enter__(self) -> Executable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open_elf(self) -> Any:
        from elftools.elf.elffile import ELFFile

        head = self.image.read(0, 6)
        if head[:4] != b"\x7fELF":
            raise BadDataError(f"{self.path} is not an ELF file")
        if head[4] != 2:
            raise UnsupportedProgram(f"{self.path} is a 32-bit program; spyglass reads 64-bit ones")
        if head[5] != 1:
            raise UnsupportedProgram(f"{self.path} is big-endian; spyglass reads amd64 and arm64")
        elf = ELFFile(cast(BinaryIO, _Stream(self.image)))
        if str(elf["e_machine"]) not in _MACHINES:
            raise UnsupportedProgram(
                f"{self.path} is for processor {elf['e_machine']}; spyglass reads amd64 and arm64"
            )
        return elf

    def _guard(self, parse: Callable[[], T]) -> T:
        """Run `parse`; whatever pyelftools raises on a broken file becomes `BadDataError`."""
        try:
            return parse()
        except (BadDataError, UnsupportedProgram):
            raise
        except Exception as error:
            raise BadDataError(
                f"{self.path} is damaged: {str(error) or type(error).__name__}"
            ) from error

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The loaded segments, by address; those that lie outside the file are left out."""
        return self._guard(lambda: tuple(sorted(self._load_segments(), key=lambda s: s.address)))

    def _load_segments(self) -> Iterator[Segment]:
        for segment in self._elf.iter_segments("PT_LOAD"):
            offset, size = int(segment["p_offset"]), int(segment["p_filesz"])
            if offset + size <= len(self.image):
                flags = int(segment["p_flags"])
                yield Segment(
                    int(segment["p_vaddr"]), offset, size, int(segment["p_memsz"]),
                    bool(flags & 2), bool(flags & 1),
                )  # fmt: skip

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The sections by name; empty when there are no headers or they make no sense."""
        try:
            return {section.name: section for section in self._guard(self._load_sections)}
        except BadDataError:
            return {}

    def _load_sections(self) -> list[Section]:
        if self._elf.num_sections() > 0xFF00:
            raise BadDataError(f"{self.path} has too many sections to be true")
        found = []
        for header in self._elf.iter_sections():
            offset, size = int(header["sh_offset"]), int(header["sh_size"])
            if header["sh_type"] not in ("SHT_NOBITS", "SHT_NULL") and offset + size <= len(
                self.image
            ):
                compressed = bool(int(header["sh_flags"]) & 0x800)
                found.append(Section(header.name, int(header["sh_addr"]), offset, size, compressed))
        return found

    def section_data(self, name: str) -> memoryview:
        """The contents of section `name`, decompressed; empty if there is none.

        For ``.debug_*`` the old ``.zdebug_*`` (zlib behind "ZLIB" and a big-endian size) serves too.
        """
        section = self.sections.get(name)
        if section is not None:
            raw = memoryview(self.image.read(section.offset, section.size))
            return memoryview(_inflate(raw, 24, _elf_size(raw))) if section.compressed else raw
        old = self.sections.get(name.replace(".debug_", ".zdebug_"))
        if old is None or not name.startswith(".debug_"):
            return memoryview(b"")
        raw = memoryview(self.image.read(old.offset, old.size))
        return memoryview(_inflate(raw, 12, int.from_bytes(raw[4:12], "big")))

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address` as the file has them; `BadDataError` where it has none."""
        for segment in self.segments:
            begin = address - segment.address
            if 0 <= begin and 0 <= size and begin + size <= segment.file_size:
                return self.image.read(segment.offset + begin, size)
        raise BadDataError(f"{self.path} has no {size} bytes at {address:#x}")

    @cached_property
    def stripped(self) -> bool:
        """Whether there is no symbol table."""
        return ".symtab" not in self.sections

    @cached_property
    def _symbols(self) -> tuple[np.ndarray[Any, np.dtype[Any]], memoryview]:
        table, names = self.sections.get(".symtab"), self.section_data(".strtab")
        if table is None:
            return np.zeros(0, _SYMBOL), names
        size = table.size // _SYMBOL.itemsize * _SYMBOL.itemsize
        return np.frombuffer(self.image.read(table.offset, size), _SYMBOL), names

    def symbol(self, name: str) -> int | None:
        """The address of symbol `name` as the file has it (add the load bias), None without one."""
        found = self.symbol_range(name)
        return found[0] if found else None

    def symbol_range(self, name: str) -> tuple[int, int] | None:
        """Address and size in bytes of symbol `name`, None without one.

        A search for the bytes of the name, then for the entry that has it: a millisecond.
        """
        symbols, names = self._symbols
        wanted = name.encode() + b"\0"
        for offset in _find_all(names, wanted, MAX_SYMBOL_HITS):
            hits = np.flatnonzero(symbols["name"] == offset)
            for hit in hits[:MAX_SYMBOL_HITS]:
                if symbols["section"][hit] != 0:
                    return int(symbols["value"][hit]), int(symbols["size"][hit])
        return None

    @cached_property
    def build_info(self) -> BuildInfo:
        """What Go's linker recorded of the build; empty if it did not, or it was removed."""
        return find_build_info(self)

    @cached_property
    def build_id(self) -> str | None:
        """Go's build id, else the GNU one in hexadecimal."""
        try:
            notes = self._guard(lambda: dict(self._notes()))
        except BadDataError:
            return None
        return notes.get("Go") or notes.get("GNU")

    def _notes(self) -> Iterator[tuple[str, str]]:
        for segment in self._elf.iter_segments("PT_NOTE"):
            for note in segment.iter_notes():
                if note["n_name"] == "GNU" and note["n_type"] == "NT_GNU_BUILD_ID":
                    yield "GNU", str(note["n_desc"])
                elif note["n_name"] == "Go" and int(note["n_descsz"]) < 1024:
                    description = note["n_descdata"]
                    yield "Go", bytes(description).decode("ascii", "backslashreplace")

    @cached_property
    def is_go(self) -> bool:
        """Whether Go's linker, or another one fed with Go's objects, made this file."""
        if any(name in self.sections for name in _GO_SECTIONS) or self.build_info.go_version:
            return True
        from spyglass.binary.pclntab import find_pclntab

        return find_pclntab(self) is not None

    @cached_property
    def interpreter(self) -> str | None:
        """The dynamic linker that it asks for; None for a static program."""
        return next((s.get_interp_name() for s in self._elf.iter_segments("PT_INTERP")), None)


class _Stream:
    """A file object over an image that is shared, with a position of its own."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, len(self._image))[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = len(self._image) if size < 0 else min(self._position + size, len(self._image))
        data = self._image.read(self._position, max(end - self._position, 0))
        self._position = max(self._position, end)
        return data

    def close(self) -> None:
        """The image is not ours to close."""


def _elf_size(raw: memoryview) -> int:
    """The size that a compressed section (Elf64_Chdr, zlib only) says it has."""
    if int.from_bytes(raw[:4], "little") != 1:
        raise BadDataError("a section is compressed with something else than zlib")
    return int.from_bytes(raw[8:16], "little")


def _inflate(raw: memoryview, skip: int, size: int) -> bytes:
    if size > MAX_SECTION_BYTES:
        raise BadDataError(f"a compressed section of {size} bytes is too large to be true")
    try:
        return zlib.decompressobj().decompress(raw[skip:], size)
    except zlib.error as error:
        raise BadDataError(f"a compressed section is damaged: {error}") from None


def _find_all(data: memoryview, wanted: bytes, most: int) -> Iterator[int]:
    """Where `wanted` begins in `data`, the first `most` times."""
    text = bytes(data) if not isinstance(data.obj, bytes) else data.obj
    at = -1
    for _ in range(most):
        at = text.find(wanted, at + 1)
        if at < 0:
            return
        yield at
