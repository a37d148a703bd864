"""What becomes of goroutines that wait: deadlocks, what can never be woken, who waits behind whom.

Goroutines and locks are a graph: a goroutine waits for a lock, and the lock has holders, whose evidence is
graded (`spyglass.wait_graph.EVIDENCE`). Only grades 1 to 3 make an edge. Every edge must be undone before
the waiter goes on: a lock needs its holder, a writer all readers, a WaitGroup all workers. So a cycle is a
deadlock, and who waits behind a goroutine that is stuck is stuck. Whether a channel or a Cond can still be used
by anybody is what the mark of the heap decided (`spyglass.wait_graph.Stuck`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import distinct
from spyglass.frozen import Frozen
from spyglass.model import NONE, STATUSES, Snapshot
from spyglass.wait_graph import KINDS, OPERATIONS, UNKNOWN, UNRESOLVED, WaitGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["STRONG", "VERDICTS", "Deadlock", "Link", "Verdict", "WaitVerdicts", "verdicts"]

#: What is said of a goroutine; a column holds the index. "never": nothing refers to what it waits for, or it
#: cannot happen. "stuck_behind": a goroutine that is stuck, or that waits for a peer, holds what it wants.
#: "left_locked": no goroutine that could unlock the lock was found. "waits": for a time, a peer, or a
#: goroutine that goes on. "could": something that is alive refers to what it waits for.
VERDICTS: tuple[str, ...] = (
    "deadlock",
    "never",
    "stuck_behind",
    "left_locked",
    "waits",
    "could",
    "unknown",
)
_DEADLOCK, _NEVER, _BEHIND, _LEFT, _WAITS, _COULD, _UNKNOWN = range(7)

#: The worst grade of evidence that names a holder, and that of which it is concluded that goroutines are stuck.
STRONG, SURE = 3, 2

_FD, _TIMER, _NOTHING, _RUNTIME = (
    KINDS.index(kind) for kind in ("fd", "timer", "nothing", "runtime")
)
_WAITING = STATUSES.index("waiting")
_LEAKED = STATUSES.index("leaked")


class Deadlock(NamedTuple):
    """Goroutines (ids) that wait for each other in a circle, and the objects (rows of `WaitObjects`) that
    they wait for, in the same order."""

    goroutines: tuple[int, ...]
    objects: tuple[int, ...]


class Link(NamedTuple):
    """A step from a goroutine (id) to what it hangs on: the `object` (row of `WaitObjects`) that it waits for,
    None if that is not known or it does not wait; the `operation`; the goroutine that holds the object, if one
    is named, with the `grade` of the evidence."""

    goroutine: int
    object: int | None
    operation: str | None
    holder: int | None
    grade: int | None


class Verdict(NamedTuple):
    """What is said of one goroutine: one of `VERDICTS`; whether it is stuck (None: not looked at); the id of
    the goroutine that it waits behind in the end, or None; and why."""

    verdict: str
    stuck: bool | None
    behind: int | None
    because: str


class WaitVerdicts(Frozen, eq=False):
    """What becomes of the goroutines of a graph, a row for each that waits or holds.

    `ids` (uint64): goids, ascending. `verdict` (uint8): index into `VERDICTS`. `stuck` (int8): 1 nothing that is
    alive can wake it, 0 something can, -1 not looked at. `behind` (int64): the goid at the end of its chain,
    `NONE` if no other goroutine is known to be in its way. `waits` (bool): it waits, in the sense of the
    scheduler. `deadlocks`: the circles.
    """

    snapshot: Snapshot
    graph: WaitGraph
    ids: NDArray[np.uint64]
    verdict: NDArray[np.uint8]
    stuck: NDArray[np.int8]
    behind: NDArray[np.int64]
    waits: NDArray[np.bool_]
    deadlocks: tuple[Deadlock, ...]

    def rows_of(self, goroutines: NDArray[np.uint64]) -> NDArray[np.intp]:
        """The rows of these goids, all of which must be in the graph."""
        return np.searchsorted(self.ids, goroutines)

    def of(self, goroutine: int) -> Verdict | None:
        """What is said of `goroutine` (goid); None if it neither waits nor holds anything."""
        row = self.row(goroutine)
        if row is None:
            return None
        stuck = {1: True, 0: False}.get(int(self.stuck[row]))
        behind = int(self.behind[row])
        from spyglass.analysis.wait_reasons import because

        return Verdict(
            VERDICTS[self.verdict[row]], stuck, None if behind == NONE else behind,
            because(self, row),
        )  # fmt: skip

    def chain(self, goroutine: int) -> tuple[Link, ...]:
        """The steps from `goroutine` to what it hangs on in the end; a circle is walked once."""
        links: list[Link] = []
        seen: set[int] = set()
        here: int | None = goroutine
        while here is not None and here not in seen:
            seen.add(here)
            link = self._link(here)
            links.append(link)
            here = link.holder
        return tuple(links)

    def status_of(self, goroutine: int) -> str | None:
        """The status of a goid, as the snapshot has it; None if it is not in the snapshot."""
        g = self.snapshot.goroutines
        rows = np.flatnonzero(g.id == np.uint64(goroutine))
        return STATUSES[int(g.status[rows[0]])] if len(rows) else None

    def waits_of(self, goroutine: int) -> NDArray[np.intp]:
        """The rows of `WaitGraph.waits` of one goroutine, in their order."""
        begin, end = np.searchsorted(
            self._sorted_waits, [np.uint64(goroutine), np.uint64(goroutine + 1)]
        )
        return np.sort(self._wait_order[begin:end])

    def first_waits(
        self, goroutines: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Of each goid the first of its rows of `WaitGraph.waits` (any row if it has none), and how many it has."""
        begin = np.searchsorted(self._sorted_waits, goroutines)
        number = np.searchsorted(self._sorted_waits, goroutines, side="right") - begin
        if not len(self._wait_order):
            return np.zeros(len(goroutines), np.intp), number
        return self._wait_order[np.minimum(begin, len(self._wait_order) - 1)], number

    def holders_of(self, objects: int, worst: int = STRONG) -> NDArray[np.intp]:
        """The rows of `WaitGraph.holders` of one object whose evidence is of grade `worst` or better, the best
        first."""
        begin, end = np.searchsorted(self._sorted_held, [objects, objects + 1])
        rows = self._held_order[begin:end]
        grades = self.graph.holders.grade[rows]
        good: NDArray[np.intp] = rows[(grades >= 1) & (grades <= worst)]
        return good[np.argsort(self.graph.holders.grade[good], kind="stable")]

    def row(self, goroutine: int) -> int | None:
        """The row of a goid; None if it neither waits nor holds anything."""
        row = int(np.searchsorted(self.ids, np.uint64(goroutine)))
        return row if row < len(self.ids) and int(self.ids[row]) == goroutine else None

    @cached_property
    def _wait_order(self) -> NDArray[np.intp]:
        return np.argsort(self.graph.waits.goroutine, kind="stable")

    @cached_property
    def _sorted_waits(self) -> NDArray[np.uint64]:
        return self.graph.waits.goroutine[self._wait_order]

    @cached_property
    def _held_order(self) -> NDArray[np.intp]:
        return np.argsort(self.graph.holders.object, kind="stable")

    @cached_property
    def _sorted_held(self) -> NDArray[np.int32]:
        return self.graph.holders.object[self._held_order]

    @cached_property
    def circle_of(self) -> dict[int, Deadlock]:
        """The circle that each goroutine in a deadlock is in, by goid."""
        return {each: circle for circle in self.deadlocks for each in circle.goroutines}

    @cached_property
    def unresolved(self) -> dict[int, str]:
        """Why it is not known what a goroutine waits on, by goid."""
        found = self.graph.unresolved
        return {
            goid: UNRESOLVED[why]
            for goid, why in zip(found.goroutine.tolist(), found.why.tolist(), strict=True)
        }

    def _link(self, goroutine: int) -> Link:
        rows = self.waits_of(goroutine)
        if len(rows) != 1:  # it does not wait, or for the first of several
            return Link(goroutine, None, None, None, None)
        waits, holders = self.graph.waits, self.graph.holders
        target = int(waits.object[rows[0]])
        operation = OPERATIONS[waits.operation[rows[0]]]
        found = self.holders_of(target)
        if not len(found):
            return Link(goroutine, target, operation, None, None)
        circle = self.circle_of.get(goroutine)
        inside = [
            row
            for row in found.tolist()
            if circle is not None and int(holders.goroutine[row]) in circle.goroutines
        ]
        best = inside[0] if inside else int(found[0])
        return Link(
            goroutine, target, operation, int(holders.goroutine[best]), int(holders.grade[best])
        )


def verdicts(snapshot: Snapshot) -> WaitVerdicts | None:
    """What becomes of the goroutines of `snapshot`; None if what they wait on was not read."""
    graph = snapshot.waits
    if graph is None:
        return None
    ids = distinct(
        np.concatenate((graph.waits.goroutine, graph.holders.goroutine, graph.unresolved.goroutine))
    )
    waits = _waiting(snapshot, graph, ids)
    edges = _Edges.of(graph, ids)
    circles = list(_circles(edges))
    nexts = edges.first_holder(len(ids))
    marked = _marked(graph, ids)
    verdict, stuck = _own_verdicts(graph, ids, waits, marked)
    members = np.array([member for circle in circles for member in circle], np.intp)
    verdict[members], stuck[members] = _DEADLOCK, 1
    ends = _ends(nexts, members)
    behind = np.where(ends != np.arange(len(ids)), ids[ends].astype(np.int64), NONE)
    for circle in circles:
        behind[circle] = ids[np.roll(circle, -1)].astype(np.int64) if len(circle) > 1 else NONE
    _inherit(verdict, stuck, ends, graph, ids)
    deadlocks = tuple(
        Deadlock(
            tuple(ids[circle].tolist()),
            tuple(edges.object_of[circle].tolist()),
        )
        for circle in circles
    )
    return WaitVerdicts(snapshot, graph, ids, verdict, stuck, behind, waits, deadlocks)


def _waiting(snapshot: Snapshot, graph: WaitGraph, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `ids` wait: as the graph says, or as the snapshot does of those it has."""
    g = snapshot.goroutines
    parked = g.id[(g.status == _WAITING) | (g.status == _LEAKED)]
    waits: NDArray[np.bool_] = np.isin(
        ids, np.concatenate((parked, graph.waits.goroutine, graph.unresolved.goroutine))
    )
    return waits


class _Edges(NamedTuple):
    """From rows of waiters to rows of holders, with evidence that names them: `source`, `target` (intp), ordered
    by the waiter, then by the grade. `object_of` (int64): what each row waits for alone, or `NONE`."""

    source: NDArray[np.intp]
    target: NDArray[np.intp]
    object_of: NDArray[np.int64]

    @classmethod
    def of(cls, graph: WaitGraph, ids: NDArray[np.uint64]) -> _Edges:
        waits, holders = graph.waits, graph.holders
        waiters = np.searchsorted(ids, waits.goroutine)
        alone = np.bincount(waiters, minlength=len(ids)) == 1
        object_of = np.full(len(ids), NONE, np.int64)
        only = alone[waiters]
        object_of[waiters[only]] = waits.object[only]
        strong = np.flatnonzero((holders.grade >= 1) & (holders.grade <= SURE))
        strong = strong[np.lexsort((holders.grade[strong], holders.object[strong]))]
        held, holder = holders.object[strong], np.searchsorted(ids, holders.goroutine[strong])
        begin = np.searchsorted(held, object_of)
        number = np.searchsorted(held, object_of, side="right") - begin
        number[object_of == NONE] = 0
        source = np.repeat(np.arange(len(ids)), number)
        within = np.arange(len(source)) - np.repeat(np.cumsum(number) - number, number)
        return cls(source, holder[np.repeat(begin, number) + within], object_of)

    def first_holder(self, count: int) -> NDArray[np.intp]:
        """Of each of `count` rows the holder with the best evidence; itself if there is none."""
        nexts = np.arange(count)
        nexts[self.source[::-1]] = self.target[::-1]
        return nexts


def _circles(edges: _Edges) -> Iterator[NDArray[np.intp]]:
    """Rows that wait for each other in a circle, one circle of each set that cannot get out, in the order of
    the edges. Only who holds something can be in one: however many wait, few are looked at."""
    inner = np.isin(edges.source, edges.target)
    successors: dict[int, list[int]] = {}
    for source, target in zip(
        edges.source[inner].tolist(), edges.target[inner].tolist(), strict=True
    ):
        successors.setdefault(source, []).append(target)
    done: set[int] = set()
    for start in successors:
        circle = _circle_from(start, successors, done)
        if circle:
            first = circle.index(min(circle))
            yield np.array(circle[first:] + circle[:first], np.intp)


def _circle_from(start: int, successors: dict[int, list[int]], done: set[int]) -> list[int]:
    """A circle that a walk from `start` runs into, not through rows that are `done`; those it saw are then."""
    path: list[int] = []
    place: dict[int, int] = {}
    left: list[Iterator[int]] = []
    here: int | None = start
    while True:
        if here is not None and here not in done:
            if here in place:
                done.update(path)
                return path[place[here] :]
            place[here] = len(path)
            path.append(here)
            left.append(iter(successors.get(here, ())))
        elif not path:
            return []
        here = next(left[-1], None)
        if here is None:
            last = path.pop()
            left.pop()
            del place[last]
            done.add(last)
            if not path:
                return []


def _ends(nexts: NDArray[np.intp], members: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where the chain of each row ends: at a row that waits for nobody, or at one of a circle's `members`. By
    doubling: a chain of a million takes twenty steps."""
    ends = nexts.copy()
    ends[members] = members
    while True:
        further = ends[ends]
        if np.array_equal(further, ends):
            return ends
        ends = further


def _marked(graph: WaitGraph, ids: NDArray[np.uint64]) -> NDArray[np.int8]:
    """What the mark of the heap said of each of `ids`: 1 stuck, 0 not, -1 not looked at."""
    marked = np.full(len(ids), -1, np.int8)
    at = np.searchsorted(ids, graph.stuck.goroutine)
    known = at < len(ids)
    known[known] = ids[at[known]] == graph.stuck.goroutine[known]
    marked[at[known]] = graph.stuck.stuck[known]
    return marked


def _own_verdicts(
    graph: WaitGraph,
    ids: NDArray[np.uint64],
    waits: NDArray[np.bool_],
    marked: NDArray[np.int8],
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """What can be said of each row for itself, without who is in its way."""
    objects, at = graph.objects, np.searchsorted(ids, graph.waits.goroutine)
    kind = objects.kind[graph.waits.object]
    count = len(ids)
    outside, left, timed, nothing = (np.zeros(count, np.bool_) for _ in range(4))
    outside[at[(kind == _FD) | (kind == _TIMER) | (kind == _RUNTIME)]] = True
    timed[at[objects.due_in_ns[graph.waits.object] != UNKNOWN]] = True
    left[at[objects.left_locked[graph.waits.object] == 1]] = True
    nothing[at[kind == _NOTHING]] = True
    stuck = np.where(outside | timed | ~waits, 0, marked).astype(np.int8)
    stuck[nothing & ~outside & ~timed] = 1
    verdict = np.full(count, _UNKNOWN, np.uint8)
    verdict[stuck == 0] = _COULD
    verdict[outside | timed | ~waits] = _WAITS
    verdict[left] = _LEFT
    verdict[stuck == 1] = _NEVER
    return verdict, stuck


def _inherit(
    verdict: NDArray[np.uint8],
    stuck: NDArray[np.int8],
    ends: NDArray[np.intp],
    graph: WaitGraph,
    ids: NDArray[np.uint64],
) -> None:
    """Give those that wait behind another row what is said of that one."""
    behind = np.flatnonzero((ends != np.arange(len(ids))) & (verdict != _DEADLOCK))
    end = ends[behind]
    peers = np.zeros(len(ids), np.bool_)
    on_peer = graph.objects.kind[graph.waits.object] == _FD
    peers[np.searchsorted(ids, graph.waits.goroutine[on_peer])] = True
    is_stuck = stuck[end] == 1
    halted = is_stuck | (verdict[end] == _LEFT) | peers[end]
    said = np.where(halted, _BEHIND, np.where(verdict[end] == _UNKNOWN, _UNKNOWN, _WAITS))
    stuck[behind] = stuck[end]
    verdict[behind] = said
