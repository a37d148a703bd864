"""The registers that a thread had when a signal interrupted it.

The kernel puts the registers as they were on the stack that handlers run on, above the first frame of the
handler. In a process that ends itself (``runtime/signal_unix.go: sighandler``, GOTRACEBACK=crash) every
thread is in a handler, and the goroutine that ran on it in none other of its stacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spyglass.errors import SpyglassError
from spyglass.runtime.stacks.symbolizer import Entry
from spyglass.threads.architecture import ARCHITECTURES, Registers

if TYPE_CHECKING:
    from spyglass.memory.base import Memory
    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["interrupted"]

#: The handlers that the kernel calls (sys_linux_amd64.s, sys_linux_arm64.s).
_HANDLERS = frozenset({"runtime.sigtramp", "runtime.cgoSigtramp"})
#: Limit of frames from the handler to where it waits or ends the process; there are less than ten.
_MAX_FRAMES = 64


def interrupted(
    memory: Memory, code: Symbolizer, arch: str, registers: Registers
) -> Registers | None:
    """The registers that the signal interrupted whose handler is at `registers`.

    None if it handles none, or its stack cannot be followed up to where the handler began.
    """
    offsets = ARCHITECTURES[arch].interrupted
    try:
        at = _handler_end(memory, code, arch == "arm64", registers)
        if at is None:
            return None
        known = {name: memory.u64(at + offset) for name, offset in offsets.items()}
    except SpyglassError:
        return None
    return Registers(tid=registers.tid, stack=b"", **known)


def _handler_end(
    memory: Memory, code: Symbolizer, link_register: bool, registers: Registers
) -> int | None:
    """The value of sp when the kernel called the running handler."""
    pc, sp, entry = registers.pc, registers.sp, Entry.TRAP
    for depth in range(_MAX_FRAMES):
        function = code.functions.at(pc)
        step = code.step(pc, entry)
        if function is None or step.frame_size < 0:
            return None
        if function.name in _HANDLERS:
            return sp + step.frame_size
        if not link_register:
            pc, sp = memory.u64(sp + step.frame_size), sp + step.frame_size + 8
        elif depth == 0 and step.frame_size == 0:
            pc = registers.lr
        else:
            pc, sp = memory.u64(sp), sp + step.frame_size
        entry = step.entry
    return None
