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

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.runtime.waiting.marks import Blocked, Mark, entries, mark
from spyglass.runtime.waiting.roots import Roots
from spyglass.wait_graph import KINDS, LookedAt, Stuck

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population

__all__ = ["find_stuck"]

#: What can be waited for in vain; goroutines that wait for anything else are alive.
_BLOCKING = ("channel", "mutex", "rwmutex", "waitgroup", "cond", "once", "nothing")
_WAKING = ("fd", "timer", "runtime")
_NOTHING = KINDS.index("nothing")
_MAIN = 1
_MAX_LOCK_BYTES = 64
#: Marks after the first that must find nobody else alive, at least; if so many do not agree, more will not.
_QUIET_MARKS = 2
_MAX_MARKS = 10


def find_stuck(
    population: Population,
    resolved: Resolved,
    heap_limit_bytes: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[Stuck, LookedAt]:
    """Which of the waiting goroutines of `population` nothing can wake, and what was looked at.

    `resolved`: what they wait on. At most `heap_limit_bytes` of spans with pointers are read; if there are
    more, or if something cannot be read, only goroutines that are known to be alive are in the answer. If the
    process runs, goroutines are stuck if several marks at different moments say so, and they have not run
    meanwhile; those that have run are left out. `progress` is called with a part of the work, from 0 to 1.
    """
    blocked = _blocked(population, resolved)
    known = _waking(population, resolved, blocked)
    try:
        marks = _marks(population, blocked, heap_limit_bytes, progress)
    except (BadDataError, MemoryFault, MissingInfo) as error:
        population.runtime.problem("unknown", "stuck goroutines", error.message)
        return known, LookedAt()
    alive, last = marks.alive, marks.last
    complete = last.complete and marks.agree and not population.calls_back
    decided = (alive | complete) & blocked.still(population)
    ids = population.goroutines.id[blocked.rows]
    waits_forever = ids == _MAIN  # "select {}" in main is meant (findGoroutineLeaks)
    waits_forever &= population.waits_for("select (no cases)")[blocked.rows]
    stuck = Stuck.of(
        len(known) + int(decided.sum()),
        goroutine=np.concatenate([known.goroutine, ids[decided]]),
        stuck=np.concatenate([known.stuck, (~alive & ~waits_forever)[decided]]),
    )
    return stuck, LookedAt(True, True, last.read_bytes, last.complete, marks.many)


def _waking(population: Population, resolved: Resolved, blocked: Blocked) -> Stuck:
    """The goroutines that wait for what is alive by itself: IO, timers, events of the runtime. Others that are not `blocked`
    were not understood, or are left out by the rule."""
    wakes = np.zeros(len(population.nodes), np.bool_)
    kind = resolved.objects.kind[resolved.waits.object]
    wakes[resolved.row[np.isin(kind, [KINDS.index(name) for name in _WAKING])]] = True
    wakes[blocked.rows] = False
    rows = np.flatnonzero(wakes)
    known: Stuck = Stuck.of(len(rows), goroutine=population.goroutines.id[rows])
    return known


def _blocked(population: Population, resolved: Resolved) -> Blocked:
    """The goroutines of which it must be found out whether they are alive."""
    kinds = [KINDS.index(name) for name in _BLOCKING]
    kind = resolved.objects.kind[resolved.waits.object]
    address = resolved.objects.address[resolved.waits.object]
    others = ~np.isin(kind, kinds) | ((kind != _NOTHING) & (address == 0))
    can = np.zeros(len(population.nodes), np.bool_)
    can[resolved.row] = True
    can[resolved.row[others]] = False
    can &= population.steady & ~_durable(population)
    # Up to Go 1.16 a goroutine that waits for something else now looks as when the snapshot was made.
    can &= population.g["waitreason"] == population.goroutines.wait_reason
    entry = entries(population.runtime, resolved.sudog, resolved.slot)
    can[resolved.row[~_fit(entry, kind, address, resolved.sudog)]] = False
    rows = np.flatnonzero(can)
    number = np.full(len(can), -1, np.int64)
    number[rows] = np.arange(len(rows))
    chosen = can[resolved.row]
    return Blocked(
        rows,
        number[resolved.row[chosen]],
        address[chosen],
        resolved.sudog[chosen],
        resolved.slot[chosen],
        entry[chosen],
    )


def _fit(
    entry: NDArray[np.uint64],
    kind: NDArray[np.uint8],
    address: NDArray[np.uint64],
    sudog: NDArray[np.uint64],
) -> NDArray[np.bool_]:
    """Which entries of queues (`entries`) are still for the objects at `address`: the goroutine may have begun
    to wait on another one."""
    c, elem = entry[:, 1], entry[:, 2]
    on_channel = kind == KINDS.index("channel")
    # A semaphore is a part of a lock or wait group; up to Go 1.25 the entry of a condition has none.
    none = (kind == KINDS.index("cond")) & (elem == 0)
    near = (elem - address < _MAX_LOCK_BYTES) | none
    fits: NDArray[np.bool_] = np.where(on_channel, c == address, near) | (sudog == 0)
    return fits


def _durable(population: Population) -> NDArray[np.bool_]:
    """Goroutines in a bubble of ``synctest``, which the rule takes as alive."""
    durable = [text.endswith(" (durable)") for text in population.reasons]
    found: NDArray[np.bool_] = np.array([*durable, False])[population.goroutines.wait_reason]
    return found & population.waiting


class _Marks(NamedTuple):
    """What several marks say together: which goroutines are `alive` (a bool for each of
    `Blocked.rows`), whether the marks `agree` about the others, the `last` mark, and how `many` there
    were."""

    alive: NDArray[np.bool_]
    agree: bool
    last: Mark
    many: int


def _marks(
    population: Population,
    blocked: Blocked,
    limit_bytes: int,
    progress: Callable[[float], None] | None,
) -> _Marks:
    """As many marks as are needed: one if nothing can move, or nothing is stuck. Else until some in a row find
    nobody alive that those before them did not.

    A reference that moves while the heap is read can be missed, by every mark with the same chance. A mark that
    finds what another one missed shows that references move, and that more marks are needed.
    """
    alive = np.zeros(len(blocked.rows), np.bool_)
    roots = Roots(population)
    quiet, wanted = 0, _QUIET_MARKS
    for number in range(1, _MAX_MARKS + 1):
        last = mark(roots, blocked, alive, limit_bytes, _part_of(progress, number))
        news = last.alive & ~alive & blocked.still(population)
        alive |= last.alive
        if number > 1:
            quiet = 0 if news.any() else quiet + 1
            wanted += bool(news.any())
        agree = population.moment.exact or bool(alive.all()) or quiet >= wanted
        if agree or not last.complete:
            break
    return _Marks(alive, agree, last, number)


def _part_of(
    progress: Callable[[float], None] | None, number: int
) -> Callable[[float], None] | None:
    """`progress` for mark `number`, of which there are two at least: a part of what is left."""
    if progress is None:
        return None
    done = 1 - 0.5 ** (number - 1)
    return lambda part: progress(done + part * (1 - done) / 2)
