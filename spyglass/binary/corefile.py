"""A core file (core(5)): where it has memory, and what its notes say; no number in it is trusted.

Our own reading, not that of pyelftools, which makes an object of each of up to a million segments.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.binary import corenotes, elf
from spyglass.binary.corenotes import MappedFile, Note, ProcessInfo, ThreadStatus
from spyglass.binary.elf import PROGRAM_HEADER
from spyglass.binary.image import FileImage
from spyglass.errors import BadDataError, TargetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CoreFile"]

#: How many words of registers the status of a thread has.
_REGISTER_WORDS = {"amd64": 27, "arm64": 34}
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
    machine, `BadDataError` for one whose headers are malformed, or OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.image = FileImage(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            self._header = self._check_header()
            self.arch = self._header.arch
            self._headers = self._read_headers()
        except BaseException:
            self.image.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.image.close()

    def __enter__(self) -> CoreFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def written_at(self) -> float:
        """When the file was last written to, in seconds since 1970."""
        return self.image.modified_at

    @cached_property
    def segments(self) -> NDArray[Any]:
        """The headers (`PROGRAM_HEADER`) of memory that is in the file, `file_size` bytes of each."""
        loads = self._headers[self._headers["type"] == elf.PT_LOAD].copy()
        loads["file_size"] = self._there(loads)
        present: NDArray[Any] = loads[loads["file_size"] > 0]
        return present

    @cached_property
    def missing(self) -> NDArray[Any]:
        """The memory that the headers speak of and the file does not have, because it was cut short:
        headers whose `address` and `file_size` tell where it was."""
        loads = self._headers[self._headers["type"] == elf.PT_LOAD].copy()
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
            corenotes.parse_thread(content, _REGISTER_WORDS[self.arch])
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
        headers = self._headers[self._headers["type"] == elf.PT_NOTE]
        for header, size in zip(headers, self._there(headers).tolist(), strict=True):
            raw = self.image.read_up_to(int(header["offset"]), min(size, room))
            room -= len(raw)
            found += corenotes.parse_notes(raw)
        return found

    def _there(self, headers: NDArray[Any]) -> NDArray[np.uint64]:
        """How much of each segment is in the file."""
        size = np.uint64(len(self.image))
        room = size - np.minimum(headers["offset"], size)
        there: NDArray[np.uint64] = np.minimum(headers["file_size"], room)
        return there

    def _check_header(self) -> elf.Header:
        if not self.image.is_regular:
            raise TargetError(f"{self.path} is not a core file")
        head = self.image.read_up_to(0, elf.HEADER_BYTES)
        try:
            header = elf.parse_header(head, self.path)
        except BadDataError:
            raise TargetError(f"{self.path} is not a core file", _how_to_unpack(head)) from None
        if header.kind != elf.ET_CORE:
            raise TargetError(f"{self.path} is a program or library, not a core file")
        return header

    def _read_headers(self) -> NDArray[Any]:
        offset, entry_size, count = self._header.segments
        if entry_size != PROGRAM_HEADER.itemsize:
            raise BadDataError(f"{self.path} has program headers of another size")
        if count == elf.PN_XNUM:
            count = self._many_headers(offset)
        if count > _MAX_SEGMENTS:
            raise BadDataError(f"{self.path} has an implausible number of segments, {count}")
        raw = self.image.read_up_to(offset, count * PROGRAM_HEADER.itemsize)
        headers = np.frombuffer(raw, PROGRAM_HEADER, len(raw) // PROGRAM_HEADER.itemsize)
        if not len(headers):
            raise BadDataError(f"{self.path} has no segments")
        return headers

    def _many_headers(self, offset: int) -> int:
        """Their number, where it did not fit into the header.

        The section that holds it is at the end of the file, which may be cut off. The notes, first
        of all segments, follow right behind the headers.
        """
        raw = self.image.read_up_to(self._header.sections[0] + _SH_INFO_AT, 4)
        if len(raw) == 4:
            return int.from_bytes(raw, "little")
        raw = self.image.read_up_to(offset, PROGRAM_HEADER.itemsize)
        if len(raw) < PROGRAM_HEADER.itemsize:
            return 0
        first = int(np.frombuffer(raw, PROGRAM_HEADER)[0]["offset"])
        return max(first - offset, 0) // PROGRAM_HEADER.itemsize


def _how_to_unpack(head: bytes) -> str | None:
    """What to do with a file that begins with `head`, if it is compressed."""
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            return f"it is compressed: {program} it first"
    return None
