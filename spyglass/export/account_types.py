"""The shape of an account of memory in a snapshot's document, as `spyglass.export.account_records` makes it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from spyglass.export.schema_numbers import Count, KnownCount, Percent
from spyglass.memory_account import Part

__all__ = ["GcStats", "GoMemory", "MemoryAccount", "ResidentMapping", "ResidentPart"]

Fraction = Annotated[float, Meta(ge=0, le=1)]
#: As many as the runtime keeps.
Pauses = Annotated[list[Count], Meta(max_length=256)]


class ResidentPart(Struct, frozen=True):
    """`spyglass.memory_account.ResidentPart`."""

    part: Part
    bytes: Count
    source: str
    doubtful_bytes: Count = 0
    lazy_free_bytes: Count = 0


class ResidentMapping(Struct, frozen=True):
    """`spyglass.memory_account.ResidentMapping`."""

    part: Part
    name: str
    address: Count
    size_bytes: Count
    resident_bytes: Count
    swap_bytes: Count = 0
    count: Count = 1


class GcStats(Struct, frozen=True):
    """`spyglass.memory_account.GcStats`."""

    cycles: KnownCount = None
    last_at: str | None = None
    pause_total_ns: KnownCount = None
    pauses_ns: Pauses = field(default_factory=list)
    pause_ends_ns: Pauses = field(default_factory=list)
    recent_cycles: KnownCount = None
    cpu_fraction: Fraction | None = None
    window_ns: KnownCount = None
    collections: KnownCount = None
    allocated_bytes: KnownCount = None


class GoMemory(Struct, frozen=True):
    """`spyglass.memory_account.GoMemory`."""

    classes: Annotated[dict[str, KnownCount], Meta(max_length=256)]
    heap_live_bytes: KnownCount = None
    heap_now_bytes: KnownCount = None
    heap_goal_bytes: KnownCount = None
    gogc_goal_bytes: KnownCount = None
    gogc_percent: Percent | None = None
    memory_limit_bytes: KnownCount = None
    gc: GcStats = field(default_factory=GcStats)


class MemoryAccount(Struct, frozen=True):
    """`spyglass.memory_account.MemoryAccount`, without what the snapshot has, too: process, limits and problems."""

    taken_at: str
    took_ns: Count
    rss_bytes: KnownCount
    resident: Annotated[list[ResidentPart], Meta(max_length=64)]
    go: GoMemory
    mappings: Annotated[list[ResidentMapping], Meta(max_length=1024)] = field(default_factory=list)
    swap_bytes: KnownCount = None
    huge_bytes: KnownCount = None
    hugetlb_bytes: KnownCount = None
    lazy_free_bytes: KnownCount = None
