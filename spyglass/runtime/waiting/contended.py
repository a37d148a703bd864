"""The locks that goroutines wait for, by the addresses that code uses, and what their states allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.wait_graph import KINDS, MODES, WaitObjects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["Contended", "code_addresses"]

_WRITE, _READ, _DONE = (MODES.index(mode) for mode in ("write", "read", "done"))
#: A Once has its Mutex behind the word that says that it is done (sync/once.go).
_MUTEX_OF_ONCE = 4
#: In the state of an fdMutex (internal/poll/fd_mutex.go): ``mutexRLock``, ``mutexWLock``.
_FD_LOCKED = {_READ: 2, _WRITE: 4}


class Contended(NamedTuple):
    """Locks, sorted by mode and address: of each mode the addresses (uint64) and rows of `objects`.

    `most` (int64, shape (modes, objects)): how many goroutines can hold an object in a mode, as its state
    says; 0: none does.
    """

    objects: WaitObjects
    addresses: dict[int, NDArray[np.uint64]]
    rows: dict[int, NDArray[np.int64]]
    most: NDArray[np.int64]

    @classmethod
    def of(cls, objects: WaitObjects, memory: Memory) -> Contended:
        """The locks among `objects`."""
        most, code = _most(objects, memory), code_addresses(objects)
        addresses, rows = {}, {}
        for mode in range(len(MODES)):
            chosen = np.flatnonzero(most[mode] > 0)
            order = np.argsort(code[chosen], kind="stable")
            addresses[mode], rows[mode] = code[chosen][order], chosen[order]
        return cls(objects, addresses, rows, most)

    def find(self, addresses: NDArray[np.uint64], mode: int) -> NDArray[np.int64]:
        """The row of the object whose lock is at each of `addresses`; -1 where there is none that can be
        held in `mode`."""
        known = self.addresses[mode]
        if not len(known):
            return np.full(len(addresses), -1, np.int64)
        at = np.minimum(np.searchsorted(known, addresses), len(known) - 1)
        return np.where(known[at] == addresses, self.rows[mode][at], -1)

    def is_near(self, words: NDArray[np.uint64], reach: int) -> NDArray[np.bool_]:
        """Which of `words` may point to what has one of the locks in it, at most `reach` bytes behind."""
        every = np.sort(np.concatenate(list(self.addresses.values())))
        if not len(every):
            return np.zeros(words.shape, np.bool_)
        at = np.minimum(np.searchsorted(every, words), len(every) - 1)
        near: NDArray[np.bool_] = every[at] - words <= np.uint64(reach)
        return near

    def any(self) -> bool:
        """Whether there are any locks."""
        return any(len(each) for each in self.addresses.values())


def code_addresses(objects: WaitObjects) -> NDArray[np.uint64]:
    """The address of each of `objects` that functions are called with which take or release it."""
    shift = np.where(_are(objects, "once"), np.uint64(_MUTEX_OF_ONCE), np.uint64(0))
    addresses: NDArray[np.uint64] = objects.address + shift
    return addresses


def _are(objects: WaitObjects, *kinds: str) -> NDArray[np.bool_]:
    return np.isin(objects.kind, [KINDS.index(kind) for kind in kinds])


def _most(objects: WaitObjects, memory: Memory) -> NDArray[np.int64]:
    most = np.zeros((len(MODES), len(objects)), np.int64)
    locked = objects.locked == 1
    most[_WRITE] = locked & _are(objects, "mutex", "once", "rwmutex")
    readers = np.where(_are(objects, "rwmutex") & ~locked, objects.readers, 0)
    most[_READ] = np.maximum(readers, 0)
    most[_DONE] = np.maximum(np.where(_are(objects, "waitgroup"), objects.counter, 0), 0)
    semaphores = np.flatnonzero(_are(objects, "semaphore"))
    if len(semaphores):
        gathered = memory.gather(objects.address[semaphores] & ~np.uint64(7), 8)
        state = np.where(gathered.ok, gathered.words(1)[:, 0], np.uint64(0)).astype(np.int64)
        for mode, bit in _FD_LOCKED.items():
            most[mode, semaphores] = (state & bit) != 0
    return most
