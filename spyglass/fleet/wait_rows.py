"""What goroutines of a snapshot wait on, in groups: locks, channels of one kind in one place, peers; not the runtime's goroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.selection import selected
from spyglass.analysis.wait_groups import WaitGroup, wait_groups
from spyglass.analysis.wait_verdicts import STRONG
from spyglass.analysis.wait_view import wait_view
from spyglass.columns import among
from spyglass.fleet.texts import clean
from spyglass.model import NONE, Snapshot
from spyglass.wait_graph import EVIDENCE, KINDS, OPERATIONS

if TYPE_CHECKING:
    from spyglass.analysis.wait_verdicts import WaitVerdicts
    from spyglass.analysis.wait_view import WaitView

__all__ = ["MAX_WAIT_ROWS", "wait_rows"]

#: Rows of one snapshot, the largest groups; a program may have a million locks that one goroutine each waits for.
MAX_WAIT_ROWS = 10_000


def wait_rows(snapshot: Snapshot, known: WaitVerdicts | None) -> tuple[list[dict[str, Any]], int]:
    """The rows of the table `waits` without the columns of the process, and how many groups were left out."""
    if known is None:
        return [], 0
    view = wait_view(known, is_part=True)
    users = snapshot.goroutines.id[selected(snapshot.goroutines)]
    waiting = known.ids[known.waits]
    groups = wait_groups(view, waiting[among(waiting, users)])
    return [_row(view, each) for each in groups[:MAX_WAIT_ROWS]], max(
        len(groups) - MAX_WAIT_ROWS, 0
    )


def _row(view: WaitView, group: WaitGroup) -> dict[str, Any]:
    graph, objects, first = view.graph, view.graph.objects, int(group.objects[0])
    waits = _longest_wait(view, group)
    where = view.where(int(graph.waits.goroutine[group.waits[0]]))
    return {
        "kind": KINDS[group.kind],
        "operation": OPERATIONS[group.operation],
        "object": _text(graph.names, int(objects.name[first])),
        "object_type": _text(graph.names, int(objects.type[first])),
        "peer": _peer(view, first),
        "goroutines": len(group.goroutines),
        "objects": len(group.objects),
        "longest_wait_ns": waits if waits >= 0 else None,
        "stuck": _stuck(view, group),
        "function": clean(where.function) if where else None,
        "file": clean(where.file) if where else None,
        "line": where.line if where else None,
        **_holder(view, first if len(group.objects) == 1 else None),
    }


def _text(names: tuple[str, ...], index: int) -> str | None:
    return clean(names[index]) if index >= 0 else None


def _peer(view: WaitView, thing: int) -> str | None:
    index = int(view.graph.objects.connection[thing])
    if index < 0:
        return None
    connection = view.graph.connections[index]
    return clean(connection.remote or connection.local or connection.target)


def _longest_wait(view: WaitView, group: WaitGroup) -> int:
    rows = view.rows(group.goroutines)
    waits = view.snapshot.goroutines.waiting_ns[rows[rows != NONE]]
    return int(waits.max(initial=NONE))


def _stuck(view: WaitView, group: WaitGroup) -> int | None:
    stuck = view.known.stuck[view.known.rows_of(group.goroutines)]
    return int(np.count_nonzero(stuck == 1)) if (stuck >= 0).any() else None


def _holder(view: WaitView, thing: int | None) -> dict[str, str | None]:
    """The call that holds object `thing`, or else where its holder is, if the evidence names one."""
    rows = [] if thing is None else view.known.holders_of(thing, STRONG).tolist()
    if not rows:
        return {"holder_function": None, "holder_evidence": None}
    holders, row = view.graph.holders, rows[0]
    call = int(holders.frame[row])
    frame = view.graph.frames[call] if call >= 0 else view.where(int(holders.goroutine[row]))
    return {
        "holder_function": clean(frame.function) if frame else None,
        "holder_evidence": EVIDENCE[int(holders.grade[row])],
    }
