"""Which roots objects hang on: variables by name, goroutines by the function in whose frame the reference is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import SpyglassError
from spyglass.heap_objects import Root
from spyglass.runtime.waiting.roots import stacks_of
from spyglass.runtime.waiting.sudogs import index_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population
    from spyglass.runtime.waiting.roots import RootObjects, Roots

__all__ = ["Head", "RootFinder"]

#: For addresses the variable that each is in, and how far behind its begin.
VariablesAt = Callable[["NDArray[np.uint64]"], "list[tuple[str, int] | None]"]

#: Of a stack, references are looked for up to here.
_MAX_STACK_BYTES = 1 << 24
#: Variables that are named.
_MAX_NAMED = 1 << 14


class Head(NamedTuple):
    """What keeps the first object of a chain alive: index into the kinds of roots, and the origin, as `RootObjects`.
    Heads with an equal `key` are shown as one."""

    part: int
    origin: int
    key: Hashable


class RootFinder:
    """Finds the roots of objects, out of those that were `found`. `variables_at`: as `spyglass.targets.Target.variables_at`."""

    def __init__(self, roots: Roots, found: list[RootObjects], variables_at: VariablesAt) -> None:
        self._roots, self._population = roots, roots.population
        self._found, self._variables_at = found, variables_at
        self.objects = np.concatenate([part.objects for part in found])
        self._part = np.repeat(np.arange(len(found)), [len(part.objects) for part in found])
        self._origin = np.concatenate([part.origin for part in found])

    def heads(self, objects: NDArray[np.uint32]) -> list[Head]:
        """What keeps each of `objects` alive, all of which roots refer to: a variable if there is one."""
        order = np.argsort(self.objects, kind="stable")
        at = order[np.searchsorted(self.objects[order], objects)]
        part, origin = self._part[at], self._origin[at]
        names = self._names(part, origin)
        nodes = self._nodes(origin)
        return [
            Head(each, place, self._key(each, place, names.get(place), node))
            for each, place, node in zip(
                part.tolist(), origin.tolist(), nodes.tolist(), strict=True
            )
        ]

    def _key(self, part: int, origin: int, name: str | None, node: int) -> Hashable:
        kind = self._found[part].kind
        if kind == "variable":
            return kind, name or origin
        return kind, node or origin

    def _names(self, part: NDArray[np.intp], origin: NDArray[np.uint64]) -> dict[int, str]:
        """The names of variables at the addresses `origin`."""
        variables = np.array([each.kind == "variable" for each in self._found], np.bool_)[part]
        different, _ = numbered(origin[variables])
        different = different[:_MAX_NAMED]
        found = zip(different.tolist(), self._variables_at(different), strict=True)
        return {address: each[0] for address, each in found if each is not None}

    def _nodes(self, origin: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The stacks of the goroutines whose ``g`` are at `origin`, 0 where that is none that was read."""
        row = index_of(origin, self._population.pointers)
        nodes = self._population.nodes
        return (
            np.where(row >= 0, nodes[np.maximum(row, 0)], 0)
            if len(nodes)
            else np.zeros(len(row), np.int64)
        )

    def root(self, head: Head, begin: int, size: int) -> Root:
        """The root `head` of the object at `begin`, of `size` bytes."""
        kind = self._found[head.part].kind
        if kind == "variable":
            (named,) = self._variables_at(np.array([head.origin], np.uint64))
            return Root(kind, named[0] if named else None, head.origin)
        if kind != "goroutine":
            return Root(kind)
        (row,) = index_of(np.array([head.origin], np.uint64), self._population.pointers).tolist()
        if row < 0:
            return Root(kind)
        goroutine = int(self._population.goroutines.id[row])
        try:
            return Root(kind, self._function(row, begin, size), goroutine=goroutine)
        except SpyglassError:
            return Root(kind, goroutine=goroutine)

    def _function(self, row: int, begin: int, size: int) -> str | None:
        """The function in whose frame goroutine `row` refers to what is at `begin`; None if it does not, as where the record
        of a deferred call does."""
        population = self._population
        node = int(population.nodes[row])
        if node <= 0:
            return None
        some = population.g[np.array([row])]
        stacks, plans = stacks_of(some, np.array([node]), self._roots.live)
        if stacks.plan[0] < 0:
            return None
        low, room = int(stacks.low[0]), int(stacks.high[0]) - int(stacks.low[0])
        raw = population.runtime.memory.read(low, min(room, _MAX_STACK_BYTES) & ~7)
        words = np.frombuffer(raw, "<u8")
        for slots in (plans.words, _within(plans.begins, plans.sizes, len(words))):
            slots = slots[slots < len(words)]
            hits = slots[words[slots] - np.uint64(begin) < np.uint64(size)]
            if len(hits):
                return _function_of(population, node, int(hits.min()))
        return None


def _within(begins: NDArray[np.int64], sizes: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """The words of objects on a stack."""
    inside = np.zeros(room, np.bool_)
    for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
        inside[begin : begin + size] = True
    return np.flatnonzero(inside)


def _function_of(population: Population, node: int, slot: int) -> str | None:
    """The function in whose frame word `slot` of a stack that ends at `node` is."""
    tree, base = population.tree, 0
    for frame in tree.path_frames(node):
        base += frame.words + (population.runtime.arch != "arm64")
        if slot < base:
            calls = tree.code.calls(frame.pc, frame.entered)
            return tree.code.frames[calls[-1]].function if calls else None
    return None
