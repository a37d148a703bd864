"""Keep memory that was freed in the process, for commands that read large targets.

A snapshot of many goroutines is read in batches, each of which allocates and frees some 60 MB. By default
glibc gives most of that back to the kernel after each batch, which then clears pages for the next: a third
more system time at a million goroutines.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory", "return_freed_memory"]

#: mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 28
#: The largest value that malloc takes: larger blocks are mapped, in huge pages.
_MAPPED_BYTES = 1 << 25


def keep_freed_memory() -> None:
    """Let malloc keep up to 256 MB of freed memory. Nothing happens with a C library that cannot."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def return_freed_memory() -> None:
    """Give what was freed back to the kernel (malloc_trim(3)), before something else needs much."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # musl
        return
