"""One mark of the heap: which blocked goroutines something that is alive can wake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import distinct, ranges
from spyglass.runtime.heap.marking import Marking
from spyglass.runtime.heap.references import read_references
from spyglass.runtime.heap.spans import ObjectNumbers, Spans
from spyglass.runtime.waiting.hidden import hidden_words
from spyglass.runtime.waiting.roots import stacks_of
from spyglass.runtime.waiting.stack_pointers import StackPointers, read_stack_pointers
from spyglass.runtime.waiting.sudogs import Sudogs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.waiting.population import Population
    from spyglass.runtime.waiting.roots import Roots

__all__ = ["Blocked", "Mark", "entries", "mark"]


class Blocked(NamedTuple):
    """Goroutines that are alive only if something that is alive can wake them.

    `rows` (of the population). What they wait on, a row for each goroutine and object: `waiter` (index of
    `rows`), `address`, `sudog` and `slot` (uint64; 0 for none), as in `Resolved`, `entry` (shape (n, 5), uint64):
    their `entries`.
    """

    rows: NDArray[np.intp]
    waiter: NDArray[np.intp]
    address: NDArray[np.uint64]
    sudog: NDArray[np.uint64]
    slot: NDArray[np.uint64]
    entry: NDArray[np.uint64]

    def where(self, mask: NDArray[np.bool_]) -> Blocked:
        """Those of the goroutines for which `mask` holds (a bool for each)."""
        number = np.cumsum(mask) - 1
        kept = mask[self.waiter]
        return Blocked(
            self.rows[mask], number[self.waiter[kept]], self.address[kept], self.sudog[kept],
            self.slot[kept], self.entry[kept],
        )  # fmt: skip

    def still(self, population: Population) -> NDArray[np.bool_]:
        """Which have not run until now. Up to Go 1.16 a ``g`` does not count how often it stops, and one that
        waits at the same place again looks the same, but not its entry in the queue."""
        still = population.still()[self.rows]
        if not population.moment.exact:
            same = (entries(population.runtime, self.sudog, self.slot) == self.entry).all(axis=1)
            still[self.waiter[~same]] = False
        return still


def entries(
    runtime: Runtime, sudogs: NDArray[np.uint64], slots: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """What tells one wait from the next, 5 words each: fields g, c, elem and ticket of `sudogs`, and the word at
    `slots`, which are addresses; zeros for address 0, and where it cannot be read."""
    found = np.zeros((len(sudogs), 5), np.uint64)
    known = np.flatnonzero(sudogs != 0)
    if len(known):
        read = Sudogs(runtime, sudogs[known])
        found[known, :4] = np.stack([read.g, read.c, read.elem, read.ticket], axis=1)
    known = np.flatnonzero(slots != 0)
    gathered = runtime.memory.gather(slots[known], 8)
    found[known[gathered.ok], 4] = gathered.words(1)[gathered.ok, 0]
    return found


@dataclass(frozen=True, slots=True)
class Mark:
    """Which goroutines are `alive` (a bool for each of `Blocked.rows`): something that is alive can wake
    them, or they have run since. `read_bytes`: how much of the heap was read; `complete`: that was all."""

    alive: NDArray[np.bool_]
    read_bytes: int
    complete: bool


def mark(
    roots: Roots,
    blocked: Blocked,
    alive: NDArray[np.bool_],
    limit_bytes: int,
    progress: Callable[[float], None] | None,
) -> Mark:
    """Find out which of `blocked` are alive, beside those that are known to be `alive` (a bool for each).

    What is alive begins at `roots`, of whose population `blocked` are.
    At most `limit_bytes` of the heap are read; `progress` is called with the part that was read.
    """
    still = blocked.still(roots.population)
    own = blocked.where(still)
    done = _mark(roots, own, alive[still], limit_bytes, progress)
    every = np.ones(len(still), np.bool_)
    every[still] = done.alive
    return Mark(every, done.read_bytes, done.complete)


def _mark(
    roots: Roots,
    blocked: Blocked,
    alive: NDArray[np.bool_],
    limit_bytes: int,
    progress: Callable[[float], None] | None,
) -> Mark:
    """Read roots, the heap, and roots again: what moves from one to the other meanwhile is seen once."""
    population, runtime = roots.population, roots.population.runtime
    every = Spans.read(runtime)
    numbers = ObjectNumbers(every.that_matter(blocked.address))
    nodes = population.nodes[blocked.rows]
    stacks, plans = stacks_of(population.g[blocked.rows], nodes, roots.live)
    refers = read_stack_pointers(runtime, stacks, plans, numbers)
    found = [roots.objects(every, numbers, blocked.rows)]
    hidden = hidden_words(runtime, blocked.sudog[blocked.sudog != 0])
    references = read_references(runtime.memory, numbers, hidden, limit_bytes, progress)
    if not population.moment.exact:
        still = blocked.still(population)
        alive = alive | ~still
        found.append(roots.objects(every, numbers, blocked.rows[still]))
    waits = _Waits.of(blocked, numbers)
    complete = references.complete and bool((refers.ok | alive).all())
    refers = refers.with_more(waits.waiters, waits.objects)
    marking = Marking(references, waits.objects)
    alive = _spread_life(marking, waits, refers, np.concatenate(found), alive)
    return Mark(alive, references.read_bytes, complete)


class _Waits(NamedTuple):
    """Who waits on which object, in the order of the `objects` (uint32): `waiters`, index of
    `Blocked.rows`. `outside` (index): those that wait on something that is not in the heap."""

    objects: NDArray[np.uint32]
    waiters: NDArray[np.intp]
    outside: NDArray[np.intp]

    @classmethod
    def of(cls, blocked: Blocked, numbers: ObjectNumbers) -> _Waits:
        at, objects = numbers.find(blocked.address)
        outside = blocked.address != 0
        outside[at] = False
        order = np.argsort(objects, kind="stable")
        return cls(objects[order], blocked.waiter[at][order], blocked.waiter[outside])

    def on(self, objects: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Who waits on one of `objects`."""
        begin = np.searchsorted(self.objects, objects)
        count = np.searchsorted(self.objects, objects, side="right") - begin
        return self.waiters[ranges(begin, count)]


def _spread_life(
    marking: Marking,
    waits: _Waits,
    refers: StackPointers,
    frontier: NDArray[np.uint32],
    known: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Mark from the objects `frontier`, and from goroutines that are `known` to be alive; goroutines whose objects
    are marked are alive, and what their stacks refer to is marked as well, until nothing changes.
    Which are alive."""
    alive = known.copy()
    alive[waits.outside] = True
    new = np.flatnonzero(alive)
    while len(frontier) or len(new):
        at = ranges(refers.offsets[new], refers.offsets[new + 1] - refers.offsets[new])
        seen = marking.mark(np.concatenate([frontier, refers.objects[at]]))
        frontier = frontier[:0]
        new = waits.on(seen)
        new = distinct(new[~alive[new]])
        alive[new] = True
    return alive
