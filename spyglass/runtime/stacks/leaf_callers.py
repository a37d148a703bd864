"""Who called a function without a frame, where the link register is not known.

Of a thread that sleeps in the kernel /proc tells pc and sp alone (proc_pid_syscall(5)). On arm64 Go's functions that
make system calls (``runtime/sys_linux_arm64.s: futex``, ``Syscall6``) have no frame: where they return to is in the
link register, and not on the stack. What lies at sp is the frame of their caller. Its first word is where the caller
returns to, and the call before that address leads to the caller (``cmd/internal/obj/arm64/obj7.go: preprocess`` saves
the link register there). The caller's code calls the function without a frame at one place or a few; where these differ,
the arguments that they store in the frame tell which one it was (ABI0: ``cmd/compile/abi-internal.md``). A caller that
does not fit, or two places that do, mean that it is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spyglass.binary.instructions import Do, Instruction, processor
from spyglass.errors import SpyglassError
from spyglass.runtime.stacks.symbolizer import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spyglass.binary.pclntab import Function
    from spyglass.memory.base import Memory
    from spyglass.runtime.stacks.symbolizer import Symbolizer
    from spyglass.threads import Registers

__all__ = ["LeafCallers"]

_STACK = "sp"
#: BL, and its 26 bits of distance in words (Arm Architecture Reference Manual, "BL").
_CALL_MASK, _CALL = 0xFC000000, 0x94000000
_INSTRUCTION_BYTES = 4
#: Code of a caller that is decoded, and how many callers are: the runtime has ten, of 1 KiB each.
_MAX_CODE_BYTES = 1 << 14
_MAX_CALLERS = 64


class _Stored(NamedTuple):
    """What is in `size` bytes of a frame: `number`, counted from sp if it `is_address`."""

    size: int
    is_address: bool
    number: int


class _Place(NamedTuple):
    """A call: where it returns to, and what its function has stored before, by distance from sp."""

    back: int
    stored: dict[int, _Stored]

    def fits(self, memory: Memory, sp: int) -> bool:
        """Whether memory at `sp` holds what was stored. Raises `MemoryFault`."""
        for offset, (size, is_address, number) in self.stored.items():
            expected = number + sp if is_address else number
            if memory.read(sp + offset, size) != expected.to_bytes(9, "little")[:size]:
                return False
        return True


class LeafCallers:
    """Finds the callers of functions without a frame in the program `code`, whose threads' stacks are in `memory`."""

    def __init__(self, memory: Memory, code: Symbolizer) -> None:
        self._memory = memory
        self._code = code
        self._places: dict[tuple[int, int], list[_Place]] = {}

    def link(self, registers: Registers) -> int:
        """What the link register holds of a thread that sleeps in the kernel with these pc and sp, where the function at
        pc has no frame; 0 if it has one, or if that is not certain."""
        try:
            leaf = self._code.functions.at(registers.pc)
            if leaf is None or self._code.step(registers.pc, Entry.TRAP).frame_size != 0:
                return 0
            caller = self._called_before(self._memory.u64(registers.sp))
            places = self._calls(caller, leaf) if caller is not None else []
            found = [each.back for each in places if each.fits(self._memory, registers.sp)]
        except (SpyglassError, OverflowError):
            return 0
        return found[0] if len(found) == 1 else 0

    def _called_before(self, back: int) -> Function | None:
        """The function that the call before `back` calls."""
        at = back - _INSTRUCTION_BYTES
        word = int.from_bytes(self._code.trees.read(at, _INSTRUCTION_BYTES), "little")
        if word & _CALL_MASK != _CALL:
            return None
        distance = (word & ~_CALL_MASK) - ((word & 1 << 25) << 1)
        target = at + distance * _INSTRUCTION_BYTES
        function = self._code.functions.at(target)
        return function if function is not None and function.entry == target else None

    def _calls(self, caller: Function, leaf: Function) -> list[_Place]:
        """The places where `caller` calls `leaf`."""
        key = caller.entry, leaf.entry
        if key not in self._places:
            size = caller.end - caller.entry
            if size > _MAX_CODE_BYTES or len(self._places) >= _MAX_CALLERS:
                return []
            raw = self._code.trees.read(caller.entry, size)
            found = _calls_of(processor("arm64").decode(raw, caller.entry), leaf.entry)
            self._places[key] = [self._within_frame(each) for each in found]
        return self._places[key]

    def _within_frame(self, place: _Place) -> _Place:
        """`place` with what is stored above the first word of the frame, which has where its function returns to."""
        size = self._code.step(place.back, Entry.CALL).frame_size
        inside = {at: each for at, each in place.stored.items() if 8 <= at <= size - each.size}
        return place._replace(stored=inside)


def _calls_of(instructions: Sequence[Instruction], target: int) -> list[_Place]:
    """The calls of the function at `target` in the code of another one."""
    begins = {each.target for each in instructions if each.do != Do.CALL}
    # Where a jump leads that takes its target from a register, nothing is known to be stored.
    is_known = not any(each.do == Do.JUMP and not each.target for each in instructions)
    found, frame = [], _Frame()
    for each in instructions:
        if each.at in begins:
            frame = _Frame()
        if each.do == Do.CALL:
            if each.target == target:
                found.append(_Place(each.end, frame.stored if is_known else {}))
            frame = _Frame()
        else:
            frame.follow(each)
    return found


class _Frame:
    """What is known of registers and of a frame at some place of its function's code."""

    def __init__(self) -> None:
        self._values = {_STACK: _Stored(8, True, 0)}
        self.stored: dict[int, _Stored] = {}

    def follow(self, each: Instruction) -> None:
        """Do what an instruction does."""
        value = None
        if each.do == Do.CONSTANT and each.offset >= 0:
            value = _Stored(8, False, each.offset)
        elif each.do == Do.MOVE and not each.narrow and each.base in self._values:
            base = self._values[each.base]
            value = base._replace(number=base.number + each.offset)
        elif each.do in (Do.STORE, Do.COMPARE_AND_SWAP, Do.ADD_ATOMICALLY):
            self._store(each)
        for register in (each.reg, *each.others):
            self._values.pop(register, None)
        if each.reg == _STACK:  # the frame begins or ends
            self._values, self.stored = {_STACK: _Stored(8, True, 0)}, {}
        elif value is not None:
            self._values[each.reg] = value

    def _store(self, each: Instruction) -> None:
        base = self._values.get(each.base)
        if base is None or not base.is_address or each.do != Do.STORE:
            self.stored.clear()  # it may be anywhere
            return
        at = base.number + each.offset
        for other in [n for n in self.stored if n < at + each.size and at < n + 8]:
            del self.stored[other]
        value = _Stored(8, False, 0) if each.source == "#0" else self._values.get(each.source)
        if value is not None and (each.size == 8 or (each.size == 4 and not value.is_address)):
            self.stored[at] = value._replace(size=each.size)
