"""How many heaps malloc has. Imports nothing large: it is to be told before libraries make their threads."""

from __future__ import annotations

import ctypes

__all__ = ["use_one_arena"]

#: mallopt(3)
_M_ARENA_MAX = -8


def use_one_arena() -> None:
    """Let all threads allocate from one heap: for a process that runs for months with many short threads. By default each of
    up to eight heaps per processor keeps what lies between pieces that are in use. Nothing happens with a C library that
    cannot, nor to heaps that other threads have already."""
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (AttributeError, OSError):  # musl
        return
