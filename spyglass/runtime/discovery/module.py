"""The module of a Go program: where its code, types and function table are in the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from spyglass.binary.pclntab import HEADER_BYTES, FunctionTable, TableLocation, find_pclntabs
from spyglass.errors import BadDataError, MemoryFault, NotGoProgram

if TYPE_CHECKING:
    from spyglass.targets import Target

__all__ = ["Module", "find_module"]

#: Data segments are searched in pieces of this size.
_PIECE_BYTES = 1 << 24
_MAX_DATA_BYTES = 1 << 30
#: Few words besides those of the module data happen to be the address of the table.
_MAX_POINTERS = 16
_MAX_TABLES = 8
#: Word indices in ``runtime.moduledata`` of minpc (maxpc and text follow): its beginning is fixed
#: for all versions that share a pclntab format, Go 1.2 to 1.15 and since Go 1.16.
_MINPC_OLD, _MINPC = 10, 20
_WORDS = 24

#: Function tables in use, by their size and the bytes they begin with.
_TABLES: WeakValueDictionary[tuple[int, bytes], memoryview] = WeakValueDictionary()
_TABLES_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Module:
    """``runtime.moduledata`` at `address`; `text` is where its code begins, `functions` its table."""

    address: int
    text: int
    functions: FunctionTable


def find_module(target: Target) -> Module:
    """The module data of `target`: the structure in its data that points to the function table.

    Raises `NotGoProgram` when there is no function table, `BadDataError` when nothing points to it.
    """
    place = None
    for place in islice(find_pclntabs(target.executable), _MAX_TABLES):
        for at in islice(_pointers_to(target, place.address + target.bias), _MAX_POINTERS):
            module = _read_module(target, place, at)
            if module is not None:
                return module
    if place is None:
        raise NotGoProgram(f"{target.executable.path} has no Go function table")
    raise BadDataError(
        "the Go function table of this program is not in use",
        "it may still be starting: run spyglass again",
    )


def _pointers_to(target: Target, address: int) -> Iterator[int]:
    """The addresses in the data of `target` where a word is `address`."""
    room = _MAX_DATA_BYTES
    for segment in target.executable.segments:
        if not segment.writable or segment.file_size > room:
            continue
        room -= segment.file_size
        start = (segment.address + target.bias + 7) & ~7
        end = segment.address + target.bias + segment.file_size
        for piece in range(start, end - 7, _PIECE_BYTES):
            count = (min(piece + _PIECE_BYTES, end) - piece) // 8
            try:
                words = target.memory.array(piece, "<u8", count)
            except MemoryFault:
                continue
            yield from (piece + 8 * int(i) for i in np.flatnonzero(words == address))


def _read_module(target: Target, place: TableLocation, at: int) -> Module | None:
    """The module data at `at`, None if it is something else that points to the table."""
    try:
        words = [int(word) for word in target.memory.array(at, "<u8", _WORDS)]
        for minpc in (_MINPC, _MINPC_OLD):
            text = words[minpc + 2]
            if not _is_code(target, text):
                continue
            functions = FunctionTable(_table(target, place), text)
            first, last = int(functions.entries[0]), int(functions.entries[-1])
            if (first, last) == (words[minpc], words[minpc + 1]):
                return Module(at, text, functions)
    except (BadDataError, MemoryFault):
        pass
    return None


def _is_code(target: Target, address: int) -> bool:
    return any(
        segment.executable and 0 <= address - target.bias - segment.address < segment.file_size
        for segment in target.executable.segments
    )


def _table(target: Target, place: TableLocation) -> memoryview:
    """The bytes of the function table.

    Out of the file, which costs the process nothing; from memory where the table holds addresses
    and they were relocated (before Go 1.18, in position-independent programs).
    """
    image = target.executable.image
    header = image.read(place.offset, min(HEADER_BYTES, place.size))
    if target.executable.pie and not FunctionTable.is_relative(header, place.size):
        return memoryview(target.memory.read(place.address + target.bias, place.size))
    return _shared(image.read(place.offset, place.size))


def _shared(raw: bytes) -> memoryview:
    """`raw`, or equal bytes that are the table of another program: that of many processes, also in containers of one
    image, where each has a file of its own, is in memory once."""
    with _TABLES_LOCK:
        known = _TABLES.setdefault((len(raw), raw[:HEADER_BYTES]), memoryview(raw))
    return known if known.obj == raw else memoryview(raw)
