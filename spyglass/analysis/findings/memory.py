"""Memory near a limit, and a garbage collector that hardly rests."""

from __future__ import annotations

from collections.abc import Iterator

from spyglass.analysis.findings.finding import Findable, Finding
from spyglass.analysis.findings.limits import limit_findings
from spyglass.analysis.findings.thresholds import (
    GC_PER_SECOND,
    LIMIT_CRITICAL_SHARE,
    LIMIT_SHARE,
)
from spyglass.memory_limits import MemoryForecast
from spyglass.model import RECENT_GC_SECONDS, MemoryStats, Snapshot
from spyglass.words.units import count, size

__all__ = ["memory_findings"]

#: The ring of ``mstats.pause_end`` has as many places: more collections are not counted.
_MOST_COUNTED = 256
#: ``GOGC=off``.
_GC_OFF = -1


def memory_findings(findable: Findable) -> Iterator[Finding]:
    """Resident memory near the control group's limit, Go's memory near GOMEMLIMIT, frequent GC."""
    snapshot = findable.snapshot
    memory = snapshot.memory
    if snapshot.limits is not None:
        yield from limit_findings(snapshot.limits, _next(findable), _forecast(snapshot))
    elif (found := _near_group_limit(findable)) is not None:
        yield found
    used_bytes, limit_bytes = _of_go(memory), memory.memory_limit_bytes
    if share := _near(used_bytes, limit_bytes):
        yield Finding(
            kind="heap-limit",
            severity="warning",
            title=f"heap and stacks {size(used_bytes)}: {100 * share:.0f} % of GOMEMLIMIT, "
            f"{size(limit_bytes)}",
            next=findable.command("summary"),
        )
    yield from _settings(findable, memory)
    yield from _frequent_gc(findable, memory)


def _forecast(snapshot: Snapshot) -> MemoryForecast | None:
    known = snapshot.account.forecast if snapshot.account is not None else None
    return known if isinstance(known, MemoryForecast) else None


def _next(findable: Findable) -> str:
    """Of a saved snapshot, the rest of it; of others, their memory, and if that is shown, who allocated it."""
    if findable.snapshot.file is not None:
        return findable.command("summary")
    return findable.command("memory", *(() if findable.snapshot.account is None else ("--heap",)))


def _near_group_limit(findable: Findable) -> Finding | None:
    """Of a snapshot without limits: resident memory near the control group's."""
    process = findable.snapshot.process
    limit_bytes = process.memory_limit_bytes
    share = _near(process.rss_bytes, limit_bytes)
    if not share:
        return None
    return Finding(
        kind="rss-limit",
        severity="critical" if share >= LIMIT_CRITICAL_SHARE else "warning",
        title=f"resident memory {size(process.rss_bytes)}: {100 * share:.0f} % of the memory limit "
        f"of its control group, {size(limit_bytes)}",
        next=findable.command("summary"),
    )


def _settings(findable: Findable, memory: MemoryStats) -> Iterator[Finding]:
    """A limit that comes too late, and no limit at all."""
    limit, of_group = memory.memory_limit_bytes, findable.snapshot.process.memory_limit_bytes
    if limit is not None and of_group is not None and limit > of_group:
        yield Finding(
            kind="limit-above-group",
            severity="warning",
            title=f"GOMEMLIMIT {size(limit)} is above the memory limit of the control group, {size(of_group)}: "
            "it does not keep the program below that",
            next=_next(findable),
        )
    if memory.gogc_percent == _GC_OFF and limit is None:
        yield Finding(
            kind="gogc-off",
            severity="warning",
            title="GOGC=off without GOMEMLIMIT: nothing starts a garbage collection; "
            f"{size(memory.heap_in_use_bytes)} of the heap are in use",
            next=_next(findable),
        )


def _of_go(memory: MemoryStats) -> int | None:
    """What counts toward GOMEMLIMIT, as far as it is read: a lower bound."""
    heap, stacks = memory.heap_in_use_bytes, memory.stacks_in_use_bytes
    return None if heap is None or stacks is None else heap + stacks


def _near(used: int | None, limit: int | None) -> float | None:
    """The share of `limit` that is used, if it is near; else None."""
    if used is None or not limit or used < LIMIT_SHARE * limit:
        return None
    return used / limit


def _is_explained(findable: Findable) -> bool:
    """Whether another finding says why collections are frequent."""
    account = findable.snapshot.account
    if account is None:
        return False
    from spyglass.analysis.findings.account import is_thrashing

    return is_thrashing(account.go)


def _frequent_gc(findable: Findable, memory: MemoryStats) -> Iterator[Finding]:
    number = memory.recent_gc_count
    if number is None or number < GC_PER_SECOND * RECENT_GC_SECONDS or _is_explained(findable):
        return
    bound = "or more " if number >= _MOST_COUNTED else ""
    goal = "" if memory.heap_goal_bytes is None else f"; heap goal {size(memory.heap_goal_bytes)}"
    yield Finding(
        kind="gc-frequent",
        severity="warning",
        title=f"{count(number)} {bound}garbage collections in the last {RECENT_GC_SECONDS} s{goal}",
        next=findable.command("summary"),
    )
