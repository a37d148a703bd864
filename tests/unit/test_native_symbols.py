from __future__ import annotations

import random
import struct
from typing import NamedTuple

import pytest

from spyglass.binary.executable import Executable
from spyglass.procfs import Mapping
from spyglass.threads.native_symbols import FunctionSymbols, Symbols
from tests.image import ImageMemory

FUNCTION, OBJECT, INDIRECT = 2, 1, 10
UNDEFINED, TEXT, ABSOLUTE = 0, 1, 0xFFF1
VDSO = 0x7FFE00000000
#: Where the code of `elf` is loaded, and where it is in the file.
ADDRESS, OFFSET = 0x5000, 0x1000


class Symbol(NamedTuple):
    name: str
    value: int
    size: int
    kind: int = FUNCTION
    section: int = TEXT


def elf(*symbols: Symbol, table: bytes | None = None, dynamic: bool = False) -> bytes:
    """A shared library with these symbols: elf(5)."""
    strings, entries = b"\0", b""
    for symbol in symbols:
        entries += struct.pack(
            "<IBBHQQ", len(strings), symbol.kind, 0, symbol.section, symbol.value, symbol.size
        )
        strings += symbol.name.encode() + b"\0"
    names = [b".dynsym", b".dynstr"] if dynamic else [b".symtab", b".strtab"]
    section_names = b"\0" + b"\0".join([*names, b".shstrtab"]) + b"\0"
    contents = [entries if table is None else table, strings, section_names]
    begin = 64 + 56
    headers = struct.pack("<IIQQQQIIQQ", *[0] * 10)
    for name, kind, content in zip([*names, b".shstrtab"], (2, 3, 3), contents, strict=True):
        entry_size = 24 if kind == 2 else 0
        headers += struct.pack(
            "<IIQQQQIIQQ",
            section_names.index(name), kind, 0, 0, begin, len(content), 2, 0, 1, entry_size,
        )  # fmt: skip
        begin += len(content)
    body = b"".join(contents)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 64 + 56 + len(body), 0, 64, 56, 1, 64, 4, 3
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, OFFSET, ADDRESS, ADDRESS, 0x800, 0x800, 0x1000)
    return (header + load + body + headers).ljust(OFFSET + 0x800, b"\0")


def functions(
    *symbols: Symbol, table: bytes | None = None, dynamic: bool = False
) -> FunctionSymbols:
    return FunctionSymbols(Executable(elf(*symbols, table=table, dynamic=dynamic), "library"))


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_function_is_found_anywhere_in_it_and_not_behind(dynamic: bool) -> None:
    found = functions(Symbol("b", 0x200, 16), Symbol("a", 0x100, 16), dynamic=dynamic)
    assert found.find(0xFF) is None
    assert found.find(0x100) == ("a", 0)
    assert found.find(0x10F) == ("a", 15)
    assert found.find(0x110) is None
    assert found.find(0x20F) == ("b", 15)
    assert found.find((1 << 64) - 1) is None


def test_what_has_no_size_reaches_until_the_next_function() -> None:
    found = functions(Symbol("assembled", 0x100, 0), Symbol("next", 0x200, 8))
    assert found.find(0x1FF) == ("assembled", 0xFF)
    assert found.find(0x200) == ("next", 0)


def test_of_several_names_the_plainest_is_given() -> None:
    names = ["__GI___libc_read", "__rd", "read_here", "read", "_read"]
    found = functions(*(Symbol(name, 0x100, 16) for name in names))
    assert found.find(0x104) == ("read", 4)


def test_only_functions_that_are_defined_here_count() -> None:
    found = functions(
        Symbol("variable", 0x100, 16, OBJECT),
        Symbol("elsewhere", 0x100, 16, FUNCTION, UNDEFINED),
        Symbol("number", 0x100, 16, FUNCTION, ABSOLUTE),
        Symbol("chosen_at_start", 0x200, 16, INDIRECT),
        Symbol("", 0x300, 16),
    )
    assert found.find(0x100) is None
    assert found.find(0x200) == ("chosen_at_start", 0)
    assert found.find(0x300) is None


def test_a_file_without_symbols_has_no_functions() -> None:
    assert functions().find(0x100) is None


def test_tables_of_nonsense_are_survived() -> None:
    source = random.Random(1)
    for _ in range(300):
        table = source.randbytes(source.randrange(500))
        found = functions(Symbol("name", 0, 0), table=table)
        for address in (0, 0x100, 1 << 63, (1 << 64) - 1, source.getrandbits(64)):
            found.find(address)


def test_of_thousands_of_names_only_some_are_looked_at() -> None:
    plain, other = Symbol("plain", 0x100, 16), Symbol("__other", 0x100, 16)
    assert functions(plain, *[other] * 1000).find(0x100) == ("__other", 0)


# Program counters in mappings


def symbols(path: str, image: bytes, end: int = VDSO + 0x2000) -> Symbols:
    mapping = Mapping(VDSO, end, "r-xp", 0, 0, 0, path, False)
    return Symbols(1, [mapping], ImageMemory({VDSO: image}))


def test_the_kernels_library_is_read_from_memory() -> None:
    image = elf(Symbol("__vdso_getcpu", ADDRESS + 0x10, 16), dynamic=True).ljust(0x2000, b"\0")
    found = symbols("[vdso]", image)
    assert found.describe(VDSO + OFFSET + 0x14) == "[vdso]!__vdso_getcpu+0x4"
    assert found.describe(VDSO + OFFSET + 0x40) == f"[vdso]+{ADDRESS + 0x40:#x}"
    assert found.describe(VDSO + 0x10) == "[vdso]+0x10"


@pytest.mark.parametrize("image", [b"", bytes(0x2000), b"\x7fELF".ljust(0x2000, b"\xff")])
def test_what_cannot_be_read_has_an_offset(image: bytes) -> None:
    assert symbols("[vdso]", image).describe(VDSO + 0x123) == "[vdso]+0x123"


@pytest.mark.parametrize("pc", [0, VDSO - 1, VDSO + 0x2000, (1 << 64) - 1])
def test_where_nothing_is_mapped_there_is_only_the_number(pc: int) -> None:
    assert symbols("[vdso]", b"").describe(pc) == f"{pc:#x}"


def test_where_no_file_is_mapped_there_is_only_the_number() -> None:
    assert symbols("", b"").describe(VDSO) == "0x7ffe00000000"
