"""Makes ELF files (elf(5)) out of parts, true ones and others."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from spyglass.binary.elf import PROGRAM_HEADER, SECTION_HEADER

__all__ = ["Part", "note", "symbols", "write_elf"]

PT_LOAD, PT_NOTE = 1, 4
SHT_PROGBITS, SHT_STRTAB = 1, 3
AMD64, ARM64 = 62, 183
_HEADER_BYTES = 64


@dataclass(frozen=True)
class Part:
    """A section, and if `segment` (a type of program header) is not 0 a segment for itself.

    `size` is what the headers say if that is not the length of `content`.
    """

    name: str = ""
    content: bytes = b""
    address: int = 0
    segment: int = 0
    flags: int = 0
    section_flags: int = 0
    kind: int = SHT_PROGBITS
    size: int | None = None
    offset: int | None = None


def write_elf(
    parts: Sequence[Part],
    *,
    entry: int = 0,
    kind: int = 2,
    machine: int = AMD64,
    named: bool = True,
) -> bytes:
    """A file of `parts` one behind the other, then their headers; without names no section headers."""
    names = b"\0" + b"".join(part.name.encode() + b"\0" for part in parts) + b".shstrtab\0"
    sections = [*parts, Part(".shstrtab", names, kind=SHT_STRTAB)]
    segments = [part for part in parts if part.segment]
    body, offsets = b"", []
    at = _HEADER_BYTES + len(segments) * PROGRAM_HEADER.itemsize
    for part in sections:
        offsets.append(at + len(body))
        body += part.content + bytes(-len(part.content) % 8)
    places = {id(part): offset for part, offset in zip(sections, offsets, strict=True)}
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, machine, 1, entry, _HEADER_BYTES,
        at + len(body) if named else 0, 0, _HEADER_BYTES, PROGRAM_HEADER.itemsize, len(segments),
        SECTION_HEADER.itemsize, len(sections) if named else 0, len(sections) - 1 if named else 0,
    )  # fmt: skip
    headers = b"".join(_program_header(part, places[id(part)]) for part in segments)
    tables = b"".join(_section_header(part, places[id(part)], names) for part in sections)
    return header + headers + body + (tables if named else b"")


def _program_header(part: Part, offset: int) -> bytes:
    size = len(part.content) if part.size is None else part.size
    begin = offset if part.offset is None else part.offset
    return struct.pack(
        "<IIQQQQQQ", part.segment, part.flags, begin, part.address, part.address, size, size, 8
    )


def _section_header(part: Part, offset: int, names: bytes) -> bytes:
    size = len(part.content) if part.size is None else part.size
    begin = offset if part.offset is None else part.offset
    name = names.index(part.name.encode() + b"\0")
    return struct.pack(
        "<IIQQQQIIQQ", name, part.kind, part.section_flags, part.address, begin, size, 0, 0, 8, 0
    )


def note(owner: str, kind: int, content: bytes) -> bytes:
    """An entry of a PT_NOTE segment."""
    name = owner.encode() + b"\0"
    header = struct.pack("<III", len(name), len(content), kind)
    return b"".join((header, name, bytes(-len(name) % 4), content, bytes(-len(content) % 4)))


def symbols(*table: tuple[str, int, int, int]) -> list[Part]:
    """The sections .symtab and .strtab of symbols, each with its name, section, address and size."""
    names, rows = b"\0", bytes(24)
    for name, section, address, size in table:
        rows += struct.pack("<IBBHQQ", len(names), 2, 0, section, address, size)
        names += name.encode() + b"\0"
    return [Part(".symtab", rows), Part(".strtab", names)]
