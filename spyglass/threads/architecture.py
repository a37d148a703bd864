"""The registers that unwinding starts from, and where the kernel's structures have them, by processor."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from spyglass.errors import UnsupportedProgram

__all__ = ["AMD64", "ARCHITECTURES", "ARM64", "Architecture", "Registers", "own_architecture"]

#: What old kernels give for a register that they did not save (``perf_get_regs_user`` before 5.11).
_NOT_SAVED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of thread `tid` in user mode at one moment.

    `g` holds the goroutine while Go code runs (R14 on amd64 since Go 1.17, R28 on arm64) and
    anything at other times; 0 if it is not known. `lr` is arm64's link register, 0 elsewhere.
    `stack` are the bytes from `sp` upwards at the same moment, up to the size requested and
    be had; they may reach beyond the end of the stack.
    """

    tid: int
    pc: int
    sp: int
    bp: int
    g: int
    lr: int = 0
    stack: bytes = b""


@dataclass(frozen=True)
class Architecture:
    """The kernel's interface on one processor.

    `perf_event_open` and `sched_setattr` are the numbers of these system calls (sched_getattr is the
    next one). `sampled` maps our names of registers to their bits in
    ``perf_event_attr.sample_regs_user`` (``asm/perf_regs.h``), `saved` to their words in
    ``struct user_regs_struct`` (``user_pt_regs`` on arm64) of `saved_words` words, which
    PTRACE_GETREGSET gives for NT_PRSTATUS (``asm/user.h``, ``asm/ptrace.h``). `interrupted` are the
    offsets of those that a signal handler will return to from what sp was when the kernel called it
    (``struct rt_sigframe`` in ``arch/*/kernel/signal.c``, ``asm/sigcontext.h``).
    """

    perf_event_open: int
    sched_setattr: int
    sampled: Mapping[str, int]
    saved: Mapping[str, int]
    saved_words: int
    interrupted: Mapping[str, int]

    @property
    def sample_mask(self) -> int:
        """The bits of all `sampled` registers."""
        return sum(1 << bit for bit in self.sampled.values())

    @cached_property
    def sampled_words(self) -> struct.Struct:
        """The words of a sample with `sample_mask`."""
        return struct.Struct(f"<{len(self.sampled)}Q")

    @cached_property
    def _sampled_names(self) -> list[str]:
        return sorted(self.sampled, key=self.sampled.__getitem__)

    def from_sample(self, tid: int, words: Sequence[int], stack: bytes) -> Registers:
        """The registers that a sample with `sample_mask` holds, in the order of their bits."""
        saved = [0 if word == _NOT_SAVED else word for word in words]
        return Registers(tid=tid, stack=stack, **dict(zip(self._sampled_names, saved, strict=True)))

    def from_saved(self, tid: int, words: Sequence[int]) -> Registers:
        """The registers out of the `saved_words` words of a stopped thread."""
        return Registers(tid=tid, stack=b"", **{name: words[at] for name, at in self.saved.items()})

    def to_saved(self, registers: Registers) -> tuple[int, ...]:
        """The words that `from_saved` makes these registers of; all others are 0."""
        words = [0] * self.saved_words
        for name, at in self.saved.items():
            words[at] = getattr(registers, name)
        return tuple(words)


AMD64 = Architecture(
    perf_event_open=298,
    sched_setattr=314,
    sampled={"bp": 6, "sp": 7, "pc": 8, "g": 22},
    saved={"g": 1, "bp": 4, "pc": 16, "sp": 19},
    saved_words=27,
    # Behind the return address and the 40 bytes of struct ucontext before struct sigcontext.
    interrupted={name: 48 + 8 * at for name, at in {"g": 6, "bp": 10, "sp": 15, "pc": 16}.items()},
)
ARM64 = Architecture(
    perf_event_open=241,
    sched_setattr=274,
    sampled={"g": 28, "bp": 29, "lr": 30, "sp": 31, "pc": 32},
    saved={"g": 28, "bp": 29, "lr": 30, "sp": 31, "pc": 32},
    saved_words=34,
    # Behind siginfo_t, the 176 bytes of struct ucontext before struct sigcontext, and its first word.
    interrupted={
        name: 312 + 8 * at for name, at in {"g": 28, "bp": 29, "lr": 30, "sp": 31, "pc": 32}.items()
    },
)
#: By GOARCH.
ARCHITECTURES = {"amd64": AMD64, "arm64": ARM64}
_BY_MACHINE = {"x86_64": AMD64, "aarch64": ARM64}


def own_architecture() -> Architecture:
    """The architecture of this machine. Raises `UnsupportedProgram` if it is not supported."""
    machine = os.uname().machine
    if machine not in _BY_MACHINE:
        raise UnsupportedProgram(
            f"the registers of a {machine} cannot be read; spyglass knows amd64 and arm64"
        )
    return _BY_MACHINE[machine]
