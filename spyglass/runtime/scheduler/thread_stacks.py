"""What each thread of a process runs: a goroutine, the scheduler, a signal handler, or C."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass import procfs
from spyglass.model import Thread
from spyglass.runtime.goroutines.decode import fields_of
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.unwinder import INCOMPLETE, UNREADABLE, Cursors, StackBytes, Unwinder
from spyglass.threads import Registers, sample_threads
from spyglass.threads.blocked import blocked_registers
from spyglass.threads.native_symbols import Symbols

if TYPE_CHECKING:
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.scheduler.sched import Ms
    from spyglass.targets import Target

__all__ = ["ThreadStacks", "add_stacks", "live_registers", "names_of_code"]

#: An M's own stacks and that of its goroutine: the field of ``m``, and the word for what runs on it.
_STACKS = (("curg", "goroutine"), ("g0", "g0"), ("gsignal", "gsignal"))
_C = "C"
#: Where Go runs on a stack that it does not know: so much of it is looked at.
_UNKNOWN_BYTES = 1 << 16
#: The end of a stack that C made is taken from a variable on it (``mstart0``): the first frames lie
#: beyond.
_BEYOND_G0_BYTES = 1 << 12


class ThreadStacks:
    """Finds what threads run. `describe` names code that is not Go's."""

    def __init__(
        self, runtime: Runtime, tree: StackTree, ms: Ms, describe: Callable[[int], str]
    ) -> None:
        self._runtime = runtime
        self._tree = tree
        self._describe = describe
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._stacks = _stacks_of_ms(runtime, ms)

    def of(self, thread: Thread, registers: Registers) -> Thread:
        """`thread` with what it runs and its frames, where its registers are `registers`."""
        word, high = self._stack_at(thread, registers.sp)
        if self._tree.code.functions.at(registers.pc) is None:
            name = self._describe(registers.pc)
            runs = word if word == "gsignal" else _C
            return replace(thread, runs=runs, stack=(self._tree.code.foreign(name, registers.pc),))
        cursors = Cursors.sampled([registers], np.array([high], np.uint64))
        stacks = StackBytes.sampled([registers])
        walked = self._unwinder.walk(cursors, False, StackTree.SAMPLED, stacks)
        if walked.outcome[0] in (INCOMPLETE, UNREADABLE):
            detail = "its stack does not end where stacks end; cut there"
            self._runtime.problem("implausible", f"thread {thread.tid}", detail)
        frames, _ = self._tree.frames(int(walked.node[0]))
        if word is None and frames:
            # It has gone from one stack to another since its M was read: only the end tells which.
            ends_as_goroutine = self._tree.code.frames[frames[-1]].function == "runtime.goexit"
            word = "goroutine" if ends_as_goroutine else "g0"
            thread = replace(thread, goroutine=None)
        return replace(thread, runs=word, stack=frames)

    def _stack_at(self, thread: Thread, sp: int) -> tuple[str | None, int]:
        """What runs on the stack of `thread`'s M that `sp` is on, and where that stack ends."""
        for word, (low, high) in self._stacks.get(thread.m, {}).items():
            if low <= sp < high:
                return word, high
        return None, sp + _UNKNOWN_BYTES


def names_of_code(target: Target) -> Callable[[int], str]:
    """A function that names code at an address in `target`: by symbols of a file that is mapped there
    in a process, in a core by file and offset."""
    if target.process.kind == "process":
        return Symbols(target.pid, procfs.maps(target.pid), target.memory).describe
    files = target.process.files()

    def describe(pc: int) -> str:
        for file in files:
            if file.start <= pc < file.end:
                return f"{os.path.basename(file.path)}+{pc - file.start + file.offset:#x}"
        return f"{pc:#x}"

    return describe


def add_stacks(
    stacks: ThreadStacks, threads: Sequence[Thread], registers: Mapping[int, Registers]
) -> list[Thread]:
    """`threads` with what they run, where their `registers` (by thread id) are known."""
    return [
        stacks.of(thread, registers[thread.tid]) if thread.tid in registers else thread
        for thread in threads
    ]


def live_registers(pid: int, tids: Sequence[int]) -> dict[int, Registers]:
    """The registers of threads of a process that goes on, by thread id, as far as they can be had.

    Of those that wait in the kernel they are asked for, the others are sampled.
    """
    blocked = {tid: blocked_registers(pid, tid) for tid in tids}
    found = {tid: registers for tid, registers in blocked.items() if registers is not None}
    running = [tid for tid in tids if tid not in found]
    if running:
        found |= sample_threads(running, lambda _: True).registers
    return found


def _stacks_of_ms(runtime: Runtime, ms: Ms) -> dict[int | None, dict[str, tuple[int, int]]]:
    """The id of each M -> what may run on it -> the bounds of the stack for that."""
    dtype = fields_of(runtime.layouts["g"])
    found: dict[int | None, dict[str, tuple[int, int]]] = {int(m): {} for m in ms.rows["id"]}
    if not found:  # they could not be read
        return found
    for field, word in _STACKS:
        gathered = runtime.memory.gather(ms.rows[field].astype(np.uint64), dtype.itemsize)
        bounds = gathered.rows(dtype)["stack"]
        for m, stack, ok in zip(ms.rows["id"], bounds, gathered.ok, strict=True):
            if ok:
                beyond = _BEYOND_G0_BYTES if word == "g0" else 0
                found[int(m)][word] = (int(stack["lo"]), int(stack["hi"]) + beyond)
    return found
