"""Read the next batch while the last one is decoded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["has_processor_to_spare", "prefetched"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How long a thread waits for the interpreter lock after a system call, in seconds: a call of
#: process_vm_readv(2) for 1,024 ranges takes about 1 ms, and the default is 5 ms.
_SWITCH_SECONDS = 0.0002


def has_processor_to_spare() -> bool:
    """Whether this process may use more than one processor (sched_getaffinity(2))."""
    return len(os.sched_getaffinity(0)) > 1


def prefetched(
    fetch: Callable[[Item], Result], items: Sequence[Item], ahead: bool
) -> Generator[Result]:
    """The results of `fetch` for `items`, in order.

    `ahead`: a thread fetches one item ahead of the caller, so that system calls and numpy run at the same
    time. What `fetch` raises is raised here. No thread is left when the iterator ends or is closed.
    """
    if not ahead or len(items) < 2:
        yield from map(fetch, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    with _short_switches(), ThreadPoolExecutor(1, "spyglass reads ahead") as pool:
        following = pool.submit(fetch, items[0])
        for item in items[1:]:
            result, following = following.result(), pool.submit(fetch, item)
            yield result
            del result  # it may be large
        yield following.result()


@contextmanager
def _short_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
