"""Read what keeps objects alive: chains of references from roots, as the garbage collector would find them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.value_descriptors import ValueDescriptors
from spyglass.errors import MissingInfo
from spyglass.heap_objects import Chain
from spyglass.runtime.heap.allocated import free_objects, require_allocation
from spyglass.runtime.heap.modules import read_modules
from spyglass.runtime.heap.paths import find_paths
from spyglass.runtime.heap.references import read_references
from spyglass.runtime.heap.spans import ObjectNumbers, Spans
from spyglass.runtime.heap.type_closure import TypeClosure
from spyglass.runtime.heap.type_reader import TypeReader
from spyglass.runtime.retention.chain_roots import RootFinder
from spyglass.runtime.retention.links import ChainReader
from spyglass.runtime.retention.wanted import WantedObjects, address_of, at_address, of_type
from spyglass.runtime.waiting.hidden import hidden_words
from spyglass.runtime.waiting.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.paths import Paths
    from spyglass.runtime.retention.chain_roots import Head
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets import Target

__all__ = ["Budget", "Retained", "read_retained"]

#: Groups of which a chain is shown, and objects at each of its ends.
_MAX_CHAINS = 50
_MAX_LINKS = 32


class Budget(NamedTuple):
    """How long objects may be looked at, how many bytes of those that hold pointers may be read, and what is called with the
    part that was."""

    seconds: float
    limit_bytes: int
    progress: Callable[[float], None] | None = None


class Retained(NamedTuple):
    """Fields of `spyglass.heap_objects.Retention`."""

    objects: int
    bytes: int
    possible: int
    reached: int
    chains: tuple[Chain, ...]
    chain_count: int
    complete: bool
    calls_back: bool = False


def read_retained(target: Target, population: Population, wanted: str, budget: Budget) -> Retained:
    """What keeps the objects `wanted` alive, a type or an address.

    Raises `TargetError` if there are none, `MissingInfo` if types are not known in this program, and as `Spans.read`.
    """
    runtime, until = population.runtime, time.monotonic() + budget.seconds
    require_allocation(runtime)
    every, address = Spans.read(runtime), address_of(wanted)
    numbers = ObjectNumbers(every.that_matter(np.array([address or 0], np.uint64)))
    reader, types = _types(target, runtime, numbers.spans, required=address is None)
    closure = None
    if address is not None:
        objects = at_address(runtime.memory, numbers, address)
    else:
        assert reader is not None
        assert types is not None
        closure = TypeClosure(runtime, reader, numbers.spans)
        objects = of_type(reader, types, closure, numbers, wanted, until)
        if objects.types > 1:
            what = (
                f"{objects.types} different types are called {wanted}: objects of all are counted"
            )
            runtime.problem("unknown", "types", what)
    roots = Roots(population)
    found = roots.found(every, numbers, np.zeros(0, np.intp), pointers_only=True)
    hidden = hidden_words(runtime, np.zeros(0, np.uint64))
    references = read_references(
        runtime.memory, numbers, hidden, budget.limit_bytes, budget.progress, until
    )
    finder = RootFinder(roots, found, target.variables_at)
    free = free_objects(runtime.memory, numbers)
    # Following references takes less time than reading them: as long again at most.
    until = time.monotonic() + budget.seconds
    paths = find_paths(references, finder.objects, objects.numbers, until, free)
    links = ChainReader(runtime.memory, numbers, reader, types, closure)
    chains = _Chains(finder, links, paths)
    reached = objects.numbers[paths.reached(objects.numbers)]
    complete = references.complete and paths.complete and objects.complete
    return chains.retained(objects, reached, complete)._replace(calls_back=population.calls_back)


def _types(
    target: Target, runtime: Runtime, spans: Spans, required: bool
) -> tuple[TypeReader | None, ValueDescriptors | None]:
    """What tells types; nothing, if they are not `required`, where they are not known."""
    try:
        reader = TypeReader(runtime, spans)
        row = read_modules(runtime)[0]
        begin, end = int(row["types"]), int(row["etypes"])
        return reader, ValueDescriptors(runtime.memory, begin, end, target.constant)
    except MissingInfo:
        if required:
            raise
        return None, None


class _Chains:
    """Groups objects by what keeps them alive, and describes a chain of each group."""

    def __init__(self, finder: RootFinder, reader: ChainReader, paths: Paths) -> None:
        self._finder, self._reader, self._paths = finder, reader, paths

    def retained(
        self, objects: WantedObjects, reached: NDArray[np.uint32], complete: bool
    ) -> Retained:
        groups: dict[Hashable, list[tuple[Head, NDArray[np.uint32]]]] = {}
        for head, part in self._by_head(reached):
            groups.setdefault(head.key, []).append((head, part))
        chains = [self._counted(group) for group in groups.values()]
        chains.sort(key=lambda chain: -chain[0])
        return Retained(
            len(objects.numbers), objects.bytes, objects.possible, len(reached),
            tuple(self._chain(*chain) for chain in chains[:_MAX_CHAINS]), len(chains), complete,
        )  # fmt: skip

    def _by_head(self, reached: NDArray[np.uint32]) -> list[tuple[Head, NDArray[np.uint32]]]:
        """The objects `reached` by the object that their way begins at."""
        if not len(reached):
            return []
        heads = self._paths.heads(reached)
        order = np.argsort(heads, kind="stable")
        begins = np.flatnonzero(np.diff(heads[order].astype(np.int64), prepend=-1))
        parts = np.split(reached[order], begins)[1:]
        return list(zip(self._finder.heads(heads[order[begins]]), parts, strict=True))

    def _counted(self, group: list[tuple[Head, NDArray[np.uint32]]]) -> tuple[int, int, Head, int]:
        """How many bytes and objects `group` has, and one of them, with its head."""
        objects = np.concatenate([part for _, part in group])
        head, part = group[0]
        return self._reader.numbers.bytes_of(objects), len(objects), head, int(part[0])

    def _chain(self, size: int, objects: int, head: Head, number: int) -> Chain:
        path = self._paths.path(number)
        root = self._finder.root(head, *self._reader.place(path[0]))
        if len(path) <= 2 * _MAX_LINKS:
            return Chain(root, tuple(self._reader.links(path)), objects, size)
        links = self._reader.links(path[:_MAX_LINKS])
        links += self._reader.links(path[-_MAX_LINKS:], path[-_MAX_LINKS - 1])
        return Chain(root, tuple(links), objects, size, len(path) - len(links))
