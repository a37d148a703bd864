"""Waits in groups: those for one lock or channel, for one peer, for channels of one kind in one place.

A lock, or anything that several goroutines wait for, is a group of its own. Objects that one goroutine each waits
for are one group if they have the same kind, type and name and their goroutines wait at the same line. IO is grouped
by the peer, timers and what cannot happen by the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.code_lines import CodeLines
from spyglass.analysis.grouped import grouped
from spyglass.columns import among, combined, distinct
from spyglass.model import NONE
from spyglass.wait_graph import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_view import WaitView

__all__ = ["WaitGroup", "group_of", "places", "selects", "wait_groups"]

#: Kinds of which each object is one goroutine's: they say little one by one.
_FD, _TIMER, _NOTHING, _RUNTIME = (
    KINDS.index(kind) for kind in ("fd", "timer", "nothing", "runtime")
)


@dataclass(frozen=True, slots=True)
class WaitGroup:
    """Waits of one kind of object and one operation.

    `kind` and `operation` are indices into `KINDS` and `OPERATIONS`. `waits`: rows of `WaitGraph.waits`, those
    of one object in the order of its queue. `objects`: rows of `WaitGraph.objects`, ascending. `goroutines`
    (uint64): the goids, ascending.
    """

    kind: int
    operation: int
    waits: NDArray[np.int64]
    objects: NDArray[np.int32]
    goroutines: NDArray[np.uint64]


def wait_groups(view: WaitView, goroutines: NDArray[np.uint64]) -> list[WaitGroup]:
    """The waits of `goroutines` (goids) in groups, the largest first."""
    waits, objects = view.graph.waits, view.graph.objects
    rows = np.flatnonzero(among(waits.goroutine, goroutines)).astype(np.int64)
    targets = waits.object[rows]
    kind = objects.kind[targets]
    own = _own_groups(view, targets, kind)
    by_place = own == NONE
    of_fd = kind == _FD
    keys = combined(
        own,
        np.where(by_place, waits.operation[rows], 0),
        np.where(by_place, kind, 0),
        np.where(by_place & ~of_fd, objects.name[targets], NONE),
        np.where(by_place & ~of_fd, objects.type[targets], NONE),
        np.where(by_place & ~of_fd, objects.closed[targets], NONE),
        np.where(of_fd, _peers(view)[objects.connection[targets]], NONE),
        np.where(by_place & ~of_fd, _lines(view, rows), NONE),
    )
    return [_group(view, some) for some in grouped(rows, keys)]


def group_of(view: WaitView, row: int) -> WaitGroup:
    """All waits for one object, which somebody waits for."""
    return _group(view, np.array(view.index.waits_on.of(row), np.int64))


def selects(groups: Iterable[WaitGroup]) -> list[list[WaitGroup]]:
    """`groups`, those together whose goroutines are the same: the cases of one ``select``."""
    together: dict[bytes, list[WaitGroup]] = {}
    for each in groups:
        together.setdefault(each.goroutines.tobytes(), []).append(each)
    return list(together.values())


def places(view: WaitView, goroutines: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
    """`goroutines` (goids) by the line of code where they wait, most first."""
    rows = view.rows(goroutines)
    lines = _lines_of_rows(view, rows)
    for some in grouped(np.arange(len(goroutines)), lines):
        yield goroutines[some]


def _group(view: WaitView, rows: NDArray[np.int64]) -> WaitGroup:
    waits = view.graph.waits
    objects, first = distinct(waits.object[rows]), rows[0]
    return WaitGroup(
        kind=int(view.graph.objects.kind[waits.object[first]]),
        operation=int(waits.operation[first]),
        waits=rows,
        objects=objects,
        goroutines=distinct(waits.goroutine[rows]),
    )


def _own_groups(
    view: WaitView, targets: NDArray[np.int32], kind: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """The object of each wait if it is a group of its own, else `NONE`."""
    graph = view.graph
    is_special = np.bincount(graph.waits.object, minlength=len(graph.objects)) > 1
    is_special[graph.holders.object] = True
    is_special |= graph.objects.left_locked == 1
    among_many = (kind == _FD) | (kind == _TIMER) | (kind == _NOTHING) | (kind == _RUNTIME)
    return np.where(is_special[targets] & ~among_many, targets, NONE)


def _peers(view: WaitView) -> NDArray[np.int64]:
    """A number for the peer of each connection, equal where it is the same; the last for none."""
    numbers: dict[tuple[str, str | None], int] = {}
    found = [
        numbers.setdefault((each.target, each.remote or each.local), len(numbers))
        for each in view.graph.connections
    ]
    return np.array([*found, NONE], np.int64)


def _lines(view: WaitView, waits: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for the line of code of each wait."""
    return _lines_of_rows(view, view.rows(view.graph.waits.goroutine[waits]))


def _lines_of_rows(view: WaitView, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    g = view.snapshot.goroutines
    where = np.append(np.where(g.where != NONE, g.where, g.start), NONE)  # the last for NONE
    return CodeLines().of(view.snapshot.frames, where[rows])
