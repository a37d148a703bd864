"""amd64 instructions as `spyglass.binary.instructions` describes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from spyglass.binary.disassembler import disassemble
from spyglass.binary.instructions import Do, Instruction, Processor

__all__ = ["AMD64"]

_WIDE = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")
_MEMORY = re.compile(r"^(?:(\w+) ptr )?(?:\w\w:)?\[(.*)\]$")
_BYTES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xmmword": 16, "ymmword": 32, "zmmword": 64}
#: Instructions that change no register that is followed, only the condition or nothing.
_COMPARE = frozenset(("cmp", "test", "bt", "ucomiss", "ucomisd", "comiss", "comisd", "ptest"))
_NOTHING = frozenset(("nop", "pause", "mfence", "lfence", "sfence", "prefetcht0", "prefetchnta"))
#: Instructions that keep the condition and are not followed otherwise.
_PLAIN_MOVES = ("mov", "lea", "push", "pop", "set", "nop", "cmov", "lddqu", "vmov")


def _registers() -> dict[str, str]:
    """The full register of the name of each part of one."""
    names = {}
    for wide in _WIDE:
        short = wide[1:]
        low = short[0] + "l" if short.endswith("x") else short + "l"
        for name in (wide, "e" + short, short, low, short[0] + "h"):
            names[name] = wide
    for number in range(8, 16):
        for suffix in ("", "d", "w", "b"):
            names[f"r{number}{suffix}"] = f"r{number}"
    return names


_FULL = _registers()


class _Operand(NamedTuple):
    """A register (`reg`, `size` bytes of it), a number, or memory at base + offset (+ an index)."""

    reg: str = ""
    number: int | None = None
    memory: bool = False
    base: str = ""
    offset: int = 0
    indexed: bool = False
    size: int = 8


@lru_cache(maxsize=1 << 14)
def _operand(text: str) -> _Operand:
    match = _MEMORY.match(text)
    if match:
        return _memory(match[2], _BYTES.get(match[1] or "", 8))
    if text in _FULL:
        full = _FULL[text]
        is_wide = text == full
        size = 8 if is_wide else 4 if text[0] == "e" or text.endswith("d") else 1
        return _Operand(reg=full, size=size)
    try:
        return _Operand(number=int(text, 0))
    except ValueError:
        return _Operand()


def _memory(text: str, size: int) -> _Operand:
    base, offset, indexed = "", 0, False
    for part in text.replace(" - ", " + -").split(" + "):
        if "*" in part:
            indexed = True
        elif part.lstrip("-")[:1].isdigit():
            offset += int(part, 0)
        elif base:
            indexed = True
        else:
            base = _FULL.get(part, part)
    return _Operand(memory=True, base=base, offset=offset, indexed=indexed, size=size)


def decode(code: bytes, address: int) -> list[Instruction]:
    """The instructions `code` at `address`."""
    return [
        _instruction(at, at + size, mnemonic, operands)
        for at, size, mnemonic, operands in disassemble(code, address, "amd64")
    ]


def _instruction(at: int, end: int, mnemonic: str, text: str) -> Instruction:
    operands = [_operand(part) for part in text.split(", ")] if text else []
    read = _READERS.get(mnemonic)
    if read is not None and operands:
        found = read(at, end, operands)
        if found is not None:
            return found
    if mnemonic[0] == "j" or mnemonic in ("call", "ret"):
        return _jump(at, end, mnemonic, operands)
    if mnemonic in ("ud2", "int3", "hlt", ".byte"):
        return Instruction(at, end, Do.STOP)
    return _other(at, end, mnemonic, operands)


def _other(at: int, end: int, mnemonic: str, operands: list[_Operand]) -> Instruction:
    """An instruction that is not followed: what it changes is forgotten."""
    keeps = mnemonic.startswith(_PLAIN_MOVES)
    if mnemonic in _COMPARE or mnemonic in _NOTHING or not operands:
        others = _implicit(mnemonic)
        keeps = mnemonic in _NOTHING
        return Instruction(at, end, Do.OTHER, others=others, keeps_condition=keeps)
    first, others = operands[0], _implicit(mnemonic)
    if mnemonic in ("mul", "div", "idiv") or (mnemonic == "imul" and len(operands) == 1):
        return Instruction(at, end, Do.OTHER, others=("rax", "rdx"))
    if "xchg" in mnemonic or "xadd" in mnemonic:
        others = tuple(each.reg for each in operands if each.reg)
    if "cmpxchg" in mnemonic:
        others = ("rax", "rdx")
    if first.memory:
        if first.base == "rip" or first.indexed:
            return Instruction(at, end, Do.OTHER, others=others, keeps_condition=keeps)
        return Instruction(
            at, end, Do.STORE, base=first.base, offset=first.offset, others=others, size=first.size,
            keeps_condition=keeps,
        )  # fmt: skip
    others = (*others, first.reg) if first.reg else others
    return Instruction(at, end, Do.OTHER, others=others, keeps_condition=keeps)


def _implicit(mnemonic: str) -> tuple[str, ...]:
    """Registers that an instruction changes without naming them."""
    if mnemonic.startswith(("rep", "stos", "movs", "scas", "lods")):
        return ("rdi", "rsi", "rcx") if "ss" not in mnemonic[:5] else ()
    if mnemonic in ("cqo", "cdq", "cwd"):
        return ("rdx",)
    if mnemonic in ("cpuid", "xgetbv", "rdtsc", "rdtscp", "syscall"):
        return ("rax", "rbx", "rcx", "rdx", "r11")
    return ()


def _jump(at: int, end: int, mnemonic: str, operands: list[_Operand]) -> Instruction:
    if mnemonic == "ret":
        return Instruction(at, end, Do.RETURN)
    to = operands[0] if operands else _Operand()
    target = to.number or 0
    if mnemonic == "call":
        return Instruction(
            at, end, Do.CALL, reg=to.reg, base=to.base, offset=to.offset, target=target
        )
    if mnemonic == "jmp":
        return Instruction(at, end, Do.JUMP, target=target)
    when = {"je": True, "jne": False}.get(mnemonic)
    return Instruction(at, end, Do.BRANCH, target=target, when=when, keeps_condition=True)


def _mov(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    to, what = operands
    if to.memory:
        return _store(at, end, to, what)
    if not to.reg:
        return None
    if what.number is not None:
        return _constant(at, end, to.reg, _signed(what.number, to.size))
    if what.reg:
        return Instruction(
            at, end, Do.MOVE, reg=to.reg, base=what.reg, narrow=what.size < 8, keeps_condition=True
        )
    if not _is_place(what):
        return None
    base, offset = _place(what, end)
    return Instruction(
        at, end, Do.LOAD, reg=to.reg, base=base, offset=offset, narrow=what.size < 8,
        keeps_condition=True,
    )  # fmt: skip


def _store(at: int, end: int, to: _Operand, what: _Operand) -> Instruction:
    if to.indexed or to.base == "rip":
        return Instruction(at, end, Do.OTHER, keeps_condition=True)
    return Instruction(
        at, end, Do.STORE, base=to.base, offset=to.offset, narrow=to.size < 8, size=to.size,
        source=what.reg if what.number is None else f"#{what.number}", keeps_condition=True,
    )  # fmt: skip


def _signed(number: int, size: int) -> int:
    """`number` of `size` bytes with its sign: what a 32-bit register gets is compared so."""
    bits = 8 * size
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def _constant(at: int, end: int, reg: str, number: int) -> Instruction:
    return Instruction(at, end, Do.CONSTANT, reg=reg, offset=number, keeps_condition=True)


def _lea(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    to, what = operands
    if what.indexed or not to.reg:
        return None
    if what.base == "rip":
        return _constant(at, end, to.reg, end + what.offset)
    return Instruction(
        at, end, Do.MOVE, reg=to.reg, base=what.base, offset=what.offset, keeps_condition=True
    )


def _add(sign: int) -> Callable[[int, int, list[_Operand]], Instruction | None]:
    def read(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
        to = operands[0]
        number = operands[1].number if len(operands) > 1 else 1
        if not to.reg or to.size < 8 or number is None:
            return None
        return Instruction(at, end, Do.MOVE, reg=to.reg, base=to.reg, offset=sign * number)

    return read


def _xor(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    to, what = operands[0], operands[-1]
    if to.reg and to == what:
        return Instruction(at, end, Do.CONSTANT, reg=to.reg)
    return None


def _test(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    first, second = operands
    if first.reg and (first == second or second.number == 0):
        return Instruction(at, end, Do.TEST, reg=first.reg)
    return None


def _cmp(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    return _test(at, end, operands) if operands[1].number == 0 else None


def _set(when: bool) -> Callable[[int, int, list[_Operand]], Instruction | None]:
    def read(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
        if not operands[0].reg:
            return None
        return Instruction(at, end, Do.SET, reg=operands[0].reg, when=when, keeps_condition=True)

    return read


def _swap(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    to, new = operands
    if not _is_place(to) or to.size != 4:
        return None
    base, offset = _place(to, end)
    return Instruction(
        at, end, Do.COMPARE_AND_SWAP, base=base, offset=offset, source=new.reg, others=("rax",)
    )


def _xadd(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    to, what = operands
    if not _is_place(to) or to.size != 4:
        return None
    base, offset = _place(to, end)
    return Instruction(
        at, end, Do.ADD_ATOMICALLY, base=base, offset=offset, source=what.reg, others=(what.reg,)
    )


def _is_place(operand: _Operand) -> bool:
    return operand.memory and not operand.indexed


def _place(operand: _Operand, end: int) -> tuple[str, int]:
    if operand.base == "rip":
        return "", end + operand.offset
    return operand.base, operand.offset


def _push(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    return Instruction(at, end, Do.MOVE, reg="rsp", base="rsp", offset=-8, keeps_condition=True)


def _pop(at: int, end: int, operands: list[_Operand]) -> Instruction | None:
    return Instruction(
        at, end, Do.MOVE, reg="rsp", base="rsp", offset=8, others=(operands[0].reg,),
        keeps_condition=True,
    )  # fmt: skip


_READERS: dict[str, Callable[[int, int, list[_Operand]], Instruction | None]] = {
    "mov": _mov, "movabs": _mov, "movzx": _mov, "lea": _lea, "add": _add(1), "sub": _add(-1),
    "inc": _add(1), "dec": _add(-1), "xor": _xor, "test": _test, "cmp": _cmp, "sete": _set(True),
    "setne": _set(False), "lock cmpxchg": _swap, "lock xadd": _xadd, "push": _push, "pop": _pop,
}  # fmt: skip

AMD64 = Processor(
    stack="rsp",
    arguments=("rax", "rbx", "rcx", "rdi", "rsi", "r8", "r9", "r10", "r11"),
    context="rdx",
    link=False,
    decode=decode,
)
