"""What goroutines of one snapshot wait on, in the words of the view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.wait_index import WaitIndex
from spyglass.analysis.wait_verdicts import STRONG, Verdict, WaitVerdicts, verdicts
from spyglass.analysis.wait_words import (
    address_of,
    evidence,
    kind_word,
    object_title,
    wait_phrase,
)
from spyglass.columns import combined, distinct, numbered
from spyglass.model import NONE, Frame, Snapshot
from spyglass.wait_graph import KINDS, MODES
from spyglass.words.units import count, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.wait_graph import WaitGraph

__all__ = ["HolderLine", "WaitTexts"]

#: Holders of one object, and objects that one goroutine holds, that its page has.
_MOST = 10


@dataclass(frozen=True, slots=True)
class HolderLine:
    """A goroutine (goid) that holds something, or waits: a line that leads to its page. `text`: what is said
    of it; `where`: where it holds it, or is; `how`: the evidence; `does`: what it does itself."""

    goroutine: int
    text: str
    where: Frame | None = None
    how: str = ""
    does: str = ""


class WaitTexts:
    """Texts about the waits of `snapshot`, which has them. They are not escaped."""

    def __init__(self, snapshot: Snapshot, graph: WaitGraph) -> None:
        self._snapshot = snapshot
        self._graph = graph
        self._index = WaitIndex(graph)
        self._groups: dict[tuple[int, int], str] = {}

    @cached_property
    def _known(self) -> WaitVerdicts | None:
        return verdicts(self._snapshot)

    def of_goroutine(self, goroutine: int) -> str:
        """What `goroutine` (goid) waits on: ``main.(*pool).mu``, ``chan int or 2 more``; empty if not known."""
        waits = self._graph.waits
        rows = self._index.waits_of.of(goroutine)
        if not rows:
            return ""
        text = self._short(int(waits.object[rows[0]]), int(waits.operation[rows[0]]))
        return f"{text} or {count(len(rows) - 1)} more" if len(rows) > 1 else text

    def of_rows(self, rows: NDArray[np.int64]) -> str:
        """What the goroutines `rows` wait on, at least one: the object if it is the same, else how many of which
        kind."""
        key = (int(rows[0]), len(rows))
        if key not in self._groups:
            self._groups[key] = self._of_rows(rows)
        return self._groups[key]

    @cached_property
    def alike(self) -> NDArray[np.int64]:
        """For each goroutine of the snapshot a number; equal ones wait on the same."""
        begins, ends = self._index.waits_of.bounds(self._snapshot.goroutines.id)
        order = self._index.waits_of.order
        if not len(order):
            return np.zeros(len(begins), np.int64)
        first = self._graph.waits.object[order[np.minimum(begins, len(order) - 1)]]
        return combined(np.where(ends > begins, first, NONE), ends - begins)

    def waits_of(self, goroutine: int) -> list[str]:
        """What `goroutine` waits for, a line for each object."""
        waits = self._graph.waits
        return [
            wait_phrase(self._graph, int(waits.object[row]), int(waits.operation[row]))
            for row in self._index.waits_of.of(goroutine)[:_MOST]
        ]

    def holders_of(self, goroutine: int) -> list[HolderLine]:
        """Who holds what `goroutine` waits for, the best evidence first."""
        grades = self._graph.holders.grade
        lines: list[HolderLine] = []
        for thing in self._index.objects_of(goroutine)[:_MOST]:
            rows = sorted(self._index.holders_of.of(thing), key=lambda row: int(grades[row]))
            lines += map(self._holder, rows[:_MOST])
        return lines

    def waiters_for(self, goroutine: int) -> list[HolderLine]:
        """Who waits for what `goroutine` holds: of each object the first in its queue."""
        graph, lines = self._graph, []
        for row in self._index.held_by.of(goroutine)[:_MOST]:
            thing = int(graph.holders.object[row])
            waiters = graph.waits.goroutine[self._index.waits_on.of(thing)].tolist()
            if waiters and graph.holders.grade[row] <= STRONG:
                others = f" and {count(len(waiters) - 1)} more wait" if waiters[1:] else " waits"
                text = f"holds {self._short(thing, 0)}: goroutine {waiters[0]}{others} for it"
                lines.append(HolderLine(waiters[0], text))
        return lines

    def verdict(self, goroutine: int) -> Verdict | None:
        """What is said of `goroutine`; None if it neither waits nor holds anything."""
        return None if self._known is None else self._known.of(goroutine)

    def _holder(self, row: int) -> HolderLine:
        holders = self._graph.holders
        goroutine, grade = int(holders.goroutine[row]), int(holders.grade[row])
        frame = int(holders.frame[row])
        verb = (
            "held by" if grade <= STRONG else "perhaps held by" if grade == 4 else "referred to by"
        )
        does = self.of_goroutine(goroutine)
        return HolderLine(
            goroutine,
            f"{verb} goroutine {goroutine}",
            self._graph.frames[frame] if frame != NONE else None,
            f" ({evidence(MODES[holders.mode[row]], grade)})",
            f"which waits for {does}" if does else "",
        )

    def _of_rows(self, rows: NDArray[np.int64]) -> str:
        """As `of_rows`; the goroutines of large groups are not looked at one by one."""
        graph, index = self._graph, self._index.waits_of
        begins, ends = index.bounds(self._snapshot.goroutines.id[rows])
        lengths = ends - begins
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        waits = index.order[np.repeat(begins, lengths) + within]
        objects, operations = graph.waits.object[waits], graph.waits.operation[waits]
        if not len(objects):
            return ""
        keys = combined(
            graph.objects.kind[objects], operations, graph.objects.name[objects],
            graph.objects.type[objects], graph.objects.connection[objects],
        )  # fmt: skip
        _, numbers = numbered(keys)
        firsts = np.zeros(int(numbers.max()) + 1, np.intp)
        firsts[numbers[::-1]] = np.arange(len(numbers))[::-1]
        count_of = np.int64(len(graph.objects))
        sizes = np.bincount(distinct(numbers * count_of + objects) // count_of)
        most = int(sizes.argmax())
        at, size = int(firsts[most]), int(sizes[most])
        title = self._short(int(objects[at]), int(operations[at]), named=size == 1)
        title = title if size == 1 else f"{count(size)} {title}"
        return f"{title}, {plural(len(sizes) - 1, 'other')}" if len(sizes) > 1 else title

    def _short(self, thing: int, operation: int, *, named: bool = True) -> str:
        """The name of an object in few words."""
        graph = self._graph
        kind, title = KINDS[graph.objects.kind[thing]], object_title(graph, thing)
        if kind == "nothing":
            return "nothing (nil channel, or select {})"
        if kind in ("fd", "runtime", "timer"):
            return f"{kind_word(graph, thing, operation)} {title}".rstrip()
        address = address_of(graph, thing) if named and not title else ""
        return (title if kind == "channel" and title else title or f"{kind} {address}").rstrip()
