"""Write a core file: an ELF file (elf(5)) that spyglass, gdb and Delve open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary import elf
from spyglass.binary.corenotes import Note, pack_notes
from spyglass.binary.elf import PROGRAM_HEADER, SECTION_HEADER

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pwrite", "write_headers"]

_READ_WRITE = 6


def write_headers(
    descriptor: int,
    arch: str,
    notes: Sequence[Note],
    pages: tuple[NDArray[np.uint64], NDArray[np.int64]],
    page_bytes: int,
) -> None:
    """Make a core of the open file `descriptor`, which has the pages of a process and nothing else yet.

    `arch`: the process's processor. `pages`: their addresses, ascending, and their offsets in the file,
    each page of `page_bytes`. Headers and notes go before the pages where there is room for them, else
    behind. Raises `OSError`.
    """
    addresses, offsets = pages
    packed = pack_notes(notes)
    first, counts = _runs(addresses, offsets, page_bytes)
    segments = len(first) + 1
    many = segments >= elf.PN_XNUM
    room = segments * PROGRAM_HEADER.itemsize + len(packed) + many * SECTION_HEADER.itemsize
    begin = elf.HEADER_BYTES
    if begin + room > int(offsets.min(initial=begin + room)):
        begin = int(offsets.max()) + page_bytes
    notes_at = begin + segments * PROGRAM_HEADER.itemsize
    headers = np.zeros(segments, PROGRAM_HEADER)
    headers[0] = (elf.PT_NOTE, 0, notes_at, 0, 0, len(packed), 0, 4)
    loads = headers[1:]
    loads["type"], loads["flags"], loads["align"] = elf.PT_LOAD, _READ_WRITE, page_bytes
    loads["address"] = addresses[first]
    loads["offset"] = offsets[first]
    loads["file_size"] = loads["memory_size"] = counts * page_bytes
    section = np.zeros(int(many), SECTION_HEADER)
    section["info"] = segments
    section_at = notes_at + len(packed) if many else 0
    pwrite(descriptor, _elf_header(arch, segments, begin, section_at), 0)
    pwrite(descriptor, headers.tobytes() + packed + section.tobytes(), begin)


def pwrite(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at `offset`, in as many calls as that takes (write(2), NOTES)."""
    left = memoryview(content)
    while len(left):
        done = os.pwrite(descriptor, left, offset)
        left, offset = left[done:], offset + done


def _runs(
    addresses: NDArray[np.uint64], offsets: NDArray[np.int64], page_bytes: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where runs of pages begin that follow each other in memory and in the file, and their lengths."""
    follows = (np.diff(addresses) == page_bytes) & (np.diff(offsets) == page_bytes)
    first = np.flatnonzero(np.concatenate([np.ones(min(len(addresses), 1), np.bool_), ~follows]))
    return first, np.diff(np.append(first, len(addresses)))


def _elf_header(arch: str, segments: int, headers_at: int, section_at: int) -> bytes:
    """The header of a file whose program headers are at `headers_at`.

    Where `segments` are too many for it, the section at `section_at` says how many.
    """
    header = elf.Header(
        kind=elf.ET_CORE,
        arch=arch,
        entry=0,
        segments=(headers_at, PROGRAM_HEADER.itemsize, min(segments, elf.PN_XNUM)),
        sections=(section_at, SECTION_HEADER.itemsize, 1 if section_at else 0),
        names_index=0,
    )
    return elf.pack_header(header)
