"""What each waiting goroutine waits on: objects, each once, and who waits on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import combined, numbered
from spyglass.runtime.waiting import conditions, polls, semaphores, timers
from spyglass.runtime.waiting.channels import RECEIVE, SELECT, SEND, find_channels
from spyglass.runtime.waiting.conditions import find_conditions
from spyglass.runtime.waiting.found import Found
from spyglass.runtime.waiting.moments import of_one_moment
from spyglass.runtime.waiting.nowhere import find_nowhere
from spyglass.runtime.waiting.polls import find_polls
from spyglass.runtime.waiting.semaphores import find_semaphores
from spyglass.runtime.waiting.timers import find_sleeps
from spyglass.wait_graph import UNRESOLVED, Connection, Unresolved, WaitObjects, Waits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.object_state import StateReader
    from spyglass.runtime.waiting.population import Population

__all__ = ["Resolved", "resolve_waits", "waits_for_locks"]

_MOVED, _NOT_UNDERSTOOD = (
    UNRESOLVED.index("moved while it was read"),
    UNRESOLVED.index("not understood"),
)
_CHANNELS = (RECEIVE, SEND, SELECT)


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

    def followed_by(self, others: Resolved) -> Resolved:
        """This, and what `others` wait on: other goroutines, on other objects, resolved later by the same `StateReader`."""
        behind = others.waits.object + np.int32(len(self.objects))
        return Resolved(
            objects=WaitObjects.joined([self.objects, others.objects]),
            waits=Waits.joined([self.waits, replace(others.waits, object=behind)]),
            unresolved=Unresolved.joined([self.unresolved, others.unresolved]),
            names=others.names,
            connections=others.connections,
            row=np.concatenate([self.row, others.row]),
            sudog=np.concatenate([self.sudog, others.sudog]),
            slot=np.concatenate([self.slot, others.slot]),
        )


def waits_for_locks(population: Population) -> NDArray[np.bool_]:
    """Which goroutines wait for locks, WaitGroups or Conds, or for nothing: not for channels, file descriptors or timers."""
    others = population.waits_for(*_CHANNELS, polls.REASON, timers.REASON)
    return population.waiting & (~others | _only_nil_channels(population))


def resolve_waits(
    population: Population, state: StateReader, wanted: NDArray[np.bool_]
) -> Resolved:
    """What the waiting goroutines `wanted` (a mask) of `population` wait on. `state` reads what the objects say of themselves.

    A goroutine is among `Resolved.unresolved` if it moved while it was read, or if what was read of it does not
    say what it waits on; nothing is guessed.
    """
    found = _find(population, wanted)
    confirmed = of_one_moment(population, found)
    moved = found.row[~confirmed]
    if not confirmed.all():
        found = found.select(confirmed)
    objects, number = _objects(found, state)
    few = np.flatnonzero(wanted)
    still = population.still(few if 2 * len(few) < len(wanted) else None).copy()
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
        unresolved=_unresolved(population, wanted, row, still),
        names=state.names.texts,
        connections=tuple(state.connections),
        row=row,
        sudog=found.sudog[kept],
        slot=found.slot[kept],
    )


def _find(population: Population, wanted: NDArray[np.bool_]) -> Found:
    """What each of the goroutines `wanted` waits on, by what it says that it waits for."""
    can = wanted & population.steady
    parts, others = [], can.copy()
    can &= ~_only_nil_channels(population)
    for find, reasons in (
        (find_channels, _CHANNELS),
        (find_semaphores, semaphores.REASONS),
        (find_conditions, (conditions.REASON,)),
        (find_polls, (polls.REASON,)),
        (find_sleeps, (timers.REASON,)),
    ):
        of_kind = can & population.waits_for(*reasons)
        others &= ~of_kind
        if of_kind.any():
            parts.append(find(population, np.flatnonzero(of_kind)))
    parts.append(find_nowhere(population, np.flatnonzero(others)))
    return Found.joined(parts)


def _only_nil_channels(population: Population) -> NDArray[np.bool_]:
    """Which goroutines wait for a select that has only nil channels, and are in no queue; none if that is not known."""
    if "waiting" not in (population.g.dtype.names or ()):
        return np.zeros(len(population.pointers), np.bool_)
    only_nil: NDArray[np.bool_] = population.waits_for(SELECT) & (population.g["waiting"] == 0)
    return only_nil


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
    population: Population,
    wanted: NDArray[np.bool_],
    resolved: NDArray[np.int64],
    still: NDArray[np.bool_],
) -> Unresolved:
    left = wanted.copy()
    left[resolved] = False
    rows = np.flatnonzero(left)
    unresolved: Unresolved = Unresolved.of(
        len(rows),
        goroutine=population.goroutines.id[rows],
        why=np.where(still[rows], _NOT_UNDERSTOOD, _MOVED).astype(np.uint8),
    )
    return unresolved
