"""Who waits on an object and who holds it; on what a goroutine waits and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import among, distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.wait_graph import WaitGraph

__all__ = ["Rows", "WaitIndex"]


class Rows:
    """The rows of a column that have a value, for each value; in their order."""

    def __init__(self, column: NDArray[Any]) -> None:
        self.order: NDArray[np.intp] = np.argsort(column, kind="stable")
        self._ordered = column[self.order]

    def of(self, value: int) -> list[int]:
        """The rows that have `value`."""
        (first,), (end,) = self.bounds(np.array([value], self._ordered.dtype))
        rows: list[int] = self.order[first:end].tolist()
        return rows

    def bounds(self, values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where in `order` the rows of each of `values` begin and end."""
        left = np.searchsorted(self._ordered, values, "left")
        return left, np.searchsorted(self._ordered, values, "right")


class WaitIndex:
    """The joins of a `WaitGraph`, each of a sorted column."""

    def __init__(self, graph: WaitGraph) -> None:
        self.graph = graph
        self.waits_on = Rows(graph.waits.object)
        self.waits_of = Rows(graph.waits.goroutine)
        self.holders_of = Rows(graph.holders.object)
        self.held_by = Rows(graph.holders.goroutine)

    def objects_of(self, goroutine: int) -> list[int]:
        """The objects that `goroutine` waits on."""
        objects: list[int] = self.graph.waits.object[self.waits_of.of(goroutine)].tolist()
        return objects

    def holders(self, thing: int) -> list[int]:
        """The goroutines that hold object `thing`."""
        ids: list[int] = self.graph.holders.goroutine[self.holders_of.of(thing)].tolist()
        return ids

    def reached_from(self, goroutines: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """`goroutines`, and all that they wait for in the end: who holds what they wait on, who holds what
        these wait on, and so on; ascending."""
        graph = self.graph
        waited = graph.waits.object[among(graph.waits.goroutine, goroutines)]
        left: list[int] = distinct(
            graph.holders.object[among(graph.holders.object, waited)]
        ).tolist()
        things = set(left)
        found: set[int] = set()
        while left:
            holders = set(self.holders(left.pop())) - found
            found |= holders
            new = {thing for each in holders for thing in self.objects_of(each)} - things
            things |= new
            left += new
        return distinct(np.concatenate([goroutines, np.array(sorted(found), np.uint64)]))
