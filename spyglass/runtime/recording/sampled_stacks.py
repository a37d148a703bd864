"""The stacks of samples, from nothing but what the samples hold, many at a time.

The function table unwinds them, not frame pointers: those lose the caller of every function without a frame.
The kernel's chain of frame pointers serves where a sample is on a system stack: it goes on over the stack of
the goroutine that called, of which the sample has no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import MemoryFault
from spyglass.memory.base import Gathered, Memory
from spyglass.model import Frame
from spyglass.runtime.recording.successors import Distinctions
from spyglass.runtime.recording.witness import Noted, equal_from
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.symbolizer import Entry
from spyglass.runtime.stacks.unwinder import FAKED_FRAME_BYTES, Unwinder
from spyglass.runtime.stacks.walks import COMPLETE, Cursors, StackBytes
from spyglass.threads.architecture import Registers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.recording.native_frames import NativeFrames

__all__ = ["DO", "GOROUTINE", "IN_C", "STATES", "SYSTEM", "SampledStacks", "Walks"]

#: What a sample is on: a goroutine's stack, one of the system's, or code that is not Go's.
STATES = ("running", "g0", "C")
GOROUTINE, SYSTEM, IN_C = range(len(STATES))
#: These change the labels of the goroutine that calls them (``runtime/pprof/runtime.go``).
DO = "runtime/pprof.Do"
_LABELLING = frozenset({DO, "runtime/pprof.SetGoroutineLabels"})
#: Go's own profiles do not have it (``runtime/cgocall.go: cgocall``).
_SWITCH_TO_C = "runtime.asmcgocall"
_NO_BYTES = 1 << 62


class _Path(NamedTuple):
    """What is known of a stack by its node, in bytes from sp: where it ends; from where on it must be the same to
    be of the same calls (`_same_from`), and where the outermost function but ``runtime.goexit`` begins;
    where the innermost frame that changes labels begins (`_NO_BYTES` if there is
    none); its outermost pc, and the name of its outermost function. The second function's return address is in
    the word at `slot`, and is one of the pcs of that function, `pcs`. `in_do`: as `Walks`."""

    size: int
    same_from: int
    start: int
    labelled: int
    outermost_pc: int
    outermost: str
    slot: int = 0
    pcs: range = range(0)
    callers: tuple[int, ...] = ()
    in_do: bool = False


@dataclass(frozen=True, slots=True)
class Walks:
    """The stacks of some samples. `node` (int64) of the tree, `inner`: frames of C and of the kernel that it called;
    `state` (int64) an index of `STATES`; `complete` (bool): walked to the bottom; `of_goroutine` (bool): on the
    stack of a goroutine, or called from one on a system stack.

    `same_start` (bool): the outermost function was still in the same call, with the same variables, when the goroutine
    was read; `same_calls`: the calls outside the innermost ones were still the same.
    `same_labelling`: at least those that set its labels were. `in_do` (bool): called by ``pprof.Do``, which sets
    labels for as long as it runs.
    """

    node: NDArray[np.int64]
    inner: list[tuple[Frame, ...]]
    state: NDArray[np.int64]
    complete: NDArray[np.bool_]
    of_goroutine: NDArray[np.bool_]
    same_start: NDArray[np.bool_]
    same_calls: NDArray[np.bool_]
    same_labelling: NDArray[np.bool_]
    in_do: NDArray[np.bool_]


class SampledStacks:
    """Walks the stacks of samples into `tree`. `native` makes frames of code that is not Go's, `is_go` tells it."""

    def __init__(
        self, tree: StackTree, runtime: Runtime, native: NativeFrames, is_go: Callable[[int], bool]
    ) -> None:
        self.tree = tree
        self._link = runtime.arch == "arm64"
        self._unwinder = Unwinder(_Nowhere(), tree, self._link)
        self._native = native
        self._is_go = is_go
        self._paths: dict[int, _Path] = {}
        self._distinctions = Distinctions()

    def walk(self, noted: Sequence[Noted]) -> Walks:
        """The stacks of the samples `noted`."""
        count = len(noted)
        is_go = np.array([self._is_go(each.sample.registers.pc) for each in noted], np.bool_)
        node, complete = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        rows = np.flatnonzero(is_go)
        node[rows], complete[rows] = self._walk_go([noted[row] for row in rows.tolist()])
        self._walk_calls(noted, node, complete)
        state, called = np.full(count, IN_C), np.zeros(count, np.bool_)
        inner = [self._native.of_kernel(each.sample.kernel_chain) for each in noted]
        in_c: dict[int, tuple[Frame, ...]] = {}
        callers: dict[int, Sequence[int]] = {}
        for row, each in enumerate(noted):
            if not is_go[row]:
                in_c[row], chain = self._native.of_c(each.sample.registers.pc, each.sample.chain)
                if each.call is None:
                    node[row], callers[row] = StackTree.CALLED, chain
                continue
            path = self._path(int(node[row]))
            on_goroutine = each.high > 0 or path.outermost == "runtime.goexit"
            state[row] = GOROUTINE if on_goroutine else SYSTEM
            called[row] = on_goroutine or path.outermost == "runtime.systemstack"
            if called[row] and not on_goroutine:
                callers[row] = _behind(path.outermost_pc, each.sample.chain)
        switched = node.copy()
        self._add_callers(callers, node, complete)
        for row, frames in in_c.items():
            called[row] = complete[row] or noted[row].call is not None
            inner[row] += frames if called[row] else self._native.without_callers(frames)
        same = np.array([
            self._same(each, int(state[row]), int(switched[row]), int(node[row]))
            if called[row] or not is_go[row] else (False, False, False)
            for row, each in enumerate(noted)
        ], np.bool_).reshape(-1, 3)  # fmt: skip
        same &= complete[:, None]
        in_do = np.array([self._path(each).in_do for each in node.tolist()], np.bool_)
        start, calls, labelling = same.T
        return Walks(node, inner, state, complete, called, start, calls, labelling, in_do)

    def _same(self, noted: Noted, state: int, switched: int, node: int) -> tuple[bool, bool, bool]:
        """`Walks.same_start`, `same_calls` and `same_labelling` of a sample with the stack at `node`; `switched`: that
        up to where it was switched to another stack."""
        if state == GOROUTINE:
            path = self._path(node)
            same_start, same_calls, same_labelling = _same(noted, path)
            if same_calls:
                words = noted.again[path.same_from :]
                same_calls = self._distinctions.tell(path.callers, words, noted.other)
            return same_start, same_calls, same_labelling
        is_labelled = self._path(node).labelled == _NO_BYTES
        if state == IN_C:
            return False, False, noted.call is not None or is_labelled
        same_start, _, same_labelling = _same_on_system_stack(noted, self._path(switched))
        return same_start, False, same_labelling or is_labelled

    def _walk_go(self, noted: Sequence[Noted]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        registers = [each.sample.registers for each in noted]
        highs = [
            each.high or each.sample.registers.sp + len(each.sample.registers.stack)
            for each in noted
        ]
        cursors = Cursors.sampled(registers, np.array(highs, np.uint64))
        stacks = StackBytes.sampled(registers)
        walked = self._unwinder.walk(cursors, False, StackTree.SAMPLED, stacks)
        return walked.node, walked.outcome == COMPLETE

    def _walk_calls(
        self, noted: Sequence[Noted], node: NDArray[np.int64], complete: NDArray[np.bool_]
    ) -> None:
        """Walk the stacks of goroutines that stand still while they are in C."""
        calls = [(row, each.call, each.call_stack) for row, each in enumerate(noted) if each.call]
        if not calls:
            return
        rows = [row for row, _, _ in calls]
        registers = [Registers(0, call.pc, call.sp, 0, 0, stack=stack) for _, call, stack in calls]
        highs = np.array([call.high for _, call, _ in calls], np.uint64)
        walked = self._unwinder.walk(
            Cursors.sampled(registers, highs),
            False,
            StackTree.CALLED,
            StackBytes.sampled(registers),
        )
        node[rows], complete[rows] = walked.node, walked.outcome == COMPLETE

    def _add_callers(
        self,
        chains: Mapping[int, Sequence[int]],
        node: NDArray[np.int64],
        complete: NDArray[np.bool_],
    ) -> None:
        """Add the callers that `chains` has for some rows, and note which stacks are whole then."""
        callers = {row: self._callers(chain) for row, chain in chains.items()}
        rows = np.array([row for row, pcs in callers.items() if pcs], np.intp)
        complete[list(chains)] = False
        whole = self.tree.descendants(node[rows], [callers[row] for row in rows.tolist()])
        complete[rows] = whole != 0
        node[rows] = np.where(whole != 0, whole, node[rows])

    def _callers(self, chain: Sequence[int]) -> list[int]:
        """The callers on a goroutine's stack that `chain` tells; empty if it does not end at the bottom of one: where C
        uses the frame pointer as a number, the chain is of anything."""
        callers = [pc for pc in chain if self._is_go(pc)]
        tail = chain[len(chain) - len(callers) :]
        if not callers or list(tail) != callers:
            return []
        if self._function(callers[0]) == _SWITCH_TO_C:
            del callers[0]
        ends = bool(callers) and self.tree.code.step(callers[-1], Entry.CALL).end
        return callers if ends else []

    def _function(self, pc: int) -> str:
        function = self.tree.code.functions.at(pc)
        return function.name if function else ""

    def _path(self, node: int) -> _Path:
        path = self._paths.get(node)
        if path is None:
            path = self._paths[node] = self._find_path(node)
        return path

    def _find_path(self, node: int) -> _Path:
        frames = self.tree.path_frames(node)
        if not frames:
            return _Path(0, 0, 0, 0, 0, "")
        code = self.tree.code
        begins, labelled, above = [0], _NO_BYTES, 0 if self._link else 8
        in_do = False
        for frame in frames:
            if self._link and frame.entered & Entry.INJECTED_CALL:
                begins[-1] += FAKED_FRAME_BYTES  # what the signal handler saved
            names = [code.frames[each].function for each in code.calls(frame.pc, frame.entered)]
            in_do |= DO in names
            if labelled == _NO_BYTES and not _LABELLING.isdisjoint(names):
                labelled = begins[-1]
            begins.append(begins[-1] + 8 * frame.words + above)
        outermost = self._function(frames[-1].pc)
        start = begins[-3] if len(frames) > 2 else 0
        # With a link register the return address into the second function has no place of its own: nothing tells.
        same_from = 0 if self._link else _same_from(begins[:-1])
        slot = max(begins[1] - 8, 0)
        pcs = self._pcs(frames[1].pc) if len(frames) > 1 else range(0)
        callers = tuple(
            frame.pc for frame, begin in zip(frames, begins, strict=False) if begin > same_from
        )
        return _Path(
            begins[-2], same_from, start, labelled, frames[-1].pc, outermost, slot, pcs, callers, in_do
        )  # fmt: skip

    def _pcs(self, pc: int) -> range:
        """The return addresses into the function at `pc`."""
        function = self.tree.code.functions.at(pc)
        return range(function.entry + 1, function.end + 1) if function else range(0)


def _behind(pc: int, chain: Sequence[int]) -> Sequence[int]:
    """What follows `pc` in `chain`; empty if it is not there."""
    return chain[chain.index(pc) + 1 :] if pc in chain else ()


def _same(noted: Noted, path: _Path) -> tuple[bool, bool, bool]:
    """`Walks.same_start`, `same_calls` and `same_labelling` of a complete stack with `path`."""
    equal = noted.equal_from - noted.sample.registers.sp
    if noted.equal_from >= noted.high:
        return False, False, False
    same_calls = 0 < path.same_from >= equal and _second_is_called(noted, path)
    return 0 < path.start >= equal, same_calls, path.labelled >= equal


def _second_is_called(noted: Noted, path: _Path) -> bool:
    """Whether the second function can be in the same call: as long as it is, the word below its frame is an address in
    it, behind the last call that it made. The next goroutine on this stack may have the same words further out, if
    it was begun in the same way, and another function there."""
    word = noted.again[path.slot : path.slot + 8]
    return len(word) == 8 and int.from_bytes(word, "little") in path.pcs


def _same_on_system_stack(noted: Noted, path: _Path) -> tuple[bool, bool, bool]:
    """The same of a system stack up to where it was switched to. If it is, a goroutine that lived all the time is still
    in the same call; but the next goroutine on its stack may have left the same words, so `same_calls` is not
    known."""
    same = len(noted.again) >= path.size > 0 < path.same_from
    if same:
        stack = noted.sample.registers.stack
        same = equal_from(stack[: path.size], noted.again[: path.size]) <= path.same_from
    return same, False, same


def _same_from(begins: Sequence[int]) -> int:
    """From where on, in bytes from sp, a stack whose frames begin at `begins` must be the same to be of the same
    calls; 0 if it has too few frames to tell.

    All but the two innermost functions must be, and the return address into the third; in a stack of three
    functions (``runtime.goexit`` not counted) all but the innermost. The goroutine runs on while it is read: a
    loop that calls others has changed its variables by then. Fewer frames tell too little: the next
    goroutine on this stack may have the same words there.
    """
    functions = len(begins) - 1
    if functions < 3:
        return 0
    return begins[2 if functions > 3 else 1] - 8


class _Nowhere(Memory):
    """No memory: the rest of a stack that a sample does not hold has changed since."""

    def read(self, address: int, size: int) -> bytes:
        raise MemoryFault(address, size)

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        count = len(addresses)
        return Gathered(np.zeros(8, np.uint8), np.zeros(count, np.int64), np.zeros(count, np.bool_))
