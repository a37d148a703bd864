"""The worst knots of waits: deadlocks, and the locks that most goroutines wait for, with what these hang on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.wait_drawing import Drawing, drawing
from spyglass.analysis.wait_groups import group_of
from spyglass.analysis.wait_verdicts import STRONG
from spyglass.wait_graph import KINDS
from spyglass.words.units import plural

if TYPE_CHECKING:
    from spyglass.analysis.wait_view import WaitView

__all__ = ["Knot", "knots"]

#: Knots of each kind, and steps from a lock to what it hangs on in the end.
_MOST, _STEPS = 3, 6
#: Locks that are candidates; most knots have one of the first.
_LOOKED_AT = 50
_LOCKS = [KINDS.index(kind) for kind in ("mutex", "rwmutex", "once")]


@dataclass(frozen=True)
class Knot:
    """A deadlock, or a lock that many wait for: its `title` and its graph."""

    title: str
    drawing: Drawing


def knots(view: WaitView) -> list[Knot]:
    """Deadlocks first, then the locks with a named holder that most goroutines wait for."""
    return [*_deadlocks(view), *_convoys(view)]


def _deadlocks(view: WaitView) -> Iterator[Knot]:
    for circle in view.known.deadlocks[:_MOST]:
        groups = [group_of(view, row) for row in circle.objects[: 2 * _STEPS]]
        yield Knot(
            f"Deadlock of {plural(len(circle.goroutines), 'goroutine')}", drawing(view, groups)
        )


def _convoys(view: WaitView) -> Iterator[Knot]:
    """A lock is shown once: one that another lock's holder waits for is in the knot of that lock."""
    shown = {row for circle in view.known.deadlocks for row in circle.objects}
    number = 0
    for row, waiting in _contended(view):
        if row in shown:
            continue
        groups = [group_of(view, each) for each in _chain(view, row)]
        shown.update(int(each.objects[0]) for each in groups)
        yield Knot(f"{plural(waiting, 'goroutine')} wait for one lock", drawing(view, groups))
        number += 1
        if number == _MOST:
            return


def _contended(view: WaitView) -> list[tuple[int, int]]:
    """Locks with a named holder that several goroutines wait for (rows), and how many, most first."""
    graph = view.graph
    sizes = np.bincount(graph.waits.object, minlength=len(graph.objects))
    is_named = np.zeros(len(sizes), np.bool_)
    is_named[graph.holders.object[graph.holders.grade <= STRONG]] = True
    rows = np.flatnonzero(is_named & np.isin(graph.objects.kind, _LOCKS) & (sizes > 1))
    rows = rows[np.argsort(-sizes[rows], kind="stable")][:_LOOKED_AT]
    return list(zip(rows.tolist(), sizes[rows].tolist(), strict=True))


def _chain(view: WaitView, row: int) -> list[int]:
    """Object `row`, what its holder waits on, and so on; a circle is walked once."""
    found: list[int] = []
    holders = view.known.holders_of(row)
    for link in view.known.chain(int(view.graph.holders.goroutine[holders[0]])):
        if link.object is None or link.object in (row, *found):
            break
        found.append(link.object)
    return [row, *found][:_STEPS]
