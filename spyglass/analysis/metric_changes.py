"""What changed in the figures of a program: its scheduler, memory and threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from spyglass.analysis.counts import by_os_state
from spyglass.memory_account import MemoryAccount, Part
from spyglass.model import Snapshot

__all__ = [
    "LEAST_CHANGE_BYTES",
    "Changes",
    "memory_changes",
    "resident_changes",
    "scheduler_changes",
    "thread_changes",
]

#: Resident memory changes by less all the time.
LEAST_CHANGE_BYTES = 1 << 20

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


def resident_changes(before: Snapshot, after: Snapshot) -> Changes:
    """Bytes of resident memory, ``rss``, and of each part of it, if any of them changed by `LEAST_CHANGE_BYTES` or more; none
    unless both have an account of memory."""
    accounts = before.account, after.account
    if accounts[0] is None or accounts[1] is None:
        return {}
    if accounts[0].rss_bytes is None or accounts[1].rss_bytes is None:
        return {}
    found = _differing(_resident(accounts[0]), _resident(accounts[1]))
    changes = (abs(then - now) for then, now in found.values())
    return found if max(changes, default=0) >= LEAST_CHANGE_BYTES else {}


def _resident(account: MemoryAccount) -> dict[str, int | None]:
    return {"rss": account.rss_bytes, **{name: account.part(name) for name in get_args(Part)}}


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
