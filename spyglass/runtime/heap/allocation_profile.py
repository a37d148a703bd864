"""The heap profile that a program would give, from outside.

Knowledge: ``runtime/mprof.go`` (``memProfileInternal``), ``runtime/pprof/protomem.go``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from spyglass.heap_profile import AsOf, HeapProfile, Sites
from spyglass.runtime.heap.buckets import CYCLES, Buckets, read_buckets
from spyglass.runtime.heap.profile_variables import ProfileVariables, find_profile_variables
from spyglass.runtime.heap.sampled_stacks import SampledStacks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.model import Process
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.stacks.symbolizer import Symbolizer
    from spyglass.targets import Target

__all__ = ["read_heap_profile"]

_FUTURES = CYCLES - 1
#: What allocates for others: left out at the innermost end of a stack, unless nothing else is in it
#: (``protomem.go: writeHeapProto``; the second since Go 1.24).
_RUNTIME, _BELOW_RUNTIME = "runtime.", "internal/runtime/"
_NOT_LINKED = "the program does not use it, so the linker left it out (runtime.MemProfile)"
_SWITCHED_OFF = "the program has set runtime.MemProfileRate to 0"


def read_heap_profile(
    target: Target,
    runtime: Runtime,
    code: Symbolizer,
    process: Process,
    taken_at: datetime,
    as_of: AsOf,
) -> HeapProfile:
    """The allocation samples of `target`. Raises `MissingInfo` or `BadDataError` if they cannot be found."""
    stats = runtime.layouts["mstats"]
    memstats = runtime.memory.array(runtime.address("memstats"), stats, 1)[0]
    collections = int(memstats["numgc"])
    variables = find_profile_variables(target, runtime, collections)
    buckets = read_buckets(runtime.memory, runtime.memory.u64(variables.buckets))
    if buckets.rejected:
        detail = (
            f"{buckets.rejected} have another hash than their stack and size, or impossible numbers"
        )
        runtime.problem("implausible", "heap profile", detail)
    if not buckets.complete:
        runtime.problem(
            "truncated", "heap profile", "the list of samples could not be read to its end"
        )
    allocs, frees = _summed(buckets, variables, as_of)
    stacks = SampledStacks(code, without=(_RUNTIME, _BELOW_RUNTIME))
    numbers = stacks.add_all(buckets.stacks, buckets.offsets)
    offsets, frames = stacks.columns()
    where = stacks.where(numbers)
    runtime.note_exhausted()
    return HeapProfile(
        process=process, taken_at=taken_at, as_of=as_of, rate_bytes=variables.rate_bytes,
        collections=collections, frames=tuple(code.frames), stack_offsets=offsets,
        stack_frames=frames, why_not=_why_not(variables), problems=tuple(runtime.problems),
        sites=Sites(numbers, where, buckets.size, allocs, frees),
    )  # fmt: skip


def _why_not(variables: ProfileVariables) -> str | None:
    if variables.rate_bytes:
        return None
    return _SWITCHED_OFF if variables.is_linked else _NOT_LINKED


def _summed(
    buckets: Buckets, variables: ProfileVariables, as_of: AsOf
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Allocations and frees of each bucket. What the page shows is what is published, with the present cycle,
    unless nothing is published yet (``memProfileInternal``)."""
    shown = [0, 1 + variables.cycle % _FUTURES]
    published = buckets.allocs[:, shown].any() or buckets.frees[:, shown].any()
    if as_of == "now" or not published:
        shown = list(range(CYCLES))
    return buckets.allocs[:, shown].sum(axis=1), buckets.frees[:, shown].sum(axis=1)
