"""Read what the goroutines of a snapshot wait on, who holds it, and who is stuck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spyglass.runtime.waiting.objects import resolve_waits
from spyglass.wait_graph import Holders, LookedAt, Stuck, WaitGraph

if TYPE_CHECKING:
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets.target_process import TargetProcess

__all__ = ["DEFAULT_HEAP_LIMIT_BYTES", "WaitOptions", "read_waits"]

DEFAULT_HEAP_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """What is read of waits beside the objects that goroutines wait on.

    `holders`: who holds the contended locks. `heap`: which goroutines nothing can wake, for which the heap
    is marked, up to `heap_limit_bytes` of spans that hold pointers. `progress` is called with the part of
    the heap that was marked, from 0 to 1.
    """

    holders: bool = True
    heap: bool = True
    heap_limit_bytes: int = DEFAULT_HEAP_LIMIT_BYTES
    progress: Callable[[float], None] | None = None


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
