"""Frames of code that is not Go's: of C, and of the kernel.

The kernel's call chain follows frame pointers (``arch/x86/events/core.c: perf_callchain_user``). Functions that
were compiled without them, as most of the C library, are left out of it, or it leads anywhere. What is shown
was therefore called: its address lies in code, behind an instruction that calls.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spyglass.errors import SpyglassError
from spyglass.model import Frame
from spyglass.threads.kernel_symbols import KERNEL

if TYPE_CHECKING:
    from spyglass.runtime.context import Runtime
    from spyglass.threads.kernel_symbols import KernelSymbols

__all__ = ["Native", "NativeFrames"]

_NOT_KNOWN = Frame("[callers not known]", None, None, 0)
#: A call instruction up to its end, by processor: CALL with E8 or FF /2 and each form of its operand (Intel SDM,
#: volume 2); BL and BLR (Arm ARM, C6.2).
_CALLS = {
    "amd64": re.compile(
        rb"(?s)(?:\xe8.{4}|\xff(?:[\x10-\x13\x16\x17\xd0-\xd7]|\x14.|\x14.{5}|\x15.{4}|[\x50-\x53\x55-\x57]."
        rb"|\x54..|[\x90-\x93\x95-\x97].{4}|\x94.{5}))\Z"
    ),
    "arm64": re.compile(rb"(?s)(?:.{3}[\x94-\x97]|..\x3f\xd6)\Z"),
}
_CALL_BYTES = 7
#: Names that are kept.
_MAX_KNOWN = 1 << 17


@dataclass(frozen=True, slots=True)
class Native:
    """What names code that is not Go's: `describe`; with more than the innermost function of C, `code`: where
    there is code (begin, end), by address, and `kernel`: names of the kernel's."""

    describe: Callable[[int], str]
    code: Sequence[tuple[int, int]] | None = None
    kernel: KernelSymbols | None = None


class NativeFrames:
    """Makes frames of the call chains of samples."""

    def __init__(self, native: Native, runtime: Runtime, is_go: Callable[[int], bool]) -> None:
        self._native = native
        self._memory = runtime.memory
        self._call = _CALLS[runtime.arch]
        self._is_go = is_go
        self._begins = [begin for begin, _ in native.code or ()]
        self._frames: dict[int, Frame] = {}
        self._called: dict[int, bool] = {}

    def of_kernel(self, chain: Sequence[int]) -> tuple[Frame, ...]:
        """The frames of the kernel's part of a chain, the innermost first; one if their names are not known."""
        names = self._native.kernel
        if not chain or names is None:
            return ()
        if not names.known:
            return (Frame(KERNEL, None, None, 0),)
        # All but the innermost are return addresses, which may lie behind the end of their function.
        return tuple(self._frame(pc - (at > 0), names.name) for at, pc in enumerate(chain))

    def of_c(self, pc: int, chain: Sequence[int]) -> tuple[tuple[Frame, ...], Sequence[int]]:
        """The frames of C of a sample at `pc`, the innermost first, and the rest of its `chain`: from the first pc
        on that is Go, or is no caller."""
        frames = [self._frame(pc, self._name)]
        callers = chain[1:]
        if self._native.code is None:
            return tuple(frames), callers
        count = 0
        while count < len(callers) and not self._is_go(callers[count]):
            if not self._is_called(callers[count]):
                break
            frames.append(self._frame(callers[count] - 1, self._name))
            count += 1
        return tuple(frames), callers[count:]

    def without_callers(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """`frames` of C of which it is not known who called them."""
        return frames if self._native.code is None else (*frames, _NOT_KNOWN)

    def _is_called(self, pc: int) -> bool:
        known = self._called.get(pc)
        if known is None:
            if len(self._called) >= _MAX_KNOWN:
                self._called.clear()
            known = self._called[pc] = self._is_code(pc) and self._is_behind_call(pc)
        return known

    def _is_code(self, pc: int) -> bool:
        at = bisect_right(self._begins, pc) - 1
        return at >= 0 and pc < (self._native.code or ())[at][1]

    def _is_behind_call(self, pc: int) -> bool:
        try:
            before = self._memory.read(pc - _CALL_BYTES, _CALL_BYTES)
        except SpyglassError:  # the process may have ended
            return False
        return self._call.search(before) is not None

    def _name(self, pc: int) -> str:
        return self._native.describe(pc).rpartition("+")[0] or "[C]"

    def _frame(self, pc: int, name: Callable[[int], str]) -> Frame:
        frame = self._frames.get(pc)
        if frame is None:
            if len(self._frames) >= _MAX_KNOWN:
                self._frames.clear()
            frame = self._frames[pc] = Frame(name(pc), None, None, 0)
        return frame
