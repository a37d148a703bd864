"""Which addresses a piece of machine code mentions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

__all__ = ["references"]

#: As capstone prints an operand relative to the next instruction: ``[rip + 0x1f2a3]``.
_RIP = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_PAGE = re.compile(r"^(x\d+), #?(0x[0-9a-f]+|\d+)$")
_ADD = re.compile(r"^(x\d+), (x\d+), #(0x[0-9a-f]+|\d+)$")
_LOAD = re.compile(r"^[wx]\w+, (?:[wx]\w+, )?\[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]!?$")

_Decoded = Iterator[tuple[int, int, str, str]]


def references(code: bytes, address: int, arch: str) -> set[int]:
    """The addresses that the instructions `code` at `address` name relative to themselves.

    amd64: operands relative to rip. arm64: ADRP and the additions, loads and stores that complete
    it (``cmd/internal/obj/arm64``, which uses one register for each pair). Go's compilers reach
    every package-level variable so, in every build mode.
    """
    return set(_READERS[arch](_disassemble(code, address, arch)))


def _disassemble(code: bytes, address: int, arch: str) -> _Decoded:
    import capstone

    kind = {
        "amd64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    }[arch]
    decoder = capstone.Cs(*kind)
    decoder.skipdata = True
    decoded: _Decoded = decoder.disasm_lite(code, address)
    return decoded


def _amd64(instructions: _Decoded) -> Iterator[int]:
    for at, size, _, operands in instructions:
        match = _RIP.search(operands)
        if match:
            distance = int(match[2], 0)
            yield at + size + (distance if match[1] == "+" else -distance)


def _arm64(instructions: _Decoded) -> Iterator[int]:
    pages: dict[str, int] = {}
    for _, _, mnemonic, operands in instructions:
        if mnemonic == "adrp" and (match := _PAGE.match(operands)):
            pages[match[1]] = int(match[2], 0)
        elif mnemonic == "add" and (match := _ADD.match(operands)) and match[2] in pages:
            yield pages[match[2]] + int(match[3], 0)
        elif mnemonic[:2] in ("ld", "st") and (match := _LOAD.match(operands)):
            if match[1] in pages:
                yield pages[match[1]] + int(match[2] or "0", 0)


_READERS: dict[str, Callable[[_Decoded], Iterator[int]]] = {"amd64": _amd64, "arm64": _arm64}
