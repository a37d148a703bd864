"""Who holds the locks that goroutines wait for.

Go records no owner. What tells it is on the stacks: a deferred call that is pending and will release this
very lock (grade 1), or a function that has taken it on all (2) or some (3) paths to the call that it is in, or
that will release it without having taken it (4). Addresses are compared, and so are the states of the locks;
goroutines that moved while they were read give no evidence. A holder that is not certain is not named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import among, combined, numbered
from spyglass.errors import SpyglassError
from spyglass.model import NONE
from spyglass.runtime.waiting.contended import Contended, code_addresses
from spyglass.runtime.waiting.deferred import find_deferred
from spyglass.runtime.waiting.frame_words import words_at
from spyglass.runtime.waiting.held_in_frames import find_held
from spyglass.runtime.waiting.holder_evidence import (
    AHEAD,
    DEFERRED,
    EVERY_PATH,
    LOCKER_REACH,
    SOME_PATHS,
    Evidence,
)
from spyglass.runtime.waiting.left_locked import left_locked
from spyglass.runtime.waiting.lock_frames import LockFrames, LockStacks, read_frames, stacks_of
from spyglass.runtime.waiting.locker_releases import released_as_lockers
from spyglass.wait_graph import KINDS, MODES, OPERATIONS, Holders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Frame
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population

__all__ = ["FoundHolders", "find_holders"]

_DONE = MODES.index("done")
_TAKES = [OPERATIONS.index(name) for name in ("lock", "rlock", "read", "write")]
_LOCKS = [KINDS.index(name) for name in ("mutex", "rwmutex", "once", "semaphore")]
_COND = KINDS.index("cond")


class FoundHolders(NamedTuple):
    """Who holds what: `holders`, by object and grade, whose column `frame` is of `frames`; `left_locked` (int8): that column of
    `WaitObjects`, for each object."""

    holders: Holders
    frames: tuple[Frame, ...]
    left_locked: NDArray[np.int8]


def find_holders(population: Population, resolved: Resolved) -> FoundHolders:
    """Who holds the locks among the objects that goroutines of `population` wait on; functions that were not
    seen before are followed while `LockCode` has time."""
    objects = resolved.objects
    contended = Contended.of(objects, population.runtime.memory)
    if not contended.any():
        return FoundHolders(Holders.of(0), (), np.full(len(objects), -1, np.int8))
    stacks = stacks_of(population)
    frames, lost = read_frames(population, stacks)
    waits = _Waits.of(population, resolved)
    # First what is most certain: it takes little of the work that is allowed.
    deferred, doubtful = find_deferred(population, frames, stacks, contended)
    held = find_held(population, frames, stacks, contended, waits.address)
    lost |= held.doubtful | doubtful
    evidence = Evidence.joined([held.evidence, deferred])
    gone, is_sure = _released_to_wait(population, resolved, contended, evidence)
    lost[evidence.row[gone & ~is_sure]] = True
    evidence = _agreeing(evidence.select(~gone), waits)
    _doubt_own_groups(resolved, evidence)
    there = _is_there(population, frames, stacks, evidence)
    lost[evidence.row[~there]] = True
    evidence = _one_each(evidence.select(there))
    still = population.still() & ~population.takes_turns
    evidence = evidence.select(still[evidence.row])
    released, unknown = released_as_lockers(population, stacks, contended, evidence)
    evidence.grade[unknown] = SOME_PATHS
    lost[evidence.row[released]] = True
    evidence = evidence.select(~released)
    named = _possible(evidence, contended)
    lost |= ~still
    left = left_locked(population, contended, evidence, waits.object, bool(lost.any()))
    return _result(population, frames, stacks, named, left)


class _Waits(NamedTuple):
    """Of each goroutine of the population the lock that it waits to take: row of `WaitObjects` (-1 for none)
    and the address that code uses (0)."""

    object: NDArray[np.int64]
    address: NDArray[np.uint64]

    @classmethod
    def of(cls, population: Population, resolved: Resolved) -> _Waits:
        count = len(population.pointers)
        which, address = np.full(count, -1, np.int64), np.zeros(count, np.uint64)
        number = resolved.waits.object
        kind = resolved.objects.kind[number]
        takes = np.isin(resolved.waits.operation, _TAKES) & np.isin(kind, _LOCKS)
        which[resolved.row[takes]] = number[takes]
        address[resolved.row[takes]] = code_addresses(resolved.objects)[number[takes]]
        return cls(which, address)


def _is_there(
    population: Population, frames: LockFrames, stacks: LockStacks, evidence: Evidence
) -> NDArray[np.bool_]:
    """Which `evidence` is of frames that are there: their return addresses are those of the stack."""
    at = np.maximum(evidence.frame, 0)
    place = frames.base[at]
    if stacks.link:
        words = np.array([call.words for call in stacks.calls], np.int64)
        place = place - (words[frames.call[at]] * 8).astype(np.uint64)
    wanted = frames.returns_to[at]
    found = words_at(population.runtime.memory, place)
    there: NDArray[np.bool_] = (evidence.frame < 0) | (found == wanted) | (wanted == 0)
    return there


def _released_to_wait(
    population: Population, resolved: Resolved, contended: Contended, evidence: Evidence
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which `evidence` is of locks that goroutines have released to wait for a Cond (sync/cond.go: ``Wait`` unlocks
    ``c.L``), or may have; and which of it is of the very lock."""
    waits = population.waits_for("sync.Cond.Wait")
    if not waits.any():
        none = np.zeros(len(evidence), np.bool_)
        return none, none
    released = np.zeros(len(population.pointers), np.uint64)
    chosen = resolved.objects.kind[resolved.waits.object] == _COND
    address = resolved.objects.address[resolved.waits.object[chosen]]
    released[resolved.row[chosen]] = _lockers(population.runtime, address)
    lock = contended.objects.address[evidence.object]
    behind = lock - released[evidence.row]
    unknown = released[evidence.row] == 0
    gone = waits[evidence.row] & (unknown | (behind < np.uint64(LOCKER_REACH)))
    return gone & (evidence.mode != _DONE), ~unknown & (behind == 0)


def _doubt_own_groups(resolved: Resolved, evidence: Evidence) -> None:
    """A goroutine that waits for a WaitGroup, and will call its Done, may add to it before that."""
    count = len(evidence)
    key = combined(
        np.concatenate([evidence.row, resolved.row]),
        np.concatenate([evidence.object, resolved.waits.object.astype(np.int64)]),
    )
    own = among(key[:count], key[count:]) & (evidence.mode == _DONE) & (evidence.grade > 0)
    evidence.grade[own] = np.maximum(evidence.grade[own], SOME_PATHS)


def _lockers(runtime: Runtime, interfaces: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What the Lockers at `interfaces` point to: a lock, or what has it in it; 0 where there is no interface
    (``runtime2.go: iface``, ``internal/abi.ITab``, whose second word is a type)."""
    try:
        row = runtime.memory.array(
            runtime.address("firstmoduledata"), runtime.layouts["moduledata"], 1
        )[0]
    except SpyglassError:
        return np.zeros(len(interfaces), np.uint64)
    table = words_at(runtime.memory, interfaces)
    type_ = words_at(runtime.memory, np.where(table != 0, table + np.uint64(8), table))
    good = (type_ >= row["types"]) & (type_ < row["etypes"])
    return np.where(good, words_at(runtime.memory, interfaces + np.uint64(8)), np.uint64(0))


def _agreeing(evidence: Evidence, waits: _Waits) -> Evidence:
    """Evidence that a goroutine holds a lock, without what other evidence of the same goroutine and lock
    speaks against."""
    key = combined(evidence.row, evidence.object, evidence.mode)
    different, which = numbered(key)
    # A deferred call says nothing of a lock that the same frame has released, or has not yet taken.
    own = combined(evidence.row, evidence.object, evidence.mode, evidence.frame)
    _, place = numbered(own)
    by_code = evidence.grade != DEFERRED
    denied = np.zeros(len(evidence) + 1, np.bool_)
    denied[place[by_code & (evidence.grade == 0)]] = True
    confirmed = np.zeros(len(evidence) + 1, np.bool_)
    confirmed[which[by_code & (evidence.grade > 0) & (evidence.grade < AHEAD)]] = True
    # One that waits for the lock itself may defer its release before it takes it.
    takes = waits.object[evidence.row] == evidence.object
    bad = ~by_code & (denied[place] | (takes & ~confirmed[which]))
    bad |= takes & (evidence.grade == AHEAD)
    # A release further in than all that was taken.
    released = np.full(len(different) + 1, np.iinfo(np.int64).max)
    np.minimum.at(released, which[evidence.released], evidence.depth[evidence.released])
    good = ~bad & (evidence.grade > 0) & (evidence.depth < released[which])
    return evidence.select(good)


def _one_each(evidence: Evidence) -> Evidence:
    """The best of each goroutine, lock and mode; of equal ones that of the innermost frame."""
    order = np.lexsort((evidence.depth, evidence.grade))
    evidence = evidence.select(order)
    _, which = numbered(combined(evidence.row, evidence.object, evidence.mode))
    first = np.full(len(evidence), len(evidence), np.int64)
    np.minimum.at(first, which, np.arange(len(evidence)))
    return evidence.select(first[which] == np.arange(len(evidence)))


def _possible(evidence: Evidence, contended: Contended) -> Evidence:
    """`evidence` of no more holders of each object than its state allows: those of the best grades, as far as
    they tell them apart. A deferred unlock is no better than a lock held on every path: it is still pending where the
    lock was released in a way that was not seen."""
    evidence = evidence.select(np.argsort(evidence.grade, kind="stable"))
    _, which = numbered(combined(evidence.object, evidence.mode))
    most = contended.most[evidence.mode, evidence.object]
    keep = np.zeros(len(evidence), np.bool_)
    so_far = np.zeros(len(evidence) + 1, np.int64)
    for best, worst in ((DEFERRED, EVERY_PATH), (SOME_PATHS, SOME_PATHS), (AHEAD, AHEAD)):
        rows = np.flatnonzero((best <= evidence.grade) & (evidence.grade <= worst))
        np.add.at(so_far, which[rows], 1)
        keep[rows] = so_far[which[rows]] <= most[rows]
    return evidence.select(keep)


def _result(
    population: Population,
    frames: LockFrames,
    stacks: LockStacks,
    evidence: Evidence,
    left_locked: NDArray[np.int8],
) -> FoundHolders:
    evidence = evidence.select(np.lexsort((evidence.grade, evidence.object)))
    call = np.where(evidence.frame >= 0, frames.call[np.maximum(evidence.frame, 0)], NONE)
    different, which = numbered(call)
    code = population.tree.code
    shown: list[Frame] = []
    numbers = np.full(len(different), NONE, np.int32)
    for at, number in enumerate(different.tolist()):
        if number >= 0:
            one = stacks.calls[number]
            calls = code.calls(one.pc, one.entered)
            if calls:
                numbers[at] = len(shown)
                shown.append(code.frames[calls[-1]])
    holders: Holders = Holders.of(
        len(evidence),
        object=evidence.object.astype(np.int32),
        goroutine=population.goroutines.id[evidence.row],
        mode=evidence.mode.astype(np.uint8),
        grade=evidence.grade.astype(np.uint8),
        frame=numbers[which] if len(which) else np.zeros(0, np.int32),
    )
    return FoundHolders(holders, tuple(shown), left_locked)
