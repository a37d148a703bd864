from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from elftools.common.exceptions import DWARFError, ELFParseError
from elftools.dwarf.die import DIE

from spyglass.binary.dwarf import Dwarf
from spyglass.binary.types import Type, locate
from spyglass.errors import BadDataError, MissingInfo
from tests.dwarf_writer import (
    AT,
    BASE,
    BLOCK4,
    MEMBER,
    NAME,
    REF4,
    REF_ADDR,
    SIBLING,
    SIZE,
    STRING,
    STRP,
    STRUCT,
    TYPE,
    UDATA,
    DwarfWriter,
)


def write_runtime(writer: DwarfWriter, block: bool = False) -> None:
    """A unit with a struct that has a member of every kind that matters, and decoys before it."""
    writer.begin_unit()
    writer.pointer("*runtime.g")
    writer.base("runtime.g", 7, 4)
    writer.typedef("runtime.g", "runtime.g struct")
    writer.base("uint32", 7, 4)
    writer.base("int64", 5, 8)
    writer.base("uintptr", 7, 8)
    writer.base("bool", 2, 1)
    writer.base("float64", 4, 8)
    writer.base("complex128", 3, 16)
    writer.typedef("runtime.guintptr", "uintptr")
    writer.array("[256]runtime.guintptr", "runtime.guintptr", 2048)
    writer.struct("atomic.noCopy", 0)
    writer.struct("atomic.Uint32", 4, ("noCopy", 0, "atomic.noCopy"), ("value", 0, "uint32"))
    writer.struct("runtime.gobuf", 16, ("sp", 0, "uintptr"), ("g", 8, "runtime.guintptr"))
    writer.types["runtime.g struct"] = len(writer.info)
    writer.struct(
        "runtime.g",
        2400,
        ("sched", 0, "runtime.gobuf"),
        ("atomicstatus", 16, "atomic.Uint32"),
        ("goid", 24, "int64"),
        ("preempt", 32, "bool"),
        ("m", 40, "*runtime.g"),
        ("runq", 200, "[256]runtime.guintptr"),
        ("ratio", 2264, "float64"),
        ("pair", 2272, "complex128"),
        block=block,
    )
    writer.end_unit()


def write_foreign(writer: DwarfWriter, name: str = "struct runtime_g") -> None:
    """A unit as C compilers write it: its own abbreviations, and names in another section."""
    writer.begin_unit()
    writer.entry(BASE, [(NAME, STRP), (SIZE, UDATA)], [b"\0\0\0\0", b"\x04"])
    writer.entry(STRUCT, [(SIZE, UDATA), (NAME, STRING)], [b"\x08", name.encode() + b"\0"])
    writer.end_unit()


def read(writer: DwarfWriter) -> Dwarf:
    return Dwarf(bytes(writer.info), bytes(writer.abbreviations))


EXPECTED = {
    "sched.sp": (0, "u8"),
    "sched.g": (8, "u8"),
    "sched": (0, "(2,)u8"),
    "atomicstatus": (16, "u4"),
    "goid": (24, "i8"),
    "preempt": (32, "u1"),
    "m": (40, "u8"),
    "runq": (200, "(256,)u8"),
    "ratio": (2264, "f8"),
    "pair": (2272, "V16"),
    "absent": None,
}


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("wide", [False, True], ids=["dwarf32", "dwarf64"])
@pytest.mark.parametrize("block", [False, True], ids=["numbers", "expressions"])
def test_members_are_found_in_every_form(version: int, wide: bool, block: bool) -> None:
    writer = DwarfWriter(version=version, wide=wide)
    write_foreign(writer)
    write_runtime(writer, block)
    write_foreign(writer)
    g = read(writer).struct("runtime.g")
    assert g.size == 2400
    assert {path: locate(g, path) for path in EXPECTED} == EXPECTED


def test_a_struct_of_another_language_is_not_taken_for_gos() -> None:
    writer = DwarfWriter()
    write_foreign(writer, "runtime.g")
    with pytest.raises(MissingInfo, match=r"runtime\.g"):
        read(writer).struct("runtime.g")


def test_the_right_struct_is_found_behind_decoys() -> None:
    writer = DwarfWriter()
    write_foreign(writer, "runtime.g")
    write_runtime(writer)
    assert read(writer).struct("runtime.g").size == 2400


@pytest.mark.parametrize("name", ["runtime.go", "runtime.", "runtime.p", "untime.g"])
def test_only_the_whole_name_counts(name: str) -> None:
    writer = DwarfWriter()
    write_runtime(writer)
    with pytest.raises(MissingInfo):
        read(writer).struct(name)


def test_a_type_that_is_a_name_of_itself_is_refused() -> None:
    writer = DwarfWriter()
    writer.begin_unit()
    writer.types["loop"] = len(writer.info)
    writer.typedef("loop", "loop")
    writer.struct("runtime.g", 8, ("goid", 0, "loop"))
    writer.end_unit()
    with pytest.raises(BadDataError, match="itself"):
        locate(read(writer).struct("runtime.g"), "goid")


@pytest.mark.parametrize(
    ("size", "at"), [(1 << 40, 0), (8, 1 << 40)], ids=["size", "offset of a member"]
)
def test_sizes_that_cannot_be_are_refused(size: int, at: int) -> None:
    writer = DwarfWriter()
    writer.begin_unit()
    writer.base("int64", 5, 8)
    writer.struct("runtime.g", size, ("goid", at, "int64"))
    writer.end_unit()
    with pytest.raises(BadDataError):
        read(writer).struct("runtime.g")


def test_a_struct_without_an_end_is_refused() -> None:
    writer = DwarfWriter()
    writer.begin_unit()
    writer.struct("runtime.g", 8)
    del writer.info[-1]
    for _ in range(10_000):
        writer.entry(MEMBER, [(NAME, STRING)], [b"x\0"])
    writer.end_unit()
    with pytest.raises(BadDataError, match="too many"):
        read(writer).struct("runtime.g")


def test_a_sibling_that_leads_in_a_circle_is_not_followed() -> None:
    writer = DwarfWriter()
    writer.begin_unit()
    writer.base("int64", 5, 8)
    writer.struct("runtime.g", 16)
    del writer.info[-1]
    for name, at in (("goid", 0), ("m", 8)):
        writer.types["itself"] = len(writer.info)
        forms = [(NAME, STRING), (AT, UDATA), (TYPE, REF_ADDR), (SIBLING, REF4)]
        values: list[bytes | str] = [name.encode() + b"\0", bytes([at]), "int64", "itself"]
        writer.entry(MEMBER, forms, values, children=True)
        writer.end_children()
    writer.end_children()
    writer.end_unit()
    g = read(writer).struct("runtime.g")
    assert [locate(g, name) for name in g.members] == [(0, "i8"), (8, "i8")]


UNIT = struct.pack("<IHBBI", 8, 5, 1, 8, 0)


def endless_units(writer: DwarfWriter) -> tuple[bytes, bytes]:
    return UNIT * 2_000_000 + bytes(writer.info), bytes(writer.abbreviations)


def endless_abbreviation(writer: DwarfWriter) -> tuple[bytes, bytes]:
    return bytes(writer.info), b"\x01\x13\x00" + b"\x03\x0b" * 10_000_000


def endless_abbreviations(writer: DwarfWriter) -> tuple[bytes, bytes]:
    return bytes(writer.info), b"\x01\x13\x00\x00\x00" * 10_000_000


def endless_block(writer: DwarfWriter) -> tuple[bytes, bytes]:
    own = DwarfWriter()
    own.begin_unit()
    content = (50_000_000).to_bytes(4, "little") + bytes(50_000_000)
    forms = [(NAME, STRING), (AT, BLOCK4), (SIZE, UDATA)]
    own.entry(STRUCT, forms, [b"runtime.g\0", content, b"\x08"])
    own.end_unit()
    return bytes(own.info), bytes(own.abbreviations)


def endless_string(writer: DwarfWriter) -> tuple[bytes, bytes]:
    own = DwarfWriter()
    own.begin_unit()
    forms = [(NAME, STRING), (AT, STRING), (SIZE, UDATA)]
    own.entry(STRUCT, forms, [b"runtime.g\0", b"x" * 50_000_000 + b"\0", b"\x08"])
    own.end_unit()
    return bytes(own.info), bytes(own.abbreviations)


@pytest.mark.parametrize(
    "attack",
    [endless_units, endless_abbreviation, endless_abbreviations, endless_block, endless_string],
)
def test_what_is_made_to_take_for_ever_ends_soon(
    attack: Callable[[DwarfWriter], tuple[bytes, bytes]],
) -> None:
    """1 s of processor time here at most; unbounded, each takes a minute and more than 1 GB."""
    writer = DwarfWriter()
    write_runtime(writer)
    sections = attack(writer)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadDataError):
        Dwarf(*sections).struct("runtime.g")
    assert time.process_time() - began < 10
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < sum(map(len, sections)) + (200 << 20)


@pytest.mark.parametrize(
    "error",
    [
        AttributeError, AssertionError, KeyError, RecursionError, MemoryError, NotImplementedError,
        struct.error, UnicodeDecodeError("utf-8", b"", 0, 1, ""), ELFParseError, DWARFError,
    ],
)  # fmt: skip
def test_whatever_the_library_raises_is_bad_data(
    error: Exception | type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    writer = DwarfWriter()
    write_runtime(writer)
    g = read(writer).struct("runtime.g")
    monkeypatch.setattr(DIE, "_parse_DIE", fail)
    with pytest.raises(BadDataError, match="damaged"):
        read(writer).struct("runtime.g")
    with pytest.raises(BadDataError, match="damaged"):
        locate(g, "goid")


def _visit(found: Type, depth: int = 0) -> None:
    for name, member in found.members.items():
        locate(found, name)
        if depth < 3:
            _visit(member.type(), depth + 1)


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_bad_data_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    writer = DwarfWriter(version=4 + seed % 2)
    write_runtime(writer)
    for _ in range(300):
        info, abbreviations = bytearray(writer.info), bytearray(writer.abbreviations)
        for _ in range(chance.randint(1, 8)):
            part = chance.choice((info, abbreviations))
            part[chance.randrange(len(part))] = chance.choice(
                (0, 0x7F, 0x80, 0xFF, chance.getrandbits(8))
            )
        keep = chance.choice((len(info), chance.randrange(len(info))))
        with suppress(BadDataError, MissingInfo):
            _visit(Dwarf(bytes(info[:keep]), bytes(abbreviations)).struct("runtime.g"))
