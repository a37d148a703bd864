"""Read what the goroutines of a snapshot wait on, who holds it, and who is stuck."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spyglass.runtime.waiting.objects import resolve_waits
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import Holders, LookedAt, Stuck, WaitGraph, WaitObjects

if TYPE_CHECKING:
    from spyglass.model import Frame
    from spyglass.runtime.waiting.naming import VariablesAt
    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population
    from spyglass.targets.target_process import TargetProcess

__all__ = ["WaitOptions", "read_waits"]


def read_waits(
    population: Population,
    process: TargetProcess,
    options: WaitOptions,
    variables_at: VariablesAt | None = None,
) -> WaitGraph:
    """The graph of waits of `population`, which are goroutines of `process`. `variables_at`: as
    `spyglass.targets.Target.variables_at`."""
    resolved = resolve_waits(population, process)
    from spyglass.runtime.waiting.lock_frames import stacks_of

    stacks_of(population).code.allow_work(options.code_seconds)
    holders, frames, objects = _holders(population, resolved, options)
    from spyglass.runtime.waiting.naming import name_objects

    name, names = name_objects(population, resolved, holders, variables_at)
    stuck, looked_at = _stuck(population, resolved, options)
    return WaitGraph(
        objects=replace(objects, name=name),
        waits=resolved.waits,
        holders=holders,
        unresolved=resolved.unresolved,
        stuck=stuck,
        looked_at=looked_at,
        names=names,
        connections=resolved.connections,
        frames=frames,
    )


def _holders(
    population: Population, resolved: Resolved, options: WaitOptions
) -> tuple[Holders, tuple[Frame, ...], WaitObjects]:
    """Who holds what goroutines wait on, the frames that tell it, and the objects with that known."""
    if not options.holders:
        return Holders.of(0), (), resolved.objects
    from spyglass.runtime.waiting.holders import find_holders

    found = find_holders(population, resolved)
    return found.holders, found.frames, replace(resolved.objects, left_locked=found.left_locked)


def _stuck(
    population: Population, resolved: Resolved, options: WaitOptions
) -> tuple[Stuck, LookedAt]:
    """Which goroutines nothing can wake, and what was looked at to decide it."""
    if not options.heap:
        return Stuck.of(0), LookedAt()
    from spyglass.runtime.waiting.stuck import find_stuck

    return find_stuck(population, resolved, options.heap_limit_bytes, options.progress)
