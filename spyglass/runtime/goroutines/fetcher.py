"""Read ``g`` structures and stacks: what the walks of a batch of goroutines need, in the order that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.runtime.goroutines.consistency import (
    Batch,
    Capture,
    Fetched,
    Signature,
    capture_range,
    part_of,
)
from spyglass.runtime.goroutines.decode import (
    COPYSTACK,
    LEAKED,
    PREEMPTED,
    RUNNABLE,
    SYSCALL,
    WAITING,
    alive,
    fields_of,
    g_status,
)
from spyglass.runtime.stacks.unwinder import Cursors, StackBytes, first_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Gathered
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.goroutines.side_readers import SideReaders

__all__ = ["Again", "Fetcher", "ReadBatch", "saved_cursors"]

#: Whose registers are in their ``g``.
_PARKED = np.zeros(256, np.bool_)
_PARKED[[RUNNABLE, WAITING, PREEMPTED, LEAKED, COPYSTACK]] = True


class Again(NamedTuple):
    """Goroutines that were read again: whether each ``g`` could be, and its signature."""

    ok: NDArray[np.bool_]
    signatures: NDArray[np.uint64]


class ReadBatch(NamedTuple):
    """A batch of goroutines that was read: their ``g`` and what side readers read (in `batch`), then the first window of
    each stack of `cursors`, then every ``g`` again (`after`). `walked`: the rows that `cursors` are of.
    `lost`: how many ``g`` could not be read."""

    batch: Batch
    lost: int
    walked: NDArray[np.intp]
    cursors: Cursors
    stacks: StackBytes
    after: Again


class Fetcher:
    """Reads goroutines of one process. Nothing is remembered from one call to the next, except by
    `side_readers`."""

    def __init__(self, runtime: Runtime, side_readers: SideReaders) -> None:
        self._runtime = runtime
        self._memory = runtime.memory
        self._side_readers = side_readers
        self._dtype = fields_of(runtime.layouts["g"], side_readers.g_fields)
        self._signature = Signature(self._dtype, side_readers.g_fields)
        self.counts_stops = "trackingSeq" in (self._dtype.names or ())

    def batch(self, pointers: NDArray[np.uint64], top_only: bool) -> ReadBatch:
        """Read the goroutines at `pointers` that are alive."""
        first = self.fetch(pointers)
        batch = Batch.of(pointers, first, self._side_readers.columns)
        batch = batch.select(first.ok & alive(first.rows))
        if self.counts_stops:  # otherwise every one is read closely, and its labels then
            self._side_readers.read(batch, slice(None))
        walked, cursors = saved_cursors(batch.rows)
        stacks = first_windows(self._memory, cursors, top_only)
        after = self.again(batch.pointers)
        return ReadBatch(batch, int((~first.ok).sum()), walked, cursors, stacks, after)

    def fetch(self, pointers: NDArray[np.uint64]) -> Fetched:
        """The ``g`` structures at `pointers`."""
        return self._decode(self._memory.gather(pointers, self._dtype.itemsize))

    def again(self, pointers: NDArray[np.uint64]) -> Again:
        """What tells whether the goroutines at `pointers` have moved."""
        gathered = self._memory.gather(pointers, self._dtype.itemsize)
        return Again(gathered.ok, self._signatures(gathered))

    def capture(self, pointers: NDArray[np.uint64], rows: NDArray[Any]) -> Capture:
        """The ``g``, the stack and the ``g`` again of each, then the stack again if there is no count
        of stops, in this very order. `rows`: where they were last."""
        parts = 3 if self.counts_stops else 4
        low, high = capture_range(rows)
        addresses = np.empty((len(rows), parts), np.uint64)
        sizes = np.full((len(rows), parts), self._dtype.itemsize, np.uint64)
        addresses[:, 0::2] = pointers[:, None]
        addresses[:, 1::2] = low[:, None]
        sizes[:, 1::2] = (high - low)[:, None]
        gathered = self._memory.gather_in_order(addresses.reshape(-1), sizes.reshape(-1))
        stacks = tuple(
            StackBytes.of(part_of(gathered, part, parts), low, high) for part in range(1, parts, 2)
        )
        before, after = (self._decode(part_of(gathered, part, parts)) for part in (0, 2))
        return Capture(before, after, stacks, rows["stack"].copy())

    def _decode(self, gathered: Gathered) -> Fetched:
        return Fetched(gathered.rows(self._dtype), gathered.ok, self._signatures(gathered))

    def _signatures(self, gathered: Gathered) -> NDArray[np.uint64]:
        """The signatures of ``g`` structures, with what their M counts system calls with in the last word.

        The goroutine's own count stands still between one system call and the next (since Go 1.26,
        ``casgstatus``), that of the M does not (``reentersyscall, exitsyscall``).
        """
        signatures, ms = self._signature.of(gathered)
        some = np.flatnonzero((ms != 0) & (ms % np.uint64(8) == 0))
        if len(some) and self._runtime.layouts.has("m", "syscalltick"):
            fields: Any = self._runtime.layouts["m"].fields
            offset = fields["syscalltick"][1]
            words = self._memory.gather(ms[some] + np.uint64(offset & ~7), 8)
            ticks = words.words(1)[:, 0] >> np.uint64(8 * (offset & 7)) & np.uint64(0xFFFFFFFF)
            signatures[some, -1] = np.where(words.ok, ticks, np.uint64(0))
        return signatures


def saved_cursors(rows: NDArray[Any]) -> tuple[NDArray[np.intp], Cursors]:
    """Which of `rows` have their registers in memory, and where they are on their stacks."""
    status = g_status(rows)
    in_call = (status == SYSCALL) & (rows["syscallsp"] != 0)
    some = np.flatnonzero(_PARKED[status] | in_call)
    sched, stack = rows["sched"], rows["stack"]
    cursors = Cursors(
        np.where(in_call, rows["syscallpc"], sched["pc"])[some].astype(np.uint64, copy=False),
        np.where(in_call, rows["syscallsp"], sched["sp"])[some].astype(np.uint64, copy=False),
        stack["hi"][some].astype(np.uint64, copy=False),
        np.where(in_call, np.uint64(0), sched["lr"])[some].astype(np.uint64, copy=False),
    )
    cursors.sp[cursors.sp < stack["lo"][some]] = 0
    return some, cursors
