"""The headers of an ELF file (elf(5)), read and written; no number in them is trusted.

Our own layouts, not those of pyelftools: see `spyglass.binary.executable`. A core has up to a million
segments, which are rows of an array here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, UnsupportedProgram

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "ET_CORE",
    "ET_DYN",
    "HEADER_BYTES",
    "PN_XNUM",
    "PROGRAM_HEADER",
    "PT_LOAD",
    "PT_NOTE",
    "SECTION_HEADER",
    "STT_OBJECT",
    "SYMBOL",
    "Header",
    "name_in",
    "pack_header",
    "parse_header",
    "read_table",
]

PROGRAM_HEADER = np.dtype(
    [
        ("type", "<u4"), ("flags", "<u4"), ("offset", "<u8"), ("address", "<u8"),
        ("physical", "<u8"), ("file_size", "<u8"), ("memory_size", "<u8"), ("align", "<u8"),
    ]
)  # fmt: skip
SECTION_HEADER = np.dtype(
    [
        ("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("address", "<u8"), ("offset", "<u8"),
        ("size", "<u8"), ("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("entry_size", "<u8"),
    ]
)  # fmt: skip
#: In the low 4 bits of a symbol's `info`: it is a variable.
STT_OBJECT = 1
#: Elf64_Sym.
SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)

#: Elf64_Ehdr: e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize,
#: e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_MAGIC = b"\x7fELF"
#: 64-bit, little-endian, version 1.
_IDENT = _MAGIC + b"\x02\x01\x01" + bytes(9)
_MACHINES = {62: "amd64", 183: "arm64"}
_NUMBERS = {arch: number for number, arch in _MACHINES.items()}
_MAX_NAME_BYTES = 256

HEADER_BYTES = _HEADER.size
ET_DYN, ET_CORE = 3, 4
PT_LOAD, PT_NOTE = 1, 4
#: e_phnum when there are more headers than fit; their number is then ``sh_info`` of the first section.
PN_XNUM = 0xFFFF


class Header(NamedTuple):
    """The header of a file: tables are given by offset, size of an entry, and number of entries."""

    kind: int
    arch: str
    entry: int
    segments: tuple[int, int, int]
    sections: tuple[int, int, int]
    names_index: int


def parse_header(head: bytes, path: str) -> Header:
    """The header at the beginning of the file at `path`, whose first `HEADER_BYTES` are `head`.

    Raises `BadDataError` if it is not an ELF file, `UnsupportedProgram` if it is one for another kind
    of machine.
    """
    if not head.startswith(_MAGIC) or len(head) < HEADER_BYTES:
        raise BadDataError(f"{path} is not an ELF file")
    if head[4] != 2:
        raise UnsupportedProgram(f"{path} is a 32-bit program; spyglass reads 64-bit ones")
    if head[5] != 1:
        raise UnsupportedProgram(f"{path} is big-endian; spyglass reads amd64 and arm64")
    _, kind, machine, _, entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum, names = (
        _HEADER.unpack_from(head)
    )
    if machine not in _MACHINES:
        raise UnsupportedProgram(
            f"{path} is for another processor ({machine}); spyglass reads amd64 and arm64"
        )
    return Header(
        kind, _MACHINES[machine], entry, (phoff, phsize, phnum), (shoff, shsize, shnum), names
    )


def pack_header(header: Header) -> bytes:
    """The `HEADER_BYTES` at the beginning of a file."""
    return _HEADER.pack(
        _IDENT, header.kind, _NUMBERS[header.arch], 1, header.entry, header.segments[0],
        header.sections[0], 0, HEADER_BYTES, *header.segments[1:], *header.sections[1:],
        header.names_index,
    )  # fmt: skip


def read_table(
    read: Callable[[int, int], bytes], place: tuple[int, int, int], kind: np.dtype[Any], most: int
) -> NDArray[Any]:
    """The headers at `place` as rows of `kind`; `read` is given an offset in the file and a size.

    `BadDataError` for more than `most`, or what `read` raises.
    """
    offset, entry_size, count = place
    if count == 0:
        return np.zeros(0, kind)
    if entry_size != kind.itemsize or count > most:
        raise BadDataError(f"implausible table of {count} headers of {entry_size} bytes")
    return np.frombuffer(read(offset, count * entry_size), kind)


def name_in(names: bytes, begin: int) -> str:
    """The name that begins at `begin` in a table of names."""
    raw = names[begin : begin + _MAX_NAME_BYTES]
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
