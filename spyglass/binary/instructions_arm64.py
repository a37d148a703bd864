"""arm64 instructions as `spyglass.binary.instructions` describes them.

Go changes memory atomically with one instruction (CASAL, LDADDAL) where the processor has it, else with a loop of
LDAXR and STLXR (cmd/compile/internal/ssa: ``LoweredAtomicCas32``, ``LoweredAtomicAdd32`` and their variants): such
a loop is described as the one instruction that it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from spyglass.binary.disassembler import disassemble
from spyglass.binary.instructions import Do, Instruction, Processor

__all__ = ["ARM64"]

_MEMORY = re.compile(r"\[(\w+)(?:, #(-?(?:0x)?[0-9a-f]+))?\](!)?(?:, #(-?(?:0x)?[0-9a-f]+))?$")
_REGISTER = re.compile(r"^(?:[wx](?:\d+|zr)|sp|wsp)$")
_BYTES = {"strb": 1, "sturb": 1, "strh": 2}
#: Instructions whose first operand is not changed.
_ONLY_READ = (
    "st",
    "cmp",
    "cmn",
    "tst",
    "ccm",
    "fcmp",
    "prfm",
    "dmb",
    "dsb",
    "isb",
    "nop",
    "hint",
    "msr",
)
_CONDITIONS = {"eq": True, "ne": False}


class _Line(NamedTuple):
    """One instruction as capstone prints it, its operands before the memory operand, and that one."""

    at: int
    end: int
    mnemonic: str
    operands: tuple[str, ...]
    base: str
    offset: int
    moves_base: bool
    has_memory: bool


def decode(code: bytes, address: int) -> list[Instruction]:
    """The instructions `code` at `address`."""
    lines = [_line(*each) for each in disassemble(code, address, "arm64")]
    found: list[Instruction] = []
    row = 0
    while row < len(lines):
        loop = _loop(lines, row) or _swap_and_compare(lines, row)
        if loop:
            found += loop
            row += len(loop)
        else:
            found += _instructions(lines[row])
            row += 1
    return found


def _line(at: int, size: int, mnemonic: str, text: str) -> _Line:
    match = _MEMORY.search(text)
    base, offset, moves = "", 0, False
    if match:
        text = text[: match.start()].rstrip(", ")
        base = _full(match[1])
        offset = int(match[2] or match[4] or "0", 0)
        moves = bool(match[3] or match[4])
    elif "[" in text:
        text = text.split("[")[0].rstrip(", ")
    operands = tuple(text.split(", ")) if text else ()
    return _Line(at, at + size, mnemonic, operands, base, offset, moves, bool(match))


def _full(name: str) -> str:
    return "x" + name[1:] if name[0] == "w" and name != "wsp" else name


def _is_register(name: str) -> bool:
    return _REGISTER.match(name) is not None


def _number(text: str) -> int | None:
    return int(text[1:], 0) if text.startswith("#") else None


def _loop(lines: list[_Line], row: int) -> list[Instruction] | None:
    """A loop that begins with LDAXR at `row`, as one instruction and others that do nothing."""
    first = lines[row]
    if first.mnemonic != "ldaxr":
        return None
    for count in (3, 4):
        store, back = [*lines[row + count - 1 : row + count + 1], first, first][:2]
        if store.mnemonic == "stlxr" and back.mnemonic == "cbnz" and store.base == first.base:
            break
    else:
        return None
    rows = lines[row : row + count + 1]
    status, value = _full(store.operands[0]), store.operands[1]
    others = (_full(first.operands[0]), status)
    nothing = [Instruction(each.at, each.end, Do.OTHER, keeps_condition=True) for each in rows]
    if value.startswith("x") or first.operands[0].startswith("x"):  # of 8 bytes: no lock
        nothing[-1] = Instruction(rows[-1].at, rows[-1].end, Do.OTHER, others=others)
        return nothing
    add = rows[1]
    if count == 3 and add.mnemonic == "add":
        does = Instruction(
            store.at, store.end, Do.ADD_ATOMICALLY, base=store.base, source=_full(add.operands[2]),
            others=others,
        )  # fmt: skip
    else:
        does = Instruction(
            store.at, store.end, Do.COMPARE_AND_SWAP, base=store.base, source=_full(value),
            others=others,
        )  # fmt: skip
    nothing[count - 1] = does
    return nothing


def _swap_and_compare(lines: list[_Line], row: int) -> list[Instruction] | None:
    """CASAL, and the comparison behind it that tells whether it did."""
    swap, compare = [*lines[row : row + 2], lines[row]][:2]
    if swap.mnemonic != "casal" or compare.mnemonic != "cmp":
        return None
    if swap.operands[0].startswith("x") or compare.operands[0] != swap.operands[0]:
        return None
    return [
        Instruction(
            swap.at, swap.end, Do.COMPARE_AND_SWAP, base=swap.base, source=_full(swap.operands[1]),
            others=(_full(swap.operands[0]),),
        ),
        Instruction(compare.at, compare.end, Do.OTHER, keeps_condition=True),
    ]  # fmt: skip


def _instructions(line: _Line) -> list[Instruction]:
    if line.moves_base:
        # Before or after the access: what was moved is a frame, or a cursor that is not followed.
        others = tuple(_full(each) for each in line.operands if line.mnemonic.startswith("ld"))
        return [
            Instruction(
                line.at, line.end, Do.MOVE, reg=line.base, base=line.base, offset=line.offset,
                others=others, keeps_condition=True,
            )
        ]  # fmt: skip
    found = _read(line)
    if found is None and line.mnemonic.startswith("b."):
        when = _CONDITIONS.get(line.mnemonic[2:])
        target = _number(line.operands[0]) or 0
        found = [Instruction(line.at, line.end, Do.BRANCH, target=target, when=when)]
    return found or [_other(line)]


def _read(line: _Line) -> list[Instruction] | None:
    read = _READERS.get(line.mnemonic)
    try:
        return read(line) if read is not None else None
    except (IndexError, ValueError):  # what is no code decodes as forms that Go does not use
        return None


def _other(line: _Line) -> Instruction:
    """An instruction that is not followed: what it changes is forgotten."""
    registers = [_full(each) for each in line.operands if _is_register(each)]
    if line.mnemonic.startswith("st") and line.has_memory:
        size = 32 if line.mnemonic == "stp" and line.operands[0].startswith("q") else 16
        return Instruction(
            line.at, line.end, Do.STORE, base=line.base, offset=line.offset, size=size,
            others=tuple(registers[:1]) if "x" in line.mnemonic else (), keeps_condition=True,
        )  # fmt: skip
    if line.mnemonic.startswith(_ONLY_READ):
        return Instruction(line.at, line.end, Do.OTHER)
    changed = registers if line.mnemonic[:2] in ("ld", "sw", "ca") else registers[:1]
    keeps = not line.mnemonic.endswith("s")
    return Instruction(line.at, line.end, Do.OTHER, others=tuple(changed), keeps_condition=keeps)


def _mov(line: _Line) -> list[Instruction] | None:
    to, what = line.operands[:2]
    number = 0 if what in ("wzr", "xzr") else _number(what)
    if number is not None:
        return [_constant(line, to, number)]
    if not _is_register(what):
        return None
    return [
        Instruction(
            line.at, line.end, Do.MOVE, reg=_full(to), base=_full(what), narrow=to[0] == "w",
            keeps_condition=True,
        )
    ]  # fmt: skip


def _constant(line: _Line, to: str, number: int) -> Instruction:
    return Instruction(
        line.at, line.end, Do.CONSTANT, reg=_full(to), offset=number, keeps_condition=True
    )


def _adrp(line: _Line) -> list[Instruction] | None:
    return [_constant(line, line.operands[0], _number(line.operands[1]) or 0)]


def _add(sign: int) -> Callable[[_Line], list[Instruction] | None]:
    def read(line: _Line) -> list[Instruction] | None:
        to, what, number = (*line.operands, "", "")[:3]
        amount = _number(number)
        if amount is None or to[0] == "w":
            return None
        if line.operands[3:] == ("lsl #12",):
            amount <<= 12
        return [
            Instruction(
                line.at, line.end, Do.MOVE, reg=_full(to), base=_full(what), offset=sign * amount,
                keeps_condition=True,
            )
        ]  # fmt: skip

    return read


def _ldr(line: _Line) -> list[Instruction] | None:
    if not line.has_memory or not _is_register(line.operands[0]):
        return None
    narrow = line.mnemonic not in ("ldr", "ldur") or line.operands[0][0] == "w"
    return [
        Instruction(
            line.at, line.end, Do.LOAD, reg=_full(line.operands[0]), base=line.base,
            offset=line.offset, narrow=narrow, keeps_condition=True,
        )
    ]  # fmt: skip


def _ldp(line: _Line) -> list[Instruction] | None:
    if not line.has_memory or line.operands[0][0] != "x":
        return None
    return [
        Instruction(
            line.at, line.end, Do.LOAD, reg=reg, base=line.base, offset=line.offset + 8 * number,
            keeps_condition=True,
        )
        for number, reg in enumerate(line.operands)
    ]  # fmt: skip


def _str(line: _Line) -> list[Instruction] | None:
    if not line.has_memory or not all(map(_is_register, line.operands)):
        return None
    narrow = line.mnemonic in _BYTES or line.operands[0][0] == "w"
    size = _BYTES.get(line.mnemonic, 4 if narrow else 8)
    return [
        Instruction(
            line.at, line.end, Do.STORE, base=line.base, offset=line.offset + size * number,
            source="#0" if reg in ("xzr", "wzr") else _full(reg), narrow=narrow, size=size,
            keeps_condition=True,
        )
        for number, reg in enumerate(line.operands)
    ]  # fmt: skip


def _ldadd(line: _Line) -> list[Instruction] | None:
    source, old = line.operands
    if source[0] == "x":
        return None
    return [
        Instruction(
            line.at, line.end, Do.ADD_ATOMICALLY, base=line.base, source=_full(source),
            others=(_full(old),),
        )
    ]  # fmt: skip


def _cmp(line: _Line) -> list[Instruction] | None:
    if line.operands[1] in ("wzr", "xzr", "#0"):
        return [Instruction(line.at, line.end, Do.TEST, reg=_full(line.operands[0]))]
    return None


def _cset(line: _Line) -> list[Instruction] | None:
    when = _CONDITIONS.get(line.operands[1])
    if when is None:
        return None
    return [
        Instruction(
            line.at, line.end, Do.SET, reg=_full(line.operands[0]), when=when, keeps_condition=True
        )
    ]


def _call(line: _Line) -> list[Instruction] | None:
    target = _number(line.operands[0])
    reg = "" if target is not None else _full(line.operands[0])
    return [Instruction(line.at, line.end, Do.CALL, target=target or 0, reg=reg)]


def _jump(line: _Line) -> list[Instruction] | None:
    return [Instruction(line.at, line.end, Do.JUMP, target=_number(line.operands[0]) or 0)]


def _if_zero(when: bool) -> Callable[[_Line], list[Instruction] | None]:
    def read(line: _Line) -> list[Instruction] | None:
        reg, *bit, to = line.operands
        target = _number(to) or 0
        if bit and bit != ["#0"]:
            return [Instruction(line.at, line.end, Do.BRANCH, target=target)]
        return [
            Instruction(line.at, line.end, Do.BRANCH_ZERO, reg=_full(reg), target=target, when=when)
        ]

    return read


def _plain(do: Do) -> Callable[[_Line], list[Instruction] | None]:
    return lambda line: [Instruction(line.at, line.end, do)]


_READERS: dict[str, Callable[[_Line], list[Instruction] | None]] = {
    "mov": _mov, "adrp": _adrp, "adr": _adrp, "add": _add(1), "sub": _add(-1), "ldr": _ldr,
    "ldur": _ldr, "ldrb": _ldr, "ldrsb": _ldr, "ldrh": _ldr, "ldrsw": _ldr, "ldp": _ldp, "str": _str,
    "stur": _str, "strb": _str, "strh": _str, "sturb": _str, "stp": _str, "ldaddal": _ldadd,
    "cmp": _cmp, "cset": _cset, "bl": _call, "blr": _call, "b": _jump, "br": _jump,
    "ret": _plain(Do.RETURN), "udf": _plain(Do.STOP), "brk": _plain(Do.STOP),
    "cbz": _if_zero(True), "cbnz": _if_zero(False), "tbz": _if_zero(True), "tbnz": _if_zero(False),
}  # fmt: skip

ARM64 = Processor(
    stack="sp",
    arguments=tuple(f"x{number}" for number in range(16)),
    context="x26",
    link=True,
    decode=decode,
)
