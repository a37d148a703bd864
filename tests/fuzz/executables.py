"""Targets: what is read of executables and libraries."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from spyglass.binary.buildinfo import parse_modinfo
from spyglass.binary.dwarf import Dwarf
from spyglass.binary.executable import Executable
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.gotypes import GoTypes
from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.open_defers import DeferForm, open_defers
from spyglass.binary.pclntab import FunctionTable, find_pclntabs
from spyglass.binary.stack_maps import StackMaps
from spyglass.binary.types import format_of, locate
from spyglass.binary.value_descriptors import ValueDescriptors
from spyglass.binary.value_dwarf import ValueDwarf
from spyglass.binary.value_types import ValueType
from spyglass.errors import BadDataError
from spyglass.threads.native_symbols import FunctionSymbols
from tests.dwarf_writer import DwarfWriter
from tests.elf_writer import Part, note, symbols, write_elf
from tests.fuzz.target import Target, attempt
from tests.image import ImageMemory
from tests.made_program import FUNCTIONS
from tests.pclntab_writer import write_table
from tests.unit.test_gotypes import BASE as TYPES_BASE
from tests.unit.test_gotypes import DescriptorWriter, write_runtime

TEXT, DATA = 0x400000, 0x500000
_MOST = 200


# ELF files.


def _programs() -> Iterator[bytes]:
    info = b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x08go1.27.3" + b"\x40" + bytes(16)
    info += b"path\tmain\nmod\ta\tv1\t\ndep\tb\tv2\nbuild\ta=b\n".ljust(32)[:32] + bytes(16)
    table = write_table(FUNCTIONS)
    notes = note("Go", 4, b"id/of/build") + note("GNU", 3, bytes(range(20)))
    parts = [
        Part(".text", bytes(range(256)) * 4, TEXT, segment=1, flags=5, section_flags=6),
        Part(".gopclntab", table, 0x480000, segment=1, flags=4),
        Part(".go.buildinfo", info, DATA, segment=1, flags=6),
        Part(".note.go.buildid", notes, 0x400F00, segment=4, kind=7),
        *symbols(
            ("runtime.text", 1, TEXT, 4),
            ("main.x", 3, DATA, 8),
            ("runtime.buildVersion", 3, DATA + 16, 16),
        ),
    ]
    yield write_elf(parts, entry=TEXT)
    yield write_elf(parts, entry=TEXT, kind=3, machine=183, named=False)


def _read_elf(data: bytes) -> None:
    with GoExecutable(data, "fuzzed") as program:
        assert isinstance(program.is_go, bool)
        for text in (program.go_version, program.build_id):
            assert text is None or text.isprintable()
        info = program.build_info
        assert len(info.settings) <= len(data)
        for section in list(program.sections)[:_MOST]:
            for name in (section, section.replace(".zdebug", ".debug")):
                attempt(program.section_data, name)
        for each in program.segments[:_MOST]:
            attempt(program.read, each.address, 64)
            attempt(program.string, each.address, 64)
        program.variables(_MOST)
        program.variables_at(np.array([0, DATA, DATA + 7, (1 << 64) - 1], np.uint64))
        program.symbol_range("runtime.text")
    parse_modinfo("go1.27", data)


def _read_native(data: bytes) -> None:
    with Executable(data, "fuzzed") as library:
        functions = FunctionSymbols(library)
        for address in (0, TEXT, TEXT + 1, DATA, (1 << 64) - 1):
            functions.find(address)


def _libraries() -> Iterator[bytes]:
    code = Part(".text", bytes(64), TEXT, segment=1, flags=5)
    names = symbols(("read", 1, TEXT, 8), ("__read", 1, TEXT, 0), ("write", 1, TEXT + 16, 8))
    yield write_elf([code, *names], kind=3)
    dynamic = [
        Part({".symtab": ".dynsym", ".strtab": ".dynstr"}[part.name], part.content)
        for part in names
    ]
    yield write_elf([code, *dynamic], kind=3)


# Function tables, and what functions refer to.

_GOFUNC = 0x700000


def _tables() -> Iterator[bytes]:
    """A byte for the position of the text, the table, and funcdata behind 8 bytes that are nowhere else."""
    table = write_table(FUNCTIONS)
    yield table
    old = bytearray(table)
    for magic in (0xFFFFFFF0, 0xFFFFFFFA, 0xFFFFFFFB):
        old[:4] = struct.pack("<I", magic)
        yield bytes(old)
    yield _old_table()


def _old_table() -> bytes:
    """A table as up to Go 1.15: addresses, one function, everything in one."""
    head = struct.pack("<IBBBBQ", 0xFFFFFFFB, 0, 0, 1, 8, 1)
    record_at = 16 + 24 + 8
    index = struct.pack("<QQQI", TEXT, record_at, TEXT + 64, 0) + bytes(4)
    names = record_at + 48
    record = struct.pack(
        "<QiiIIIIIBBBB", TEXT, names, 0, 0, names + 10, names + 10, names + 10, 2, 0, 0, 0, 6
    )
    return head + index + record + struct.pack("<II", 1, 2) + b"main.main\0\2\x40\0" + bytes(64)


def _read_table(data: bytes) -> None:
    functions = FunctionTable(memoryview(data), TEXT)
    functions.allow_steps()
    trees = InlineTrees(lambda address, size: _piece(data, address - _GOFUNC, size), _GOFUNC)
    for number in range(min(len(functions), 20)):
        attempt(_read_function, functions, trees, number)
    functions.named("main.worker")
    for pc in (TEXT, TEXT + 0x120, (1 << 64) - 1):
        attempt(functions.at, pc)


def _read_function(functions: FunctionTable, trees: InlineTrees, number: int) -> None:
    function = functions.function(number)
    for pc in (function.entry, function.entry + 0x20, function.end - 1):
        functions.frame_size(function, pc)
        functions.locations(function, pc, trees)
    functions.argument_bytes(function)
    functions.defers(function)


def _piece(data: bytes, at: int, size: int) -> bytes:
    if not 0 <= at <= at + size <= len(data):
        raise BadDataError("nothing is there")
    return data[at : at + size]


def _read_searched(data: bytes) -> None:
    """A table in a file without sections is searched for."""
    part = Part("data", data.ljust(64, b"\0"), DATA, segment=1, flags=4)
    with Executable(write_elf([part], named=False), "fuzzed") as program:
        for place in find_pclntabs(program):
            FunctionTable(memoryview(program.image.read(place.offset, place.size)), TEXT)


def _read_pclntab(data: bytes) -> None:
    attempt(_read_searched, data)
    _read_table(data)


# Funcdata: pointer maps, stack objects, open-coded defers.


def _funcdata() -> Iterator[bytes]:
    maps = struct.pack("<ii", 2, 12) + bytes([0b1010, 1, 0xFF, 0x0F])
    objects = struct.pack("<Q4i4i", 2, -24, 24, 16, 0, 8, 8, 8, 0)
    yield bytes([0, 8, 24, 32]) + maps + bytes(4) + objects + bytes([8, 16, 24, 0])
    typed = struct.pack("<QqQ", 1, -24, _GOFUNC + 8)
    yield bytes([2, 8, 24, 32]) + maps + bytes(4) + typed + bytes([8, 3, 24, 1, 8, 8, 0])


def _read_funcdata(data: bytes) -> None:
    """Four bytes choose the form of the table and where in the rest the maps, the objects and the defers are."""
    form, *places = data[:4].ljust(4, b"\0")
    functions = FunctionTable(memoryview(_with_funcdata(places)), TEXT)
    trees = InlineTrees(lambda address, size: _piece(data, address - _GOFUNC, size), _GOFUNC)
    function = functions.function(0)
    for link in (False, True):
        maps = StackMaps(functions, trees, link)
        maps.at(function, function.entry)
        maps.at(function, function.entry + 0x20)
    open_defers(functions, trees, function, DeferForm(bool(form & 2), bool(form & 4)))


def _with_funcdata(places: list[int]) -> bytes:
    """The table with five funcdata of the first function: maps of arguments and locals, objects, inlining, defers."""
    table = bytearray(write_table(FUNCTIONS[4:5]))
    (index,) = struct.unpack_from("<Q", table, 64)
    (record,) = struct.unpack_from("<I", table, index + 4)
    at = index + record
    table += bytes(64)
    struct.pack_into("<i", table, at + 8, 16)
    table[at + 43] = 5
    maps, objects, defers = places
    struct.pack_into("<5I", table, at + 44, maps, maps, objects, 0xFFFFFFFF, defers)
    return bytes(table)


# Types.

_STRUCTS = ("runtime.g", "runtime.gobuf", "main.T")


def _dwarfs() -> Iterator[bytes]:
    for version, wide, block in ((5, False, False), (4, True, False), (2, False, True)):
        writer = DwarfWriter(version, wide)
        writer.begin_unit()
        writer.base("int64", 5, 8)
        writer.base("uintptr", 7, 8)
        writer.typedef("main.Number", "int64")
        writer.pointer("*main.T")
        writer.array("[4]int64", "int64", 32)
        writer.struct(
            "runtime.gobuf", 16, ("sp", 0, "uintptr"), ("pc", 8, "main.Number"), block=block
        )
        writer.struct(
            "runtime.g",
            64,
            ("sched", 0, "runtime.gobuf"),
            ("ring", 16, "[4]int64"),
            ("m", 48, "*main.T"),
        )
        writer.end_unit()
        size = struct.pack("<H", len(writer.abbreviations))
        yield size + bytes(writer.abbreviations) + bytes(writer.info)


def _read_dwarf(data: bytes) -> None:
    """The size of the abbreviations, then these, then the entries."""
    end = 2 + int.from_bytes(data[:2], "little")
    info, abbreviations = data[end:], data[2:end]
    for name in _STRUCTS:
        attempt(_show, lambda: Dwarf(info, abbreviations), name)
        attempt(_walk, partial(ValueDwarf(info, abbreviations).named, name))
    attempt(_walk, partial(ValueDwarf(info, abbreviations).variable, "main.x"))


def _show(types: Callable[[], Dwarf | GoTypes], name: str) -> None:
    found = types().struct(name)
    for member in list(found.members)[:_MOST]:
        locate(found, member)
    for path in ("sched.sp", "sched.pc", "ring", "m"):
        locate(found, path)
    format_of(found)


def _walk(later: Callable[[], ValueType], depth: int = 0) -> None:
    """What is asked of a type, some levels deep."""
    if depth > 4:
        return
    kind = later()
    for part in (kind.element, kind.key, kind.storage):
        if part is not None:
            _walk(part, depth + 1)
    if kind.fields is not None:
        for field in list(kind.fields())[:8]:
            _walk(field.type, depth + 1)


def _descriptors() -> Iterator[bytes]:
    for old_names, old_offsets in ((True, True), (False, True), (False, False)):
        writer = DescriptorWriter(old_names, old_offsets)
        write_runtime(writer)
        yield bytes(writer.data)


def _read_types(data: bytes) -> None:
    memory = ImageMemory({TYPES_BASE: data})
    end = TYPES_BASE + len(data)
    for name in _STRUCTS:
        attempt(_show, partial(GoTypes, memory, TYPES_BASE, end), name)
    values = ValueDescriptors(memory, TYPES_BASE, end)
    values.struct_of("runtime", "runtime.gobuf")
    for name in ("runtime.g", "[]uint8", "[256]uintptr", "*runtime.g", "[9][]*runtime.g"):
        attempt(_walk, partial(values.named, name))


TARGETS = {
    "elf": Target(_read_elf, _programs),
    "pclntab": Target(_read_pclntab, _tables),
    "funcdata": Target(_read_funcdata, _funcdata, max_bytes=512),
    "dwarf": Target(_read_dwarf, _dwarfs, max_bytes=2048),
    "types": Target(_read_types, _descriptors),
    "native-symbols": Target(_read_native, _libraries, max_bytes=4096),
}
