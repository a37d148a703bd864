"""Locks that are locked, and that no goroutine will unlock, as far as the stacks tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import among
from spyglass.runtime.goroutines.fetcher import saved_cursors
from spyglass.runtime.waiting.contended import code_addresses
from spyglass.wait_graph import MODES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.contended import Contended
    from spyglass.runtime.waiting.holder_evidence import Evidence
    from spyglass.runtime.waiting.population import Population

__all__ = ["left_locked"]

_WRITE = MODES.index("write")
#: Bytes of stacks that are searched for pointers to locks, of one goroutine, at a time, and of all.
_MAX_STACK_BYTES = 1 << 22
_BATCH_BYTES = 1 << 25
_MAX_BYTES = 1 << 28


def left_locked(
    population: Population,
    contended: Contended,
    evidence: Evidence,
    takes: NDArray[np.int64],
    in_doubt: bool,
) -> NDArray[np.int8]:
    """For each object whether no goroutine that can release it was found: 1; 0: it is held by one, or not
    locked; -1: not known.

    `takes`: the row of the object that each goroutine waits to take, or -1. `in_doubt`: not all goroutines
    could be looked at. A goroutine whose stack has the lock's address may release it in a way that its code
    does not tell, as a ``sync.Locker``.
    """
    objects = contended.objects
    locked = contended.most[_WRITE] > 0
    left = np.where(locked, -1 if in_doubt else 1, 0).astype(np.int8)
    left[(objects.locked < 0) & ~locked] = -1
    left[evidence.object] = 0
    rows = np.flatnonzero(left == 1)
    if len(rows):
        found = _referred_to(population, contended, rows, takes)
        left[rows[found]] = -1
    return left


def _referred_to(
    population: Population,
    contended: Contended,
    objects: NDArray[np.intp],
    takes: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of `objects` have their addresses on the stack of a goroutine that does not wait to take them;
    all, if not all of the stacks can be searched."""
    some, cursors = saved_cursors(population.g)
    sp = cursors.sp & ~np.uint64(7)
    sizes = np.where(sp != 0, cursors.high - sp, np.uint64(0)) & ~np.uint64(7)
    found = np.zeros(len(objects), np.bool_)
    if (sizes > _MAX_STACK_BYTES).any() or int(sizes.sum()) > _MAX_BYTES:
        return ~found
    wanted = code_addresses(contended.objects)[objects]
    part = (np.cumsum(sizes) - sizes) // np.uint64(_BATCH_BYTES)
    for number in range(int(part.max(initial=0)) + 1):
        batch = np.flatnonzero((part == number) & (sizes > 0))
        gathered = population.runtime.memory.gather(sp[batch], sizes[batch])
        if not gathered.ok.all():
            return np.ones(len(objects), np.bool_)
        words = gathered.buffer.view(np.uint64)
        hits = np.flatnonzero(among(words, wanted))
        order = np.argsort(gathered.offsets, kind="stable")
        begins = gathered.offsets[order] >> 3
        owner = batch[order[np.searchsorted(begins, hits, side="right") - 1]]
        for at, row in zip(hits.tolist(), some[owner].tolist(), strict=True):
            which = np.flatnonzero(wanted == words[at])
            found[which] |= takes[row] != objects[which]
    return found
