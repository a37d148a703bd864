"""The headers of an ELF file (elf(5)): read without believing any number in them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, UnsupportedProgram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.image import Image

__all__ = [
    "PROGRAM_HEADER",
    "SECTION_HEADER",
    "SYMBOL",
    "Header",
    "name_in",
    "read_header",
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

#: Elf64_Ehdr behind e_ident: e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize,
#: e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_IDENT_BYTES = 16
_MACHINES = {62: "amd64", 183: "arm64"}
_MAX_NAME_BYTES = 256


class Header(NamedTuple):
    """The header of a file: tables are given by offset, size of an entry, and number of entries."""

    kind: int
    arch: str
    entry: int
    segments: tuple[int, int, int]
    sections: tuple[int, int, int]
    names_index: int


def read_header(image: Image, path: str) -> Header:
    """The header of the file `image`, called `path`.

    Raises `BadDataError` if it is not an ELF file, `UnsupportedProgram` if it is one for another kind
    of machine.
    """
    head = image.read(0, min(_IDENT_BYTES + _HEADER.size, len(image)))
    if head[:4] != b"\x7fELF" or len(head) < _IDENT_BYTES + _HEADER.size:
        raise BadDataError(f"{path} is not an ELF file")
    if head[4] != 2:
        raise UnsupportedProgram(f"{path} is a 32-bit program; spyglass reads 64-bit ones")
    if head[5] != 1:
        raise UnsupportedProgram(f"{path} is big-endian; spyglass reads amd64 and arm64")
    kind, machine, _, entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum, names = (
        _HEADER.unpack_from(head, _IDENT_BYTES)
    )
    if machine not in _MACHINES:
        raise UnsupportedProgram(
            f"{path} is for another processor ({machine}); spyglass reads amd64 and arm64"
        )
    return Header(
        kind, _MACHINES[machine], entry, (phoff, phsize, phnum), (shoff, shsize, shnum), names
    )


def read_table(
    image: Image, place: tuple[int, int, int], kind: np.dtype[Any], most: int
) -> NDArray[Any]:
    """The headers at `place` as rows of `kind`; `BadDataError` for more than `most`, or outside."""
    offset, entry_size, count = place
    if count == 0:
        return np.zeros(0, kind)
    if entry_size != kind.itemsize or count > most:
        raise BadDataError(f"{count} headers of {entry_size} bytes cannot be true")
    return np.frombuffer(image.read(offset, count * entry_size), kind)


def name_in(names: bytes, begin: int) -> str:
    """The name that begins at `begin` in a table of names."""
    raw = names[begin : begin + _MAX_NAME_BYTES]
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
