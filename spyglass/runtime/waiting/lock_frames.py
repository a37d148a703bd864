"""The frames that may tell who holds a lock, of all goroutines: those of functions that defer calls, or that
take or release locks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from spyglass.binary.open_defers import DeferForm, OpenDefer, open_defers
from spyglass.binary.stack_maps import StackMaps
from spyglass.columns import numbered
from spyglass.errors import SpyglassError
from spyglass.runtime.discovery.layouts import GoVersion
from spyglass.runtime.discovery.required_fields import passes_in_registers
from spyglass.runtime.goroutines.fetcher import saved_cursors
from spyglass.runtime.stacks.call_sites import ENDS
from spyglass.runtime.stacks.symbolizer import Entry
from spyglass.runtime.stacks.unwinder import FAKED_FRAME_BYTES
from spyglass.runtime.waiting.lock_code import LockCode
from spyglass.table import Table, column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.lock_facts import CallFacts
    from spyglass.binary.pclntab import Function
    from spyglass.binary.stack_maps import FrameMap
    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.discovery.layouts import Layouts
    from spyglass.runtime.stacks.stack_tree import PathFrame, StackTree
    from spyglass.runtime.waiting.naming import Method
    from spyglass.runtime.waiting.population import Population

__all__ = ["LockCall", "LockFrames", "LockStacks", "defer_form", "read_frames", "stacks_of"]

_WORD_BYTES = 8
_PAGE_BYTES = 1 << 12
#: Before and behind the variables that have pointers are those that have none, such as a Mutex
#: (``moduledata.noptrdata``, ``noptrbss``): so many bytes of them are examined, as far as there is memory.
_WITHOUT_POINTERS_BYTES = 1 << 26
#: Stacks whose frames are remembered.
_MAX_NODES = 1 << 18


class LockCall(NamedTuple):
    """A call in a function: it returns to `pc`; `entered` as `PathFrame`. `words`: the size of the frame.
    `defers`: the open-coded defers of the function. `may_lock`: it may take or release locks. `matters`: that, or
    it defers calls."""

    pc: int
    entered: int
    function: Function
    words: int
    defers: tuple[OpenDefer, ...]
    may_lock: bool
    matters: bool


class _Planned(NamedTuple):
    """A frame of every stack of a node: `depth` from the innermost, where the return address of its function
    is in words from sp, the number of its call, and the pc that it returns to (0: not known)."""

    depth: int
    slot: int
    call: int
    returns_to: int


@dataclass(init=False, eq=False, repr=False)
class LockFrames(Table):
    """Frames, a row each: `row` of the goroutine in the population, `depth`, `base` (uint64): the address of
    the return address, which local variables are below and arguments above; `call`: index into
    `LockStacks.calls`; `returns_to` (uint64): what its return address must be.
    """

    row: NDArray[np.int64] = column(np.int64)
    depth: NDArray[np.int64] = column(np.int64)
    base: NDArray[np.uint64] = column(np.uint64)
    call: NDArray[np.int64] = column(np.int64)
    returns_to: NDArray[np.uint64] = column(np.uint64)

    @cached_property
    def by_call(self) -> dict[int, NDArray[np.intp]]:
        """The rows of each call."""
        order = np.argsort(self.call, kind="stable")
        calls, first = numbered(self.call[order])
        cuts = np.searchsorted(first, np.arange(len(calls) + 1))
        return {
            int(call): order[cuts[number] : cuts[number + 1]] for number, call in enumerate(calls)
        }


class LockStacks:
    """What is known of the stacks of one tree: remembered from one snapshot to the next. `data`: where the
    package-level variables are, from one address to another. `methods`: of nodes of the tree the methods that
    `spyglass.runtime.waiting.naming` knows."""

    def __init__(self, runtime: Runtime, tree: StackTree) -> None:
        version = GoVersion.parse(runtime.go_version)
        known = (version.major, version.minor) if version else None
        self.in_registers = passes_in_registers(known, runtime.arch)
        layouts = runtime.layouts
        self.form = defer_form(layouts)
        self.link = runtime.arch == "arm64"
        code = tree.code
        self.code = LockCode(code.functions, code.trees, runtime.arch, self.in_registers)
        self.data = _data(runtime)
        self.calls: list[LockCall] = []
        self.methods: dict[int, tuple[Method, ...]] = {}
        self._maps = StackMaps(code.functions, code.trees, self.link)
        self._live: dict[int, FrameMap | None] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._plans: dict[int, tuple[_Planned, ...] | None] = {}

    def plan(self, tree: StackTree, node: int) -> tuple[_Planned, ...] | None:
        """The frames that matter of stacks that end at `node`; None if not all of its frames are known, down to
        where the goroutine began."""
        if node not in self._plans:
            if len(self._plans) >= _MAX_NODES:
                self._plans.clear()
            self._plans[node] = self._make_plan(tree, node)
        return self._plans[node]

    def _make_plan(self, tree: StackTree, node: int) -> tuple[_Planned, ...] | None:
        path = tree.path_frames(node)
        if not path or not tree.flags[node] & ENDS:
            return None
        planned, slot = [], 0
        for depth, frame in enumerate(path):
            slot += frame.words + self.faked_words(frame)
            number = self._call(frame.pc, frame.entered, frame.words)
            if number >= 0 and self.calls[number].matters:
                outer = path[depth + 1].pc if depth + 1 < len(path) else 0
                planned.append(_Planned(depth, slot, number, outer))
            slot += 0 if self.link else 1
        return tuple(planned)

    def call_of(self, frame: PathFrame) -> LockCall | None:
        """The call that `frame` is in; None if its function is not known."""
        number = self._call(frame.pc, frame.entered, frame.words)
        return self.calls[number] if number >= 0 else None

    def facts(self, call: LockCall) -> CallFacts | None:
        """What is known of locks while `call` is made, as far as its function was followed. Where a signal stopped the
        function it makes no call, also behind one: what was held before that may be released by it."""
        if call.entered & Entry.INJECTED_CALL:
            return None
        return self.code.flow_so_far(call.function).calls.get(call.pc)

    def live_words(self, function: Function, pc: int) -> FrameMap | None:
        """Which words of the frame of `function` are live at its call that returns to `pc`; None if that is not known."""
        if pc not in self._live:
            self._live[pc] = self._maps.at(function, pc)
        return self._live[pc]

    def faked_words(self, frame: PathFrame) -> int:
        """How many words a signal handler left below `frame` when it faked its last call."""
        is_faked = self.link and frame.entered & Entry.INJECTED_CALL
        return FAKED_FRAME_BYTES // _WORD_BYTES if is_faked else 0

    def _call(self, pc: int, entered: int, words: int) -> int:
        key = pc, entered
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = -1
            call = self._describe(pc, entered, words)
            if call is not None:
                number = self._numbers[key] = len(self.calls)
                self.calls.append(call)
        return number

    def _describe(self, pc: int, entered: int, words: int) -> LockCall | None:
        code = self.code
        try:
            function = code.functions.at(pc)
        except SpyglassError:
            return None
        if function is None:
            return None
        may_lock, defers = code.may_lock(function), code.functions.defers(function)
        open_coded: tuple[OpenDefer, ...] = ()
        if defers:
            open_coded = open_defers(code.functions, code.trees, function, self.form)
        return LockCall(pc, entered, function, words, open_coded, may_lock, may_lock or defers)


def defer_form(layouts: Layouts) -> DeferForm:
    """How open-coded defers are encoded. Go 1.17 passes arguments in registers, and still writes how many there are."""
    has_flag = layouts.has("_defer", "openDefer")
    return DeferForm(arguments=has_flag and layouts.has("_defer", "siz"), slots=not has_flag)


def _data(runtime: Runtime) -> tuple[int, int]:
    """Where the package-level variables are; an empty range if that is not known."""
    if not all(runtime.layouts.has("moduledata", name) for name in ("data", "ebss")):
        return 0, 0
    try:
        dtype = runtime.layouts["moduledata"]
        row = runtime.memory.array(runtime.address("firstmoduledata"), dtype, 1)[0]
    except SpyglassError:
        return 0, 0
    begin, end = int(row["data"]) & -_PAGE_BYTES, int(row["ebss"]) & -_PAGE_BYTES
    before = _memory_beside(runtime.memory, begin, -_PAGE_BYTES)
    behind = _memory_beside(runtime.memory, end, _PAGE_BYTES)
    return begin - before, end + behind + _PAGE_BYTES


def _memory_beside(memory: Memory, page: int, step: int) -> int:
    """How many bytes of memory follow the page at `page`, page by page in steps of `step` bytes, at most
    `_WITHOUT_POINTERS_BYTES`: reading many addresses where there is none takes long."""
    steps = 0
    for bit in reversed(range((_WITHOUT_POINTERS_BYTES // _PAGE_BYTES).bit_length() - 1)):
        try:
            memory.read(page + step * (steps + (1 << bit)), _WORD_BYTES)
        except SpyglassError:
            continue
        steps += 1 << bit
    return steps * _PAGE_BYTES


_KNOWN: WeakKeyDictionary[StackTree, LockStacks] = WeakKeyDictionary()


def stacks_of(population: Population) -> LockStacks:
    """What is known of the stacks of `population`, from earlier snapshots of the process too."""
    known = _KNOWN.get(population.tree)
    if known is None:
        known = _KNOWN[population.tree] = LockStacks(population.runtime, population.tree)
    return known


def read_frames(population: Population, stacks: LockStacks) -> tuple[LockFrames, NDArray[np.bool_]]:
    """The frames that matter, of all goroutines that stand still; and which goroutines could not be
    looked at."""
    count = len(population.pointers)
    some, cursors = saved_cursors(population.g)
    sp = np.zeros(count, np.uint64)
    sp[some] = cursors.sp
    there = population.steady & (sp != 0) & (population.nodes > population.tree.SAMPLED)
    rows = np.flatnonzero(there)
    nodes, which = numbered(population.nodes[rows])
    plans = [stacks.plan(population.tree, node) for node in nodes.tolist()]
    lost = ~there
    lost[rows] = np.array([plan is None for plan in plans], np.bool_)[which]
    flat = np.array([each for plan in plans for each in plan or ()], np.int64).reshape(-1, 4)
    sizes = np.array([len(plan or ()) for plan in plans], np.int64)
    first = np.cumsum(sizes) - sizes
    # A row for each goroutine and frame of its node.
    of = np.repeat(np.arange(len(rows)), sizes[which])
    begin = np.cumsum(sizes[which]) - sizes[which]
    at = first[which][of] + (np.arange(len(of)) - begin[of])
    depth, slot, call, returns_to = flat[at].T
    base = sp[rows][of] + (slot * _WORD_BYTES).astype(np.uint64)
    frames = LockFrames(
        row=rows[of], depth=depth, base=base, call=call, returns_to=returns_to.astype(np.uint64)
    )
    return frames, lost
