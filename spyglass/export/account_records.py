"""The account of a process's memory as values that JSON knows: in a document of its own, and in a snapshot's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spyglass.export.plain_values import plain, record

if TYPE_CHECKING:
    from spyglass.memory_account import MemoryAccount

__all__ = ["account_record"]


def account_record(account: MemoryAccount) -> dict[str, Any]:
    """The account without what documents have beside it: process, limits, forecast and problems."""
    go = account.go
    return {
        "taken_at": plain(account.taken_at),
        "took_ns": account.took_ns,
        "rss_bytes": account.rss_bytes,
        "resident": [record(each) for each in account.resident],
        "mappings": [record(each) for each in account.mappings],
        "swap_bytes": account.swap_bytes,
        "huge_bytes": account.huge_bytes,
        "hugetlb_bytes": account.hugetlb_bytes,
        "lazy_free_bytes": account.lazy_free_bytes,
        "go": record(go) | {"classes": dict(go.classes), "gc": record(go.gc)},
    }
