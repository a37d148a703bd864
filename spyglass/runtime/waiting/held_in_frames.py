"""Locks that functions have taken, by their code, where goroutines wait in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.flow_state import FREE, HELD
from spyglass.binary.lock_facts import LOCKER
from spyglass.columns import distinct
from spyglass.runtime.waiting.frame_words import Roots, addresses_of, words_at
from spyglass.runtime.waiting.holder_evidence import AHEAD, EVERY_PATH, SOME_PATHS, Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.lock_facts import CallFacts, LockFact, Place
    from spyglass.memory.base import Memory
    from spyglass.runtime.waiting.contended import Contended
    from spyglass.runtime.waiting.lock_frames import LockCall, LockFrames, LockStacks
    from spyglass.runtime.waiting.population import Population

__all__ = ["Held", "find_held"]

#: A struct that has a lock in it has it within so many bytes, most often.
_REACH = 1 << 12
#: Frames whose words are examined before a function is followed, and words of each.
_MAX_EXAMINED = 1 << 10
_MAX_WORDS = 1 << 7
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
    for number in _in_order(population, frames, stacks, contended, calls):
        rows, call = calls[number], stacks.calls[number]
        facts = stacks.code.flow_so_far(call.function).calls.get(call.pc)
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
                found.append(_evidence(frames, rows[hits], held[hits], fact, is_ahead))
    return Held(Evidence.joined(found), doubtful)


def _each(facts: CallFacts) -> list[tuple[LockFact, bool]]:
    every = [*((fact, False) for fact in facts.locks), *((fact, True) for fact in facts.ahead)]
    return [(fact, is_ahead) for fact, is_ahead in every if fact.mode != LOCKER]


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
        call = stacks.calls[called]
        facts = stacks.code.flow_so_far(call.function).calls.get(call.pc)
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
) -> list[int]:
    """The calls whose functions are known, then those that have pointers to locks in their frames, then
    others while there is time."""
    code = stacks.code
    known: list[int] = []
    near: list[int] = []
    others: list[int] = []
    for number, rows in calls.items():
        call = stacks.calls[number]
        if code.is_known(call.function):
            known.append(number)
            continue
        points = _points_to(population, frames, rows, call, contended)
        points = points or _names(population, stacks, call, contended)
        (near if points else others).append(number)
    for number in near:
        code.flow(stacks.calls[number].function)
    for number in others:
        if code.work_left(_SHARE_OF_OTHERS):
            code.flow(stacks.calls[number].function)
    return [*known, *near, *others]


def _points_to(
    population: Population,
    frames: LockFrames,
    rows: NDArray[np.intp],
    call: LockCall,
    contended: Contended,
) -> bool:
    """Whether the frames `rows` of `call` have words that may point to what has one of the locks in it."""
    some = rows[:: max(1, len(rows) // _MAX_EXAMINED)]
    size = 8 * (min(call.words, _MAX_WORDS) + 9)
    begin = frames.base[some] - np.uint64(size - 72)
    gathered = population.runtime.memory.gather(begin, size)
    words = gathered.words(size // 8)[gathered.ok]
    return bool(contended.is_near(words, _REACH).any())


def _names(
    population: Population, stacks: LockStacks, call: LockCall, contended: Contended
) -> bool:
    """Whether the function of `call` may name a variable that has one of the locks in it, or points to
    one."""
    found = stacks.code.variables(call.function, *stacks.data)
    if found is None:
        return True
    words = words_at(population.runtime.memory, found & ~np.uint64(7))
    return bool(contended.is_near(found, _REACH).any() or contended.is_near(words, _REACH).any())


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
