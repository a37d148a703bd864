"""Names for code that is not Go's: the library that it is in, and the function if that has symbols.

Our own reading of symbol tables, not that of pyelftools: it takes 1 ms for the C library, and 2 ms for a
Go program with 6,700 functions, where pyelftools takes 110 and 310 ms.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from spyglass.binary import elf
from spyglass.binary.executable import Executable
from spyglass.errors import BadDataError, MemoryFault, UnsupportedProgram
from spyglass.memory.base import Memory
from spyglass.procfs import Mapping

__all__ = ["FunctionSymbols", "Symbols", "plainness"]

_FUNCTION, _INDIRECT_FUNCTION = 2, 10
_FIRST_RESERVED_SECTION = 0xFF00
_MAX_ADDRESS = (1 << 64) - 1
_MAX_ALIASES = 64
_MAX_NAME_BYTES = 1 << 12
#: The kernel's own library in every process, which is in no file.
_VDSO = "[vdso]"
_MAX_VDSO_BYTES = 1 << 20


class FunctionSymbols:
    """The functions of one file by address, from its symbol table or else the dynamic one."""

    def __init__(self, executable: Executable) -> None:
        full = ".symtab" in executable.sections
        table = executable.section_data(".symtab" if full else ".dynsym")
        self._names = executable.section_data(".strtab" if full else ".dynstr")
        count = len(table) // elf.SYMBOL.itemsize
        symbols = np.frombuffer(table, elf.SYMBOL, count) if count else np.zeros(0, elf.SYMBOL)
        kind, section = symbols["info"] & 15, symbols["section"]
        known = (section != 0) & (section < _FIRST_RESERVED_SECTION)
        wanted = symbols[known & ((kind == _FUNCTION) | (kind == _INDIRECT_FUNCTION))]
        self._symbols = wanted[np.argsort(wanted["value"], kind="stable")]

    def find(self, address: int) -> tuple[str, int] | None:
        """The function at `address` (as the file has it), and how far into it that is."""
        values = self._symbols["value"]
        end = int(np.searchsorted(values, np.uint64(address), side="right"))
        if end == 0:
            return None
        start = int(values[end - 1])
        begin = max(int(np.searchsorted(values, np.uint64(start))), end - _MAX_ALIASES)
        aliases = self._symbols[begin:end]
        # Code written in assembler may have no size: it reaches until the next function.
        covering = aliases[(aliases["size"] > address - start) | (aliases["size"] == 0)]
        names = sorted(filter(None, map(self._name, covering["name"].tolist())), key=plainness)
        return (names[0], address - start) if names else None

    def _name(self, at: int) -> str:
        raw = bytes(self._names[at : at + _MAX_NAME_BYTES])
        return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def plainness(name: str) -> tuple[int, int, str]:
    """The name that a program calls comes first: read, not __read or __GI___libc_read."""
    return len(name) - len(name.lstrip("_")), len(name), name


class Symbols:
    """Names for program counters in process `pid`, whose mappings are `maps`.

    Files are opened when they are first needed, and stay open as long as this lives.
    """

    def __init__(self, pid: int, maps: Sequence[Mapping], memory: Memory) -> None:
        self._pid = pid
        self._memory = memory
        self._maps = sorted(maps, key=lambda each: each.start)
        self._starts = [each.start for each in self._maps]
        self._files: dict[tuple[int, int, str], _File | None] = {}

    def describe(self, pc: int) -> str:
        """Where `pc` is, such as ``libc.so.6!epoll_wait+0x1e``.

        Without symbols for it ``libc.so.6+0x9a3b1``: the address as the file has it (what
        addr2line(1) takes), or the offset in the file if that cannot be opened. The bare number
        where no file is mapped. Names may hold any character.
        """
        mapping = self._mapping(pc)
        if mapping is None or not mapping.path:
            return f"{pc:#x}"
        module = os.path.basename(mapping.path)
        offset = pc - mapping.start + mapping.offset
        file = self._file(mapping)
        address = file.address(offset) if file else None
        if file is None or address is None:
            return f"{module}+{offset:#x}"
        found = file.functions.find(address)
        return f"{module}!{found[0]}+{found[1]:#x}" if found else f"{module}+{address:#x}"

    def _mapping(self, pc: int) -> Mapping | None:
        index = bisect_right(self._starts, pc) - 1
        if index < 0 or pc >= self._maps[index].end:
            return None
        return self._maps[index]

    def _file(self, mapping: Mapping) -> _File | None:
        key = (mapping.device, mapping.inode, mapping.path)
        if key not in self._files:
            self._files[key] = self._open(mapping)
        return self._files[key]

    def _open(self, mapping: Mapping) -> _File | None:
        try:
            if mapping.path == _VDSO:
                size = min(mapping.end - mapping.start, _MAX_VDSO_BYTES)
                return _File(Executable(self._memory.read(mapping.start, size), _VDSO))
            for path in _paths(self._pid, mapping):
                return _File(Executable.open(path))
        except (OSError, ValueError, BadDataError, UnsupportedProgram, MemoryFault):
            pass
        return None


class _File:
    """A mapped file: its functions, and addresses for offsets in it."""

    def __init__(self, executable: Executable) -> None:
        self._segments = executable.segments
        self.functions = FunctionSymbols(executable)

    def address(self, offset: int) -> int | None:
        """The address that the file gives to the code at `offset` in it."""
        for segment in self._segments:
            begin = offset - segment.offset
            if segment.executable and 0 <= begin < segment.file_size:
                return (segment.address + begin) & _MAX_ADDRESS
        return None


def _paths(pid: int, mapping: Mapping) -> Iterator[str]:
    """Where the file of `mapping` can be opened, if anywhere: only the very file will do.

    The first path, which is for root alone, always leads to it; by its name there may be another
    now, after an upgrade.
    """
    for path in (
        f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
        f"/proc/{pid}/root{mapping.path}",
    ):
        with contextlib.suppress(OSError, ValueError):
            if mapping.inode and os.stat(path).st_ino == mapping.inode:
                yield path
