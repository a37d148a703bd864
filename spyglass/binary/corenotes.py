"""The notes of a core file: what it says of its process beside the memory. Read, and written.

Layouts: elf(5) for a note, ``linux/elfcore.h`` (``elf_prstatus``, ``elf_prpsinfo``) and
``fs/binfmt_elf.c`` (``fill_files_note``) of the kernel for what is in them; the same on amd64 and arm64
but for the number of registers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spyglass.errors import BadDataError

__all__ = [
    "AUXV",
    "FILES",
    "OWN",
    "PROCESS",
    "THREAD",
    "MappedFile",
    "Note",
    "ProcessInfo",
    "ThreadStatus",
    "find_build_id",
    "pack_auxv",
    "pack_files",
    "pack_notes",
    "pack_process",
    "pack_thread",
    "parse_auxv",
    "parse_files",
    "parse_notes",
    "parse_process",
    "parse_thread",
]

#: Owner and type of each: NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE, and one of our own.
THREAD, PROCESS, AUXV, FILES = (("CORE", number) for number in (1, 3, 6, 0x46494C45))
OWN = ("spyglass", 1)
_GO_BUILD_ID, _GNU_BUILD_ID = ("Go", 4), ("GNU", 3)
_MAX_ID_BYTES = 1 << 10

_HEADER = struct.Struct("<III")
#: The signal that the thread got (``pr_cursig``), its id, and its registers behind all the rest.
_SIGNAL_AT, _TID_AT, _REGISTERS_AT = 12, 32, 112
#: Behind the registers, whether there are any of the floating point unit, and padding.
_THREAD_TAIL_BYTES = 8
#: ``pr_state``, ``pr_sname``, ``pr_zomb``, ``pr_nice``, ``pr_flag``, ``pr_uid``, ``pr_gid``, ``pr_pid``,
#: ``pr_ppid``, ``pr_pgrp``, ``pr_sid``, ``pr_fname``, ``pr_psargs``.
_PROCESS = struct.Struct("<4b4xQ6I16s80s")
_FILES_HEADER, _FILE = struct.Struct("<QQ"), struct.Struct("<QQQ")
_PAIR = struct.Struct("<QQ")
#: The kernel allows 65,530 mappings by default (``vm.max_map_count``).
_MAX_FILES = 1 << 20
_MAX_AUXV = 256


class Note(NamedTuple):
    """A note: who defined what its type means, the type, and what is in it."""

    owner: str
    kind: int
    content: bytes

    @property
    def key(self) -> tuple[str, int]:
        return self.owner, self.kind


@dataclass(frozen=True, slots=True)
class ThreadStatus:
    """Thread `tid`: the signal that it got, 0 for none, and its general registers in the order of
    ``struct user_regs_struct`` (``user_pt_regs`` on arm64)."""

    tid: int
    signal: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """The process: its id, its name (15 bytes at most), and the beginning (79 bytes at most) of its
    command line, with spaces between its words."""

    pid: int
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class MappedFile:
    """Memory from `start` to `end` was file `path` from `offset` bytes on."""

    start: int
    end: int
    offset: int
    path: str


def parse_notes(raw: bytes) -> Iterator[Note]:
    """The notes in a PT_NOTE segment, up to where they are malformed or cut off."""
    at = 0
    while at + _HEADER.size <= len(raw):
        name_size, size, kind = _HEADER.unpack_from(raw, at)
        name, content = at + _HEADER.size, at + _HEADER.size + _padded(name_size)
        if content + size > len(raw):
            return
        owner = raw[name : name + name_size].rstrip(b"\0")
        yield Note(owner.decode("ascii", "backslashreplace"), kind, raw[content : content + size])
        at = content + _padded(size)


def find_build_id(notes: Iterable[Note]) -> str | None:
    r"""Go's build id among the `notes` of a program, else the GNU one in hexadecimal, else None.

    Go's is of letters, digits, ``-``, ``_`` and ``/`` (``cmd/internal/buildid``); other bytes are written as ``\xff``.
    """
    ids = {note.key: note.content for note in notes if len(note.content) <= _MAX_ID_BYTES}
    if _GO_BUILD_ID in ids:
        return ids[_GO_BUILD_ID].decode("latin-1").encode("unicode_escape").decode("ascii")
    return ids[_GNU_BUILD_ID].hex() if _GNU_BUILD_ID in ids else None


def pack_notes(notes: Iterable[Note]) -> bytes:
    """What a PT_NOTE segment with `notes` holds."""
    parts = []
    for note in notes:
        name = note.owner.encode() + b"\0"
        parts += [_HEADER.pack(len(name), len(note.content), note.kind), _pad(name)]
        parts.append(_pad(note.content))
    return b"".join(parts)


def parse_thread(content: bytes, register_words: int) -> ThreadStatus:
    """A thread's status, for a processor with `register_words` registers of 8 bytes."""
    try:
        words = struct.unpack_from(f"<{register_words}Q", content, _REGISTERS_AT)
        (signal,) = struct.unpack_from("<H", content, _SIGNAL_AT)
        (tid,) = struct.unpack_from("<I", content, _TID_AT)
    except struct.error:
        raise BadDataError("a thread's status in the core is too short") from None
    return ThreadStatus(tid, signal, words)


def pack_thread(thread: ThreadStatus) -> Note:
    """The note with a thread's status."""
    head = bytearray(_REGISTERS_AT)
    struct.pack_into("<H", head, _SIGNAL_AT, thread.signal)
    struct.pack_into("<I", head, _TID_AT, thread.tid)
    registers = struct.pack(f"<{len(thread.words)}Q", *thread.words)
    return Note(*THREAD, bytes(head) + registers + bytes(_THREAD_TAIL_BYTES))


def parse_process(content: bytes) -> ProcessInfo:
    """What the core says of the process as a whole."""
    try:
        fields = _PROCESS.unpack_from(content)
    except struct.error:
        raise BadDataError("the process status in the core is too short") from None
    return ProcessInfo(fields[7], _text(fields[-2]), _text(fields[-1]).rstrip(" "))


def pack_process(process: ProcessInfo) -> Note:
    """The note about the process; the state that it gives is "running"."""
    name, arguments = (text.encode(errors="replace") for text in (process.name, process.arguments))
    numbers = (0, ord("R"), 0, 0, 0, 0, 0, process.pid, 0, 0, 0)
    return Note(*PROCESS, _PROCESS.pack(*numbers, name[:15], arguments[:79]))


def parse_auxv(content: bytes) -> dict[int, int]:
    """The auxiliary vector: types of getauxval(3) and their values."""
    found = {}
    for kind, value in _PAIR.iter_unpack(content[: min(len(content) // 16, _MAX_AUXV) * 16]):
        if kind == 0:
            break
        found[kind] = value
    return found


def pack_auxv(values: Mapping[int, int]) -> Note:
    """The note with the auxiliary vector."""
    return Note(*AUXV, b"".join(_PAIR.pack(*pair) for pair in [*values.items(), (0, 0)]))


def parse_files(content: bytes) -> tuple[MappedFile, ...]:
    """The files that were mapped; as many as there are names for."""
    try:
        count, page_bytes = _FILES_HEADER.unpack_from(content)
        names_at = _FILES_HEADER.size + count * _FILE.size
        if count > _MAX_FILES or names_at > len(content) or not 0 < page_bytes <= 1 << 20:
            raise BadDataError(f"implausible count of mapped files in the core, {count}")
    except struct.error:
        raise BadDataError("the list of mapped files in the core is too short") from None
    names = content[names_at:].split(b"\0", count)[:count]
    ranges = _FILE.iter_unpack(content[_FILES_HEADER.size : names_at])
    return tuple(
        MappedFile(start, end, offset * page_bytes, os.fsdecode(name))
        for (start, end, offset), name in zip(ranges, names, strict=False)
    )


def pack_files(files: Sequence[MappedFile], page_bytes: int = 4096) -> Note:
    """The note with the mapped files, whose offsets are multiples of `page_bytes`."""
    ranges = [_FILE.pack(each.start, each.end, each.offset // page_bytes) for each in files]
    names = [os.fsencode(each.path) + b"\0" for each in files]
    return Note(*FILES, _FILES_HEADER.pack(len(files), page_bytes) + b"".join(ranges + names))


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _pad(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 4)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
