"""Memory of a process: what the Go runtime accounts for, what is resident, and how near the nearest limit is."""

from __future__ import annotations

from typing import Any, get_args

from spyglass.fleet.texts import clean
from spyglass.memory_account import CLASSES, MemoryAccount, Part
from spyglass.memory_limits import MemoryLimits
from spyglass.model import Snapshot

__all__ = ["CLASS_COLUMNS", "RESIDENT_COLUMNS", "memory_row"]

#: The column of each class of `CLASSES`, and of each part of resident memory.
CLASS_COLUMNS = {name: f"go_{name.replace('/', '_').replace('-', '_')}_bytes" for name in CLASSES}
RESIDENT_COLUMNS: dict[Part, str] = {part: f"resident_{part}_bytes" for part in get_args(Part)}


def memory_row(snapshot: Snapshot) -> dict[str, Any]:
    """The row of the table `memory` without the columns of the process."""
    memory, account = snapshot.memory, snapshot.account
    return {
        "rss_bytes": snapshot.process.rss_bytes,
        "cgroup_limit_bytes": snapshot.process.memory_limit_bytes,
        "heap_in_use_bytes": memory.heap_in_use_bytes,
        "heap_idle_bytes": memory.heap_idle_bytes,
        "heap_released_bytes": memory.heap_released_bytes,
        "stacks_in_use_bytes": memory.stacks_in_use_bytes,
        "heap_goal_bytes": memory.heap_goal_bytes,
        "gc_count": memory.gc_count,
        "gc_pause_total_ns": memory.gc_pause_total_ns,
        "last_gc_at": memory.last_gc_at,
        "gogc_percent": memory.gogc_percent,
        "gomemlimit_bytes": memory.memory_limit_bytes,
        "heap_live_bytes": account and account.go.heap_live_bytes,
        "swap_bytes": account and account.swap_bytes,
        "lazy_free_bytes": account and account.lazy_free_bytes,
        **_classes(account),
        **_resident(account),
        **_nearest_limit(snapshot.limits),
    }


def _classes(account: MemoryAccount | None) -> dict[str, int | None]:
    classes = account.go.classes if account else {}
    return {column: classes.get(name) for name, column in CLASS_COLUMNS.items()}


def _resident(account: MemoryAccount | None) -> dict[str, int | None]:
    """Parts that sum up to what is resident; None without residency, as in a core."""
    if account is None or account.rss_bytes is None:
        return dict.fromkeys(RESIDENT_COLUMNS.values())
    return {column: account.part(part) for part, column in RESIDENT_COLUMNS.items()}


def _nearest_limit(limits: MemoryLimits | None) -> dict[str, Any]:
    """The limit of which the least is left (`MemoryLimits.nearest`), and kills in the process's own control group."""
    nearest, group = (limits.nearest, limits.group) if limits else (None, None)
    return {
        "limit_kind": nearest and nearest.kind,
        "limit_name": nearest and clean(nearest.name),
        "limit_path": nearest and clean(nearest.path),
        "limit_effect": nearest and nearest.effect,
        "limit_bytes": nearest and nearest.bytes,
        "limit_held_bytes": nearest and nearest.held_bytes,
        "limit_headroom_bytes": nearest and nearest.headroom_bytes,
        "oom_kills": group and group.oom_kills,
    }
