"""Memory of spyglass itself: keep what was freed, for commands that read large targets; buffers for reads.

A snapshot of many goroutines is read in batches, each of which allocates and frees some 60 MB. By default
glibc gives most of that back to the kernel after each batch, which then clears pages for the next: a third
more system time at a million goroutines.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["keep_freed_memory", "new_buffer", "return_freed_memory"]

#: mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 28
#: The largest value that malloc takes: larger blocks are mapped, in huge pages.
_MAPPED_BYTES = 1 << 25
_RETURNED_BYTES = 1 << 22
#: Buffers of this size and more begin at a page.
_LARGE_BYTES = 1 << 18
_PAGE_BYTES = 1 << 12


def keep_freed_memory() -> None:
    """Let malloc keep up to 256 MB of freed memory. Nothing happens with a C library that cannot."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def return_freed_memory() -> None:
    """Give what was freed back to the kernel (malloc_trim(3)), before something else needs much, and from now on
    blocks of 4 MB and more as soon as they are freed, after `keep_freed_memory` too."""
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
        library.malloc_trim(0)
    except (AttributeError, OSError):  # musl
        return


def new_buffer(size: int) -> NDArray[np.uint8]:
    """`size` bytes of any content (uint8). A large buffer begins at a page: what was read into it can be written to
    a file past the page cache (open(2), ``O_DIRECT``)."""
    if size < _LARGE_BYTES:
        return np.empty(size, np.uint8)
    buffer = np.empty(size + _PAGE_BYTES, np.uint8)
    begin = -buffer.ctypes.data % _PAGE_BYTES
    return buffer[begin : begin + size]
