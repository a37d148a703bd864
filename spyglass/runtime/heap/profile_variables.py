"""Where the runtime keeps its allocation samples.

Without symbols the code of a few functions of ``runtime/mprof.go`` and ``malloc.go`` tells: what two of them have
in common is the variable, or one of two that the values tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spyglass.errors import BadDataError, MissingInfo
from spyglass.runtime.discovery.fingerprints import scan

if TYPE_CHECKING:
    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["ProfileVariables", "find_profile_variables"]

#: ``mProfCycleWrap`` (mprof.go).
_CYCLE_WRAP = 3 * (2 << 24)
#: Numbers of collections that may come between two readings.
_NEW_COLLECTIONS = 3
#: A rate above this is none: it would sample one object in many terabytes.
_MAX_RATE = 1 << 46
_READER = ("runtime.memProfileInternal", "runtime.MemProfile")
_FUNCTIONS = (
    "runtime.mProf_FlushLocked", "runtime.stkbucket", "runtime.mProf_Malloc", "runtime.mProf_Free",
    "runtime.profilealloc", "runtime.mallocgc", "runtime.schedinit", "runtime.nextSample",
)  # fmt: skip


class ProfileVariables(NamedTuple):
    """`buckets`: the address of the pointer to the first bucket of allocations (``mbuckets``). `cycle`: the number
    of the profile's cycle now; `rate_bytes`: ``MemProfileRate``. `is_linked`: whether the program has the
    function that reads the profile: if not, the linker has switched sampling off."""

    buckets: int
    cycle: int
    rate_bytes: int
    is_linked: bool


def find_profile_variables(target: Target, runtime: Runtime, collections: int) -> ProfileVariables:
    """The variables of `target` after `collections` of its heap (``memstats.numgc``).

    Raises `MissingInfo` if they cannot be found, `BadDataError` if their values are implausible.
    """
    mentions = scan(_FUNCTIONS, runtime.functions, target.code, runtime.arch)
    found = {name.removeprefix("runtime."): addresses for name, addresses in mentions.items()}

    def both(one: str, *others: str) -> set[int]:
        known: set[int] = set().union(*(found.get(other, set()) for other in others))
        return found.get(one, set()) & known

    def places(variable: str, candidates: set[int]) -> set[int]:
        symbol = target.executable.symbol(f"runtime.{variable}")
        return candidates if symbol is None else {symbol + target.bias}

    buckets = places("mbuckets", both("mProf_FlushLocked", "stkbucket"))
    if len(buckets) != 1:
        raise MissingInfo("runtime.mbuckets could not be found in this program")
    cycles = places("mProfCycle", places("mProf", both("mProf_Malloc", "mProf_Free")))
    rates = places("MemProfileRate", both("profilealloc", "mallocgc", "schedinit", "nextSample"))
    linked = any(runtime.functions.named(name) is not None for name in _READER)
    cycle = _cycle(runtime, cycles, collections)
    return ProfileVariables(buckets.pop(), cycle, _rate(runtime, rates), linked)


def _cycle(runtime: Runtime, places: set[int], collections: int) -> int:
    """The cycle, which is the number of collections: in Go 1.19 and later with a bit behind it that says
    whether it has been flushed (``mProfCycleHolder``)."""
    layouts = runtime.layouts
    # The same release brought limits of memory.
    has_bit = "gcControllerState" in layouts and layouts.has("gcControllerState", "memoryLimit")
    values = [int(runtime.memory.array(place, "<u4", 1)[0]) >> has_bit for place in places]
    distances = {_distance(value, collections): value for value in values}
    nearest = min(distances, default=_CYCLE_WRAP)
    if nearest > _NEW_COLLECTIONS:
        raise BadDataError(f"no cycle of the heap profile fits {collections} collections")
    return distances[nearest]


def _distance(cycle: int, collections: int) -> int:
    behind = (cycle - collections) % _CYCLE_WRAP
    return min(behind, _CYCLE_WRAP - behind)


def _rate(runtime: Runtime, places: set[int]) -> int:
    """``MemProfileRate``. The other variable that the same functions mention is ``mcache0``, nil since the
    start."""
    values = [int(runtime.memory.array(place, "<i8", 1)[0]) for place in places]
    if not values or max(values) > _MAX_RATE:
        raise MissingInfo("runtime.MemProfileRate could not be found in this program")
    return max(max(values), 0)
