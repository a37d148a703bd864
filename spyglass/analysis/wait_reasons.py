"""What is said of waits in words: what objects are called, and why a verdict is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spyglass.analysis.wait_verdicts import VERDICTS, WaitVerdicts
from spyglass.model import NONE
from spyglass.wait_graph import KINDS, WaitGraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["because", "held_up_by", "object_name"]

#: What goroutines that do not wait do, by their status.
_AT_WORK = {
    "running": "which runs",
    "runnable": "which is ready to run",
    "syscall": "which is in a system call",
}


def object_name(graph: WaitGraph, row: int) -> str:
    """What the object in `row` is called: its name, else the peer of its connection, else kind and address."""
    objects = graph.objects
    name, kind = int(objects.name[row]), KINDS[int(objects.kind[row])]
    address, connection = int(objects.address[row]), int(objects.connection[row])
    if name >= 0:
        return graph.names[name]
    if connection >= 0:
        known = graph.connections[connection]
        return known.remote or known.local or known.target
    return f"{kind} {address:#x}" if address else kind


def because(known: WaitVerdicts, row: int) -> str:
    """Why the verdict of a row of `known` is what it is, as a clause."""
    goroutine, verdict = int(known.ids[row]), VERDICTS[int(known.verdict[row])]
    waits = known.waits_of(goroutine)
    if not known.waits[row]:
        return "it does not wait"
    if not len(waits):
        why = known.unresolved.get(goroutine, "not understood")
        return why if why.startswith("moved") else f"what it waits for is {why}"
    target = int(known.graph.waits.object[waits[0]])
    name = object_name(known.graph, target)
    if verdict == "deadlock":
        return _in_circle(known, goroutine, name)
    if verdict == "never":
        return _never(known.graph, waits, target)
    behind = int(known.behind[row])
    if behind != NONE:
        return f"{name} is held up by goroutine {behind}, {held_up_by(known, behind)}"
    return {
        "left_locked": f"{name} is locked, and no goroutine that could unlock it was found",
        "waits": f"it waits for {name}",
        "could": f"something that is alive refers to {name}",
    }.get(verdict, "whether something can wake it was not looked at")


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


def _never(graph: WaitGraph, waits: NDArray[np.intp], target: int) -> str:
    if KINDS[int(graph.objects.kind[target])] == "nothing":
        return "what it waits for cannot happen"
    if len(waits) > 1:
        return "nothing that is alive refers to any of the channels that it waits for"
    return f"nothing that is alive refers to {object_name(graph, target)}"
