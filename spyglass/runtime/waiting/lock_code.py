"""What functions do to locks: those of package sync by their names, all others by their code."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.call_edges import CallEdges, may_call_pointers, numbers_anywhere
from spyglass.binary.code_flow import analyse
from spyglass.binary.flow_state import FREE, HELD, NUMBER, Value
from spyglass.binary.instructions import MAX_CODE_BYTES, processor
from spyglass.binary.lock_facts import (
    DONE,
    READ,
    WRITE,
    Callees,
    Code,
    Effect,
    FlowResult,
    Net,
    Place,
)
from spyglass.columns import distinct
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.inline_trees import InlineTrees
    from spyglass.binary.pclntab import Function, FunctionTable

__all__ = ["LockCode", "Release"]

_MUTEX = ("sync.(*Mutex).", "internal/sync.(*Mutex).")


def _locks(prefix: str, taking: str, releasing: str, mode: int) -> dict[str, list[Effect]]:
    return {
        f"{prefix}{taking}": [Effect(0, 0, mode, True)],
        f"{prefix}Try{taking}": [Effect(0, 0, mode, True, tells=True)],
        f"{prefix}{releasing}": [Effect(0, 0, mode, False)],
    }


#: What functions do to locks. sync/mutex.go, internal/sync/mutex.go, sync/rwmutex.go, sync/waitgroup.go,
#: internal/poll/fd_mutex.go. The slow paths of Unlock and RUnlock come after the lock was released; the
#: address that ``runtime_Semacquire...`` is given in an inlined RLock is that of readerSem.
_EFFECTS: dict[str, list[Effect]] = {
    **_locks(_MUTEX[0], "Lock", "Unlock", WRITE),
    **_locks(_MUTEX[1], "Lock", "Unlock", WRITE),
    **_locks("sync.(*RWMutex).", "Lock", "Unlock", WRITE),
    **_locks("sync.(*RWMutex).", "RLock", "RUnlock", READ),
    **_locks("sync.(*rlocker).", "Lock", "Unlock", READ),
    f"{_MUTEX[0]}lockSlow": [Effect(0, 0, WRITE, True)],
    f"{_MUTEX[1]}lockSlow": [Effect(0, 0, WRITE, True)],
    **{
        f"sync.runtime_{name}": [Effect(0, -12, READ, True, waits_inside=True)]
        for name in ("SemacquireMutex", "SemacquireRWMutexR", "SemacquireRWMutex")
    },
    "sync.(*WaitGroup).Done": [Effect(0, 0, DONE, False)],
    "sync.(*WaitGroup).Add": [Effect(0, 0, DONE, False, number=-1)],
    "internal/poll.(*FD).readLock": [Effect(0, 0, READ, True)],
    "internal/poll.(*FD).readUnlock": [Effect(0, 0, READ, False)],
    "internal/poll.(*FD).writeLock": [Effect(0, 0, WRITE, True)],
    "internal/poll.(*FD).writeUnlock": [Effect(0, 0, WRITE, False)],
    "internal/poll.(*fdMutex).rwlock": [
        Effect(0, 0, READ, True, number=1), Effect(0, 0, WRITE, True, number=0),
    ],
    "internal/poll.(*fdMutex).rwunlock": [
        Effect(0, 0, READ, False, number=1), Effect(0, 0, WRITE, False, number=0),
    ],
}  # fmt: skip
#: Slow paths that have no effect of their own, but tell that a fast one is inlined where they are called.
_SLOW = (f"{_MUTEX[0]}unlockSlow", f"{_MUTEX[1]}unlockSlow", "sync.(*RWMutex).rUnlockSlow")
#: How the names of functions begin that never return, and of those that change few registers.
_ENDS = (
    "runtime.panic", "runtime.goPanic", "runtime.gopanic", "runtime.throw", "runtime.fatal",
    "runtime.goexit", "runtime.Goexit", "runtime.morestack", "runtime.sigpanic",
)  # fmt: skip
_KEEPS = {
    "runtime.duff": ("rdi", "rsi", "x16", "x17", "x20", "x21", "x26", "x27"),
    "runtime.gcWriteBarrier": ("r11", "x25"),
    "runtime.wbZero": (), "runtime.wbMove": (), "runtime.race": ("rax",), "runtime.debugCall": (),
}  # fmt: skip
#: Bytes of arguments of what is called through a pointer, in programs that pass them on the stack.
_UNKNOWN_AREA = 128
#: How deep helpers are followed that take or release locks for their callers.
_MAX_HELPERS = 3
#: Functions that are followed, until all are forgotten.
_MAX_FLOWS = 1 << 14
#: For one snapshot. What is counted are instructions, decoded and followed: a slow or busy processor
#: takes longer, and finds the same. Measured are 80,000 to 130,000 a second.
_MAX_SECONDS = 2.0
_INSTRUCTIONS_PER_SECOND = 100_000
#: What following a function takes, before it is known: instructions of 4 bytes, each decoded, and followed once or twice.
_WORK_PER_BYTE = 0.5
#: Share of them that is left for what finds names.
_SHARE_OF_NAMES = 0.15
_MAX_ENTRIES = 1 << 17
_MAX_PLAIN_BYTES = 1 << 13
_MAX_HELPER_BYTES, _SMALL_BYTES = 1 << 12, 1 << 8
_MAX_WRAPPER_BYTES = 1 << 8


class _TooLittleWorkLeft(Exception):
    """A function cannot be followed now."""


class Release(NamedTuple):
    """A lock that a function releases which it did not take: where its address is found when the function
    is called, its mode, and whether that happens on every path. `table`: of a Locker where the table of its
    methods is found."""

    place: Place
    mode: int
    always: bool
    table: Place | None = None


class LockCode:
    """The functions of one program; what was found out of them is remembered.

    `in_registers`: Go's calls pass arguments in registers (amd64 since Go 1.17, arm64 since 1.18).
    """

    def __init__(
        self, functions: FunctionTable, trees: InlineTrees, arch: str, in_registers: bool
    ) -> None:
        self.functions = functions
        self.trees = trees
        self._arch = arch
        self._processor = processor(arch)
        self._in_registers = in_registers
        self._flows: dict[int, FlowResult | None] = {}
        self._active: list[int] = []
        self._releases: dict[int, tuple[Release, ...]] = {}
        self._variables: dict[int, NDArray[np.uint64]] = {}
        self._pointers: dict[int, bool] = {}
        self._plain: dict[int, FlowResult] = {}
        self._effects: dict[int, list[Effect] | None] = {}
        self._entries: dict[int, Function | None] = {}
        self._work, self._most = 0, 0.0
        self.allow_work()

    def allow_work(self, seconds: float = _MAX_SECONDS) -> None:
        """Allow what takes so many `seconds` of a usual processor's time from now on, or as many as at first: for each
        snapshot, names included. Where there is no room for more functions, what is known of all is forgotten."""
        if max(len(self._flows), len(self._plain)) >= _MAX_FLOWS:
            for known in (self._flows, self._plain, self._releases):
                known.clear()
        self._work, self._most = 0, seconds * _INSTRUCTIONS_PER_SECOND

    def work_left(self, share: float = 1 - _SHARE_OF_NAMES, needed: float = 0) -> bool:
        """Whether less than a `share` of the work for this snapshot is done, there is room for more functions, and what is
        `needed` for the next one is not more than all the work: twice as much is done at most."""
        is_left = self._work < self._most * share and needed <= self._most
        return is_left and len(self._flows) < _MAX_FLOWS

    @cached_property
    def primitives(self) -> dict[int, list[Effect]]:
        """The effects of the functions that take and release locks, by their entries."""
        return {
            function.entry: _EFFECTS[name]
            for name, function in self._named.items()
            if name in _EFFECTS
        }

    @cached_property
    def _named(self) -> dict[str, Function]:
        """The functions that take and release locks, and the slow paths of these, by their names."""
        return self.functions.named_all((*_EFFECTS, *_SLOW))

    @cached_property
    def _edges(self) -> CallEdges:
        return CallEdges(self.functions, self.trees.read, self._arch)

    @cached_property
    def _lockers(self) -> NDArray[np.int8]:
        """Of each function how far it is from one that takes or releases locks: 1: calls such a one, 2: calls
        one that does; 0: further."""
        wanted = np.array([each.index for each in self._named.values()], np.int64)
        level = np.zeros(len(self.functions) + 1, np.int8)
        for depth in range(1, _MAX_HELPERS + 1):
            callers = self._edges.callers_of(wanted)
            new = callers[level[callers] == 0]
            level[new] = depth
            wanted = new
        return level

    @cached_property
    def _is_one_sided(self) -> NDArray[np.bool_]:
        """Of each function whether it calls some that take locks, or some that release them, not both."""
        sides = []
        for taken in (True, False):
            entries = [
                entry
                for entry, effects in self.primitives.items()
                if any(each.taken == taken for each in effects)
            ]
            slow = [] if taken else [each for name, each in self._named.items() if name in _SLOW]
            wanted = [*(self.functions.at(entry) for entry in entries), *slow]
            index = np.array([each.index for each in wanted if each is not None], np.int64)
            side = np.zeros(len(self.functions) + 1, np.bool_)
            side[self._edges.callers_of(index)] = True
            sides.append(side)
        one: NDArray[np.bool_] = sides[0] != sides[1]
        return one

    def may_lock(self, function: Function) -> bool:
        """Whether `function` may take or release locks, itself or by what it calls, and is none of
        package sync that does that for others."""
        is_primitive = function.entry in self.primitives or function.name.startswith(_PRIMITIVE)
        return not is_primitive and bool(self._lockers[function.index])

    def variables(self, function: Function, begin: int, end: int) -> NDArray[np.uint64] | None:
        """The words in [begin, end) that the code of `function` may name; None if that is not known."""
        if self._arch != "amd64":
            return None
        if function.index not in self._variables:
            size = min(function.end - function.entry, MAX_CODE_BYTES)
            try:
                code = self.trees.read(function.entry, size)
                found = _operands(code, function.entry, begin, end)
            except SpyglassError:
                found = np.zeros(0, np.uint64)
            self._variables[function.index] = found
        return self._variables[function.index]

    def flow_so_far(self, function: Function) -> FlowResult:
        """What is known of `function` now; nothing if it was not followed."""
        return self._flows.get(function.index) or FlowResult()

    def is_known(self, function: Function) -> bool:
        """Whether `function` was followed."""
        return function.index in self._flows

    def can_follow(self, function: Function) -> bool:
        """Whether there is work left to follow `function`."""
        size = function.end - function.entry
        return self.work_left(needed=size * _WORK_PER_BYTE)

    def flow(self, function: Function) -> FlowResult:
        """What `function` does to locks, up to each of its calls; nothing where too little work is left for it, or for
        the functions that it calls: what it does without theirs would be wrong."""
        try:
            return self._flow(function)
        except _TooLittleWorkLeft:
            return FlowResult()

    def _flow(self, function: Function) -> FlowResult:
        index = function.index
        if index in self._flows:
            return self._flows[index] or FlowResult()
        if not self.can_follow(function):
            raise _TooLittleWorkLeft
        self._flows[index] = None  # while it is followed: it may call itself
        try:
            known = self._flows[index] = self._follow(function)
        except _TooLittleWorkLeft:
            del self._flows[index]
            raise
        return known

    def _follow(self, function: Function) -> FlowResult:
        if function.end - function.entry > MAX_CODE_BYTES:
            return FlowResult()
        try:
            raw = self.trees.read(function.entry, function.end - function.entry)
        except SpyglassError:
            return FlowResult()
        self._active.append(function.index)
        try:
            return self._analysed(function, raw, self)
        finally:
            self._active.pop()

    def _analysed(self, function: Function, raw: bytes, callees: Callees) -> FlowResult:
        instructions = self._processor.decode(raw, function.entry)
        self._work += len(instructions)
        result = analyse(
            Code(instructions, self._processor, self._in_registers, function.entry, callees)
        )
        self._work += result.steps
        return result

    def arguments(self, function: Function, pc: int) -> dict[int, Place]:
        """Where `function` has its arguments in its frame while it calls what returns to `pc`, as far as it is known, or
        there is work left to find it out."""
        index, size = function.index, function.end - function.entry
        result = self._flows.get(index) or self._plain.get(index)
        affordable = self.work_left(1.0, size * _WORK_PER_BYTE) and len(self._plain) < _MAX_FLOWS
        if result is None and size <= _MAX_PLAIN_BYTES and affordable:
            try:
                raw = self.trees.read(function.entry, size)
                result = self._analysed(function, raw, _Lockless(self))
            except SpyglassError:
                result = FlowResult()
            self._plain[index] = result
        facts = result.calls.get(pc) if result is not None else None
        return facts.arguments if facts is not None else {}

    def effects(self, entry: int) -> list[Effect] | None:
        """What a call of the function at `entry` does to locks, None if nothing, or it is not known."""
        known = self.primitives.get(entry)
        if known is not None:
            return known
        if entry in self._effects:
            return self._effects[entry]
        function = self._function_at(entry)
        if function is None or not self._is_helper(function):
            return None
        self._effects[entry] = found = self._net_effects(function)
        return found

    def _net_effects(self, function: Function) -> list[Effect] | None:
        found = [
            self._effect(net)
            for net in self._flow(function).net
            if net.mask & FREE or net.mask == HELD
        ]
        return [each for each in found if each is not None] or None

    def returned(self, entry: int) -> int | None:
        """The number of the argument that the function at `entry` returns, of one that may take or release
        locks; None if it is none, or not known."""
        function = self._function_at(entry)
        if entry in self.primitives or function is None or not self._is_helper(function):
            return None
        return self._flow(function).returned

    def _is_helper(self, function: Function) -> bool:
        """Whether `function` may take or release locks for its caller. One that defers calls releases
        what it takes, or nothing is known."""
        size = function.end - function.entry
        if len(self._active) > _MAX_HELPERS or not self.may_lock(function):
            return False
        if size > (_MAX_HELPER_BYTES if self._is_one_sided[function.index] else _SMALL_BYTES):
            return False
        return not self.functions.defers(function) and function.index not in self._active

    def _effect(self, net: Net) -> Effect | None:
        """What a caller sees of `net`: a lock at an argument + offset, or that one is released which it
        may have taken."""
        base, offset = net.address
        number = None
        if base[0] == "in" and base[1] in self._processor.arguments and self._in_registers:
            number = self._processor.arguments.index(base[1])
        elif base[0] == "argument" and not self._in_registers:
            number = (base[1] - 8) // 8
        if number is None or not 0 <= number < len(self._processor.arguments):
            return Effect(-1, offset, net.mode, False) if net.mask & FREE else None
        return Effect(number, offset, net.mode, net.mask == HELD, direct=False)

    def releases(self, entry: int) -> tuple[Release, ...] | None:
        """The locks that a deferred call of the function at `entry` releases, or one of a func value; None if too little
        work is left to find them."""
        known = self._releases.get(entry)
        if known is None:
            try:
                known = self._releases[entry] = tuple(self._find_releases(entry))
            except _TooLittleWorkLeft:
                return None
        return known

    def _find_releases(self, entry: int) -> list[Release]:
        primitive = self.primitives.get(entry)
        if primitive is not None:
            return [
                Release(self._argument(each.argument, (each.offset,)), each.mode, True)
                for each in primitive
                if not each.taken and each.number is None
            ]
        function = self._function_at(entry)
        if function is None or not (self.may_lock(function) or self._is_wrapper(function)):
            return []
        found = []
        for net in self._flow(function).net:
            place = self._place(net.address) if net.mask & FREE else None
            table = self._place(net.table) if net.table is not None else None
            if place is not None:
                found.append(Release(place, net.mode, net.mask == FREE, table))
        return found

    def calls_pointers(self, function: Function) -> bool:
        """Whether `function`, which is none of package sync or the runtime, may call closures or methods of interfaces."""
        if function.index not in self._pointers:
            self._pointers[function.index] = self._may_call_pointers(function)
        return self._pointers[function.index]

    def _may_call_pointers(self, function: Function) -> bool:
        if function.name.startswith(_PRIMITIVE):
            return False
        try:
            size = min(function.end - function.entry, MAX_CODE_BYTES)
            return may_call_pointers(self.trees.read(function.entry, size), self._arch)
        except SpyglassError:
            return False

    def _is_wrapper(self, function: Function) -> bool:
        """Whether `function` can be one that the compiler made to defer a call of a method of an interface, or of what
        takes or releases locks further in."""
        size = function.end - function.entry
        if size > _MAX_WRAPPER_BYTES:
            return False
        if self._lockers[self._edges.called_by(function)].any():
            return True
        try:
            return may_call_pointers(self.trees.read(function.entry, size), self._arch)
        except SpyglassError:
            return False

    def _argument(self, number: int, steps: tuple[int, ...]) -> Place:
        return Place("argument", (8 * number, *steps))

    def _place(self, value: Value) -> Place | None:
        """Where `value` is found when the function is called."""
        base, offset = value
        if base == NUMBER:
            return Place("number", (offset,))
        if base[0] == "argument":
            return self._argument((base[1] - 8) // 8, (offset,))
        if base[0] == "in":
            if base[1] == self._processor.context:
                return Place("context", (offset,))
            if base[1] in self._processor.arguments:
                return self._argument(self._processor.arguments.index(base[1]), (offset,))
        if base[0] == "memory" and len(base) == 2:
            inner = self._place(base[1])
            if inner is not None:
                return Place(inner.root, (*inner.steps, offset))
        return None

    def _function_at(self, entry: int) -> Function | None:
        """The function that begins at `entry`."""
        if entry not in self._entries:
            if len(self._entries) >= _MAX_ENTRIES:
                self._entries.clear()
            try:
                function = self.functions.at(entry)
            except SpyglassError:
                function = None
            self._entries[entry] = function if function and function.entry == entry else None
        return self._entries[entry]

    def _name(self, entry: int) -> str:
        function = self._function_at(entry)
        return function.name if function is not None else ""

    def ends(self, entry: int) -> bool:
        """Whether the function at `entry` never returns."""
        return self._name(entry).startswith(_ENDS)

    def keeps(self, entry: int) -> tuple[str, ...] | None:
        """The registers that the function at `entry` changes, if they are few."""
        name = self._name(entry)
        for prefix, changed in _KEEPS.items():
            if name.startswith(prefix):
                return changed
        return None

    def area(self, entry: int) -> int:
        """Bytes of the arguments on the stack of the function at `entry`; 0: not known which."""
        function = self._function_at(entry) if entry else None
        size = self.functions.argument_bytes(function) if function is not None else None
        if size is None:
            return 0 if self._in_registers else _UNKNOWN_AREA
        return min(size, 1 << 12)


def _operands(code: bytes, address: int, begin: int, end: int) -> NDArray[np.uint64]:
    """The words in [begin, end) at whose addresses 4 bytes anywhere in `code` at `address` may be, counted from what
    follows them: the operands relative to rip, and others. Behind them an instruction may have 1 or 4 bytes more."""
    distance = numbers_anywhere(code)
    target = np.arange(len(distance)) + (address + 4) + distance
    every = np.concatenate([target + more for more in (0, 1, 4)])
    return distinct(every[(every >= begin) & (every < end)].astype(np.uint64) & ~np.uint64(7))


class _Lockless:
    """What is known of called functions, without their effects on locks."""

    def __init__(self, code: LockCode) -> None:
        self.ends, self.keeps, self.area = code.ends, code.keeps, code.area

    def effects(self, entry: int) -> list[Effect] | None:
        """None are looked for."""
        return None

    def returned(self, entry: int) -> int | None:
        """It is not looked for."""
        return None


#: What package sync itself does to its locks while it takes or releases them is no evidence.
_PRIMITIVE = (
    *_MUTEX, "sync.(*RWMutex).", "sync.(*rlocker).", "sync.(*Cond).", "sync.runtime_",
    "internal/sync.runtime_", "internal/poll.(*fdMutex).", "runtime.",
)  # fmt: skip
