"""Locks that functions have released as a ``sync.Locker`` further in than those that will release them: around a call that
they were given, as home-made condition variables do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary.flow_state import FREE
from spyglass.binary.lock_facts import LOCKER
from spyglass.runtime.goroutines.fetcher import saved_cursors
from spyglass.runtime.waiting.contended import code_addresses
from spyglass.runtime.waiting.frame_words import Roots, addresses_of
from spyglass.runtime.waiting.holder_evidence import EVERY_PATH, LOCKER_REACH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.contended import Contended
    from spyglass.runtime.waiting.holder_evidence import Evidence
    from spyglass.runtime.waiting.lock_frames import LockCall, LockStacks
    from spyglass.runtime.waiting.population import Population

__all__ = ["released_as_lockers"]

#: Evidence that is looked at; of more it is not known.
_MAX_ROWS = 1 << 10


def released_as_lockers(
    population: Population, stacks: LockStacks, contended: Contended, evidence: Evidence
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which `evidence` of grade 1 or 2 is of a lock that a function further in has released as a Locker, and of which that
    is not known."""
    released, unknown = np.zeros((2, len(evidence)), np.bool_)
    locks = code_addresses(contended.objects)[evidence.object].tolist()
    sps = np.zeros(len(population.pointers), np.uint64)
    some, cursors = saved_cursors(population.g)
    sps[some] = cursors.sp
    sure = np.flatnonzero((evidence.grade <= EVERY_PATH) & (evidence.depth > 0))
    unknown[sure[_MAX_ROWS:]] = True
    for at in sure[:_MAX_ROWS].tolist():
        row, depth = int(evidence.row[at]), int(evidence.depth[at])
        node = int(population.nodes[row])
        for base, call in _callers_of_pointers(population, stacks, node, depth):
            stacks.code.flow(call.function)
            facts = stacks.facts(call)
            if facts is None:
                unknown[at] = True
                continue
            frame = np.array([sps[row] + np.uint64(8 * base)], np.uint64)
            for fact in facts.locks:
                if fact.mode != LOCKER or not fact.mask & FREE:
                    continue
                roots = Roots.of(1, frame=frame)
                address = int(addresses_of(population.runtime.memory, fact.place, roots)[0])
                unknown[at] |= address == 0
                released[at] |= address != 0 and 0 <= locks[at] - address < LOCKER_REACH
    return released, unknown & ~released


def _callers_of_pointers(
    population: Population, stacks: LockStacks, node: int, depth: int
) -> Iterator[tuple[int, LockCall]]:
    """The calls of the `depth` innermost frames of a stack that ends at `node`, in functions that may call methods of
    interfaces: with the base of each, in words from sp."""
    slot = 0
    for frame in population.tree.path_frames(node)[:depth]:
        slot += frame.words + stacks.faked_words(frame)
        call = stacks.call_of(frame)
        if call is not None and stacks.code.calls_pointers(call.function):
            yield slot, call
        slot += 0 if stacks.link else 1
