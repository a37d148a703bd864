"""A core file (core(5)): where it has memory, and what its notes say. Nothing of it is believed."""

from __future__ import annotations

import os
import stat
import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.binary import corenotes
from spyglass.binary.corenotes import MappedFile, Note, ProcessInfo, ThreadStatus
from spyglass.binary.elf import PROGRAM_HEADER
from spyglass.errors import BadDataError, TargetError, UnsupportedProgram

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROGRAM_HEADER", "CoreFile"]

#: Elf64_Ehdr behind the 16 bytes of e_ident (elf(5)).
_ELF_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_IDENT_BYTES = 16
_ET_CORE = 4
#: e_machine -> our name for it, and how many words of registers a thread has.
_MACHINES = {62: ("amd64", 27), 183: ("arm64", 34)}
_PT_LOAD, _PT_NOTE = 1, 4
#: e_phnum when there are more headers than fit; their number is then ``sh_info`` of the first section.
_PN_XNUM = 0xFFFF
_SH_INFO_AT = 44
_MAX_SEGMENTS = 1 << 20
#: The notes of 10,000 threads with all that vector units have are 30 MB.
_MAX_NOTES_BYTES = 1 << 28
_MAX_THREADS = 1 << 17

_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"\xfd7zXZ": "unxz",
    b"\x04\x22\x4d\x18": "unlz4",
}


class CoreFile:
    """An open core file. Close it, or use it in a with statement.

    Raises `TargetError` for another file, `UnsupportedProgram` for a core of another kind of
    machine, `BadDataError` for one whose headers make no sense, or OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._status = os.fstat(self.descriptor)
            self.arch, self._register_words = self._check_header()
            self._headers = self._read_headers()
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def __enter__(self) -> CoreFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def written_at(self) -> float:
        """When the file was last written to, in seconds since 1970."""
        return self._status.st_mtime

    @cached_property
    def segments(self) -> NDArray[Any]:
        """The headers (`PROGRAM_HEADER`) of memory that is in the file, `file_size` bytes of each."""
        loads = self._headers[self._headers["type"] == _PT_LOAD].copy()
        loads["file_size"] = self._there(loads)
        present: NDArray[Any] = loads[loads["file_size"] > 0]
        return present

    @cached_property
    def missing(self) -> NDArray[Any]:
        """The memory that the headers speak of and the file does not have, because it was cut short:
        headers whose `address` and `file_size` tell where it was."""
        loads = self._headers[self._headers["type"] == _PT_LOAD].copy()
        there = self._there(loads)
        loads["address"] += there
        loads["file_size"] -= there
        missing: NDArray[Any] = loads[loads["file_size"] > 0]
        return missing

    @cached_property
    def threads(self) -> tuple[ThreadStatus, ...]:
        """The threads; the one whose signal ended the process is the first."""
        contents = [note.content for note in self._notes if note.key == corenotes.THREAD]
        return tuple(
            corenotes.parse_thread(content, self._register_words)
            for content in contents[:_MAX_THREADS]
        )

    @cached_property
    def process(self) -> ProcessInfo | None:
        """What it says of the process, if it does."""
        content = self._note(corenotes.PROCESS)
        return corenotes.parse_process(content) if content else None

    @cached_property
    def auxv(self) -> dict[int, int]:
        """The auxiliary vector: types of getauxval(3) and their values."""
        return corenotes.parse_auxv(self._note(corenotes.AUXV))

    @cached_property
    def files(self) -> tuple[MappedFile, ...]:
        """The files that were mapped; empty where that is not recorded."""
        content = self._note(corenotes.FILES)
        return corenotes.parse_files(content) if content else ()

    @property
    def own(self) -> bytes:
        """What spyglass noted, if it made this core."""
        return self._note(corenotes.OWN)

    def _note(self, key: tuple[str, int]) -> bytes:
        """The contents of the first such note, empty if there is none."""
        return next((note.content for note in self._notes if note.key == key), b"")

    @cached_property
    def _notes(self) -> list[Note]:
        found: list[Note] = []
        room = _MAX_NOTES_BYTES
        headers = self._headers[self._headers["type"] == _PT_NOTE]
        for header, size in zip(headers, self._there(headers).tolist(), strict=True):
            raw = self._read(int(header["offset"]), min(size, room))
            room -= len(raw)
            found += corenotes.parse_notes(raw)
        return found

    def _there(self, headers: NDArray[Any]) -> NDArray[np.uint64]:
        """How much of each segment is in the file."""
        size = np.uint64(self._status.st_size)
        room = size - np.minimum(headers["offset"], size)
        there: NDArray[np.uint64] = np.minimum(headers["file_size"], room)
        return there

    def _check_header(self) -> tuple[str, int]:
        """The processor, and how many words of registers it has."""
        if not stat.S_ISREG(self._status.st_mode):
            raise TargetError(f"{self.path} is not a core file")
        head = self._read(0, _IDENT_BYTES + _ELF_HEADER.size)
        if len(head) < _IDENT_BYTES + _ELF_HEADER.size or not head.startswith(b"\x7fELF"):
            raise TargetError(f"{self.path} is not a core file", _how_to_unpack(head))
        if head[4] != 2 or head[5] != 1:
            raise UnsupportedProgram(
                f"{self.path} is of a 32-bit or big-endian program; spyglass reads amd64 and arm64"
            )
        self._header = _ELF_HEADER.unpack_from(head, _IDENT_BYTES)
        kind, machine = self._header[:2]
        if kind != _ET_CORE:
            raise TargetError(f"{self.path} is a program or library, not a core file")
        if machine not in _MACHINES:
            raise UnsupportedProgram(
                f"{self.path} is of processor {machine}; spyglass reads amd64 and arm64"
            )
        return _MACHINES[machine]

    def _read_headers(self) -> NDArray[Any]:
        offset, count = self._header[4], self._header[9]
        if self._header[8] != PROGRAM_HEADER.itemsize:
            raise BadDataError(f"{self.path} has program headers of another size")
        if count == _PN_XNUM:
            count = self._many_headers(offset)
        if count > _MAX_SEGMENTS:
            raise BadDataError(f"{self.path} has {count} segments, too many to be true")
        raw = self._read(offset, count * PROGRAM_HEADER.itemsize)
        headers = np.frombuffer(raw, PROGRAM_HEADER, len(raw) // PROGRAM_HEADER.itemsize)
        if not len(headers):
            raise BadDataError(f"{self.path} has no segments")
        return headers

    def _many_headers(self, offset: int) -> int:
        """Their number, where it did not fit into the header.

        The section that holds it is at the end of the file, which may be cut off. The notes, first
        of all segments, follow right behind the headers.
        """
        raw = self._read(self._header[5] + _SH_INFO_AT, 4)
        if len(raw) == 4:
            return int.from_bytes(raw, "little")
        first = np.frombuffer(self._read(offset, PROGRAM_HEADER.itemsize), PROGRAM_HEADER)
        if not len(first) or first[0]["offset"] < offset:
            return 0
        return (int(first[0]["offset"]) - offset) // PROGRAM_HEADER.itemsize

    def _read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, or as many as there are."""
        if offset >= self._status.st_size:
            return b""
        parts = []
        while size > 0 and (part := os.pread(self.descriptor, min(size, 1 << 24), offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)


def _how_to_unpack(head: bytes) -> str | None:
    """What to do with a file that begins with `head`, if it is compressed."""
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            return f"it is compressed: {program} it first"
    return None
