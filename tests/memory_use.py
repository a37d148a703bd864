"""How much memory this process uses, without what its allocators keep for later."""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["memory_in_use"]

#: An object of Python's, on the average.
_BLOCK_BYTES = 64


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def memory_in_use() -> int:
    """Bytes of live objects, about. Resident memory would tell when an allocator happens to need another
    4 MB, and not which of them are in use."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd + sys.getallocatedblocks() * _BLOCK_BYTES)
