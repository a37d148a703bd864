"""What is shown of the waits of a snapshot: some goroutines, what they hang on, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.findings import written_wait_findings
from spyglass.analysis.wait_index import WaitIndex
from spyglass.columns import among, distinct
from spyglass.model import NONE, Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.findings import Finding
    from spyglass.analysis.wait_verdicts import WaitVerdicts
    from spyglass.wait_graph import WaitGraph

__all__ = ["WaitView", "wait_view"]


@dataclass(frozen=True)
class WaitView:
    """Goroutines that wait or hold, and the objects that this is about.

    `known`: what is said of all goroutines of the program. `chosen` (uint64): the goids that the user chose,
    ascending. `goroutines` (uint64): these, and those that they hang on, ascending. `objects` (intp): rows of
    the objects that `goroutines` wait on, and that `chosen` hold. `findings`: about waits; none for a part of the
    goroutines (`is_part`).
    """

    snapshot: Snapshot
    known: WaitVerdicts
    chosen: NDArray[np.uint64]
    goroutines: NDArray[np.uint64]
    objects: NDArray[np.intp]
    findings: tuple[Finding, ...]
    is_part: bool = False

    @property
    def graph(self) -> WaitGraph:
        """What goroutines wait on."""
        return self.known.graph

    @cached_property
    def index(self) -> WaitIndex:
        """The joins of the graph."""
        return WaitIndex(self.graph)

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        ids = self.snapshot.goroutines.id
        order = np.argsort(ids, kind="stable")
        return ids[order], order

    def rows(self, goroutines: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of the snapshot of these goids; `NONE` for one that it does not have."""
        ids, order = self._by_id
        if not len(ids):
            return np.full(len(goroutines), NONE, np.int64)
        at = np.minimum(np.searchsorted(ids, goroutines), len(ids) - 1)
        return np.where(ids[at] == goroutines, order[at], NONE)

    def row(self, goroutine: int) -> int | None:
        """The row of the snapshot of a goid; None if it does not have it."""
        row = int(self.rows(np.array([goroutine], np.uint64))[0])
        return row if row != NONE else None

    def where(self, goroutine: int) -> Frame | None:
        """Where the user's code of a goroutine (goid) is, else where it began; None if not known."""
        row, g = self.row(goroutine), self.snapshot.goroutines
        if row is None:
            return None
        return self.snapshot.frame(int(g.where[row])) or self.snapshot.frame(int(g.start[row]))

    def waited_ns(self, goroutine: int) -> int | None:
        """How long a goroutine (goid) has waited at least; None if not known."""
        row = self.row(goroutine)
        waiting_ns = NONE if row is None else int(self.snapshot.goroutines.waiting_ns[row])
        return waiting_ns if waiting_ns != NONE else None


def wait_view(
    known: WaitVerdicts, chosen: NDArray[np.uint64] | None = None, *, is_part: bool = False
) -> WaitView:
    """The waits of a program, or of the goroutines `chosen` (goids) alone.

    `is_part`: filters chose some, so nothing is said of the whole program.
    """
    snapshot, graph = known.snapshot, known.graph
    findings = () if is_part else written_wait_findings(known)
    if chosen is None:
        every = np.arange(len(graph.objects))
        return WaitView(snapshot, known, known.ids, known.ids, every, findings, is_part)
    chosen = distinct(chosen[among(chosen, known.ids)])
    goroutines = WaitIndex(graph).reached_from(chosen)
    used = np.zeros(len(graph.objects), np.bool_)
    used[graph.waits.object[among(graph.waits.goroutine, goroutines)]] = True
    used[graph.holders.object[among(graph.holders.goroutine, chosen)]] = True
    return WaitView(snapshot, known, chosen, goroutines, np.flatnonzero(used), findings, is_part)
