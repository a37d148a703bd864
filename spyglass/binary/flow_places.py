"""Where the frame of a function tells the addresses of locks, while it calls another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spyglass.binary.flow_state import (
    ENTRY_STACK,
    HELD,
    KEPT,
    NUMBER,
    Base,
    Key,
    State,
    Value,
)
from spyglass.binary.lock_facts import CallFacts, Code, Effect, LockFact, Place

__all__ = ["Places"]

#: Of functions how many arguments are looked for in their frames.
_FOLLOWED_ARGUMENTS = 4
_FIXED = {NUMBER: "number", ENTRY_STACK: "frame"}


class _Slots:
    """The stack slots of a state by what they hold: for the base of a value the first slot, and its offset."""

    def __init__(self, state: State) -> None:
        self.values = state.values
        self.by_base: dict[Base, tuple[int, int]] = {}
        for location, (base, offset) in state.values.items():
            if isinstance(location, int):
                self.by_base.setdefault(base, (location, offset))


class Places:
    """Finds values in the frame of the function `code`. `tables`: of Lockers where the tables of their methods
    are."""

    def __init__(self, code: Code, tables: Mapping[Key, Value]) -> None:
        self._code = code
        self._tables = tables

    def facts(
        self, state: State, known: Sequence[tuple[Effect, Key]], ahead: Sequence[Key]
    ) -> CallFacts:
        """What is known at a call in `state`. `known`: what the call does to which locks. `ahead`: locks that the
        function releases somewhere without having taken them."""
        waited = next((key for effect, key in known if effect.taken and effect.direct), None)
        frame, lost = _Slots(state), False
        locks: list[LockFact] = []
        inside = {key for effect, key in known if effect.waits_inside}
        for key, mask in state.locks.items():
            mask = KEPT if key in inside else mask
            place = self.find(frame, key.address, waited) or self._in_callee(state, key.address)
            if place is not None:
                locks.append(LockFact(place, key.mode, mask, self.table(frame, key)))
            elif mask & HELD:
                lost = True
        released = [
            LockFact(place, key.mode, KEPT, self.table(frame, key))
            for key in ahead
            if state.locks.get(key, KEPT) == KEPT
            and (place := self.find(frame, key.address, None)) is not None
        ]
        arguments = {
            number: place
            for number in range(_FOLLOWED_ARGUMENTS)
            if (place := self.find(frame, Value(self._own_argument(number), 0), None)) is not None
        }
        return CallFacts(locks, released, lost, arguments)

    def table(self, frame: _Slots, key: Key) -> Place | None:
        """Where the table of the methods of a Locker is found."""
        table = self._tables.get(key)
        return self.find(frame, table, None) if table is not None else None

    def _own_argument(self, number: int) -> Base:
        """Argument `number` of this function, as it is named at the entry."""
        if self._code.in_registers:
            return "in", self._code.processor.arguments[number]
        return "argument", 8 + 8 * number

    def _in_callee(self, state: State, address: Value) -> Place | None:
        """`address` as an argument of the function that is called now."""
        for number in range(_FOLLOWED_ARGUMENTS):
            value = self.argument(state, number)
            if value is not None and value.base == address.base:
                return Place("callee", (number, address.offset - value.offset))
        return None

    def find(self, frame: _Slots, address: Value, waited: Key | None) -> Place | None:
        """How an address, that of a lock, is found in a frame with these slots."""
        base, offset = address
        if base in _FIXED:
            return Place(_FIXED[base], (offset,))
        if waited is not None and waited.address.base == base:
            return Place("waited", (offset - waited.address.offset,))
        slot = frame.by_base.get(base)
        if slot is not None:
            return Place("frame", (slot[0], offset - slot[1]))
        if base[0] == "argument" and base[1] not in frame.values:
            return Place("frame", (base[1], offset))
        if base[0] != "memory":
            return None
        inner = self.find(frame, base[1], None)
        return inner and Place(inner.root, (*inner.steps, offset))

    def argument(self, state: State, number: int) -> Value | None:
        """What argument `number` of a call is that is made now."""
        code = self._code
        if code.in_registers:
            return state.value(code.processor.arguments[number])
        stack = state.values.get(code.processor.stack)
        if stack is None or stack.base != ENTRY_STACK:
            return None
        return state.value(stack.offset + 8 * number + (8 if code.processor.link else 0))
