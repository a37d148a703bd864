"""Waits as a graph that can be drawn: goroutines that do the same are one node, and objects of one kind, too.

Text is escaped already: it can be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from spyglass.analysis.wait_groups import WaitGroup, places
from spyglass.analysis.wait_verdicts import STRONG, VERDICTS
from spyglass.analysis.wait_words import (
    address_of,
    evidence,
    kind_word,
    object_title,
    state_facts,
)
from spyglass.escape import visible
from spyglass.wait_graph import MODES, OPERATIONS
from spyglass.words.calls import call_text
from spyglass.words.units import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_view import WaitView

__all__ = ["Drawing", "Edge", "Node", "drawing"]

#: Places of one group, and holders of one object, that are drawn one by one.
_PLACES, _HOLDERS = 4, 6
_BAD = frozenset(map(VERDICTS.index, ("deadlock", "never", "left_locked")))


@dataclass(frozen=True, slots=True)
class Node:
    """A goroutine, several of them, or an object. `lines`: its text. `is_stuck`: it is in a deadlock, or can
    never be woken, or was left locked."""

    name: str
    kind: Literal["goroutine", "goroutines", "object"]
    lines: tuple[str, ...]
    is_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """From who waits to the object (`label`: the operation), or from the object to who holds it (`label`: the
    evidence). `is_certain`: the evidence names the holder."""

    source: str
    target: str
    label: str
    is_certain: bool = True


@dataclass
class Drawing:
    """Nodes by their names, in the order they were added, and edges."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)


def drawing(view: WaitView, groups: Iterable[WaitGroup]) -> Drawing:
    """The waits in `groups`, and who holds what they are on."""
    groups = list(groups)
    made, drawer = Drawing(), _Drawer(view, groups)
    for each in groups:
        for part in drawer.parts(each):
            if isinstance(part, Node):
                made.nodes.setdefault(part.name, part)
            else:
                made.edges.append(part)
    return made


class _Drawer:
    def __init__(self, view: WaitView, groups: list[WaitGroup]) -> None:
        self._view = view
        rows = [row for each in groups for row in self._holder_rows(each)]
        self._holders = {int(view.graph.holders.goroutine[row]) for row in rows}

    def parts(self, group: WaitGroup) -> Iterator[Node | Edge]:
        """The nodes and edges of one group."""
        name = f"o{group.objects[0]}"
        yield self._object(name, group)
        label = OPERATIONS[group.operation]
        singles = [each for each in group.goroutines.tolist() if each in self._holders]
        others = group.goroutines[~np.isin(group.goroutines, np.array(singles, np.uint64))]
        for each in singles:
            yield self._goroutine(each)
            yield Edge(f"g{each}", name, label)
        for node in self._bunches(name, others):
            yield node
            yield Edge(node.name, name, label)
        rows = self._holder_rows(group)
        for row in rows[:_HOLDERS]:
            yield from self._held(name, row)
        if len(rows) > _HOLDERS:
            yield Node(f"{name}h", "goroutines", (plural(len(rows) - _HOLDERS, "more holder"),))
            yield Edge(name, f"{name}h", "")

    def _holder_rows(self, group: WaitGroup) -> list[int]:
        if len(group.objects) > 1:
            return []
        grades = self._view.graph.holders.grade
        rows = self._view.index.holders_of.of(int(group.objects[0]))
        return sorted((row for row in rows if grades[row] < 5), key=lambda row: int(grades[row]))

    def _held(self, name: str, row: int) -> Iterator[Node | Edge]:
        holders = self._view.graph.holders
        goroutine, grade = int(holders.goroutine[row]), int(holders.grade[row])
        yield self._goroutine(goroutine)
        mode = MODES[holders.mode[row]]
        label = f"held{':' if mode == 'write' else ''} {evidence(mode, grade)}"
        yield Edge(name, f"g{goroutine}", label, grade <= STRONG)

    def _object(self, name: str, group: WaitGroup) -> Node:
        graph, row = self._view.graph, int(group.objects[0])
        kind = kind_word(graph, row, group.operation)
        if len(group.objects) > 1:
            lines = [f"{plural(len(group.objects), 'object')}: {kind}", object_title(graph, row)]
        else:
            address = address_of(graph, row)
            lines = [kind, object_title(graph, row) or address, ", ".join(state_facts(graph, row))]
        left = bool(graph.objects.left_locked[row] == 1) and len(group.objects) == 1
        return Node(name, "object", tuple(visible(line) for line in lines if line), left)

    def _goroutine(self, goroutine: int) -> Node:
        ids = np.array([goroutine], np.uint64)
        lines = (f"goroutine {goroutine}", *self._place(goroutine))
        return Node(f"g{goroutine}", "goroutine", lines, self._is_stuck(ids))

    def _bunches(self, name: str, goroutines: NDArray[np.uint64]) -> Iterator[Node]:
        """A node for each place where `goroutines` wait; for all others one."""
        found = list(places(self._view, goroutines))
        for number, some in enumerate(found[:_PLACES]):
            if len(some) == 1:
                yield self._goroutine(int(some[0]))
                continue
            lines = (plural(len(some), "goroutine"), *self._place(int(some[0])))
            yield Node(f"{name}w{number}", "goroutines", lines, self._is_stuck(some))
        if rest := found[_PLACES:]:
            others = np.concatenate(rest)
            lines = (plural(len(others), "goroutine"), f"in {plural(len(rest), 'more place')}")
            yield Node(f"{name}w{_PLACES}", "goroutines", lines, self._is_stuck(others))

    def _place(self, goroutine: int) -> Iterator[str]:
        frame = self._view.where(goroutine)
        if frame is not None:
            yield call_text(frame)

    def _is_stuck(self, goroutines: NDArray[np.uint64]) -> bool:
        known = self._view.known
        return bool(np.isin(known.verdict[known.rows_of(goroutines)], list(_BAD)).all())
