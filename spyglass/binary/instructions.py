"""What instructions do to registers, stack slots and locks, in terms that are the same for every processor."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Do", "Instruction", "Processor", "processor"]

#: Code of a function that is decoded: hundreds of times what a function has that people write.
MAX_CODE_BYTES = 1 << 17


class Do(enum.IntEnum):
    """What an instruction does; `Instruction` has the operands."""

    OTHER = 0  # forget what the registers `others` held
    MOVE = 1  # reg = base + offset
    CONSTANT = 2  # reg = offset (also an address)
    LOAD = 3  # reg = memory at base + offset
    STORE = 4  # memory at base + offset = source
    COMPARE_AND_SWAP = 5  # of the 4 bytes at base + offset; sets the condition "equal" on success
    ADD_ATOMICALLY = 6  # source to the 4 bytes at base + offset
    CALL = 7  # target, or 0: a closure (in reg) or a method of an interface
    JUMP = 8  # to target; 0: not known where
    BRANCH = 9  # to target if the condition is as `when` says
    RETURN = 10
    STOP = 11  # nothing continues here
    SET = 12  # reg = the condition, or not (`when` False)
    TEST = 13  # the condition "equal" = reg is zero
    BRANCH_ZERO = 14  # to target if reg is zero (`when`), or is not


class Instruction(NamedTuple):
    """One instruction at `at`; the next one is at `end`.

    Registers are named as the processor's full ones; "" for none. `others`: registers that it changes in
    ways that are not followed. `narrow`: it moves fewer than 8 bytes. `size`: bytes that a STORE writes.
    `when`: None: the condition is not one of zero or equal.
    """

    at: int
    end: int
    do: Do
    reg: str = ""
    base: str = ""
    offset: int = 0
    source: str = ""
    target: int = 0
    others: tuple[str, ...] = ()
    narrow: bool = False
    size: int = 8
    when: bool | None = None
    keeps_condition: bool = False


class Processor(NamedTuple):
    """How code of a processor is decoded, and Go's conventions for calls on it.

    `arguments`: the registers that the first arguments are in, where registers hold them
    (``internal/abi``: ``abi-internal.md``); `context`: the one that holds the closure that is called.
    `link`: whether calls leave the return address in a register. `decode`: (code, address) to instructions.
    """

    stack: str
    arguments: tuple[str, ...]
    context: str
    link: bool
    decode: Callable[[bytes, int], list[Instruction]]


def processor(arch: str) -> Processor:
    """The processor that Go calls `arch`."""
    if arch == "arm64":
        from spyglass.binary.instructions_arm64 import ARM64

        return ARM64
    from spyglass.binary.instructions_amd64 import AMD64

    return AMD64
