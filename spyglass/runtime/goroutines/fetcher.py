"""Read ``g`` structures and stacks: what the walks of a batch of goroutines need, in the order that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.runtime.goroutines.consistency import (
    UNCOUNTED,
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
    RUNNING,
    SYSCALL,
    WAITING,
    alive,
    fields_of,
    g_status,
)
from spyglass.runtime.stacks.unwinder import first_windows
from spyglass.runtime.stacks.walks import Cursors, StackBytes

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
    """Goroutines that were read again: whether each ``g`` could be, its signature, and whether it ran."""

    ok: NDArray[np.bool_]
    signatures: NDArray[np.uint64]
    runs: NDArray[np.bool_]


class ReadBatch(NamedTuple):
    """A batch of goroutines that was read: their ``g`` and what side readers read (in `batch`), then the first window of
    each stack of `cursors`, then every ``g`` again (`after`, what `Fetcher.compare` takes). `walked`: the rows that
    `cursors` are of. `lost`: how many ``g`` could not be read."""

    batch: Batch
    lost: int
    walked: NDArray[np.intp]
    cursors: Cursors
    stacks: StackBytes
    after: Gathered


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
        self._tick_at = _offset_of(runtime, "m", "syscalltick")

    def batch(self, pointers: NDArray[np.uint64], top_only: bool) -> ReadBatch:
        """Read the goroutines at `pointers` that are alive."""
        first = self.fetch(pointers)
        batch = Batch.of(pointers, first, self._side_readers.columns)
        batch = batch.select(first.ok & alive(first.rows))
        if self.counts_stops:
            self._side_readers.read(batch, slice(None))
        # Without a count of stops every one is read closely, its labels and its stack then.
        walked, cursors = saved_cursors(batch.rows if self.counts_stops else batch.rows[:0])
        stacks = first_windows(self._memory, cursors, top_only)
        after = self._read(batch.pointers)
        return ReadBatch(batch, int((~first.ok).sum()), walked, cursors, stacks, after)

    def fetch(self, pointers: NDArray[np.uint64]) -> Fetched:
        """The ``g`` structures at `pointers`."""
        gathered = self._read(pointers)
        return Fetched(gathered.rows(self._dtype), gathered.ok, self._signatures(gathered))

    def again(self, pointers: NDArray[np.uint64]) -> Again:
        """What tells whether the goroutines at `pointers` have moved."""
        return self.compare(self._read(pointers))

    def compare(self, gathered: Gathered) -> Again:
        """The same of ``g`` structures that were `gathered` a moment ago. What their Ms count is read now: who has
        left a system call since then has moved, too."""
        signatures = self._signatures(gathered)
        return Again(gathered.ok, signatures, self._signature.status_of(signatures) == RUNNING)

    def capture(self, pointers: NDArray[np.uint64], rows: NDArray[Any]) -> Capture:
        """Of each what its M counts system calls with, the ``g``, the stack, the ``g`` again, without a
        count of stops the stack again, and last the count of its M again, in this very order.

        `rows`: each ``g`` as it was last read, which tells where its stack and its M are.
        """
        parts = 5 if self.counts_stops else 6
        low, high = capture_range(rows)
        ms = self._ms_in_calls(rows)
        addresses = np.empty((len(rows), parts), np.uint64)
        sizes = np.full((len(rows), parts), self._dtype.itemsize, np.uint64)
        addresses[:, 1::2], addresses[:, 2::2] = pointers[:, None], low[:, None]
        sizes[:, 2::2] = (high - low)[:, None]
        counts = np.where(ms != 0, ms + np.uint64(self._tick_at or 0), pointers) & ~np.uint64(7)
        addresses[:, [0, -1]], sizes[:, [0, -1]] = counts[:, None], 8
        gathered = self._memory.gather_in_order(addresses.reshape(-1), sizes.reshape(-1))
        each = [part_of(gathered, part, parts) for part in range(parts)]
        stacks = tuple(StackBytes.of(each[part], low, high) for part in range(2, parts - 1, 2))
        before = self._captured(each[1], each[0], ms)
        return Capture(before, self._captured(each[3], each[-1], ms), stacks, rows["stack"].copy())

    def _ms_in_calls(self, rows: NDArray[Any]) -> NDArray[np.uint64]:
        """The addresses of the Ms of those of `rows` in system calls, 0 for the others."""
        ms = rows["m"].astype(np.uint64)
        counted = (g_status(rows) == SYSCALL) & (ms % np.uint64(8) == 0)
        return np.where(counted & (self._tick_at is not None), ms, np.uint64(0))

    def _captured(self, g: Gathered, ticks: Gathered, ms: NDArray[np.uint64]) -> Fetched:
        """The ``g`` structures `g`, read beside what the Ms at `ms` count system calls with."""
        signatures, in_calls = self._signature.of(g)
        if self._tick_at is not None:
            counts = np.where(in_calls == ms, self._counts(ticks), UNCOUNTED)
            signatures[:, -1] = np.where(in_calls == 0, np.uint64(0), counts)
        return Fetched(g.rows(self._dtype), g.ok, signatures)

    def _read(self, pointers: NDArray[np.uint64]) -> Gathered:
        return self._memory.gather(pointers, self._dtype.itemsize)

    def _signatures(self, gathered: Gathered) -> NDArray[np.uint64]:
        """The signatures of ``g`` structures, with what their M counts system calls with in the last word.

        The goroutine's own count does not change between one system call and the next (since Go 1.26,
        ``casgstatus``), the count of the M does (``reentersyscall, exitsyscall``).
        """
        signatures, ms = self._signature.of(gathered)
        some = np.flatnonzero((ms != 0) & (ms % np.uint64(8) == 0))
        if len(some) and self._tick_at is not None:
            words = self._memory.gather(ms[some] + np.uint64(self._tick_at & ~7), 8)
            signatures[some, -1] = self._counts(words)
        return signatures

    def _counts(self, words: Gathered) -> NDArray[np.uint64]:
        """``m.syscalltick`` in the words that hold it, 0 where they could not be read."""
        shift = np.uint64(8 * ((self._tick_at or 0) & 7))
        counts = words.words(1)[:, 0] >> shift & np.uint64(0xFFFFFFFF)
        return np.where(words.ok, counts, np.uint64(0))


def _offset_of(runtime: Runtime, struct: str, field: str) -> int | None:
    """The offset of a field in bytes, None if it is not known."""
    if not runtime.layouts.has(struct, field):
        return None
    fields: Any = runtime.layouts[struct].fields
    return int(fields[field][1])


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
