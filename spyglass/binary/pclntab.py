"""The function table that every Go program carries: pc -> function, file, line, frame size.

``strip`` and ``-ldflags=-s -w`` leave it alone, because the runtime itself unwinds with it. The
format is that of ``cmd/link/internal/ld/pcln.go`` and ``runtime/symtab.go``; its first four bytes
tell which of the four there have been.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.inline_trees import InlinedCallLayout, InlineIndices, InlineTrees
from spyglass.binary.pc_values import PcValues
from spyglass.errors import BadDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.executable import Executable
    from spyglass.binary.image import Image

__all__ = [
    "HEADER_BYTES",
    "SP_WRITE",
    "TOP_FRAME",
    "CallSite",
    "Function",
    "FunctionTable",
    "TableLocation",
    "find_pclntab",
    "find_pclntabs",
]

#: Ten times what the largest programs have, in all of these; code is addressed with 31 bits.
MAX_FUNCTIONS = 1 << 22
_MAX_TABLE_BYTES = 1 << 28
_MAX_SEARCHED_BYTES = 1 << 31
_MAX_NAME_BYTES = 1 << 13
_MAX_INLINE_DEPTH = 256
#: Limit of places that look like a table, or a name, and are checked.
_MAX_HITS = 1 << 8
#: How much of the beginning of a table says what is where in it.
HEADER_BYTES = 72
#: A table is searched for in pieces of this size, a name first so near to where the last one was.
_PIECE_BYTES = 1 << 20
_NEARBY_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class _Format:
    """One of the table's formats. Field offsets are in bytes within ``runtime._func``."""

    #: Where the offsets of the sub-tables are in the header; None: everything is in one table.
    subtables: int | None
    #: The function index holds 4-byte offsets from the start of the text, not 8-byte addresses.
    relative: bool
    #: Where `args` begins: 4 behind the name's offset, which follows the entry.
    name: int
    nfuncdata: int
    cu: int | None
    #: Possible indices of inlining trees, newest first.
    inline_indices: tuple[InlineIndices, ...]
    inlined_call: InlinedCallLayout

    @property
    def func_id(self) -> int:
        """Where the funcID is: before flag, padding and nfuncdata, one byte each."""
        return self.nfuncdata - 3


_OLD_CALL, _NEW_CALL = InlinedCallLayout(20, 2, 12, 16), InlinedCallLayout(16, 0, 4, 8)
#: ``runtime/symtab.go``, since Go 1.21 ``internal/abi/symtab.go``: since Go 1.16, 1.13 to 1.15, 1.12.
_INLINE, _INLINE_1_13, _INLINE_1_12 = InlineIndices(3, 2), InlineIndices(4, 2), InlineIndices(2, 1)
_FORMATS = {  # Go 1.2 to 1.15, 1.16 and 1.17, 1.18 and 1.19, since 1.20
    0xFFFFFFFB: _Format(None, False, 8, 39, None, (_INLINE_1_13, _INLINE_1_12), _OLD_CALL),
    0xFFFFFFFA: _Format(24, False, 8, 43, 36, (_INLINE,), _OLD_CALL),
    0xFFFFFFF0: _Format(32, True, 4, 39, 32, (_INLINE,), _OLD_CALL),
    0xFFFFFFF1: _Format(32, True, 4, 43, 32, (_INLINE,), _NEW_CALL),
}
_MAGIC_RANGE = np.uint64(max(_FORMATS) - min(_FORMATS))
#: The size of the smallest instruction, in bytes.
_QUANTUM = {"amd64": 1, "arm64": 4}

#: ``internal/abi/symtab.go``: nothing is below such a function; it moves sp in ways no table tells.
TOP_FRAME, SP_WRITE = 1, 2


class TableLocation(NamedTuple):
    """Where a pclntab was found: in the file, and as an address before the load bias."""

    offset: int
    size: int
    address: int


class CallSite(NamedTuple):
    """One call at a pc; several when calls were inlined. `line` 0 and `file` "?": not recorded.

    `wrapper`: the compiler made the function (of a method, or of the call in a ``go`` statement).
    """

    function: str
    file: str
    line: int
    inlined: bool
    wrapper: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its code is [entry, end); `at` is where its record begins in the table.

    `flags`: of `TOP_FRAME` and `SP_WRITE`; none before Go 1.17.
    """

    index: int
    name: str
    entry: int
    end: int
    at: int
    func_id: int
    flags: int


def find_pclntab(executable: Executable) -> TableLocation | None:
    """Where the table is in `executable`, if it is in no doubt; see `find_pclntabs`."""
    return next(find_pclntabs(executable), None)


def find_pclntabs(executable: Executable) -> Iterator[TableLocation]:
    """Where the table may be in `executable`: by its section, then by its first bytes.

    A program may have others in its data, those of programs that it carries.
    """
    known = set()
    for name in (".gopclntab", ".data.rel.ro.gopclntab"):
        section = executable.sections.get(name)
        if section and _looks_right(executable.image, section.offset, section.size):
            known.add(section.offset)
            size = min(section.size, _MAX_TABLE_BYTES)
            yield TableLocation(section.offset, size, section.address)
    # Some linkers put constants into the code's segment: that one comes last.
    room = _MAX_SEARCHED_BYTES
    for segment in sorted(executable.segments, key=lambda s: s.executable):
        room -= segment.file_size
        if room < 0:
            break
        for at in _search(executable, segment.offset, segment.file_size):
            if at not in known:
                size = min(segment.offset + segment.file_size - at, _MAX_TABLE_BYTES)
                yield TableLocation(at, size, segment.address + at - segment.offset)


def _search(executable: Executable, begin: int, size: int) -> Iterator[int]:
    """The offsets of tables in [begin, begin + size) of the file, aligned to 8 bytes."""
    # Magic number, two zeros, the size of an instruction, that of a pointer.
    first = np.uint64(8 << 56 | _QUANTUM[executable.arch] << 48 | min(_FORMATS))
    image, end, looks = executable.image, begin + size, _MAX_HITS
    for piece in range(begin, end - 7, _PIECE_BYTES):
        count = (min(piece + _PIECE_BYTES, end) - piece) // 8
        words = np.frombuffer(image.read(piece, 8 * count), "<u8")
        for hit in np.flatnonzero(words - first <= _MAGIC_RANGE)[:looks].tolist():
            looks -= 1
            if _looks_right(image, piece + 8 * hit, end - piece - 8 * hit):
                yield piece + 8 * hit


def _looks_right(image: Image, offset: int, size: int) -> bool:
    try:
        _Header.parse(image.read(offset, min(HEADER_BYTES, size)), size)
    except BadDataError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of the table: offsets from its start (``runtime.pcHeader``)."""

    format: _Format
    quantum: int
    count: int
    names: int
    cus: int
    files: int
    pcs: int
    functions: int

    @classmethod
    def parse(cls, raw: bytes, size: int) -> _Header:
        """Decode `raw`, the start of a table of `size` bytes; `BadDataError` if it is none."""
        known = _FORMATS.get(int.from_bytes(raw[:4], "little"))
        if known is None or len(raw) < HEADER_BYTES or raw[4:6] != b"\0\0":
            raise BadDataError("no Go function table")
        words = [int.from_bytes(raw[at : at + 8], "little") for at in range(8, HEADER_BYTES, 8)]
        if raw[6] not in (1, 2, 4) or raw[7] != 8 or not 0 < words[0] <= MAX_FUNCTIONS:
            raise BadDataError("no Go function table that spyglass can read")
        if known.subtables is None:
            places = [0, 0, 0, 0, 0]
            index = 16
        else:
            first = known.subtables // 8 - 1
            places = words[first : first + 5]
            index = places[4]
        entry = 8 if known.relative else 16
        if max(places) >= size or index + words[0] * entry > size or places != sorted(places):
            raise BadDataError("a Go function table larger than what holds it")
        return cls(known, raw[6], words[0], *places)


class FunctionTable:
    """The functions of one module.

    `image` is the table's bytes as they are in the process (relocated, for the formats that hold
    addresses), `text` the address of the module's first code byte.
    """

    def __init__(self, image: memoryview, text: int) -> None:
        self._image = image
        self._header = _Header.parse(bytes(image[:HEADER_BYTES]), len(image))
        self.format = self._header.format
        self.text = text
        self.entries, self._offsets = self._read_index()
        self._entries = self.entries.data
        self._cache: dict[int, Function] = {}
        self._named: dict[str, Function | None] = {}
        self._nearby = 0
        self._pc_values = PcValues(image, self._header.pcs, self._header.quantum)

    @property
    def is_exhausted(self) -> bool:
        """Whether the limit of steps was reached: the result of the last lookup is incomplete then."""
        return self._pc_values.is_exhausted

    def allow_steps(self) -> None:
        """Allow as many steps in tables as in a new one: they are bounded for each look at a process."""
        self._pc_values.allow_steps()

    @staticmethod
    def is_relative(header: bytes, size: int) -> bool:
        """Whether the table of `size` bytes that begins with `header`, `HEADER_BYTES` of them, holds offsets, not
        addresses that depend on the load bias."""
        return _Header.parse(header, size).format.relative

    @property
    def relative(self) -> bool:
        """Whether this is a table of Go 1.18 or later, which holds offsets."""
        return self.format.relative

    @property
    def quantum(self) -> int:
        """The smallest instruction size of the processor, in bytes; pc steps are multiples of it."""
        return self._header.quantum

    def __len__(self) -> int:
        return self._header.count

    def _read_index(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Entry addresses (count + 1, the last is the end) and the offsets of the records."""
        header, relative = self._header, self.format.relative
        base = header.functions if self.format.subtables is not None else 16
        kind = "<u4" if relative else "<u8"
        room = (len(self._image) - base) // np.dtype(kind).itemsize
        flat = np.frombuffer(self._image, kind, min(2 * header.count + 1, room), base)
        if len(flat) < 2 * header.count + 1:
            raise BadDataError("the function table is cut off")
        entries = flat[0::2].astype(np.uint64)
        if relative:
            entries += np.uint64(self.text)
        offsets = flat[1::2].astype(np.int64) + header.functions
        if (entries[1:] < entries[:-1]).any():
            raise BadDataError("the function table is not sorted")
        return entries, offsets

    def find(self, pcs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index of the function that each of `pcs` lies in, -1 for none."""
        found = np.searchsorted(self.entries, pcs, side="right") - 1
        return np.where((found >= 0) & (found < len(self)), found, -1)

    def function(self, index: int) -> Function:
        """Function number `index`."""
        known = self._cache.get(index)
        if known is None:
            at = int(self._offsets[index])
            self._check(at, self.format.nfuncdata + 1)
            entry, end = (int(pc) for pc in self.entries[index : index + 2])
            name = self._string(self._header.names + self._u32(at + self.format.name))
            known = self._cache[index] = Function(
                index, name, entry, end, at, *self._image[at + self.format.func_id :][:2]
            )
        return known

    def at(self, pc: int) -> Function | None:
        """The function that `pc` lies in."""
        # Plain bisection: numpy takes ten times as long for a single one.
        index = bisect_right(self._entries, pc) - 1
        return self.function(index) if 0 <= index < len(self) else None

    def named(self, name: str) -> Function | None:
        """The first function called `name`: a search for its bytes, then for the record."""
        if name not in self._named:
            self._named[name] = self._find_named(b"\0" + name.encode() + b"\0")
        return self._named[name]

    def named_all(self, names: Collection[str]) -> dict[str, Function]:
        """The first function with each of `names`, without names that no function has: in one search, not one for each."""
        wanted = {name.encode(): name for name in names if name not in self._named}
        raw, begin, end = self._names
        absent = wanted.keys() - set(wanted).intersection(raw[begin:end].split(b"\0"))
        self._named.update(dict.fromkeys(wanted[each] for each in absent))
        found = {name: self.named(name) for name in names}
        return {name: function for name, function in found.items() if function is not None}

    def _find_named(self, wanted: bytes) -> Function | None:
        """The function with the name that is `wanted`, NULs around it.

        The names of a package lie together: they are looked for near the last one that was found.
        """
        raw, first, last = self._names
        near = self._nearby or first
        low, high = max(near - _NEARBY_BYTES, first), min(near + _NEARBY_BYTES, last)
        for begin, end in ((low, high), (first, last)):
            at = begin - 1
            for _ in range(_MAX_HITS):
                at = raw.find(wanted, at + 1, end)
                if at < 0:
                    break
                hits = np.flatnonzero(self._name_offsets == at + 1 - first)
                if len(hits):
                    self._nearby = at
                    return self.function(int(hits[0]))
        return None

    @cached_property
    def _names(self) -> tuple[bytes, int, int]:
        """Bytes with all names, each between NULs, and where these begin, from which offsets in records count, and end.
        They are the table's own: a copy of large programs' names is 10 MB."""
        header, whole = self._header, self._image.obj
        raw = (
            whole
            if isinstance(whole, bytes) and len(whole) == len(self._image)
            else bytes(self._image)
        )
        if self.format.subtables is not None:
            return raw, header.names, header.cus
        return raw, 0, len(raw)

    @cached_property
    def _name_offsets(self) -> NDArray[np.int64]:
        at = self._offsets[: len(self)] + self.format.name
        words = np.frombuffer(self._image, "<u4", len(self._image) // 4)
        inside = (at >= 0) & (at // 4 < len(words)) & (at % 4 == 0)
        return np.where(inside, words[np.where(inside, at // 4, 0)], 0).astype(np.int64)

    def frame_size(self, function: Function, pc: int) -> int | None:
        """Bytes between sp and the return address at `pc` (``runtime.funcspdelta``).

        None if the table does not say.
        """
        size = self._pc_value(function, self._u32(function.at + self.format.name + 12), pc)
        return size if size is not None and 0 <= size < 1 << 31 else None

    def locations(self, function: Function, pc: int, trees: InlineTrees) -> list[CallSite]:
        """The calls at `pc`, innermost first: inlined ones, then `function` itself.

        `pc` is that of an instruction inside the call, not a return address. As
        ``runtime/symtabinl.go: inlineUnwinder``.
        """
        calls: list[CallSite] = []
        base = trees.address(self, function) if pc >= function.entry else None
        while base is not None and len(calls) < _MAX_INLINE_DEPTH:
            index = self.pcdata(function, trees.indices(self).pcdata, pc)
            if index is None or not 0 <= index < 1 << 20:
                break
            func_id, name, parent = trees.call(self, base, index)
            called = self._string(self._header.names + name)
            wrapper = func_id == self._wrapper_id
            calls.append(CallSite(called, *self._file_line(function, pc), True, wrapper))
            pc = function.entry + parent
        wrapper = function.func_id == self._wrapper_id
        return [*calls, CallSite(function.name, *self._file_line(function, pc), False, wrapper)]

    @cached_property
    def _wrapper_id(self) -> int:
        """The funcID of what the compiler made: the last of them in every version
        (``internal/abi/symtab.go: FuncIDWrapper``), and in every program, for the runtime's own types."""
        at = self._offsets[: len(self)] + self.format.func_id
        image = np.frombuffer(self._image, np.uint8)
        return int(image[at[(at >= 0) & (at < len(image))]].max(initial=0))

    def is_name(self, offset: int) -> bool:
        """Whether a function's name, not a part of one, begins at `offset` of the names."""
        at = self._header.names + offset
        return 0 < at < len(self._image) and self._image[at] != 0 and self._image[at - 1] == 0

    def funcdata(self, function: Function, index: int) -> tuple[int, bool] | None:
        """Where funcdata `index` of `function` is, and whether that is relative to ``gofunc``; None if it
        has none (``runtime/symtab.go: funcdata``)."""
        npcdata = self._u32(function.at + self._record_npcdata)
        nfuncdata = self._image[function.at + self.format.nfuncdata]
        if npcdata > 64 or nfuncdata <= index:
            return None
        at = function.at + self.format.nfuncdata + 1 + 4 * npcdata
        if self.format.relative:
            offset = self._u32(at + 4 * index)
            return None if offset == 0xFFFFFFFF else (offset, True)
        at = (at + 7) & ~7
        address = self._u64(at + 8 * index)
        return (address, False) if address else None

    def argument_bytes(self, function: Function) -> int | None:
        """The size of the arguments and results on the stack (``_func.args``); None if only a call
        knows it (``ArgsSizeUnknown``)."""
        size = self._u32(function.at + self.format.name + 4)
        return size if size < 1 << 31 else None

    @property
    def _record_npcdata(self) -> int:
        # name, args, deferreturn, pcsp, pcfile, pcln, npcdata: seven words of four bytes.
        return self.format.name + 24

    def defers(self, function: Function) -> bool:
        """Whether `function` has defer statements (``_func.deferreturn``)."""
        return self._u32(function.at + self.format.name + 8) != 0

    def pcdata(self, function: Function, table: int, pc: int) -> int | None:
        """The value of pcdata `table` at `pc`, None if there is none (``runtime/symtab.go: pcdatavalue``)."""
        if table >= self._u32(function.at + self._record_npcdata):
            return None
        return self._pc_value(
            function, self._u32(function.at + self.format.nfuncdata + 1 + 4 * table), pc
        )

    def _file_line(self, function: Function, pc: int) -> tuple[str, int]:
        """As ``runtime.funcline1``: file and line of the instruction at `pc`."""
        base = function.at + self.format.name
        number = self._pc_value(function, self._u32(base + 16), pc)
        line = self._pc_value(function, self._u32(base + 20), pc)
        if number is None or line is None or number < 0:
            return "?", 0
        return self._file(function, number), max(line, 0)

    def _file(self, function: Function, number: int) -> str:
        header = self._header
        if self.format.cu is not None:
            at = header.cus + 4 * (self._u32(function.at + self.format.cu) + number)
            offset = self._u32(at)
            return "?" if offset == 0xFFFFFFFF else self._string(header.files + offset)
        table = self._u32(16 + 16 * header.count + 8)
        return self._string(self._u32(table + 4 * number)) if number < self._u32(table) else "?"

    def _pc_value(self, function: Function, offset: int, pc: int) -> int | None:
        """The value at `pc` in the pc-value table at `offset` (``runtime.pcvalue``), or None."""
        if offset == 0 or not function.entry <= pc < function.end:
            return None
        return self._pc_values.at(offset, pc - function.entry)

    def _string(self, at: int) -> str:
        if not 0 <= at < len(self._image):
            raise BadDataError("the function table points outside itself")
        raw = bytes(self._image[at : at + 256])
        if b"\0" not in raw:
            raw = bytes(self._image[at : at + _MAX_NAME_BYTES])
        return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def _check(self, at: int, size: int) -> None:
        if not 0 <= at <= len(self._image) - size:
            raise BadDataError("the function table points outside itself")

    def _u32(self, at: int) -> int:
        self._check(at, 4)
        return int.from_bytes(self._image[at : at + 4], "little")

    def _u64(self, at: int) -> int:
        self._check(at, 8)
        return int.from_bytes(self._image[at : at + 8], "little")
