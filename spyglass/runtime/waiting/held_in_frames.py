"""Locks that functions have taken, by their code, where goroutines wait in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.binary.flow_state import FREE, HELD
from spyglass.binary.lock_facts import LOCKER
from spyglass.columns import distinct
from spyglass.runtime.waiting.frame_words import Roots, addresses_of, words_at
from spyglass.runtime.waiting.func_values import may_hand_on
from spyglass.runtime.waiting.holder_evidence import (
    AHEAD,
    EVERY_PATH,
    LOCKER_REACH,
    SOME_PATHS,
    Evidence,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.binary.lock_facts import CallFacts, LockFact, Place
    from spyglass.memory.base import Memory
    from spyglass.runtime.waiting.contended import Contended
    from spyglass.runtime.waiting.lock_frames import LockFrames, LockStacks
    from spyglass.runtime.waiting.population import Population

__all__ = ["Held", "find_held"]

#: A struct that has a lock in it has it within so many bytes, most often.
_REACH = 1 << 12
#: Frames of one call whose words are examined to decide whether its function is followed first, words of each, and frames that
#: are examined at a time.
_MAX_EXAMINED = 1 << 5
_MAX_WORDS = 1 << 7
_BATCH = 1 << 10
#: Words examined from the return address of a frame on: arguments are above it.
_ABOVE = 9
#: Share of the processor time after which no function is followed in whose frames no pointer to a lock was seen.
_SHARE_OF_OTHERS = 0.125


class Held(NamedTuple):
    """What frames tell of locks. `doubtful`: which goroutines (of the population) may hold locks, or release
    some later, that their frames do not tell."""

    evidence: Evidence
    doubtful: NDArray[np.bool_]


def find_held(
    population: Population,
    frames: LockFrames,
    stacks: LockStacks,
    contended: Contended,
    waited: NDArray[np.uint64],
) -> Held:
    """Which of the locks `contended` the functions of `frames` have taken. `waited`: the lock that each
    goroutine of the population waits for, 0 for none."""
    calls = {
        number: rows for number, rows in frames.by_call.items() if stacks.calls[number].may_lock
    }
    doubtful = np.zeros(len(population.pointers), np.bool_)
    found = []
    for number in _in_order(population, frames, stacks, contended, calls, waited):
        rows, call = calls[number], stacks.calls[number]
        facts = stacks.facts(call)
        if facts is None:
            doubtful[frames.row[rows]] = True
            continue
        if facts.lost:
            doubtful[frames.row[rows]] = True
        base = frames.base[rows]
        roots = Roots.of(len(rows), frame=base, waited=waited[frames.row[rows]])
        for fact, is_ahead in _each(facts):
            if fact.place.root == "callee":
                address = _from_callee(population.runtime.memory, frames, stacks, rows, fact.place)
            else:
                address = addresses_of(population.runtime.memory, fact.place, roots)
            held = contended.find(address, fact.mode)
            hits = np.flatnonzero(held >= 0)
            if len(hits):
                evidence = _evidence(frames, rows[hits], held[hits], fact, is_ahead)
                if evidence.grade[0] == EVERY_PATH and may_hand_on(
                    population.runtime.memory, stacks.code, call.function, fact.mode
                ):
                    evidence.grade[:] = SOME_PATHS
                found.append(evidence)
        for fact in facts.locks:
            if fact.mode == LOCKER and fact.mask & FREE:
                address = addresses_of(population.runtime.memory, fact.place, roots)
                doubtful[frames.row[rows[address == 0]]] = True
                found += _released_lockers(frames, rows, contended, address, fact)
    return Held(Evidence.joined(found), doubtful)


def _each(facts: CallFacts) -> list[tuple[LockFact, bool]]:
    every = [*((fact, False) for fact in facts.locks), *((fact, True) for fact in facts.ahead)]
    return [(fact, is_ahead) for fact, is_ahead in every if fact.mode != LOCKER]


def _released_lockers(
    frames: LockFrames,
    rows: NDArray[np.intp],
    contended: Contended,
    address: NDArray[np.uint64],
    fact: LockFact,
) -> Iterator[Evidence]:
    """That what the ``sync.Locker`` at `address` is, or has in it, was released: of each mode the lock behind the address."""
    for mode, known in contended.addresses.items():
        if not len(known):
            continue
        at = np.minimum(np.searchsorted(known, address), len(known) - 1)
        hits = np.flatnonzero((address != 0) & (known[at] - address < np.uint64(LOCKER_REACH)))
        held = contended.rows[mode][at[hits]]
        yield _evidence(frames, rows[hits], held, fact._replace(mode=mode), is_ahead=False)


def _from_callee(
    memory: Memory, frames: LockFrames, stacks: LockStacks, rows: NDArray[np.intp], place: Place
) -> NDArray[np.uint64]:
    """The address that is argument + offset of what the frames `rows` call, where that has the argument in
    its own frame; 0 where that is not known."""
    number, offset = place.steps
    address = np.zeros(len(rows), np.uint64)
    inner = np.maximum(rows - 1, 0)  # frames of a goroutine are in order, the innermost first
    there = (rows > 0) & (frames.row[inner] == frames.row[rows])
    there &= frames.depth[inner] == frames.depth[rows] - 1
    for called in distinct(frames.call[inner[there]]).tolist():
        facts = stacks.facts(stacks.calls[called])
        where = facts.arguments.get(number) if facts is not None else None
        if where is None:
            continue
        some = np.flatnonzero(there & (frames.call[inner] == called))
        base = frames.base[inner[some]]
        found = addresses_of(memory, where, Roots.of(len(some), frame=base))
        address[some] = np.where(found != 0, found + np.uint64(offset & (1 << 64) - 1), found)
    return address


def _in_order(
    population: Population,
    frames: LockFrames,
    stacks: LockStacks,
    contended: Contended,
    calls: dict[int, NDArray[np.intp]],
    waited: NDArray[np.uint64],
) -> list[int]:
    """The calls whose functions are known, then those that have pointers to locks in their frames, first to other ones than
    their goroutines wait for, and the smallest functions first, then others while there is time."""
    code = stacks.code
    known = [number for number in calls if code.is_known(stacks.calls[number].function)]
    new = [number for number in calls if not code.is_known(stacks.calls[number].function)]
    waits = {
        each: waited[frames.row[calls[each]]]
        for each in new
        if code.can_follow(stacks.calls[each].function)
    }
    near, exact = _pointing(population, frames, stacks, contended, waits, calls)
    left = {each: rows for each, rows in waits.items() if each not in exact}
    named, named_exactly = _naming(population, stacks, contended, left)
    near, exact = near | named, exact | named_exactly
    others = [number for number in new if number not in near]
    near_in_order = sorted(near, key=lambda each: (each not in exact, _code_bytes(stacks, each)))
    for number in near_in_order:
        code.flow(stacks.calls[number].function)
    for number in others:
        if code.work_left(_SHARE_OF_OTHERS):
            code.flow(stacks.calls[number].function)
    return [*known, *near_in_order, *others]


def _code_bytes(stacks: LockStacks, call: int) -> int:
    function = stacks.calls[call].function
    return function.end - function.entry


def _pointing(
    population: Population,
    frames: LockFrames,
    stacks: LockStacks,
    contended: Contended,
    waits: dict[int, NDArray[np.uint64]],
    calls: dict[int, NDArray[np.intp]],
) -> tuple[set[int], set[int]]:
    """Which calls have words in their frames that may point to what has one of the locks in it, and which have words that
    point to a lock that their goroutine does not wait for. `waits`: of each call the locks that the goroutines of its frames
    wait for."""
    steps = {each: -(-len(rows) // _MAX_EXAMINED) for each, rows in waits.items()}
    some = [calls[each][::step] for each, step in steps.items()]
    if not some:
        return set(), set()
    waited = np.concatenate([waits[each][::step] for each, step in steps.items()])
    number = np.repeat(list(waits), [len(rows) for rows in some])
    words = np.array([min(each.words, _MAX_WORDS) + _ABOVE for each in stacks.calls], np.int64)
    count = words[number]
    begin = frames.base[np.concatenate(some)] - ((count - _ABOVE) * 8).astype(np.uint64)
    near: set[int] = set()
    exact: set[int] = set()
    for at in range(0, len(number), _BATCH):
        part = slice(at, at + _BATCH)
        gathered = population.runtime.memory.gather(
            begin[part], (count[part] * 8).astype(np.uint64)
        )
        table = gathered.words(_MAX_WORDS + _ABOVE)
        there = gathered.ok[:, None] & (np.arange(_MAX_WORDS + _ABOVE) < count[part][:, None])
        there[there] = contended.is_near(table[there], _REACH)
        near.update(number[part][there.any(axis=1)].tolist())
        there[there] = contended.is_near(table[there], 0)
        there &= table != waited[part][:, None]
        exact.update(number[part][there.any(axis=1)].tolist())
    return near, exact


def _naming(
    population: Population,
    stacks: LockStacks,
    contended: Contended,
    waits: dict[int, NDArray[np.uint64]],
) -> tuple[set[int], set[int]]:
    """As `_pointing`, of calls that are in functions which may name a variable that has one of the locks in it, or points to
    one."""
    named = [stacks.code.variables(stacks.calls[each].function, *stacks.data) for each in waits]
    found = {number for number, words in zip(waits, named, strict=True) if words is None}
    known = [words for words in named if words is not None]
    if not known:
        return found, set()
    number = np.repeat(
        [each for each, words in zip(waits, named, strict=True) if words is not None],
        [len(words) for words in known],
    )
    addresses = np.concatenate(known)
    exact = {
        each
        for each, address in _rows_of(contended.is_near(addresses, 0), number, addresses)
        if (waits[each] != address).any()
    }
    near = contended.is_near(addresses, _REACH)
    near |= contended.is_near(words_at(population.runtime.memory, addresses), _REACH)
    return found | set(number[near].tolist()), exact


def _rows_of(mask: NDArray[np.bool_], *columns: NDArray[Any]) -> Iterator[tuple[int, ...]]:
    """The rows of `columns` where `mask` is set."""
    return zip(*(column[mask].tolist() for column in columns), strict=True)


def _evidence(
    frames: LockFrames,
    rows: NDArray[np.intp],
    held: NDArray[np.int64],
    fact: LockFact,
    is_ahead: bool,
) -> Evidence:
    grade, released = _grade(fact.mask, is_ahead)
    return Evidence(
        row=frames.row[rows],
        object=held,
        mode=np.full(len(rows), fact.mode, np.int64),
        grade=np.full(len(rows), grade, np.int64),
        released=np.full(len(rows), released, np.bool_),
        depth=frames.depth[rows],
        frame=rows.astype(np.int64),
    )


def _grade(mask: int, is_ahead: bool) -> tuple[int, bool]:
    """The grade of what became of a lock, and whether a lock of a caller was released."""
    if is_ahead:
        return AHEAD, False
    if mask == HELD:
        return EVERY_PATH, False
    if mask & HELD and not mask & FREE:
        return SOME_PATHS, False
    return 0, bool(mask & FREE)
