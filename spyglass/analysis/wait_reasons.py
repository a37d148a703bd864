"""What is said of waits in words: what objects are called, and why a verdict is what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.wait_verdicts import VERDICTS, WaitVerdicts
from spyglass.model import NONE
from spyglass.wait_graph import KINDS, WaitGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["because", "held_up_by", "object_name", "reasons"]

#: What goroutines that do not wait do, by their status.
_AT_WORK = {
    "running": "which runs",
    "runnable": "which is ready to run",
    "syscall": "which is in a system call",
}


def object_name(graph: WaitGraph, row: int) -> str:
    """What the object in `row` is called: its name, else the peer of its connection, else its file descriptor, else kind
    and address. The address of a file descriptor, which is that of its poll descriptor, says nothing."""
    objects = graph.objects
    name, kind = int(objects.name[row]), KINDS[int(objects.kind[row])]
    address, connection = int(objects.address[row]), int(objects.connection[row])
    if name >= 0:
        return graph.names[name]
    if connection >= 0:
        known = graph.connections[connection]
        return known.remote or known.local or known.target
    if kind == "fd":
        return f"fd {objects.fd[row]}" if objects.fd[row] >= 0 else "a file descriptor"
    return f"{kind} {address:#x}" if address else kind


def because(known: WaitVerdicts, row: int) -> str:
    """Why the verdict of a row of `known` is what it is, as a clause."""
    return next(reasons(known, np.array([row])))


def reasons(known: WaitVerdicts, rows: NDArray[np.intp]) -> Iterator[str]:
    """Why the verdict of each of `rows` of `known` is what it is, as clauses; what many have in common is put into
    words once."""
    ids = known.ids[rows]
    first, numbers = known.first_waits(ids)
    targets = known.graph.waits.object[first] if len(known.graph.waits) else first
    texts: dict[tuple[int, int, int, bool], str] = {}
    columns = (ids, known.waits[rows], known.verdict[rows], known.behind[rows], targets, numbers)
    for goroutine, waits, verdict, behind, target, number in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        if not waits:
            yield "it does not wait"
        elif not number:
            why = known.unresolved.get(goroutine, "not understood")
            yield why if why.startswith("moved") else f"what it waits for is {why}"
        elif VERDICTS[verdict] == "deadlock":
            yield _in_circle(known, goroutine, object_name(known.graph, target))
        else:
            key = verdict, behind, target, number > 1
            if key not in texts:
                texts[key] = _reason(known, *key)
            yield texts[key]


def _reason(known: WaitVerdicts, verdict: int, behind: int, target: int, several: bool) -> str:
    """The reason of a goroutine in no deadlock that waits for the object `target`, the first of `several`."""
    name = object_name(known.graph, target)
    if VERDICTS[verdict] == "never":
        return _never(known.graph, several, target)
    if behind != NONE:
        return f"{name} is held up by goroutine {behind}, {held_up_by(known, behind)}"
    return {
        "left_locked": f"{name} is locked, and no goroutine that could unlock it was found",
        "waits": f"it waits for {name}",
        "could": f"something that is alive refers to {name}",
    }.get(VERDICTS[verdict], "whether something can wake it was not looked at")


def held_up_by(known: WaitVerdicts, goroutine: int) -> str:
    """What the goroutine at the end of a chain does, as a relative clause."""
    row = known.row(goroutine)
    if row is None or not known.waits[row]:
        return _AT_WORK.get(known.status_of(goroutine) or "", "which does not wait")
    verdict, waits = VERDICTS[int(known.verdict[row])], known.waits_of(goroutine)
    if verdict in ("deadlock", "never"):
        return "which is in a deadlock" if verdict == "deadlock" else "which can never be woken"
    if len(waits) == 1:
        return (
            f"which waits for {object_name(known.graph, int(known.graph.waits.object[waits[0]]))}"
        )
    return f"which waits for {len(waits)} channels" if len(waits) else "which waits"


def _in_circle(known: WaitVerdicts, goroutine: int, name: str) -> str:
    circle = known.circle_of[goroutine].goroutines
    if len(circle) == 1:
        return f"it waits for {name}, which it holds itself"
    after = circle[(circle.index(goroutine) + 1) % len(circle)]
    return f"goroutine {after} holds {name}, and waits in turn for what this one holds"


def _never(graph: WaitGraph, several: bool, target: int) -> str:
    if KINDS[int(graph.objects.kind[target])] == "nothing":
        return "what it waits for cannot happen"
    if several:
        return "nothing that is alive refers to any of the channels that it waits for"
    return f"nothing that is alive refers to {object_name(graph, target)}"
