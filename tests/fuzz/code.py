"""Targets: what follows machine code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from spyglass.binary.code_flow import analyse
from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.instructions import processor
from spyglass.binary.lock_facts import Code, Effect
from spyglass.binary.pclntab import FunctionTable
from spyglass.binary.xrefs import references
from spyglass.errors import BadDataError
from spyglass.runtime.waiting.lock_code import LockCode
from tests.fuzz.target import Target
from tests.pclntab_writer import FunctionSpec, pc_table, write_table

TEXT = 0x1000
_NAMES = (
    "main.first",
    "main.second",
    "main.third",
    "sync.(*Mutex).Lock",
    "sync.(*Mutex).Unlock",
    "sync.(*Mutex).lockSlow",
)
_SIZE = 0x40


class _Callees:
    """Every other function takes the lock that its first argument points to."""

    def effects(self, entry: int) -> list[Effect] | None:
        return [Effect(0, 8, 2, bool(entry & 2), direct=True)] if entry & 1 else None

    def returned(self, entry: int) -> int | None:
        return 0 if entry & 2 else None

    def ends(self, entry: int) -> bool:
        return entry % 7 == 0

    def keeps(self, entry: int) -> tuple[str, ...] | None:
        return ("rax",) if entry & 4 else None

    def area(self, entry: int) -> int:
        return entry % 64


def _functions() -> FunctionTable:
    frames = pc_table([(_SIZE, 0x18)])
    return FunctionTable(
        memoryview(write_table([FunctionSpec(name, _SIZE, frames) for name in _NAMES])), TEXT
    )


def _read(arch: str, data: bytes) -> None:
    instructions = processor(arch).decode(data, TEXT)
    if instructions:
        analyse(Code(instructions, processor(arch), True, TEXT, _Callees()))
        analyse(Code(instructions, processor(arch), False, TEXT, _Callees()))
    references(data, TEXT, arch)
    _read_locks(arch, data)


def _read_locks(arch: str, data: bytes) -> None:
    """The code as that of a few functions that call each other, some of which take locks."""
    functions = _functions()

    def read(address: int, size: int) -> bytes:
        if not 0 <= address - TEXT <= address - TEXT + size <= len(data):
            raise BadDataError("nothing is there")
        return data[address - TEXT : address - TEXT + size]

    code = LockCode(functions, InlineTrees(read, None), arch, True)
    code.allow_work()
    for number in range(3):
        function = functions.function(number)
        if code.may_lock(function):
            code.flow(function)
        code.flow(function)
        code.effects(function.entry)
        code.releases(function.entry)
        code.variables(function, function.entry, function.end)
        code.arguments(function, function.entry + 0x20)


def _amd64() -> Iterator[bytes]:
    lock = bytes.fromhex(
        "31c0 ba01000000 f00fb117 7505 e8b0000000 488b4708 488d0510000000 c3".replace(" ", "")
    )
    calls = bytes.fromhex(
        "4883ec18 48890424 e8a7000000 48c7442408 10000000 e8d9000000 4883c418 c3".replace(" ", "")
    )
    yield (
        lock.ljust(_SIZE, b"\x90")
        + calls.ljust(_SIZE, b"\xcc")
        + (b"\xeb\xfe" + lock).ljust(4 * _SIZE, b"\xcc")
    )


def _arm64() -> Iterator[bytes]:
    words = (
        0xF81E0FFE,
        0xAA0003E1,
        0x52800022,
        0x885FFC23,
        0x35000063,
        0x8804FC22,
        0x35FFFFA4,
        0x94000028,
        0xF84207FE,
        0xD65F03C0,
    )
    raw = b"".join(word.to_bytes(4, "little") for word in words)
    swap = b"".join(
        word.to_bytes(4, "little")
        for word in (
            0x90000001,
            0x91004021,
            0x88E0FC22,
            0xF8607823,
            0xB4000041,
            0x97FFFFF0,
            0xD65F03C0,
        )
    )
    yield raw.ljust(_SIZE, b"\0") + swap.ljust(_SIZE, b"\0") + raw.ljust(4 * _SIZE, b"\0")


TARGETS = {
    "code-amd64": Target(partial(_read, "amd64"), _amd64, max_bytes=len(_NAMES) * _SIZE),
    "code-arm64": Target(partial(_read, "arm64"), _arm64, max_bytes=len(_NAMES) * _SIZE),
}
