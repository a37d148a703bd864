"""What changed in the figures of a program: its scheduler, memory and threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from spyglass.analysis.counts import by_os_state
from spyglass.model import Snapshot

__all__ = ["Changes", "memory_changes", "scheduler_changes", "thread_changes"]

#: What a figure was and is, by its name.
Changes = dict[str, tuple[Any, Any]]


def scheduler_changes(before: Snapshot, after: Snapshot) -> Changes:
    """The counters of the scheduler that are not what they were."""
    return _differing(_fields(before.scheduler), _fields(after.scheduler))


def memory_changes(before: Snapshot, after: Snapshot) -> Changes:
    """The figures of `spyglass.model.MemoryStats` that are not what they were, and ``rss_bytes``."""
    return _differing(
        {"rss_bytes": before.process.rss_bytes, **_fields(before.memory)},
        {"rss_bytes": after.process.rss_bytes, **_fields(after.memory)},
    )


def thread_changes(before: Snapshot, after: Snapshot) -> Changes:
    """How many threads there are, and in each state of the operating system, where that changed."""
    return _differing(_threads(before), _threads(after))


def _fields(part: Any) -> dict[str, Any]:
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _threads(snapshot: Snapshot) -> dict[str, int]:
    states = {state or "unknown": number for state, number in by_os_state(snapshot).items()}
    return {"total": len(snapshot.threads), **states}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    none = 0 if before.keys() != after.keys() else None  # of a state that nothing is in
    pairs = {name: (before.get(name, none), after.get(name, none)) for name in {**before, **after}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
