"""An ELF executable: what the file itself says, whatever process runs it.

Our own reading of headers, notes and symbols, not that of pyelftools: every snapshot needs them, and
importing pyelftools alone takes 18 ms, 6 % of the processor time of ``spyglass summary``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spyglass.binary import elf
from spyglass.binary.corenotes import Note, find_build_id, parse_notes
from spyglass.binary.image import BytesImage, FileImage, Image
from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Executable", "Section", "Segment"]

#: Sections larger than this are not believed; the largest seen in the wild is two fifths of it.
MAX_SECTION_BYTES = 1 << 29
_MAX_SYMBOL_HITS = 64
_MIN_BYTES = 64
MAX_SEGMENTS = 1 << 8
_MAX_SECTIONS = 1 << 12
_MAX_SECTION_NAMES_BYTES = 1 << 20
#: The notes of a program; those of a core are more.
MAX_NOTES_BYTES = 1 << 16

_SHT_NULL, _SHT_NOBITS = 0, 8
_SHF_COMPRESSED = 0x800


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
    """A section header (elf(5)); `address` is 0 for one that is not loaded."""

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
        self.header = elf.parse_header(self.image.read_up_to(0, elf.HEADER_BYTES), path)
        self._program_headers = elf.read_table(
            self.image.read, self.header.segments, elf.PROGRAM_HEADER, MAX_SEGMENTS
        ).tolist()
        self.arch = self.header.arch
        self.pie = self.header.kind == elf.ET_DYN
        self.entry = self.header.entry

    @classmethod
    def open(cls, path: str) -> Self:
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
        """Close the file. What was read of it stays."""
        self.image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The loaded segments, by address, without any that lie outside the file."""
        return tuple(sorted(self._load_segments(), key=lambda s: s.address))

    def _load_segments(self) -> Iterator[Segment]:
        for kind, flags, offset, address, _, file_size, memory_size, _ in self._program_headers:
            if kind == elf.PT_LOAD and offset + file_size <= len(self.image):
                writable, executable = bool(flags & 2), bool(flags & 1)
                yield Segment(address, offset, file_size, memory_size, writable, executable)

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The sections by name; empty when there are no headers or they are malformed."""
        try:
            headers = elf.read_table(
                self.image.read, self.header.sections, elf.SECTION_HEADER, _MAX_SECTIONS
            )
            return {section.name: section for section in self._load_sections(headers)}
        except BadDataError:
            return {}

    def _load_sections(self, headers: NDArray[Any]) -> Iterator[Section]:
        if not len(headers):
            return
        if self.header.names_index >= len(headers):
            raise BadDataError(f"the sections of {self.path} have no names")
        place = headers[self.header.names_index]
        names_bytes = min(int(place["size"]), _MAX_SECTION_NAMES_BYTES)
        names = self.image.read(int(place["offset"]), names_bytes)
        for name, kind, flags, address, offset, size, *_ in headers.tolist():
            if kind not in (_SHT_NULL, _SHT_NOBITS) and offset + size <= len(self.image):
                compressed = bool(flags & _SHF_COMPRESSED)
                yield Section(elf.name_in(names, name), address, offset, size, compressed)

    def section_data(self, name: str, most: int = MAX_SECTION_BYTES) -> bytes:
        """The contents of section `name`, decompressed; empty if there is none.

        Raises `BadDataError` for more than `most` bytes, compressed or not.

        For ``.debug_*`` the old ``.zdebug_*`` (zlib behind "ZLIB" and a big-endian size) serves too.
        """
        section = self.sections.get(name)
        if section is not None:
            raw = self._contents(section, most)
            return _inflate(raw, 24, _elf_size(raw), most) if section.compressed else raw
        old = self.sections.get(name.replace(".debug_", ".zdebug_"))
        if old is None or not name.startswith(".debug_"):
            return b""
        raw = self._contents(old, most)
        return _inflate(raw, 12, int.from_bytes(raw[4:12], "big"), most)

    def _contents(self, section: Section, most: int = MAX_SECTION_BYTES) -> bytes:
        if section.size > most:
            raise BadDataError(f"{self.path} has a section of {section.size} bytes")
        return self.image.read(section.offset, section.size)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address` as the file has them; `BadDataError` where it has none."""
        for segment in self.segments:
            begin = address - segment.address
            if 0 <= begin and 0 <= size and begin + size <= segment.file_size:
                return self.image.read(segment.offset + begin, size)
        raise BadDataError(f"{self.path} has no {size} bytes at {address:#x}")

    def string(self, address: int, limit: int) -> bytes:
        """The Go string whose header (pointer, length) is at `address`.

        Linkers write the pointer into the file even where a relocation will replace it. Empty for a
        variable without bytes in the file, because it is empty when the program starts. Raises
        `BadDataError` for one of more than `limit` bytes, or outside of the file.
        """
        try:
            header = self.read(address, 16)
        except BadDataError:
            return b""
        pointer, length = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:], "little")
        if length > limit:
            raise BadDataError(f"implausible length of a string, {length}")
        return self.read(pointer, length) if pointer and length else b""

    @cached_property
    def stripped(self) -> bool:
        """Whether there is no symbol table."""
        return ".symtab" not in self.sections

    @cached_property
    def _symbols(self) -> tuple[NDArray[Any], bytes]:
        """The symbol table, and the names in it; both empty if there is none, or it is malformed."""
        table, names = self.sections.get(".symtab"), self.sections.get(".strtab")
        if table is None or names is None:
            return np.zeros(0, elf.SYMBOL), b""
        try:
            raw, text = self._contents(table), self._contents(names)
        except BadDataError:
            return np.zeros(0, elf.SYMBOL), b""
        return np.frombuffer(raw, elf.SYMBOL, len(raw) // elf.SYMBOL.itemsize), text

    def symbol(self, name: str) -> int | None:
        """The address of symbol `name` as the file has it (add the load bias), None without one."""
        found = self.symbol_range(name)
        return found[0] if found else None

    def symbol_range(self, name: str) -> tuple[int, int] | None:
        """Address and size in bytes of symbol `name`, None without one.

        A search for the bytes of the name, then for the entry that has it: a millisecond.
        """
        symbols, names = self._symbols
        found = [*_find_all(names, name.encode() + b"\0", _MAX_SYMBOL_HITS)]
        if not found:
            return None
        hits = symbols[np.isin(symbols["name"], found)]
        hits = hits[hits["section"] != 0]
        return (int(hits["value"][0]), int(hits["size"][0])) if len(hits) else None

    @cached_property
    def _variables(self) -> NDArray[Any]:
        """The symbols of variables, by address."""
        symbols = self._symbols[0]
        chosen = symbols[(symbols["info"] & 15 == elf.STT_OBJECT) & (symbols["size"] > 0)]
        ordered: NDArray[Any] = chosen[np.argsort(chosen["value"], kind="stable")]
        return ordered

    def variables(self, most: int) -> list[tuple[str, int, int]]:
        """Name, address (as the file has it) and size of the variables in writable segments, at most `most`."""
        rows, names = self._variables, self._symbols[1]
        written = np.zeros(len(rows), np.bool_)
        for each in self.segments:
            end = each.address + each.memory_size
            if each.writable:
                written |= (rows["value"] >= each.address) & (rows["value"] < end)
        found = rows[written][:most]
        return [
            (elf.name_in(names, name), address, size)
            for name, address, size in zip(
                found["name"].tolist(), found["value"].tolist(), found["size"].tolist(), strict=True
            )
        ]

    def variables_at(self, addresses: NDArray[np.uint64]) -> list[tuple[str, int] | None]:
        """For each address (as the file has them) the name of the symbol of the variable that it lies in, and
        how many bytes behind its begin; None where there is none."""
        variables, names = self._variables, self._symbols[1]
        if not len(variables):
            return [None] * len(addresses)
        at = np.searchsorted(variables["value"], addresses, side="right") - 1
        rows = variables[np.maximum(at, 0)]
        behind = addresses - rows["value"]
        inside = (at >= 0) & (behind < rows["size"])
        return [
            (elf.name_in(names, name), distance) if good else None
            for name, distance, good in zip(
                rows["name"].tolist(), behind.tolist(), inside.tolist(), strict=True
            )
        ]

    @cached_property
    def build_id(self) -> str | None:
        """Go's build id, else the GNU one in hexadecimal."""
        try:
            return find_build_id(self._notes())
        except BadDataError:
            return None

    def _notes(self) -> Iterator[Note]:
        for kind, _, offset, _, _, size, *_ in self._program_headers:
            if kind == elf.PT_NOTE and size <= MAX_NOTES_BYTES:
                yield from parse_notes(self.image.read(offset, size))


def _elf_size(raw: bytes) -> int:
    """The size that a compressed section (Elf64_Chdr, zlib only) says it has."""
    if int.from_bytes(raw[:4], "little") != 1:
        raise BadDataError("a section is compressed with something else than zlib")
    return int.from_bytes(raw[8:16], "little")


def _inflate(raw: bytes, skip: int, size: int, most: int) -> bytes:
    if size > most:
        raise BadDataError(f"implausible size of a compressed section, {size} bytes")
    if size == 0:  # to zlib that means without limit
        return b""
    try:
        return zlib.decompressobj().decompress(memoryview(raw)[skip:], size)
    except zlib.error as error:
        raise BadDataError(f"a compressed section is damaged: {error}") from None


def _find_all(text: bytes, wanted: bytes, most: int) -> Iterator[int]:
    """Where `wanted` begins in `text`, the first `most` times."""
    at = -1
    for _ in range(most):
        at = text.find(wanted, at + 1)
        if at < 0:
            return
        yield at
