"""Which addresses a piece of machine code mentions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from spyglass.binary.disassembler import Decoded, disassemble

__all__ = ["references"]

#: As capstone prints an operand relative to the next instruction: ``[rip + 0x1f2a3]``.
_RIP = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_PAGE = re.compile(r"^(x\d+), #?(0x[0-9a-f]+|\d+)$")
_ADD = re.compile(r"^x\d+, (?P<base>x\d+), #(?P<offset>0x[0-9a-f]+|\d+)$")
_LOAD = re.compile(r"^\w+, (?:\w+, )?\[(?P<base>x\d+)(?:, #(?P<offset>0x[0-9a-f]+|\d+))?\]$")


def references(code: bytes, address: int, arch: str) -> set[int]:
    """The addresses that the instructions `code` at `address` name relative to themselves.

    amd64: operands relative to rip. arm64: ADRP and the addition, load or store behind it that
    completes it (``cmd/internal/obj/arm64`` always makes such pairs). Go's compilers reach every
    package-level variable so, in every build mode.
    """
    return set(_READERS[arch](disassemble(code, address, arch)))


def _amd64(instructions: Decoded) -> Iterator[int]:
    for at, size, _, operands in instructions:
        match = _RIP.search(operands)
        if match:
            distance = int(match[2], 0)
            yield at + size + (distance if match[1] == "+" else -distance)


def _arm64(instructions: Decoded) -> Iterator[int]:
    register, page = "", 0
    for _, _, mnemonic, operands in instructions:
        match = _ADD.match(operands) if mnemonic == "add" else None
        if mnemonic[:2] in ("ld", "st"):
            match = _LOAD.match(operands)
        if match and match["base"] == register:
            yield page + int(match["offset"] or "0", 0)
        match = _PAGE.match(operands) if mnemonic == "adrp" else None
        register, page = (match[1], int(match[2], 0)) if match else ("", 0)


_READERS: dict[str, Callable[[Decoded], Iterator[int]]] = {"amd64": _amd64, "arm64": _arm64}
