"""Read what the goroutines of a snapshot wait on, who holds it, and who is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spyglass.runtime.waiting.objects import resolve_waits
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import Holders, LookedAt, Stuck, WaitGraph

if TYPE_CHECKING:
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets.target_process import TargetProcess

__all__ = ["WaitOptions", "read_waits"]


def read_waits(population: Population, process: TargetProcess, options: WaitOptions) -> WaitGraph:
    """The graph of waits of `population`, which are goroutines of `process`."""
    resolved = resolve_waits(population, process)
    return WaitGraph(
        objects=resolved.objects,
        waits=resolved.waits,
        holders=Holders.of(0),
        unresolved=resolved.unresolved,
        stuck=Stuck.of(0),
        looked_at=LookedAt(),
        names=resolved.names,
        connections=resolved.connections,
    )
