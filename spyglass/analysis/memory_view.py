"""What ``spyglass memory`` shows: a snapshot with its account of memory, what is unusual about it, and heap samples, or
objects of the heap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spyglass.analysis.findings import memory_view_findings

if TYPE_CHECKING:
    from spyglass.analysis.findings import Finding
    from spyglass.heap_objects import HeapSpans, HeapTypes, Retention
    from spyglass.heap_profile import HeapProfile
    from spyglass.memory_account import MemoryAccount
    from spyglass.model import Snapshot

__all__ = ["MemoryView", "memory_view"]


@dataclass(frozen=True, slots=True)
class MemoryView:
    """`snapshot` has an account. `profile`, `objects`: None if they were not asked for."""

    snapshot: Snapshot
    findings: tuple[Finding, ...]
    profile: HeapProfile | None = None
    objects: HeapSpans | HeapTypes | Retention | None = None

    @property
    def account(self) -> MemoryAccount:
        """The account of the snapshot."""
        assert self.snapshot.account is not None
        return self.snapshot.account


def memory_view(
    snapshot: Snapshot,
    account: MemoryAccount,
    profile: HeapProfile | None = None,
    objects: HeapSpans | HeapTypes | Retention | None = None,
) -> MemoryView:
    """The view of `snapshot` with an account of the same process."""
    snapshot = replace(snapshot, account=account, limits=account.limits)
    return MemoryView(snapshot, memory_view_findings(snapshot), profile, objects)
