"""What each thread of a process runs: a goroutine, the scheduler, a signal handler, or C."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import SpyglassError
from spyglass.model import NONE, Thread
from spyglass.runtime.goroutines.decode import fields_of
from spyglass.runtime.stacks.leaf_callers import LeafCallers
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.unwinder import Unwinder
from spyglass.runtime.stacks.walks import INCOMPLETE, UNREADABLE, Cursors, StackBytes

if TYPE_CHECKING:
    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.scheduler.sched import Ms
    from spyglass.threads import Registers

__all__ = ["ThreadStacks", "add_stacks"]

#: An M's own stacks and that of its goroutine: the field of ``m``, and the word for what runs on it.
_STACKS = (("curg", "goroutine"), ("g0", "g0"), ("gsignal", "gsignal"))
_C = "C"
#: Bytes that are read of a stack whose bounds are not known.
_UNKNOWN_BYTES = 1 << 16
#: The end of a g0 stack that C made is the address of a variable on it (``mstart0``): the outermost
#: frames lie beyond it.
_BEYOND_G0_BYTES = 1 << 12
#: What memory is mapped in, or a part of it.
_PAGE_BYTES = 1 << 12
_MAX_ADDRESS = (1 << 64) - 1


class ThreadStacks:
    """Finds what threads run. `describe` names code at an address that is not Go's."""

    def __init__(
        self, runtime: Runtime, tree: StackTree, ms: Ms, describe: Callable[[int], str]
    ) -> None:
        self._runtime = runtime
        self._tree = tree
        self._describe = describe
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._leaf_callers = LeafCallers(runtime.memory, tree.code)
        self._stacks = _stacks_of_ms(runtime, ms)

    def of(self, thread: Thread, registers: Registers) -> Thread:
        """`thread` with what it runs and its frames, where its registers are `registers`.

        A thread that the kernel made for itself, such as a worker of io_uring, runs none of the program's code: its
        registers are 0 (``arch/*/kernel/process.c: copy_thread``).
        """
        if not registers.pc and not registers.sp:
            return thread
        word, high = self._stack_at(thread, registers.sp)
        if self._tree.code.functions.at(registers.pc) is None:
            name = self._describe(registers.pc)
            runs = word if word == "gsignal" else _C
            return replace(thread, runs=runs, stack=(self._tree.code.foreign(name, registers.pc),))
        if self._runtime.arch == "arm64" and not registers.lr:
            registers = replace(registers, lr=self._leaf_callers.link(registers))
        cursors = Cursors.sampled([registers], np.array([high], np.uint64))
        stacks = StackBytes.sampled([registers])
        walked = self._unwinder.walk(cursors, False, StackTree.SAMPLED, stacks)
        if walked.outcome[0] in (INCOMPLETE, UNREADABLE):
            detail = "unwinding stopped before the stack bottom"
            self._runtime.problem("implausible", f"thread {thread.tid}", detail)
        frames, _ = self._tree.frames(int(walked.node[0]))
        if word is None and frames:
            # It has switched stacks since its M was read: only the outermost frame tells which stack this is.
            ends_as_goroutine = self._tree.code.frames[frames[-1]].function == "runtime.goexit"
            word = "goroutine" if ends_as_goroutine else "g0"
            thread = replace(thread, goroutine=None)
        return replace(thread, runs=word, stack=frames)

    def places(
        self, samples: Sequence[tuple[Thread, Registers]]
    ) -> list[tuple[int | None, str | None]]:
        """Where user's code was (an index of `Snapshot.frames`, as `Goroutines.where`; None: nowhere, or not
        known) and what ran, for each of `samples` of threads.

        Only what the samples hold is trusted: a stack that reaches beyond it has changed since.
        """
        pcs = {registers.pc for _, registers in samples}
        is_go = {pc: self._tree.code.functions.at(pc) is not None for pc in pcs}
        ats = [self._stack_at(thread, registers.sp) for thread, registers in samples]
        rows = [row for row, (_, registers) in enumerate(samples) if is_go[registers.pc]]
        registers = [samples[row][1] for row in rows]
        highs = np.array([ats[row][1] for row in rows], np.uint64)
        walked = self._unwinder.walk(
            Cursors.sampled(registers, highs),
            True,
            StackTree.SAMPLED,
            StackBytes.sampled(registers),
        )
        wheres = np.where(walked.beyond, NONE, walked.where).tolist()
        found: list[tuple[int | None, str | None]] = [(None, _C)] * len(samples)
        for row, where in zip(rows, wheres, strict=True):
            found[row] = (where if where >= 0 else None, ats[row][0])
        return found

    def _stack_at(self, thread: Thread, sp: int) -> tuple[str | None, int]:
        """What runs on the stack of `thread`'s M that `sp` is on, and where that stack ends."""
        for word, (low, high) in self._stacks.get(thread.m, {}).items():
            if low <= sp < high:
                return word, high
        return None, sp + _UNKNOWN_BYTES


def add_stacks(
    stacks: ThreadStacks, threads: Sequence[Thread], registers: Mapping[int, Registers]
) -> list[Thread]:
    """`threads` with what they run, where their `registers` (by thread id) are known."""
    return [
        stacks.of(thread, registers[thread.tid]) if thread.tid in registers else thread
        for thread in threads
    ]


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
                low, high = int(stack["lo"]), int(stack["hi"])
                found[int(m)][word] = (
                    low,
                    _beyond_g0(runtime.memory, high) if word == "g0" else high,
                )
    return found


def _beyond_g0(memory: Memory, high: int) -> int:
    """Up to where the g0 stack is read that ends at `high` as the runtime knows it: not farther than there is memory.
    That of the main thread begins close to the end of the kernel's stack, behind a few arguments and variables."""
    beyond, page_end = high + _BEYOND_G0_BYTES, -(-high // _PAGE_BYTES) * _PAGE_BYTES
    try:
        memory.read(beyond - 8, 8)
    except (SpyglassError, OverflowError):
        return page_end if page_end <= _MAX_ADDRESS else high
    return beyond
