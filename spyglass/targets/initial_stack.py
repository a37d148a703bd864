"""What the kernel put on the first stack of a program: its arguments, and the path it was run by.

From low addresses to high (``fs/binfmt_elf.c: create_elf_tables``): the number of arguments, pointers
to them, nil, pointers to the environment, nil, the auxiliary vector; further up some random bytes, then
the words that the pointers point to, one behind the other, and at last the path.
"""

from __future__ import annotations

import struct

from spyglass.binary.corefile import CoreFile
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import Memory
from spyglass.procfs.files import text
from spyglass.procfs.process_facts import MAX_COMMAND_LINE_BYTES

__all__ = ["arguments", "executed_path"]

_AT_RANDOM, _AT_EXECFN = 25, 31
#: How far below the random bytes the vectors begin at most: room for 100,000 arguments.
_MAX_VECTORS_BYTES = 1 << 20
_MAX_PATH_BYTES = 1 << 12
_PAGE_BYTES = 1 << 12


def executed_path(core: CoreFile, memory: Memory) -> str | None:
    """The path by which the program was run (it may be relative), None if that is not known."""
    address = core.auxv.get(_AT_EXECFN, 0)
    for size in (_MAX_PATH_BYTES, _PAGE_BYTES - address % _PAGE_BYTES):
        try:
            raw = memory.read(address, size)
        except MemoryFault:  # the path is the last thing on the stack
            continue
        path = raw.split(b"\0", 1)[0]
        return text(path) if path else None
    return None


def arguments(core: CoreFile, memory: Memory) -> tuple[str, ...]:
    """The words of the command line.

    Raises `BadDataError` or `MemoryFault` if the stack is not in the core, or not as it was.
    """
    words = _words_below_vector(core, memory)
    end, nil = len(words) - 1, _last_zero(words, len(words) - 1)
    if words[end] != 0:
        raise BadDataError("the environment does not end before the auxiliary vector")
    environment, pointers = words[nil + 1 : end], _counted(words[:nil])
    if not pointers:
        return ()
    beyond = environment[0] if environment else core.auxv.get(_AT_EXECFN, 0)
    if pointers != sorted(pointers) or not 0 < beyond - pointers[0] <= MAX_COMMAND_LINE_BYTES:
        raise BadDataError("the program has changed its command line")
    raw = memory.read(pointers[0], beyond - pointers[0])
    return tuple(text(raw.removesuffix(b"\0")).split("\0"))[: len(pointers)]


def _last_zero(words: list[int], end: int) -> int:
    """The index of the last 0 in `words` before `end`."""
    for at in range(end - 1, -1, -1):
        if words[at] == 0:
            return at
    raise BadDataError("there are no arguments on the first stack")


def _counted(words: list[int]) -> list[int]:
    """The last of `words` that their number stands before."""
    for count in range(len(words)):
        if words[-1 - count] == count:
            return words[len(words) - count :]
    raise BadDataError("the arguments on the first stack are not counted")


def _words_below_vector(core: CoreFile, memory: Memory) -> list[int]:
    """The words of the stack up to the auxiliary vector."""
    random, segments = core.auxv.get(_AT_RANDOM, 0), core.segments
    above = segments["address"] <= random
    inside = segments[above & (random - segments["address"] < segments["file_size"])]
    if not len(inside):
        raise BadDataError("the first stack is not in the core")
    low = max(int(inside[0]["address"]), random - _MAX_VECTORS_BYTES) + 7 & ~7
    raw = memory.read(low, random - low)
    at = raw.rfind(b"".join(struct.pack("<QQ", *pair) for pair in core.auxv.items()))
    if at < 8 or at % 8:
        raise BadDataError("the auxiliary vector is not on the first stack")
    return memoryview(raw[:at]).cast("Q").tolist()
