"""Which goroutines nothing can wake: the rule of Go's own leak profile, from outside.

A goroutine that waits on channels, a lock, a wait group or a condition variable can be woken if one of them
is not in the heap, or if anything that is alive refers to it; a goroutine that can be woken is alive, and so is
what its stack refers to. What is left when nothing more is found is stuck.

Knowledge: Go 1.27 ``runtime/mgc.go`` (``isMaybeRunnable``, ``findGoroutineLeaks``,
``setSyncObjectsUntraceable``), ``mgcmark.go: internalBlocked``. The rule is applied to every version. Up to Go
1.19 locks, and up to 1.23 wait groups, have the wait reason "semacquire", which the rule takes as alive; here
what the goroutine waits on decides, so that the answers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import distinct, ranges
from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.runtime.heap.marking import Marking
from spyglass.runtime.heap.references import read_references
from spyglass.runtime.heap.spans import ObjectNumbers, Spans
from spyglass.runtime.waiting.hidden import hidden_words
from spyglass.runtime.waiting.live_words import LiveWords
from spyglass.runtime.waiting.roots import Roots, stacks_of
from spyglass.runtime.waiting.stack_pointers import StackPointers, read_stack_pointers
from spyglass.wait_graph import KINDS, LookedAt, Stuck

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population

__all__ = ["find_stuck"]

#: What can be waited for in vain; goroutines that wait for anything else are alive.
_BLOCKING = ("channel", "mutex", "rwmutex", "waitgroup", "cond", "once", "nothing")
_NOTHING = KINDS.index("nothing")
_MAIN = 1


class _Blocked(NamedTuple):
    """Goroutines that are alive only if something that is alive can wake them.

    `rows` (of the population). What they wait on, a row for each goroutine and object: `waiter` (index of
    `rows`), `address` (uint64). `hidden` (uint64, ascending): addresses of words that keep nothing alive.
    """

    rows: NDArray[np.intp]
    waiter: NDArray[np.intp]
    address: NDArray[np.uint64]
    hidden: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Mark:
    """One look at the heap: which goroutines are `alive` (bool, a row for each of `_Blocked.rows`)."""

    alive: NDArray[np.bool_]
    read_bytes: int
    complete: bool


def find_stuck(
    population: Population,
    resolved: Resolved,
    heap_limit_bytes: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[Stuck, LookedAt]:
    """Which of the waiting goroutines of `population` nothing can wake, and what was looked at.

    `resolved`: what they wait on. At most `heap_limit_bytes` of spans with pointers are read; if there are
    more, or if something cannot be read, only goroutines that are known to be alive are in the answer. If the
    process runs, goroutines are stuck if two marks at different moments say so, and they have not run
    meanwhile; those that have run are left out. `progress` is called with a part of the work, from 0 to 1.
    """
    blocked = _blocked(population, resolved)
    try:
        marks = _marks(population, blocked, heap_limit_bytes, progress)
    except (BadDataError, MemoryFault, MissingInfo) as error:
        population.runtime.problem("unknown", "stuck goroutines", error.message)
        return _waking(population, resolved, blocked), LookedAt()
    alive = np.logical_or.reduce([mark.alive for mark in marks])
    complete = all(mark.complete for mark in marks)
    decided = (alive | complete) & population.still()[blocked.rows]
    known = _waking(population, resolved, blocked)
    ids = population.goroutines.id[blocked.rows]
    waits_forever = ids == _MAIN  # "select {}" in main is meant (findGoroutineLeaks)
    waits_forever &= population.waits_for("select (no cases)")[blocked.rows]
    stuck = Stuck.of(
        len(known) + int(decided.sum()),
        goroutine=np.concatenate([known.goroutine, ids[decided]]),
        stuck=np.concatenate([known.stuck, (~alive & ~waits_forever)[decided]]),
    )
    return stuck, LookedAt(True, True, marks[-1].read_bytes, complete, len(marks))


def _waking(population: Population, resolved: Resolved, blocked: _Blocked) -> Stuck:
    """The goroutines that wait for what is alive by itself: IO, timers, events of the runtime."""
    wakes = np.zeros(len(population.nodes), np.bool_)
    wakes[resolved.row] = True
    wakes[blocked.rows] = False
    rows = np.flatnonzero(wakes)
    known: Stuck = Stuck.of(len(rows), goroutine=population.goroutines.id[rows])
    return known


def _blocked(population: Population, resolved: Resolved) -> _Blocked:
    """The goroutines of which it must be found out whether they are alive."""
    kinds = [KINDS.index(name) for name in _BLOCKING]
    kind = resolved.objects.kind[resolved.waits.object]
    address = resolved.objects.address[resolved.waits.object]
    others = ~np.isin(kind, kinds) | ((kind != _NOTHING) & (address == 0))
    can = np.zeros(len(population.nodes), np.bool_)
    can[resolved.row] = True
    can[resolved.row[others]] = False
    can &= population.steady & ~_durable(population)
    rows = np.flatnonzero(can)
    number = np.full(len(can), -1, np.int64)
    number[rows] = np.arange(len(rows))
    sudogs = resolved.sudog[can[resolved.row] & (resolved.sudog != 0)]
    chosen = can[resolved.row] & (address != 0)
    return _Blocked(
        rows,
        number[resolved.row[chosen]],
        address[chosen],
        hidden_words(population.runtime, sudogs),
    )


def _durable(population: Population) -> NDArray[np.bool_]:
    """Goroutines in a bubble of ``synctest``, which the rule takes as alive."""
    durable = [text.endswith(" (durable)") for text in population.reasons]
    found: NDArray[np.bool_] = np.array([*durable, False])[population.goroutines.wait_reason]
    return found & population.waiting


def _marks(
    population: Population,
    blocked: _Blocked,
    limit_bytes: int,
    progress: Callable[[float], None] | None,
) -> list[_Mark]:
    """One mark, and a second if the process runs and the first says that something is stuck."""
    marks: list[_Mark] = []
    exact = population.moment.exact
    while not marks or (len(marks) == 1 and not exact and not marks[0].alive.all()):
        report = None if progress is None else _part_of(progress, len(marks), 1 if exact else 2)
        known = marks[-1].alive if marks else np.zeros(len(blocked.rows), np.bool_)
        marks.append(_mark(population, blocked, known, limit_bytes, report))
    return marks


def _part_of(progress: Callable[[float], None], done: int, parts: int) -> Callable[[float], None]:
    return lambda part: progress((done + part) / parts)


def _mark(
    population: Population,
    blocked: _Blocked,
    known: NDArray[np.bool_],
    limit_bytes: int,
    progress: Callable[[float], None] | None,
) -> _Mark:
    """Read roots, the heap, and roots again: what moves from one to the other meanwhile is seen once.

    `known`: goroutines that are alive.
    """
    live = LiveWords(population.tree, population.runtime.arch == "arm64")
    runtime = population.runtime
    every = Spans.read(runtime)
    place = every.find(blocked.address)
    matters = every.pointers.copy()
    matters[place[place >= 0]] = True
    spans = every.select(matters)
    spans = spans.select(np.lexsort((spans.start, spans.count, spans.object_bytes, spans.pointers)))
    numbers = ObjectNumbers(spans)
    roots = Roots(population, live, blocked.rows)
    stacks, plans = stacks_of(population.g[blocked.rows], population.nodes[blocked.rows], live)
    refers = read_stack_pointers(runtime, stacks, plans, numbers)
    begin = [roots.objects(every, numbers)]
    references = read_references(runtime.memory, numbers, blocked.hidden, limit_bytes, progress)
    if not population.moment.exact:
        begin.append(roots.objects(every, numbers))
    waits = _Waits.of(blocked, numbers, known)
    refers = refers.with_more(waits.waiters, waits.objects)
    marking = Marking(references, waits.objects)
    alive = _spread_life(marking, waits, refers, np.concatenate(begin))
    complete = references.complete and bool(refers.ok.all())
    return _Mark(alive, references.read_bytes, complete)


class _Waits(NamedTuple):
    """Who waits on which object, in the order of the `objects` (uint32): `waiters`, index of
    `_Blocked.rows`. `alive` (index): those that wait on something that is not in the heap, and those that
    are known to be alive."""

    objects: NDArray[np.uint32]
    waiters: NDArray[np.intp]
    alive: NDArray[np.intp]

    @classmethod
    def of(cls, blocked: _Blocked, numbers: ObjectNumbers, known: NDArray[np.bool_]) -> _Waits:
        at, objects = numbers.find(blocked.address)
        outside = np.ones(len(blocked.address), np.bool_)
        outside[at] = False
        alive = known.copy()
        alive[blocked.waiter[outside]] = True
        order = np.argsort(objects, kind="stable")
        return cls(objects[order], blocked.waiter[at][order], np.flatnonzero(alive))

    def on(self, objects: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Who waits on one of `objects`."""
        begin = np.searchsorted(self.objects, objects)
        count = np.searchsorted(self.objects, objects, side="right") - begin
        return self.waiters[ranges(begin, count)]


def _spread_life(
    marking: Marking, waits: _Waits, refers: StackPointers, begin: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Mark from the objects `begin`; goroutines whose objects are marked are alive, and what their stacks
    refer to is marked as well, until nothing changes. Which are alive."""
    alive = np.zeros(len(refers.ok), np.bool_)
    new = waits.alive
    frontier = begin
    while len(frontier) or len(new):
        alive[new] = True
        at = ranges(refers.offsets[new], refers.offsets[new + 1] - refers.offsets[new])
        seen = marking.mark(np.concatenate([frontier, refers.objects[at]]))
        frontier = frontier[:0]
        new = waits.on(seen)
        new = distinct(new[~alive[new]])
    return alive
