"""Which locks a function has taken, and not released, where it calls another: from its machine code.

Forward data flow over the instructions of one function. Values get names (`spyglass.binary.flow_state`), so
that a lock that is taken through one register and released through another is the same one; where paths
meet, what differs gets a new name. The result tells for each call which locks are held on all or some paths
to it, and where in the frame their addresses are found. What is not understood only loses locks: nothing is
called held that the code does not say.

Calls that take or release locks are given by the caller (`Effect`), this file knows no names. Go inlines
the fast paths (``sync/mutex.go: Lock``, ``rwmutex.go: RLock``): a compare-and-swap, or an addition, to
the state word. These are followed as what they are to a lock of each kind; addresses tell later which one it
was.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import pairwise

from spyglass.binary.flow_places import Places
from spyglass.binary.flow_state import (
    ENTRY_STACK,
    FREE,
    HELD,
    KEPT,
    NUMBER,
    Base,
    Key,
    State,
    Value,
    join,
)
from spyglass.binary.instructions import Do, Instruction
from spyglass.binary.lock_facts import (
    LOCK,
    LOCKER,
    READ,
    UNLOCK,
    WRITE,
    Code,
    Effect,
    FlowResult,
    Net,
)

__all__ = ["analyse"]

#: ``sync.RWMutex``: where readers are counted, from its begin.
READER_COUNT = 16
_MAX_INSTRUCTIONS = 1 << 14
_MAX_VISITS = 6
_MAX_STEPS = 1 << 17
_MAX_DEREFERENCES = 3
#: No function or variable is outside of these addresses.
_ADDRESSES = range(1 << 12, 1 << 63)


def analyse(code: Code) -> FlowResult:
    """Follow `code`, up to some limits."""
    if not 0 < len(code.instructions) <= _MAX_INSTRUCTIONS:
        return FlowResult()
    flow = _Flow(code)
    if not flow.run():
        return FlowResult(steps=flow.steps)
    return flow.result()


class _Flow:
    def __init__(self, code: Code) -> None:
        self._code = code
        self._stack = code.processor.stack
        self._index: dict[int, int] = {}
        for row, each in enumerate(code.instructions):
            self._index.setdefault(each.at, row)
        self._begins = self._find_blocks()
        self._states: dict[int, State] = {}
        self._visits: dict[int, int] = {}
        self.steps = 0
        # At calls by their return addresses: the state, and what they do to which locks. At returns by their
        # addresses: the locks, and the first result. The last visit of a block leaves here what holds.
        self._calls: dict[int, tuple[State, list[tuple[Effect, Key]]]] = {}
        self._returns: dict[int, tuple[dict[Key, int], Value | None]] = {}
        # Locks that helpers took; of Lockers, where the tables of their methods are.
        self._helped: set[Key] = set()
        self._tables: dict[Key, Value] = {}
        self._given: set[int] = set()
        self._places = Places(code, self._tables)

    def _find_blocks(self) -> set[int]:
        """The addresses at which blocks begin."""
        begins = {self._code.entry}
        for each in self._code.instructions:
            if each.target in self._index and each.do != Do.CALL:
                begins.add(each.target)
        return begins

    def run(self) -> bool:
        """Find the states at the beginnings of all blocks; whether that was possible."""
        first = State({self._stack: Value(ENTRY_STACK, 0)}, {})
        for register in (*self._code.processor.arguments, self._code.processor.context):
            first.values[register] = Value(("in", register), 0)
        self._states[self._code.entry] = first
        work = [self._code.entry]
        while work:
            block = heapq.heappop(work)
            visits = self._visits[block] = self._visits.get(block, 0) + 1
            if visits > _MAX_VISITS + len(self._begins) or self.steps > _MAX_STEPS:
                return False
            for target, state in self._block(block):
                if target in self._index and self._reaches(target, state) and target not in work:
                    heapq.heappush(work, target)
        return True

    def _reaches(self, target: int, state: State) -> bool:
        """Let control come to `target` with `state`; whether more is possible there than before."""
        known = self._states.get(target)
        if known is not None:
            return join(known, state, target)
        self._states[target] = state.copy()
        return True

    def result(self) -> FlowResult:
        """What is known at calls and returns, once the states are found."""
        if self._helped:  # not all of these were known when the first blocks were followed
            for block in self._states:
                self._block(block)
        net, returned = self._net(), self._returned_argument()
        ahead = [Key(each.address, each.mode) for each in net if each.mask & FREE]
        calls = {
            end: self._places.facts(state, known, ahead)
            for end, (state, known) in self._calls.items()
        }
        given = frozenset(self._given)
        return FlowResult(calls, net, returned, complete=True, steps=self.steps, given=given)

    def _net(self) -> list[Net]:
        returns = [locks for locks, _ in self._returns.values()]
        net = []
        for key in {key: None for locks in returns for key in locks}:
            mask = 0
            for locks in returns:
                mask |= locks.get(key, KEPT)
            net.append(Net(key.address, key.mode, mask, self._tables.get(key)))
        return net

    def _returned_argument(self) -> int | None:
        """The number of the argument that all returns return first."""
        first, *others = [value for _, value in self._returns.values()] or [None]
        same = all(each == first for each in others)
        if first is None or not same or first.offset or first.base[0] != "in":
            return None
        registers = self._code.processor.arguments
        return registers.index(first.base[1]) if first.base[1] in registers else None

    def _block(self, begin: int) -> list[tuple[int, State]]:
        """Follow a block from its beginning; where control goes, with which states."""
        state, row = self._states[begin].copy(), self._index[begin]
        instructions = self._code.instructions
        while row < len(instructions):
            each = instructions[row]
            if each.at != begin and each.at in self._begins:
                return [(each.at, state)]
            self.steps += 1
            ends = _EXECUTE[each.do](self, state, each)
            if ends is not None:
                return ends
            if each.others:
                for register in each.others:
                    state.forget(register, each.at)
            if not each.keeps_condition and each.do not in _SET_CONDITION:
                state.condition = None
            row += 1
        return []

    # One method for each kind of instruction: it changes the state; what it returns ends the block.

    def _other(self, state: State, each: Instruction) -> None:
        return None

    def _move(self, state: State, each: Instruction) -> None:
        value = state.value(each.base)
        if value is None or (each.narrow and value.base[0] not in ("number", "took")):
            self._new(state, each.reg, each.at)
        else:
            state.values[each.reg] = value.plus(each.offset)

    def _constant(self, state: State, each: Instruction) -> None:
        state.values[each.reg] = Value(NUMBER, each.offset)

    def _place_of(self, state: State, each: Instruction) -> Value | None:
        """The address that an instruction's operand in memory has."""
        if not each.base:
            return Value(NUMBER, each.offset)
        value = state.value(each.base)
        return value.plus(each.offset) if value is not None else None

    def _load(self, state: State, each: Instruction) -> None:
        place = self._place_of(state, each)
        if place is None:
            return self._new(state, each.reg, each.at)
        if place.base == ENTRY_STACK:
            value = state.value(place.offset)
            if value is None or (each.narrow and value.base[0] not in ("number", "took")):
                return self._new(state, each.reg, each.at)
            state.values[each.reg] = value
            return None
        if each.narrow or _depth(place.base) >= _MAX_DEREFERENCES:
            return self._new(state, each.reg, each.at)
        state.values[each.reg] = Value(("memory", place), 0)
        return None

    def _new(self, state: State, location: str | int, at: int) -> None:
        state.retire(at)
        state.forget(location, at)

    def _store(self, state: State, each: Instruction) -> None:
        value = None
        if each.source.startswith("#"):
            value = Value(NUMBER, int(each.source[1:]))
        elif each.source:
            value = state.value(each.source)
        self._give(value)
        place = self._place_of(state, each)
        if place is None or place.base != ENTRY_STACK:
            return
        first = place.offset & ~7
        for slot in range(first, place.offset + each.size, 8):
            state.forget(slot, each.at)
        if value is not None and not each.narrow and place.offset == first:
            state.values[first] = value

    def _give(self, value: Value | None) -> None:
        if value is not None and value.base == NUMBER and value.offset in _ADDRESSES:
            self._given.add(value.offset)

    def _swap(self, state: State, each: Instruction) -> None:
        place = self._place_of(state, each)
        state.condition = None
        if place is None:
            return
        # That of a Mutex, or the count of readers of an RWMutex (TryRLock).
        for key in (Key(place.plus(-READER_COUNT), READ), Key(place, WRITE)):
            before = state.locks.get(key, KEPT)
            state.change(key, taken=True)
            state.locks[key] |= before
        state.condition = key, True

    def _add(self, state: State, each: Instruction) -> None:
        place, what = self._place_of(state, each), state.value(each.source)
        if place is None or what is None or what.base != NUMBER:
            return
        write, read = Key(place, WRITE), Key(place.plus(-READER_COUNT), READ)
        if what.offset == 1:
            state.change(read, taken=True)
        elif what.offset == -1:
            held = [key for key in (read, write) if state.locks.get(key, KEPT) & HELD]
            for key in held or (read, write):
                state.change(key, taken=False)

    def _set(self, state: State, each: Instruction) -> None:
        if state.condition is None:
            return self._new(state, each.reg, each.at)
        key, sense = state.condition
        state.values[each.reg] = Value(("took", key, sense == each.when), 0)
        return None

    def _test(self, state: State, each: Instruction) -> None:
        state.condition = self._took(state, each.reg, True)

    def _took(self, state: State, reg: str, when_zero: bool) -> tuple[Key, bool] | None:
        """The condition that `reg` is zero, as one of whether a lock was taken."""
        value = state.value(reg)
        if value is None or value.base[0] != "took":
            return None
        return value.base[1], value.base[2] != when_zero

    def _call(self, state: State, each: Instruction) -> list[tuple[int, State]] | None:
        code = self._code
        effects = code.callees.effects(each.target) if each.target else None
        known = [
            (effect, key)
            for effect in effects or ()
            if (key := self._key(state, effect)) is not None
        ]
        self._calls[each.end] = state.copy(), known
        for register in code.processor.arguments if code.in_registers else ():
            self._give(state.value(register))
        if each.target and code.callees.ends(each.target):
            return []
        if not each.target:
            self._call_pointer(state, each)
        for effect in effects or ():
            if effect.argument < 0:
                self._release_unknown(state, effect)
        took = self._apply(state, known)
        same = self._returned(state, each)
        self._clobber(state, each)
        result: str | int = code.processor.arguments[0]
        if same is not None:
            state.values[result] = same
        if took is not None:
            if not code.in_registers:
                stack = state.values[self._stack]
                result = stack.offset + 8 + (8 if code.processor.link else 0)
            state.values[result] = Value(("took", took, True), 0)
        return None

    def _returned(self, state: State, each: Instruction) -> Value | None:
        """The argument that a call returns, if it does."""
        if not each.target or not self._code.in_registers:
            return None
        number = self._code.callees.returned(each.target)
        return self._places.argument(state, number) if number is not None else None

    def _apply(self, state: State, known: list[tuple[Effect, Key]]) -> Key | None:
        """Take and release locks as a call does; the lock that its result is about."""
        took = None
        for effect, key in known:
            before = state.locks.get(key, KEPT)
            if effect.waits_inside:
                continue
            state.change(key, effect.taken)
            if not effect.direct and effect.taken:
                self._helped.add(key)
            if effect.tells:
                state.locks[key] |= before
                took = key
        return took

    def _call_pointer(self, state: State, each: Instruction) -> None:
        """A call of a closure, or of a method of an interface: it may release any lock, so what is held is not
        certain after that. A helper that takes a lock often returns a closure that releases it."""
        called = state.value(each.reg) if each.reg else None
        receiver = self._places.argument(state, 0)
        method = called.base[1] if called is not None and called.base[0] == "memory" else None
        if method is not None and receiver is not None and method.offset in (LOCK, UNLOCK):
            key = Key(receiver, LOCKER)
            self._tables[key] = method.plus(-method.offset)
            state.change(key, method.offset == LOCK)
            return
        for key, mask in state.locks.items():
            if mask & HELD:
                state.locks[key] = KEPT if key in self._helped else mask | KEPT

    def _release_unknown(self, state: State, effect: Effect) -> None:
        for key, mask in state.locks.items():
            same = key.mode == effect.mode and key.address.offset == effect.offset
            if mask & HELD and (same or effect.offset == 0):
                state.locks[key] = KEPT

    def _clobber(self, state: State, each: Instruction) -> None:
        """Forget what a call changes: all registers, and its arguments on the stack."""
        state.retire(each.at)
        changed = self._code.callees.keeps(each.target) if each.target else None
        if changed is not None:
            for register in changed:
                state.forget(register, each.at)
            return
        kept = {self._stack, "rbp", "x28", "x29"}
        for location in list(state.values):
            if isinstance(location, str) and location not in kept:
                state.forget(location, each.at)
        stack = state.values.get(self._stack)
        if stack is None or stack.base != ENTRY_STACK:
            return
        first = stack.offset + (8 if self._code.processor.link else 0)
        size = self._code.callees.area(each.target)
        for location in list(state.values):
            if isinstance(location, int) and first <= location < first + size:
                del state.values[location]

    def _key(self, state: State, effect: Effect) -> Key | None:
        """The lock that `effect` is on; None if it is not known."""
        if effect.argument < 0:
            return None
        if effect.number is not None:
            number = self._places.argument(state, 1)
            if (
                number is None
                or number.base != NUMBER
                or number.offset & 255 != effect.number & 255
            ):
                return None
        value = self._places.argument(state, effect.argument)
        return None if value is None else Key(value.plus(effect.offset), effect.mode)

    def _jump(self, state: State, each: Instruction) -> list[tuple[int, State]]:
        if each.target in self._index:
            return [(each.target, state)]
        if each.target:  # a call in tail position, whose return address is that of this function
            stack = state.values.get(self._stack)
            if stack is not None and not self._code.processor.link:
                state.values[self._stack] = stack.plus(8)
            self._call(state, each)
            return self._return(state, each)
        # A jump table: to any block that is not known to be reached in another way.
        reached = {one.target for one in self._code.instructions if one.target}
        rows = self._code.instructions
        ends = (Do.JUMP, Do.RETURN, Do.STOP)
        return [
            (after.at, state)
            for before, after in pairwise(rows)
            if before.do in ends and after.at not in reached
        ]

    def _branch(self, state: State, each: Instruction) -> list[tuple[int, State]]:
        condition = state.condition
        if each.do == Do.BRANCH_ZERO:
            condition = self._took(state, each.reg, True)
        if condition is None or each.when is None:
            return [(each.end, state), (each.target, state)]
        key, sense = condition
        taken, other = state.copy(), state
        _settle(taken, key, sense == each.when)
        _settle(other, key, sense != each.when)
        return [(each.end, other), (each.target, taken)]

    def _return(self, state: State, each: Instruction) -> list[tuple[int, State]]:
        self._returns[each.at] = state.locks, state.value(self._code.processor.arguments[0])
        return []

    def _stop(self, state: State, each: Instruction) -> list[tuple[int, State]]:
        return []


def _settle(state: State, key: Key, took: bool) -> None:
    """It turned out whether a lock was taken."""
    state.condition = None
    for each in (key, Key(key.address.plus(-READER_COUNT), READ)):
        mask = state.locks.get(each)
        if mask is not None:
            state.locks[each] = (mask & HELD if took else mask & ~HELD) or mask


def _depth(base: Base) -> int:
    depth = 0
    while base[0] == "memory":
        base, depth = base[1].base, depth + 1
    return depth


_SET_CONDITION = (Do.COMPARE_AND_SWAP, Do.TEST)
_EXECUTE: dict[Do, Callable[[_Flow, State, Instruction], list[tuple[int, State]] | None]] = {
    Do.OTHER: _Flow._other,
    Do.MOVE: _Flow._move,
    Do.CONSTANT: _Flow._constant,
    Do.LOAD: _Flow._load,
    Do.STORE: _Flow._store,
    Do.COMPARE_AND_SWAP: _Flow._swap,
    Do.ADD_ATOMICALLY: _Flow._add,
    Do.CALL: _Flow._call,
    Do.JUMP: _Flow._jump,
    Do.BRANCH: _Flow._branch,
    Do.RETURN: _Flow._return,
    Do.STOP: _Flow._stop,
    Do.SET: _Flow._set,
    Do.TEST: _Flow._test,
    Do.BRANCH_ZERO: _Flow._branch,
}
