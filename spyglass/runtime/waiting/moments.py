"""Whether what was found of a goroutine is of one moment, where the runtime does not count how often it stopped.

Up to Go 1.16 a goroutine that ran, and waits again with the same sp, looks as if it had not run. What tells what it
waits on is then read once more, within microseconds: its ``g``, the entry of the queue, and the innermost part of its
stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.runtime.goroutines.consistency import part_of
from spyglass.runtime.stacks.call_sites import INJECTED_CALL
from spyglass.runtime.stacks.unwinder import FAKED_FRAME_BYTES
from spyglass.runtime.waiting.found import Found, kind
from spyglass.runtime.waiting.inner_calls import DEPTH, inner_nodes
from spyglass.runtime.waiting.sudogs import pointer_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["of_one_moment"]

#: Of each goroutine are read: the ``g``, the entry, the stack.
_PARTS = 3
#: How much of a stack is read at most: return addresses beyond are not compared.
_MAX_STACK_WORDS = 512
_BATCH = 1 << 12


def of_one_moment(population: Population, found: Found) -> NDArray[np.bool_]:
    """Which rows of `found` are as they were found, read within microseconds. All where the runtime counts stops,
    or nothing can move."""
    good = np.ones(len(found), np.bool_)
    if population.moment.exact or "trackingSeq" in (population.g.dtype.names or ()):
        return good
    some = np.flatnonzero(found.sudog)
    for begin in range(0, len(some), _BATCH):
        rows = some[begin : begin + _BATCH]
        good[rows] = _as_found(population, found.select(rows))
    # All that a goroutine waits on, or nothing.
    torn = np.zeros(len(population.pointers), np.bool_)
    torn[found.row[~good]] = True
    kept: NDArray[np.bool_] = ~torn[found.row]
    return kept


def _as_found(population: Population, found: Found) -> NDArray[np.bool_]:
    """Which of `found`, all of them with entries, are still so."""
    rows, memory, sudog = found.row, population.runtime.memory, population.runtime.layouts["sudog"]
    slots, pcs = _returns(population, rows)
    addresses, sizes = np.empty((2, len(rows), _PARTS), np.uint64)
    addresses[:, 0], sizes[:, 0] = population.pointers[rows], population.g_bytes
    addresses[:, 1], sizes[:, 1] = found.sudog, -(-sudog.itemsize // 8) * 8
    addresses[:, 2] = population.g["sched"]["sp"][rows] & ~np.uint64(7)
    sizes[:, 2] = 8 * (slots.max(axis=1, initial=0) + 1)
    gathered = memory.gather_in_order(addresses.reshape(-1), sizes.reshape(-1))
    good: NDArray[np.bool_] = np.logical_and.reduce(gathered.ok.reshape(-1, _PARTS), axis=1)
    good &= population.as_before(rows, part_of(gathered, 0, _PARTS))
    entry = part_of(gathered, 1, _PARTS).rows(sudog)
    good &= np.equal(entry["g"], population.pointers[rows])
    is_channel = found.kind == kind("channel")
    pointer = np.where(is_channel, pointer_in(entry["c"]), pointer_in(entry["elem"]))
    good &= np.equal(pointer, found.pointer)
    # Where nothing is compared the slot is -1.
    words = gathered.buffer.view(np.uint64)
    at = (gathered.offsets[2::_PARTS] >> 3)[:, None] + slots
    good &= ((slots < 0) | (words.take(at, mode="clip") == pcs)).all(axis=1)
    return good


def _returns(
    population: Population, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Where the innermost return addresses of the goroutines `rows` are, in words from sp, and which they are;
    -1 for no more. Shape (rows, `DEPTH` - 1)."""
    tree = population.tree
    inner, which = inner_nodes(population, rows)
    sizes = tree.sizes[inner]
    slots = np.cumsum(sizes, axis=1)
    pcs = tree.pcs(inner)[:, 1:]
    known = pcs != 0
    if population.runtime.arch == "arm64":
        # At the bottom of a frame, where the function itself saved the link register; without a frame nowhere.
        # Beyond a call that a signal handler faked lies what the handler saved, too (`preparePanic`, `pushCall`).
        faked = (tree.flags[inner] & INJECTED_CALL != 0) * (FAKED_FRAME_BYTES // 8)
        slots += np.cumsum(faked, axis=1) - faked - sizes
        known &= sizes[:, :-1] > 0
    else:
        slots += np.arange(DEPTH)  # above each frame
    known &= (slots[:, :-1] >= 0) & (slots[:, :-1] < _MAX_STACK_WORDS)
    return np.where(known, slots[:, :-1], -1)[which], pcs[which]
