"""What is read of the process at the moment of a sample, so that later its goroutine can be proven.

The kernel reports a sample within 0.1 ms. The goroutine and its stack are read again then, and compared with
the copy in the sample: what is equal from the end of the stack downwards are the same calls, because another
goroutine on this stack would have other ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, MemoryFault, SpyglassError
from spyglass.model import NONE
from spyglass.runtime.recording.cgo_calls import CgoCall, CgoCalls
from spyglass.runtime.recording.owners import Seen, StackOwners
from spyglass.runtime.recording.recorded_labels import RecordedLabels
from spyglass.runtime.recording.successors import StackEnds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spyglass.runtime.context import Runtime
    from spyglass.threads.architecture import Registers
    from spyglass.threads.perf import Sample

__all__ = ["Noted", "Witness", "equal_from"]

#: A deep stack is read beyond the copy in its sample, up to this size.
_MAX_STACK_BYTES = 1 << 18
_MAX_KNOWN = 1 << 17
#: Saved frame pointers that are followed on a system stack.
_MAX_FRAME_POINTERS = 64


class Noted(NamedTuple):
    """A sample, and what was read for it.

    `sample`: its stack without the words behind the end of the goroutine's. `high`: where that
    ends, 0 if sp is on no goroutine's stack. `goid`: of the goroutine when it was read, `NONE` if it is not
    known; `lived`: it is the same since before the sample; `settled`: and so is its stack. `labels`: the number of its labels when it was
    read; `kept_labels`: and it had the same before the sample. `equal_from`: from this address on the stack
    was the same when it was read; `high` if it was not compared. `again`: what was then read of the
    stack. `other`: the end of the stack when another goroutine was on it, if one was seen there. `call`: the call of C that it was in, if that is known, and `call_stack`: the goroutine's stack from its sp
    upwards.
    """

    sample: Sample
    high: int
    goid: int
    lived: bool
    settled: bool
    labels: int
    kept_labels: bool
    equal_from: int = 0
    again: bytes = b""
    other: bytes = b""
    call: CgoCall | None = None
    call_stack: bytes = b""


class Witness:
    """Reads what proves whose samples are. `outer_tids`: as `TargetProcess.outer_tids`."""

    def __init__(
        self, runtime: Runtime, outer_tids: Callable[[], Mapping[int, int] | None]
    ) -> None:
        self._memory = runtime.memory
        self._functions = runtime.functions
        self._go: dict[int, bool] = {}
        self._calls = CgoCalls(runtime, outer_tids)
        self._ends = StackEnds()
        self.owners = StackOwners(runtime)
        self.labels = RecordedLabels(runtime)

    def note(self, sample: Sample) -> Noted:
        """What is to be known of `sample` later: call it at once."""
        try:
            return self._note(sample)
        except SpyglassError:  # the process has ended
            return _unknown(sample)

    def _note(self, sample: Sample) -> Noted:
        registers = sample.registers
        before, now = self._owner(sample, registers.sp)
        if now is not None:
            return self._noted(sample, before, now)
        if not self.is_go(registers.pc):
            found = self._calls.at(registers.tid, sample.time_ns)
            if found is not None:
                return self._in_call(sample, *found)
        address = _left_system_stack(registers)
        before, now = self._owner(sample, address) if address else (None, None)
        if now is None and address:  # its stack has moved since all goroutines were listed
            pointer = self._calls.goroutine_of(registers.tid)
            before, now = self._owner_at(pointer, sample, address)
        if now is None:
            return _unknown(sample)
        lived, settled, kept = _proven(before, now)
        again = self._memory.read(registers.sp, len(registers.stack))
        labels = self._labels_of(now)
        return Noted(sample, 0, now.goid, lived, settled, labels, kept, again=again)

    def _owner(self, sample: Sample, address: int) -> tuple[Seen | None, Seen | None]:
        """The goroutine on whose stack `address` is, as seen before the sample and as read now."""
        before, now = self._owner_at(sample.registers.g, sample, address)
        if now is None:
            before, now = self._owner_at(self.owners.at(address), sample, address)
        return before, now

    def _owner_at(
        self, pointer: int, sample: Sample, address: int
    ) -> tuple[Seen | None, Seen | None]:
        """The same if that is the one with the ``g`` at `pointer`."""
        before, now = self.owners.seen(pointer, sample.time_ns), self.owners.read(pointer)
        if now is None or not now.low <= address < now.high:
            return None, None
        return before, now

    def _noted(self, sample: Sample, before: Seen | None, now: Seen) -> Noted:
        lived, settled, kept = _proven(before, now)
        stack, again, equal = self._compared(sample.registers, now.high)
        # What lies below is of nobody any more: of the goroutine before, if this one has only begun.
        equal = max(equal, now.sp)
        labels = self._labels_of(now)
        # Of the 16 KB of a copy most is not the goroutine's: kept, they would be new memory for every sample.
        sample = sample._replace(registers=replace(sample.registers, stack=stack))
        live = again[max(now.sp - sample.registers.sp, 0) :]
        other = self._ends.note(now.pointer, now.goid, live)
        return Noted(sample, now.high, now.goid, lived, settled, labels, kept, equal, again, other)

    def is_go(self, pc: int) -> bool:
        """Whether the code at `pc` is Go's."""
        known = self._go.get(pc)
        if known is None:
            if len(self._go) >= _MAX_KNOWN:
                self._go.clear()
            known = self._go[pc] = self._functions.at(pc) is not None
        return known

    def _in_call(self, sample: Sample, call: CgoCall, stack: bytes) -> Noted:
        """`sample` in C that was called by `call`."""
        now = Seen(call.pointer, call.goid, call.sp, call.high, call.labels, sample.time_ns)
        labels = self._labels_of(now)
        sample = sample._replace(registers=replace(sample.registers, stack=b""))
        return Noted(sample, 0, call.goid, True, True, labels, True, call=call, call_stack=stack)

    def _labels_of(self, now: Seen) -> int:
        """The number of the labels of goroutine `now`, if it still has them when they have been read."""

        def still() -> bool:
            after = self.owners.read(now.pointer)
            return after is not None and (after.goid, after.labels) == (now.goid, now.labels)

        return self.labels.number(now.labels, still)

    def _compared(self, registers: Registers, high: int) -> tuple[bytes, bytes, int]:
        """The stack of a sample up to `high`, as far as it is known, what is there now, and from where on that is
        the same."""
        sp, copy = registers.sp, registers.stack[: high - registers.sp]
        size = len(copy) & ~7
        try:
            now = self._memory.read(sp, min(high - sp, _MAX_STACK_BYTES))
        except (MemoryFault, BadDataError):
            return copy, b"", high
        equal = equal_from(copy[:size], now[:size])
        half = size // 16 * 8
        is_deep = size < len(now) and equal <= half
        if is_deep and not _repeats(copy[half:size], sp + half, high):
            # The callers beyond the copy are the same too.
            return copy[:size] + now[size:], now[:size], sp + equal
        return copy, now[:size], sp + equal


def _unknown(sample: Sample) -> Noted:
    """`sample`, with nothing known of its goroutine."""
    return Noted(sample, 0, NONE, False, False, NONE, False)


def _proven(before: Seen | None, now: Seen) -> tuple[bool, bool, bool]:
    """Whether the goroutine `now` is the one seen `before` the sample; and whether its stack and labels are."""
    if before is None or before.goid != now.goid:
        return False, False, False
    settled = (before.low, before.high) == (now.low, now.high)
    return True, settled, before.labels == now.labels


def _repeats(stack: bytes, address: int, high: int) -> bool:
    """Whether the part of a stack at `address` is of a function that calls itself with the same words again and
    again: at another depth it would be the same. Addresses of the stack, which ends at `high`, count as distances."""
    words = np.frombuffer(stack, np.uint64)
    places = np.uint64(address) + np.arange(len(words), dtype=np.uint64) * np.uint64(8)
    inside = (words >= np.uint64(address)) & (words < np.uint64(high))
    content = np.where(inside, words - places, words).tobytes()
    return content.find(content[: len(content) // 2], 8) >= 0


def equal_from(copy: bytes, now: bytes) -> int:
    """From which byte on two stacks are equal, to their ends."""
    if copy == now:
        return 0
    differs = np.flatnonzero(np.frombuffer(copy, np.uint64) != np.frombuffer(now, np.uint64))
    return (int(differs[-1]) + 1) * 8


def _left_system_stack(registers: Registers) -> int:
    """The first saved frame pointer that points out of the stack of `registers`, 0 if there is none."""
    at, stack = registers.bp, registers.stack
    for _ in range(_MAX_FRAME_POINTERS):
        offset = at - registers.sp
        if not 0 <= offset <= len(stack) - 8:
            return at
        at = int.from_bytes(stack[offset : offset + 8], "little")
    return 0
