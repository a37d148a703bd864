"""What is known at one point of a function: which values registers and stack slots hold, and which locks
it has taken or released since it began."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ENTRY_STACK", "FREE", "HELD", "KEPT", "NUMBER", "Key", "State", "Value", "join"]

#: Where a value is from: ("in", register) at the entry, ("argument", offset) on the stack at the entry,
#: ("memory", value): what is in memory at `value`; ("at", address of an instruction, ...): what it made;
#: ("merged", block, place): one of several that reach a block; and these two.
Base = tuple[Any, ...]
NUMBER: Base = ("number",)
ENTRY_STACK: Base = (
    "stack",
)  # the stack pointer at the entry, where the return address is (or lr)

#: What became of a lock since the function began, as bits: it was released that was held before, it is as
#: before, it is held now. Several: on different paths.
FREE, KEPT, HELD = 1, 2, 4


class Value(NamedTuple):
    """`base` + `offset`."""

    base: Base
    offset: int

    def plus(self, offset: int) -> Value:
        """The value `offset` higher."""
        return Value(self.base, self.offset + offset)


class Key(NamedTuple):
    """A lock by its address, and how it is used: an index into `spyglass.wait_graph.MODES`."""

    address: Value
    mode: int


#: A register by its name, or a stack slot by its offset in bytes from the stack pointer at the entry.
Location = str | int
_Renamed = dict[Base, tuple[Base, int]]


class State:
    """At one point: the values of locations, the locks, and what the condition "equal" means: the lock
    that was taken if it is as the bool says."""

    __slots__ = ("condition", "locks", "values")

    def __init__(
        self,
        values: dict[Location, Value],
        locks: dict[Key, int],
        condition: tuple[Key, bool] | None = None,
    ) -> None:
        self.values, self.locks, self.condition = values, locks, condition

    def copy(self) -> State:
        """A copy."""
        return State(self.values.copy(), self.locks.copy(), self.condition)

    def value(self, location: Location) -> Value | None:
        """What `location` holds, None if that is not known. Slots above the return address hold arguments
        until they are overwritten."""
        found = self.values.get(location)
        if found is None and isinstance(location, int) and location > 0:
            return Value(("argument", location), 0)
        return found

    def forget(self, location: Location, at: int) -> None:
        """`location` holds something new, made by the instruction at `at`."""
        self.values[location] = Value(("at", at, location), 0)

    def retire(self, at: int) -> None:
        """The instructions at `at` make new values: what still holds those they made before is not
        followed any longer."""

        for location in [each for each, value in self.values.items() if _is_of(value.base, at)]:
            self.values[location] = Value(("at", at, location, "old"), 0)
        for key in [each for each in self.locks if _is_of(each.address.base, at)]:
            del self.locks[key]

    def change(self, key: Key, taken: bool) -> None:
        """The lock `key` is taken, or released."""
        before = self.locks.get(key, KEPT)
        if taken:
            self.locks[key] = (before << 1) & (KEPT | HELD) | (before & HELD)
            return
        if not before & HELD:
            self._release_unknown(key)
        self.locks[key] = before >> 1 | (before & FREE)

    def _release_unknown(self, key: Key) -> None:
        """What was released may be a lock that was taken by another name: forget those that it can be."""
        for other, mask in self.locks.items():
            if other.mode == key.mode and mask & HELD and _may_be_same(other.address, key.address):
                self.locks[other] = KEPT


def _is_of(base: Base, at: int) -> bool:
    """Whether `base` is what the instruction at `at` made, or in memory behind it."""
    while base[0] == "memory":
        base = base[1].base
    return bool(base[0] == "at" and base[1] == at)


def _may_be_same(one: Value, other: Value) -> bool:
    if one.base == other.base or NUMBER in (one.base, other.base):
        return one == other
    return 0 in (one.offset, other.offset) or one.offset == other.offset


def join(known: State, comes: State, block: int) -> bool:
    """Let `known`, the state at the beginning of `block`, hold also if control comes with `comes`; whether
    it changed."""
    comes = _without_stale(comes, block)
    renamed_known: _Renamed = {}
    renamed_comes: _Renamed = {}
    changed = _join_values(known, comes, block, (renamed_known, renamed_comes))
    if known.locks or comes.locks:
        changed |= _join_locks(known, comes, renamed_known, renamed_comes)
    if known.condition != comes.condition and known.condition is not None:
        known.condition, changed = None, True
    return changed


def _join_locks(
    known: State, comes: State, renamed_known: _Renamed, renamed_comes: _Renamed
) -> bool:
    # Names that both have stay.
    same = {value.base for place, value in known.values.items() if comes.values.get(place) == value}
    same |= {key.address.base for key in known.locks if key in comes.locks}
    for base in same:
        renamed_known.pop(base, None)
        renamed_comes.pop(base, None)
    here, there = _renamed(known.locks, renamed_known), _renamed(comes.locks, renamed_comes)
    merged = {key: here.get(key, KEPT) | there.get(key, KEPT) for key in {**here, **there}}
    changed = merged != known.locks
    known.locks = merged
    return changed


def _without_stale(comes: State, block: int) -> State:
    """`comes` with values that were merged at `block` before, and are no longer in the place that they
    are named after, named as old: the block gives their names to others."""
    stale = {
        value.base
        for value in (*comes.values.values(), *(key.address for key in comes.locks))
        if value.base[0] == "merged" and value.base[1] == block and len(value.base) == 3
        if (now := comes.value(value.base[2])) is None or now.base != value.base
    }
    if not stale:
        return comes
    renamed = {base: ((*base, "old"), 0) for base in stale}
    values = {
        location: Value((*value.base, "old"), value.offset) if value.base in stale else value
        for location, value in comes.values.items()
    }
    return State(values, _renamed(comes.locks, renamed), comes.condition)


def _join_values(
    known: State, comes: State, block: int, renamed: tuple[_Renamed, _Renamed]
) -> bool:
    changed = False
    groups: dict[tuple[Base, Base, int], Base] = {}
    here, there = known.values, comes.values
    different = [place for place, value in here.items() if there.get(place) != value]
    different += [place for place in there if place not in here]
    different.sort(key=str)
    for location in different:
        one, other = known.value(location), comes.value(location)
        if one is None or other is None:
            changed |= known.values.pop(location, None) is not None
            continue
        if one == other:
            continue
        group = one.base, other.base, other.offset - one.offset
        base = groups.get(group)
        if base is None:
            mine = one.base[:2] == ("merged", block) and one.base not in groups.values()
            base = groups[group] = one.base if mine else ("merged", block, location)
            renamed[0].setdefault(one.base, (base, 0))
            renamed[1].setdefault(other.base, (base, one.offset - other.offset))
        value = Value(base, one.offset)
        if value != one:
            known.values[location], changed = value, True
    return changed


def _renamed(locks: dict[Key, int], renamed: _Renamed) -> dict[Key, int]:
    if not renamed:
        return locks
    result: dict[Key, int] = {}
    for key, mask in locks.items():
        base, shift = renamed.get(key.address.base, (key.address.base, 0))
        new = Key(Value(base, key.address.offset + shift), key.mode)
        result[new] = result.get(new, 0) | mask
    return result
