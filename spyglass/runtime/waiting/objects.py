"""What each waiting goroutine waits on: objects, each once, and who waits on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import combined, numbered
from spyglass.runtime.waiting import conditions, polls, semaphores, timers
from spyglass.runtime.waiting.channels import RECEIVE, SELECT, SEND, find_channels
from spyglass.runtime.waiting.conditions import find_conditions
from spyglass.runtime.waiting.found import Found
from spyglass.runtime.waiting.moments import of_one_moment
from spyglass.runtime.waiting.nowhere import find_nowhere
from spyglass.runtime.waiting.object_state import StateReader
from spyglass.runtime.waiting.polls import find_polls
from spyglass.runtime.waiting.semaphores import find_semaphores
from spyglass.runtime.waiting.timers import find_sleeps
from spyglass.wait_graph import UNRESOLVED, Connection, Unresolved, WaitObjects, Waits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population
    from spyglass.targets.target_process import TargetProcess

__all__ = ["Resolved", "resolve_waits"]

_MOVED, _NOT_UNDERSTOOD = (
    UNRESOLVED.index("moved while it was read"),
    UNRESOLVED.index("not understood"),
)


class Resolved(NamedTuple):
    """What goroutines wait on: parts of a `WaitGraph`, and of each of `waits`, in its order, where it was
    found.

    `row` (int64): of the goroutine in the population. `sudog` (uint64): address of its entry in the
    queue, 0 for none. `slot` (uint64): address of the word of its stack that has the entry (or what it waits
    on), 0 where none was needed.
    """

    objects: WaitObjects
    waits: Waits
    unresolved: Unresolved
    names: tuple[str, ...]
    connections: tuple[Connection, ...]
    row: NDArray[np.int64]
    sudog: NDArray[np.uint64]
    slot: NDArray[np.uint64]


def resolve_waits(population: Population, process: TargetProcess) -> Resolved:
    """What the waiting goroutines of `population` wait on, who are goroutines of `process`.

    A goroutine is among `Resolved.unresolved` if it moved while it was read, or if what was read of it does not
    say what it waits on; nothing is guessed.
    """
    found = _find(population)
    confirmed = of_one_moment(population, found)
    moved = found.row[~confirmed]
    if not confirmed.all():
        found = found.select(confirmed)
    state = StateReader(population, process)
    objects, number = _objects(found, state)
    still = population.still().copy()
    still[moved] = False
    kept = _in_order(found, number, np.flatnonzero(still[found.row]))
    # Of the columns, which may be large, only those that are needed from here on.
    row = found.row[kept]
    used, number = numbered(number[kept])
    return Resolved(
        objects=objects.select(used),
        waits=Waits.of(
            len(kept),
            goroutine=population.goroutines.id[row],
            object=number.astype(np.int32),
            operation=found.operation[kept],
        ),
        unresolved=_unresolved(population, row, still),
        names=state.names.texts,
        connections=tuple(state.connections),
        row=row,
        sudog=found.sudog[kept],
        slot=found.slot[kept],
    )


def _find(population: Population) -> Found:
    """What each goroutine waits on, by what it says that it waits for."""
    can = population.waiting & population.steady
    parts, others = [], can.copy()
    # A select that has only nil channels is in no queue.
    can &= ~(population.waits_for(SELECT) & _has_no(population, "waiting"))
    for find, reasons in (
        (find_channels, (RECEIVE, SEND, SELECT)),
        (find_semaphores, semaphores.REASONS),
        (find_conditions, (conditions.REASON,)),
        (find_polls, (polls.REASON,)),
        (find_sleeps, (timers.REASON,)),
    ):
        wanted = can & population.waits_for(*reasons)
        others &= ~wanted
        if wanted.any():
            parts.append(find(population, np.flatnonzero(wanted)))
    parts.append(find_nowhere(population, np.flatnonzero(others)))
    return Found.joined(parts)


def _has_no(population: Population, field: str) -> NDArray[np.bool_]:
    """Which goroutines have nil in this field of their ``g``; none if the field is not known."""
    if field not in (population.g.dtype.names or ()):
        return np.zeros(len(population.pointers), np.bool_)
    nil: NDArray[np.bool_] = population.g[field] == 0
    return nil


def _objects(found: Found, state: StateReader) -> tuple[WaitObjects, NDArray[np.int64]]:
    """The distinct objects of `found`, and which of them each is."""
    key = combined(found.kind, numbered(found.address)[1], found.reason)
    different, number = numbered(key)
    one = np.zeros(len(different), np.int64)
    one[number] = np.arange(len(found))
    return state.read(found.select(one)), number


def _in_order(
    found: Found, number: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rows `kept` of `found` by object and place in its queue, one for each goroutine, object and operation."""
    order: NDArray[np.int64] = kept[np.lexsort((found.order[kept], number[kept]))]
    rows = found.row[order]
    several = np.flatnonzero(np.bincount(rows)[rows] > 1)  # few, so that keys need little memory
    one = order[several]
    key = combined(found.row[one], number[one], found.operation[one])
    by_key = np.argsort(key, kind="stable")
    again = np.flatnonzero(key[by_key[1:]] == key[by_key[:-1]]) + 1
    return np.delete(order, several[by_key[again]])


def _unresolved(
    population: Population, resolved: NDArray[np.int64], still: NDArray[np.bool_]
) -> Unresolved:
    left = population.waiting.copy()
    left[resolved] = False
    rows = np.flatnonzero(left)
    unresolved: Unresolved = Unresolved.of(
        len(rows),
        goroutine=population.goroutines.id[rows],
        why=np.where(still[rows], _NOT_UNDERSTOOD, _MOVED).astype(np.uint8),
    )
    return unresolved
