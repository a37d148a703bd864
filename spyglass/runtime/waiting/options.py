"""What is read of waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DEFAULT_HEAP_LIMIT_BYTES", "WaitOptions"]

DEFAULT_HEAP_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """What is read of waits beside the objects that goroutines wait on.

    `holders`: who holds the contended locks. `heap`: which goroutines nothing can wake, for which the heap
    is marked, up to `heap_limit_bytes` of spans that hold pointers. `progress` is called with the part of
    the heap that was marked, from 0 to 1.
    """

    holders: bool = True
    heap: bool = True
    heap_limit_bytes: int = DEFAULT_HEAP_LIMIT_BYTES
    progress: Callable[[float], None] | None = None
