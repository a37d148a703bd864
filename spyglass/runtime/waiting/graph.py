"""Read what the goroutines of a snapshot wait on, who holds it, and who is stuck."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spyglass.columns import among
from spyglass.runtime.waiting.object_state import StateReader
from spyglass.runtime.waiting.objects import resolve_waits, waits_for_locks
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import Holders, LookedAt, Stuck, WaitGraph

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
    state = StateReader(population, process)
    first = waits_for_locks(population) if options.beside_locks else population.waiting
    resolved = resolve_waits(population, state, first)
    from spyglass.runtime.waiting.lock_frames import stacks_of

    stacks_of(population).code.allow_work(options.code_seconds)
    resolved, holders, frames = _holders(population, resolved, options)
    if options.beside_locks:
        goroutines = population.goroutines
        also = options.beside_locks(goroutines, population.reasons, population.tree.code.frames)
        also |= among(goroutines.id, holders.goroutine)
        also &= population.waiting & ~first
        resolved = resolved.followed_by(resolve_waits(population, state, also))
    from spyglass.runtime.waiting.naming import name_objects

    name, names = name_objects(population, resolved, holders, variables_at)
    stuck, looked_at = _stuck(population, resolved, options)
    return WaitGraph(
        objects=replace(resolved.objects, name=name),
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
) -> tuple[Resolved, Holders, tuple[Frame, ...]]:
    """`resolved` with what is known of its objects then, who holds them, and the frames that tell it."""
    if not options.holders:
        return resolved, Holders.of(0), ()
    from spyglass.runtime.waiting.holders import find_holders

    found = find_holders(population, resolved)
    objects = replace(resolved.objects, left_locked=found.left_locked)
    return resolved._replace(objects=objects), found.holders, found.frames


def _stuck(
    population: Population, resolved: Resolved, options: WaitOptions
) -> tuple[Stuck, LookedAt]:
    """Which goroutines nothing can wake, and what was looked at to decide it."""
    if not options.heap:
        return Stuck.of(0), LookedAt()
    from spyglass.runtime.waiting.stuck import find_stuck

    return find_stuck(population, resolved, options.heap_limit_bytes, options.progress)
