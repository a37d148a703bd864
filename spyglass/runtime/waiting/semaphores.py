"""Locks, wait groups and other semaphores that goroutines wait on.

All of them wait in ``semacquire1`` (runtime/sema.go), whose entry of a queue has the address of the
semaphore. ``g.waiting`` leads to the entry since Go 1.26; before, only a word of the stack does. What has the
semaphore is told by the functions on the stack: sync/rwmutex.go, sync/waitgroup.go, sync/once.go,
internal/sync/mutex.go (sync/mutex.go up to Go 1.23), internal/poll/fd_mutex.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.inner_calls import told_by_calls
from spyglass.runtime.waiting.stack_words import find_entries
from spyglass.runtime.waiting.sudogs import Sudogs, index_of, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["REASONS", "find_semaphores"]

MUTEX, RLOCK, RWLOCK, GROUP = (
    "sync.Mutex.Lock", "sync.RWMutex.RLock", "sync.RWMutex.Lock", "sync.WaitGroup.Wait",
)  # fmt: skip
REASONS = ("semacquire", MUTEX, RLOCK, RWLOCK, GROUP)


class _Use(NamedTuple):
    """What a semaphore is of: the kind of object, how many bytes before the semaphore it begins, and
    what its waiter wants."""

    kind: int
    before: int
    operation: int


def _use(kind_name: str, before: int, operation_name: str) -> _Use:
    return _Use(kind(kind_name), before, operation(operation_name))


_SEMAPHORE, _MUTEX = _use("semaphore", 0, "wait"), _use("mutex", 4, "lock")
#: ``internal/poll.fdMutex`` {state uint64; rsema, wsema uint32}: which of the two, its address tells.
_FD_MUTEX = _use("semaphore", 8, "read")
_FD_WRITE = operation("write")
#: By the function that waits for the semaphore.
_USES = {
    "sync.(*Mutex).Lock": _MUTEX,
    "sync.(*Mutex).lockSlow": _MUTEX,
    "internal/sync.(*Mutex).Lock": _MUTEX,
    "internal/sync.(*Mutex).lockSlow": _MUTEX,
    "sync.(*RWMutex).Lock": _use("rwmutex", 8, "lock"),
    "sync.(*RWMutex).RLock": _use("rwmutex", 12, "rlock"),
    "sync.(*WaitGroup).Wait": _use("waitgroup", 8, "wait"),
    "internal/poll.(*fdMutex).rwlock": _FD_MUTEX,
}
#: By the function that locks a Mutex which is a field of its receiver. Up to Go 1.12 that of a Once was its first.
_OWNERS = {
    "sync.(*RWMutex).Lock": _use("rwmutex", 4, "lock"),
    "sync.(*Once).doSlow": _use("once", 8, "lock"),
    "sync.(*Once).Do": _use("once", 4, "lock"),
}
#: By the wait reason, where the stack is not known.
_REASON_USES = {
    MUTEX: _MUTEX,
    RLOCK: _USES["sync.(*RWMutex).RLock"],
    RWLOCK: _USES["sync.(*RWMutex).Lock"],
    GROUP: _USES["sync.(*WaitGroup).Wait"],
}


def find_semaphores(population: Population, rows: NDArray[np.int64]) -> Found:
    """What the goroutines `rows` wait on, of those that wait for one of `REASONS`."""
    held = find_entries(population, rows, _fits)
    there = np.flatnonzero(held.words)
    rows, entries = rows[there], Sudogs(population.runtime, held.words[there])
    good = np.flatnonzero(_fits(population, rows, entries))
    uses = _uses_of(population, rows[good])
    semaphore = entries.elem[good]
    address = semaphore - uses[:, 1].astype(np.uint64)
    code, wants = uses[:, 0], uses[:, 2]
    # Up to Go 1.17 a WaitGroup at an odd multiple of 4 had its semaphore first.
    odd = (semaphore % np.uint64(8) == 4) & (code == kind("waitgroup"))
    address[odd] = semaphore[odd]
    writes = (semaphore % np.uint64(8) == 4) & (uses == _FD_MUTEX).all(axis=1)
    address[writes] -= np.uint64(4)
    wants = np.where(writes, _FD_WRITE, wants)
    following = index_of(entries.waitlink[good], entries.addresses[good])
    same = following >= 0
    same[same] = semaphore[following[same]] == semaphore[same]
    first, position = ranked(np.where(same, following, -1))
    return Found.of_goroutines(
        rows[good],
        kind=code,
        address=address,
        operation=wants,
        sudog=entries.addresses[good],
        pointer=semaphore,
        slot=held.slots[there][good],
        order=(np.maximum(first, 0) << 31) + position,
    )


def _fits(population: Population, rows: NDArray[np.int64], entries: Sudogs) -> NDArray[np.bool_]:
    """Which `entries` are those of the goroutines `rows` in the queue of a semaphore.

    A goroutine waits in one such queue only, and what leaves it has no `elem` any longer
    (``semaRoot.dequeue``).
    """
    good: NDArray[np.bool_] = entries.ok & (entries.g == population.pointers[rows])
    good &= (entries.elem != 0) & (entries.elem % np.uint64(4) == 0) & (entries.c == 0)
    good &= ~entries.is_select
    return good


def _uses_of(population: Population, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the semaphores of `rows` are of: a `_Use` for each, as an array of shape (rows, 3)."""
    known, which = told_by_calls(population, rows, _use_of)
    reason = [_REASON_USES.get(text.removesuffix(" (durable)")) for text in population.reasons]
    by_reason = np.array([use or _SEMAPHORE for use in (*reason, None)], np.int64)
    by_stack = np.array([use or (-1, 0, 0) for use in known], np.int64).reshape(-1, 3)
    uses = by_stack[which]
    unknown = np.flatnonzero(uses[:, 0] < 0)
    uses[unknown] = by_reason[population.goroutines.wait_reason[rows[unknown]]]
    return uses


def _use_of(functions: Iterator[str]) -> _Use | None:
    """What the semaphore is of that `functions` wait for; None if they do not tell."""
    use = None
    for function in functions:
        if use is None:
            use = _USES.get(function)
            if use is None and not _is_runtimes(function):
                return _SEMAPHORE
        elif use is not _MUTEX:
            return use
        elif "sync.(*Mutex)." not in function:
            return _OWNERS.get(function, _MUTEX)
    return use


def _is_runtimes(function: str) -> bool:
    """Whether `function` is between what waits and ``semacquire1``: it may have the name of another package
    ("sync.runtime_Semacquire")."""
    return function.startswith("runtime.") or ".runtime_" in function or ".sync_" in function
