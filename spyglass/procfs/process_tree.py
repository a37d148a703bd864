"""All processes, and who started whom."""

from __future__ import annotations

import os
from collections import defaultdict

from spyglass.procfs.files import read_stat

__all__ = ["descendants", "pids"]


def pids() -> list[int]:
    """The processes that /proc shows, kernel threads among them, in ascending order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isascii() and name.isdigit())


def descendants(pid: int) -> list[int]:
    """The children of process `pid`, then their children, and so on."""
    children = defaultdict(list)
    for other in pids():
        try:
            children[read_stat(other).parent].append(other)
        except OSError:  # it has just ended
            continue
    found = list(children.pop(pid, ()))
    for child in found:  # grows while it is walked; each pid has one parent, so this ends
        found += children.pop(child, ())
    return found
