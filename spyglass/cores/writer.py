"""Write a core file: an ELF file (elf(5)) that spyglass, gdb and Delve open."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from spyglass.binary.corefile import PROGRAM_HEADER
from spyglass.binary.corenotes import Note, pack_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_core"]

_MACHINES = {"amd64": 62, "arm64": 183}
_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_ET_CORE, _PT_LOAD, _PT_NOTE, _PN_XNUM = 4, 1, 4, 0xFFFF
_READ_WRITE = 6


def write_core(
    stream: BinaryIO,
    arch: str,
    notes: Sequence[Note],
    addresses: NDArray[np.uint64],
    content: Iterable[NDArray[np.uint8]],
    page_bytes: int,
) -> None:
    """Write a core of a process on processor `arch` that has `notes` and pages of `page_bytes`.

    Page i is at ``addresses[i]``; addresses ascend. What is in them is in the rows of `content`, one
    piece of it after the other.
    """
    packed = pack_notes(notes)
    first, counts = _runs(addresses, page_bytes)
    segments = len(first) + 1
    notes_at = _HEADER.size + segments * PROGRAM_HEADER.itemsize
    many = segments >= _PN_XNUM
    data_at = -(-(notes_at + len(packed) + many * _SECTION_HEADER.size) // page_bytes) * page_bytes
    headers = np.zeros(segments, PROGRAM_HEADER)
    headers[0] = (_PT_NOTE, 0, notes_at, 0, 0, len(packed), 0, 4)
    loads = headers[1:]
    loads["type"], loads["flags"], loads["align"] = _PT_LOAD, _READ_WRITE, page_bytes
    loads["address"] = addresses[first]
    loads["offset"] = data_at + first * page_bytes
    loads["file_size"] = loads["memory_size"] = counts * page_bytes
    stream.write(_elf_header(arch, segments, notes_at + len(packed) if many else 0))
    stream.write(headers.tobytes())
    stream.write(packed)
    if many:
        stream.write(_SECTION_HEADER.pack(0, 0, 0, 0, 0, 0, 0, segments, 0, 0))
    stream.write(bytes(data_at - notes_at - len(packed) - many * _SECTION_HEADER.size))
    for piece in content:
        stream.write(memoryview(np.ascontiguousarray(piece).reshape(-1).data))


def _runs(
    addresses: NDArray[np.uint64], page_bytes: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where runs of pages that follow each other begin, and how long each is."""
    follows = np.diff(addresses) == page_bytes
    first = np.flatnonzero(np.concatenate([np.ones(min(len(addresses), 1), np.bool_), ~follows]))
    return first, np.diff(np.append(first, len(addresses)))


def _elf_header(arch: str, segments: int, section_at: int) -> Any:
    """The header; where `segments` are too many for it, the section at `section_at` says how many."""
    return _HEADER.pack(
        _IDENT, _ET_CORE, _MACHINES[arch], 1, 0, _HEADER.size, section_at, 0, _HEADER.size,
        PROGRAM_HEADER.itemsize, min(segments, _PN_XNUM), _SECTION_HEADER.size,
        1 if section_at else 0, 0,
    )  # fmt: skip
