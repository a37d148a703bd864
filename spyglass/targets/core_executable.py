"""Which file is the program of a core: found by what the core says, and checked before it is believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from spyglass.binary import elf
from spyglass.binary.corenotes import find_build_id, parse_notes
from spyglass.binary.executable import MAX_NOTES_BYTES, MAX_SEGMENTS
from spyglass.binary.go_executable import GoExecutable
from spyglass.errors import (
    BadDataError,
    MemoryFault,
    NotGoProgram,
    TargetError,
    UnsupportedProgram,
    WrongExecutable,
)
from spyglass.model import Problem
from spyglass.targets.target_process import AT_ENTRY, Program

if TYPE_CHECKING:
    from spyglass.binary.executable import Segment
    from spyglass.memory.base import Memory
    from spyglass.targets.core_process import CoreProcess

__all__ = ["build_id_in", "find_program", "header_address"]

_AT_PHDR, _AT_PHNUM = 3, 5
_PAGE_BYTES = 1 << 12
_MAX_LIBRARIES = 4096
_HINT = "use --exe FILE to name the executable that was running"


def find_program(saved: CoreProcess, given: str | None) -> tuple[Program, list[Problem]]:
    """The file with the Go runtime in the process of a core: `given`, or what was at its path then.

    Raises `TargetError` if there is none or it is not what the core was made of, `NotGoProgram` if
    there is no Go in it nor in its libraries.
    """
    path = given or saved.program_path
    if path is None:
        raise TargetError("this core does not name its executable", _HINT)
    executable = _open(path)
    try:
        program, checked = _fitting(saved, executable, given is not None)
        if not executable.is_go:
            program, checked = _go_library(saved, path), True
            executable.close()
    except BaseException:
        executable.close()
        raise
    if checked:
        return program, []
    detail = "the core does not say whether this is its executable"
    return program, [Problem("unknown", "executable", detail)]


def _wrong(path: str, why: str) -> WrongExecutable:
    """The error for a file at `path` that the core was not made of."""
    return WrongExecutable(f"{path} is not the executable of this core: {why}", _HINT)


def _open(path: str) -> GoExecutable:
    try:
        if not os.path.isfile(path):  # opening a device can have consequences
            raise FileNotFoundError(2, "No such file")
        return GoExecutable.open(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TargetError(
            f"the executable of this core cannot be opened: {path}: {reason}", _HINT
        ) from None
    except ValueError:
        raise TargetError(
            "the name of the executable in this core is not a file name", _HINT
        ) from None


def _fitting(
    saved: CoreProcess, executable: GoExecutable, as_library: bool
) -> tuple[Program, bool]:
    """`executable` where it was in the process, and whether that could be checked.

    It is the program; or, with `as_library`, perhaps one of the libraries.
    """
    entry = saved.core.auxv.get(AT_ENTRY, executable.entry)
    places = [Program(executable, entry - executable.entry)]
    if as_library:
        places += _as_library(saved, executable)
    wrongs = []
    for program in places:
        try:
            return program, _check(saved, program)
        except WrongExecutable as wrong:
            wrongs.append(wrong)
    raise wrongs[0]


def _as_library(saved: CoreProcess, executable: GoExecutable) -> Iterator[Program]:
    for file in saved.core.files[:_MAX_LIBRARIES]:
        if file.offset == 0 and executable.segments:
            yield Program(executable, _bias(executable, file.start), file.path)


def _go_library(saved: CoreProcess, path: str) -> Program:
    """The library with Go that the program at `path`, which has none, had loaded."""
    seen = set()
    for file in saved.core.files[:_MAX_LIBRARIES]:
        if file.offset or file.path in seen:
            continue
        seen.add(file.path)
        library = _open_library(file.path)
        if library is None:
            continue
        program = Program(library, _bias(library, file.start), file.path)
        try:
            if _check(saved, program) and library.is_go:
                return program
        except WrongExecutable:
            pass
        library.close()
    raise NotGoProgram(f"{path} is not a Go program", "for a Go library in it, use --exe LIBRARY")


def _open_library(path: str) -> GoExecutable | None:
    try:
        library = _open(path)
    except (BadDataError, TargetError):
        return None
    return library if library.segments else None


def _bias(executable: GoExecutable, start: int) -> int:
    """What is to be added to its addresses if its beginning was mapped at `start`."""
    first = executable.segments[0]
    return start - ((first.address - first.offset) & -_PAGE_BYTES)


def _check(saved: CoreProcess, program: Program) -> bool:
    """Raise `WrongExecutable` if the process was made of another file; False if that is not known."""
    executable, path = program.executable, program.executable.path
    if executable.arch != saved.core.arch:
        raise _wrong(path, f"it is for {executable.arch}, and the core is of {saved.core.arch}")
    at = saved.core.auxv.get(_AT_PHDR, 0) - elf.HEADER_BYTES
    theirs = build_id_in(saved.memory, header_address(program) if program.library else at)
    if theirs and executable.build_id not in (None, theirs):
        raise _wrong(path, f"its build id is {executable.build_id}, and the core's {theirs}")
    if program.bias % _PAGE_BYTES or (program.bias and not executable.pie):
        raise _wrong(path, "it begins at another address")
    headers = saved.core.auxv.get(_AT_PHNUM)
    if program.library is None and headers not in (None, _headers(executable)[1]):
        raise _wrong(path, "it has other segments")
    return theirs == executable.build_id is not None or _same_contents(saved, program)


def header_address(program: Program) -> int:
    """Where the ELF header of the file of `program` is in its process, if it is there."""
    first = program.executable.segments[:1]
    return first[0].address - first[0].offset + program.bias if first else 0


def build_id_in(memory: Memory, at: int) -> str | None:
    """The build id of the file whose ELF header is at `at` in `memory`, None if there is none.

    Go's, else the GNU one in hexadecimal, as `GoExecutable.build_id`.
    """

    def read(offset: int, size: int) -> bytes:
        return memory.read(at + offset, size)

    try:
        header = elf.parse_header(read(0, elf.HEADER_BYTES), "the program")
        table = elf.read_table(read, header.segments, elf.PROGRAM_HEADER, MAX_SEGMENTS).tolist()
        first = next(
            address - start for kind, _, start, address, *_ in table if kind == elf.PT_LOAD
        )
        notes = [
            read(address - first, size)
            for kind, _, _, address, _, size, *_ in table
            if kind == elf.PT_NOTE and size <= MAX_NOTES_BYTES
        ]
    except (BadDataError, UnsupportedProgram, MemoryFault, StopIteration):
        return None
    return find_build_id(chain.from_iterable(map(parse_notes, notes)))


def _same_contents(saved: CoreProcess, program: Program) -> bool:
    """Whether what cannot be written to is in the core as it is in the file; `WrongExecutable` if it differs."""
    executable = program.executable
    same = False
    for segment in executable.segments:
        for at in () if segment.writable else _samples(segment, _headers(executable)[0]):
            ours = executable.read(at, _PAGE_BYTES)
            try:
                theirs = saved.memory.read(at + program.bias, _PAGE_BYTES)
            except MemoryFault:
                continue
            if ours != theirs:
                raise _wrong(executable.path, "it has other contents")
            same |= any(ours)
    return same


def _headers(executable: GoExecutable) -> tuple[int, int]:
    """Where the program headers of a file end, and how many there are."""
    offset, size, count = executable.header.segments
    return offset + count * size, count


def _samples(segment: Segment, headers_bytes: int) -> list[int]:
    """Addresses of page-long pieces of `segment` to compare. Not its headers: strip(1) changes them."""
    begin = segment.address + (headers_bytes if segment.offset == 0 else 0)
    room = segment.address + segment.file_size - _PAGE_BYTES - begin
    return [begin, begin + room // 2, begin + room] if room > 0 else []
