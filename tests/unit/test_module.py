"""Finding the module data, and through it the function table, in memory and files made for the purpose."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

import pytest

from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.pclntab import HEADER_BYTES
from spyglass.errors import BadDataError, NotGoProgram
from spyglass.runtime.discovery.globals import go_version, is_wait_reasons
from spyglass.runtime.discovery.module import Module, find_module
from spyglass.targets import Target
from spyglass.targets.target_process import Facts, TargetProcess
from spyglass.threads import Registers
from spyglass.wait_graph import Connection
from tests.elf_writer import PT_LOAD, Part, symbols, write_elf
from tests.image import ImageMemory
from tests.pclntab_writer import FunctionSpec, pc_table, write_table

BIAS = 0x7F0000000000
TEXT, TABLE, DATA = 0x1000, 0x10000, 0x20000
WRITABLE = 2
FUNCTIONS = [
    FunctionSpec("runtime.wrapper", 16, pc_table([(16, 0)]), func_id=22),
    FunctionSpec("main.main", 64, pc_table([(64, 48)])),
]
MINPC, MAXPC, TEXT_AT = 20, 21, 22


class CountingMemory(ImageMemory):
    """Memory that knows how much was read of it."""

    reads, bytes_read = 0, 0

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        self.bytes_read += size
        return super().read(address, size)


class Nothing(TargetProcess):
    """A process of which nothing is known."""

    kind = "process"
    pid, stopped = 1, True

    def facts(self) -> Facts:
        return Facts()

    def threads(self) -> Sequence[object]:  # type: ignore[override]
        return []

    def stop(self) -> AbstractContextManager[None]:
        return nullcontext()

    def saved_registers(self) -> None:
        return None

    def registers(self, tids: Sequence[int]) -> dict[int, Registers]:
        return {}

    def native_names(self, memory: object) -> Callable[[int], str]:
        return hex

    def taken_at(self) -> datetime:
        return datetime.now(UTC)

    def now_ns(self) -> None:
        return None

    def auxv(self) -> dict[int, int]:
        return {}

    def files(self) -> Sequence[object]:  # type: ignore[override]
        return []

    def connections(self, fds: object) -> dict[int, Connection]:
        return {}


def module_data(table: int = TABLE + BIAS, text: int = TEXT + BIAS, size: int = 80) -> bytes:
    """``runtime.moduledata`` as it begins since Go 1.16."""
    words = [0] * 40
    words[0], words[MINPC], words[MAXPC], words[TEXT_AT] = (
        table,
        text,
        (text + size) % (1 << 64),
        text,
    )
    return struct.pack("<40Q", *words)


def target(data: bytes, table: bytes | None = None, named: bool = True) -> Target:
    """A program with a function table, whose data is `data` in the process."""
    raw = write_table(FUNCTIONS) if table is None else table
    image = write_elf(
        [
            Part(".text", bytes(80), TEXT, PT_LOAD, flags=1),
            Part(".gopclntab", raw, TABLE, PT_LOAD),
            Part(".data", bytes(len(data)), DATA, PT_LOAD, flags=WRITABLE),
        ],
        kind=3,
        named=named,
    )
    memory = CountingMemory({DATA + BIAS: data})
    return Target(memory, GoExecutable(image, "program"), BIAS, Nothing())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("before", [0, 8, 4096])
def test_module_data_is_what_points_to_the_table(before: int, named: bool) -> None:
    found = find_module(target(bytes(before) + module_data(), named=named))
    assert isinstance(found, Module)
    assert (found.address, found.text) == (DATA + BIAS + before, TEXT + BIAS)
    main = found.functions.named("main.main")
    assert main is not None
    assert main.entry == TEXT + BIAS + 16


def test_other_pointers_to_the_table_are_passed_over() -> None:
    pointer = struct.pack("<Q", TABLE + BIAS)
    other = module_data(size=81)
    found = find_module(target(pointer * 3 + other + module_data()))
    assert found.address == DATA + BIAS + 24 + len(other)


def test_tables_of_programs_that_it_carries_are_passed_over() -> None:
    """A program without section headers, in whose data there is another one."""
    carried, own = write_table(FUNCTIONS[:1]), write_table(FUNCTIONS)
    there = target(module_data(table=TABLE + BIAS + len(carried)), carried + own, named=False)
    found = find_module(there)
    assert found.functions.named("main.main") is not None


@pytest.mark.parametrize(
    "data",
    [
        bytes(4096),
        module_data(table=TABLE),
        module_data(text=0),
        module_data(text=(1 << 64) - 1),
        module_data()[:80],
    ],
    ids=["zeros", "not relocated", "no text", "text at the end", "cut off"],
)
def test_a_table_that_nothing_uses_is_told(data: bytes) -> None:
    with pytest.raises(BadDataError, match="not in use") as error:
        find_module(target(data))
    assert "may still be starting" in (error.value.hint or "")


def test_a_program_without_a_table_is_not_go() -> None:
    with pytest.raises(NotGoProgram, match="has no Go function table"):
        find_module(target(module_data(), table=b"nothing like it" * 10))


def test_equal_tables_are_in_memory_once_as_long_as_one_of_them_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of programs in different files; one that begins alike and has the same size is another one."""
    kept: WeakValueDictionary[Any, Any] = WeakValueDictionary()  # of no other test
    monkeypatch.setattr("spyglass.runtime.discovery.module._TABLES", kept)
    table = write_table(FUNCTIONS)
    other = table.replace(b"main.main", b"main.mein")
    assert other[:HEADER_BYTES] == table[:HEADER_BYTES]
    found = [find_module(target(module_data(), each)).functions for each in (table, other, table)]
    first, second, third = (each._image.obj for each in found)
    assert first is third
    assert (first, second) == (table, other)
    assert found[1].named("main.mein") is not None
    assert len(kept) == 1
    del found[0], first
    assert len(kept) == 1
    found.clear()
    assert len(kept) == 0


def test_data_that_cannot_be_read_is_passed_over() -> None:
    there = target(module_data())
    there.memory.segments.clear()  # type: ignore[attr-defined]
    with pytest.raises(BadDataError, match="not in use"):
        find_module(there)


def test_of_pointers_to_the_table_only_some_are_looked_at() -> None:
    there = target(struct.pack("<Q", TABLE + BIAS) * 100_000)
    with pytest.raises(BadDataError, match="not in use"):
        find_module(there)
    assert isinstance(there.memory, CountingMemory)
    assert there.memory.reads < 100


def test_of_data_only_so_much_is_read() -> None:
    segment = Part(".data", b"", DATA, PT_LOAD, flags=WRITABLE, offset=0, size=1 << 26)
    parts = [Part(".gopclntab", write_table(FUNCTIONS), TABLE, PT_LOAD), *[segment] * 100]
    many = GoExecutable(write_elf(parts) + bytes(1 << 26), "program")
    there = CountingMemory({DATA + BIAS: bytes(1 << 26)})
    with pytest.raises(BadDataError, match="not in use"):
        find_module(Target(there, many, BIAS, Nothing()))
    assert there.bytes_read <= 1 << 30


# The Go version and the words for waiting, which are the program's own.


def with_version(text: bytes) -> tuple[Target, Module]:
    """A program without build info, whose ``runtime.buildVersion`` is `text`."""
    string = struct.pack("<QQ", DATA + BIAS + 0x800, len(text))
    data = (module_data().ljust(0x400, b"\0") + string).ljust(0x800, b"\0") + text
    program = target(data)
    found = find_module(program)
    image = write_elf(
        [
            Part(".data", bytes(len(data)), DATA, PT_LOAD, flags=WRITABLE),
            *symbols(("runtime.buildVersion", 1, DATA + 0x400, 16)),
        ]
    )
    named = Target(program.memory, GoExecutable(image, "program"), BIAS, program.process)
    return named, found


@pytest.mark.parametrize(
    "text",
    ["go1.27.3", "go1.20.3 X:nocoverageredesign", "devel go1.28-1ab2c3d Mon Nov 2 2026", "go1.9"],
)
def test_the_version_is_read_from_memory(text: str) -> None:
    assert go_version(*with_version(text.encode())) == text


@pytest.mark.parametrize("text", [b"", b"1.27", b"go", b"gone", b"\xff\xff", b"go1.27" * 100])
def test_what_is_no_version_is_none(text: bytes) -> None:
    assert go_version(*with_version(text)) == ""


def words_at(*words: bytes) -> Target:
    """A program with strings at the beginning of its data."""
    headers, texts = b"", b""
    for word in words:
        headers += struct.pack("<QQ", DATA + BIAS + 0x400 + len(texts), len(word))
        texts += word
    return target(headers.ljust(0x400, b"\0") + texts)


def test_wait_reasons_are_words() -> None:
    reasons = [b"", b"GC assist marking", b"IO wait", b"chan receive (nil chan)", *[b"select"] * 8]
    assert is_wait_reasons(words_at(*reasons), DATA + BIAS)
    assert not is_wait_reasons(words_at(*reasons[1:]), DATA + BIAS)
    assert not is_wait_reasons(words_at(*reasons[:3], b"\x1b[2J", *reasons[4:]), DATA + BIAS)
    assert not is_wait_reasons(words_at(*reasons[:3], b"x" * 65, *reasons[4:]), DATA + BIAS)
    assert not is_wait_reasons(words_at(*reasons), DATA + BIAS + 8)
    assert not is_wait_reasons(words_at(*reasons), 0)
