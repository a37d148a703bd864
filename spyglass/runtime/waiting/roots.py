"""What is alive without being looked for: where a mark of the heap begins.

As the garbage collector (``runtime/mgcmark.go: markroot``): variables, records of finalizers, and the
stacks of goroutines. Stacks of goroutines that run are looked at word by word, as are what was sampled of
threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.columns import among, distinct
from spyglass.errors import MissingInfo
from spyglass.model import STATUSES
from spyglass.runtime.goroutines.decode import alive, fields_of, g_pointers, g_status
from spyglass.runtime.heap.modules import (
    pointers_among_globals,
    read_modules,
    variable_addresses,
    words_of_globals,
)
from spyglass.runtime.heap.specials import words_of_specials
from spyglass.runtime.waiting.live_words import LiveWords
from spyglass.runtime.waiting.stack_pointers import Stacks, read_stack_pointers
from spyglass.runtime.waiting.sudogs import index_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.heap_objects import RootKind
    from spyglass.runtime.heap.spans import ObjectNumbers, Spans
    from spyglass.runtime.waiting.live_words import StackPlans
    from spyglass.runtime.waiting.population import Population

__all__ = ["RootObjects", "Roots", "stacks_of"]

_BATCH = 1 << 16
_RUNNING = STATUSES.index("running")
_PARKED = np.array([STATUSES.index(word) for word in ("waiting", "leaked", "syscall")], np.uint8)
#: Tries to read the stack of a goroutine that is moved to another one meanwhile.
_TRIES = 5


class RootObjects(NamedTuple):
    """Objects that roots of one `kind` refer to (uint32), and for each of them the `origin` (uint64): the address of the
    word of a variable, the ``g`` of a goroutine, 0 for others."""

    kind: RootKind
    objects: NDArray[np.uint32]
    origin: NDArray[np.uint64]


class Roots:
    """The roots of the process of `population`.

    `live`: what is known of live words of its stacks. Every call of `objects` reads the roots anew: goroutines that are not in the population, because they are
    newer, are roots too.
    """

    def __init__(self, population: Population) -> None:
        self.population = population
        self.live = LiveWords(population.tree, population.runtime.arch == "arm64")
        self._modules = read_modules(population.runtime)

    def objects(
        self, spans: Spans, numbers: ObjectNumbers, blocked: NDArray[np.intp]
    ) -> NDArray[np.uint32]:
        """The objects of `numbers` that the roots refer to; goroutines `blocked` (rows of the population)
        are none. Raises if a part of the roots cannot be read."""
        found = self.found(spans, numbers, blocked)
        return distinct(np.concatenate([part.objects for part in found]))

    def found(
        self,
        spans: Spans,
        numbers: ObjectNumbers,
        blocked: NDArray[np.intp],
        *,
        pointers_only: bool = False,
    ) -> list[RootObjects]:
        """As `objects`, with where each is referred to from; an object may be there more than once.

        Words of variables that are numbers may look like addresses: to a mark they are roots as well, because
        one too many does no harm there. `pointers_only`: leave them out, as the collector does.
        """
        runtime = self.population.runtime
        at, variables = numbers.find(words_of_globals(runtime, self._modules))
        if pointers_only:
            are_pointers = pointers_among_globals(runtime, self._modules)[at]
            at, variables = at[are_pointers], variables[are_pointers]
        words = words_of_specials(runtime, self._modules, spans, possible=not pointers_only)
        _, specials = numbers.find(words)
        _, sampled = numbers.find(self._sampled())
        return [
            RootObjects("variable", variables, variable_addresses(self._modules, at)),
            RootObjects("finalizer", specials, np.zeros(len(specials), np.uint64)),
            RootObjects("thread", sampled, np.zeros(len(sampled), np.uint64)),
            *self._stacks(numbers, blocked),
        ]

    def _sampled(self) -> NDArray[np.uint64]:
        """Words of the stacks of threads at the moment when their registers were read."""
        stacks = [registers.stack for registers in self.population.moment.registers.values()]
        whole = b"".join(stack[: len(stack) & ~7] for stack in stacks)
        return np.frombuffer(whole, "<u8").astype(np.uint64)

    def _stacks(self, numbers: ObjectNumbers, blocked: NDArray[np.intp]) -> list[RootObjects]:
        """What the stacks of all goroutines but those that are blocked refer to."""
        pointers = g_pointers(self.population.runtime)
        pointers = pointers[~among(pointers, self.population.pointers[blocked])]
        parked = self._parked()
        found = []
        for _ in range(_TRIES):
            rows = _read(self.population, pointers)
            lives = alive(rows)
            pointers, rows = pointers[lives], rows[lives]
            stacks, plans = self._planned(pointers, rows, parked)
            read = read_stack_pointers(self.population.runtime, stacks, plans, numbers)
            origin = np.repeat(pointers, np.diff(read.offsets))
            found.append(RootObjects("goroutine", read.objects, origin))
            again = _read(self.population, pointers)
            moved = (again["stack"] != rows["stack"]) | ~read.ok
            pointers = pointers[moved & alive(again)]
            if not len(pointers):
                return found
        raise MissingInfo(f"the stacks of {len(pointers)} goroutines could not be read")

    def _parked(self) -> NDArray[np.intp]:
        """Goroutines of the population that have not run since, whose live words are known."""
        population = self.population
        parked = population.still() & ~population.takes_turns
        parked &= among(population.goroutines.status, _PARKED)
        return np.flatnonzero(parked & (population.nodes > 0))

    def _planned(
        self, pointers: NDArray[np.uint64], rows: NDArray[Any], parked: NDArray[np.intp]
    ) -> tuple[Stacks, StackPlans]:
        population = self.population
        at = index_of(pointers, population.pointers[parked])
        nodes = np.where(
            at >= 0, population.nodes[parked[np.maximum(at, 0)]] if len(parked) else 0, 0
        )
        stacks, plans = stacks_of(rows, nodes, self.live)
        unknown = (nodes <= 0) & (g_status(rows) == _RUNNING)
        stacks.low[unknown] = rows["stack"]["lo"][unknown]
        return stacks, plans


def stacks_of(
    rows: NDArray[Any], nodes: NDArray[np.int64], live: LiveWords
) -> tuple[Stacks, StackPlans]:
    """The stacks of the goroutines `rows` (``g``), which end at `nodes` (0: not known)."""
    different = distinct(nodes[nodes > 0])
    plans = live.plans(different)
    plan = np.searchsorted(different, nodes)
    known = np.append(plans.known, False)
    plan = np.where((nodes > 0) & known[np.minimum(plan, len(different))], plan, -1)
    bounds = rows["stack"]
    low, high = bounds["lo"].astype(np.uint64), bounds["hi"].astype(np.uint64) & ~np.uint64(7)
    sp = np.where(rows["syscallsp"] != 0, rows["syscallsp"], rows["sched"]["sp"]).astype(np.uint64)
    on_stack = (sp >= low) & (sp <= high)
    sp, plan = np.where(on_stack, sp, low) & ~np.uint64(7), np.where(on_stack, plan, -1)
    defers = (
        rows["_defer"].astype(np.uint64)
        if "_defer" in (rows.dtype.names or ())
        else np.zeros_like(sp)
    )
    return Stacks(sp, high, defers, plan), plans


def _read(population: Population, pointers: NDArray[np.uint64]) -> NDArray[Any]:
    """The ``g`` structures at `pointers`; zeros where one cannot be read."""
    kind = fields_of(population.runtime.layouts["g"], ("_defer",))
    rows = np.zeros(len(pointers), kind)
    for begin in range(0, len(pointers), _BATCH):
        part = slice(begin, begin + _BATCH)
        gathered = population.runtime.memory.gather(pointers[part], kind.itemsize)
        rows[part][gathered.ok] = gathered.rows(kind)[gathered.ok]
    return rows
