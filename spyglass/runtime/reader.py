"""Read goroutines and their stacks while they run, and know which of what was read belongs together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.model import NONE, QUALITIES, Goroutines
from spyglass.runtime.goroutines import (
    COPYSTACK,
    LEAKED,
    PREEMPTED,
    RUNNABLE,
    RUNNING,
    SYSCALL,
    WAITING,
    Found,
    alive,
    decode,
    fields_of,
    g_status,
    plausible,
)
from spyglass.runtime.labels import LabelReader
from spyglass.runtime.unwind import (
    COMPLETE,
    CUT,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackBytes,
    StackTree,
    Unwinder,
    Walked,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Gathered
    from spyglass.registers import Registers
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.threads import Threads

__all__ = ["Reader"]

#: Goroutines are read in batches, so that memory stays bounded and caches warm; those that would not
#: stand still in smaller ones.
_BATCH = 1 << 14
_SMALL_BATCH = 1 << 8
#: How often one that makes no sense is read again, and how often in a row one that moves is.
_ATTEMPTS = 3
_TRIES = 8
#: So much is read of the stack of a goroutine that moves.
_CAPTURE_BYTES = 1 << 14
_REPORTED = 3
#: Whose registers are in their ``g``.
_PARKED = (RUNNABLE, WAITING, PREEMPTED, LEAKED, COPYSTACK)
_STABLE, _MOVED, _TORN, _UNREADABLE = range(len(QUALITIES))


class Reader:
    """Reads goroutines of one process into columns; the tree of stacks grows over all batches.

    `now_ns`: the clock that the runtime reads, None if it is not known. `threads`: how to find where
    running goroutines are.
    """

    def __init__(
        self, runtime: Runtime, tree: StackTree, now_ns: int | None, threads: Threads
    ) -> None:
        self.runtime = runtime
        self.tree = tree
        self.now_ns = now_ns
        self.threads = threads
        self.labels = LabelReader(runtime)
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._dtype = fields_of(runtime.layouts["g"])
        self._counts_stops = "trackingSeq" in (self._dtype.names or ())

    def read(
        self, pointers: NDArray[np.uint64], top_only: bool
    ) -> tuple[Goroutines, NDArray[np.int64]]:
        """The goroutines at `pointers`, without the dead, and the node of the stack of each."""
        parts = [
            self._decoded(self._batch(pointers[begin : begin + _BATCH], top_only))
            for begin in range(0, max(len(pointers), 1), _BATCH)
        ]
        read = _Read.all(parts)
        running = np.flatnonzero(read.columns.status == RUNNING)
        if len(running):
            read = self._catch_running(read, running, top_only)
        return read.columns, read.node

    def _batch(self, pointers: NDArray[np.uint64], top_only: bool) -> _Batch:
        first = self._fetch(pointers)
        lost = int((~first.ok).sum())
        if lost:
            self.runtime.problem("unreadable", "goroutines", f"{lost} could not be read")
        batch = _Batch.of(pointers, first).those(first.ok & alive(first.rows))
        self._settle(batch, top_only)
        self._report(batch)
        return batch.those(alive(batch.rows))

    def _decoded(self, batch: _Batch) -> _Read:
        found = Found(batch.where, batch.labels, batch.quality)
        columns = decode(self.tree.code, batch.rows, found, self.now_ns)
        return _Read(columns, batch.node, batch.pointers)

    def _catch_running(self, read: _Read, running: NDArray[np.intp], top_only: bool) -> _Read:
        """`read` with the goroutines at `running` read again, with stacks if they can be had."""
        batch = _Batch.of(read.pointers[running], self._fetch(read.pointers[running]))
        self._catch(batch, top_only)
        self._report(batch)
        lives = alive(batch.rows)
        read.replace(running[lives], self._decoded(batch.those(lives)))
        return read if lives.all() else read.without(running[~lives])

    def _catch(self, batch: _Batch, top_only: bool) -> None:
        """Find where those of `batch` are that run, each by a sample of its thread; those that stop
        running meanwhile as any other."""
        batch.labels[:] = self.labels.read(batch.rows["labels"])
        uncaught = np.arange(len(batch.pointers))
        for _ in range(_ATTEMPTS):
            running = g_status(batch.rows[uncaught]) == RUNNING
            caught = self._sample(batch, uncaught[running], top_only)
            moving = self._settle_closely(batch, uncaught[~running], top_only)
            stopped = uncaught[~running & (g_status(batch.rows[uncaught]) != RUNNING)]
            done = np.concatenate([caught, np.setdiff1d(stopped, moving)])
            uncaught = np.setdiff1d(uncaught, done)
            if not len(uncaught):
                return
            batch.move(uncaught, self._fetch(batch.pointers[uncaught]))
        self._report_uncaught(batch, uncaught)

    def _sample(self, batch: _Batch, at: NDArray[np.intp], top_only: bool) -> NDArray[np.intp]:
        """Sample the threads of the running goroutines `at`, and walk the stacks of those that were
        caught on them; these."""
        low, high = batch.rows["stack"]["lo"][at], batch.rows["stack"]["hi"][at]

        def on_stack(registers: Registers) -> bool:
            inside = (low <= registers.sp) & (registers.sp < high)
            return bool(inside.any()) and self.tree.code.functions.at(registers.pc) is not None

        samples = self.threads.sample(batch.rows["m"][at].tolist(), on_stack)
        if not samples:
            return at[:0]
        owner = [int(np.flatnonzero((low <= s.sp) & (s.sp < high))[0]) for s in samples]
        rows = at[owner]
        cursors = Cursors.sampled(samples, high[owner])
        walked = self._unwinder.walk(
            cursors, top_only, StackTree.SAMPLED, StackBytes.sampled(samples)
        )
        now = self._fetch(batch.pointers[rows])
        there = now.ok & (now.rows["stack"] == batch.rows["stack"][rows])
        there &= (now.rows["goid"] == batch.rows["goid"][rows]) & (walked.outcome != CUT)
        batch.keep(rows[there], walked.those(there))
        ran_on = (now.signatures == batch.signatures[rows]).all(axis=1)
        batch.quality[rows[there & ~ran_on]] = _MOVED
        if not self.threads.stopped:
            batch.quality[rows[there & walked.beyond]] = _TORN
        return rows[there]

    def _report_uncaught(self, batch: _Batch, at: NDArray[np.intp]) -> None:
        if self.threads.denied:
            self.runtime.problem("unreadable", "running goroutines", self.threads.denied)
            return
        for goid in batch.rows["goid"][at][:_REPORTED].tolist():
            detail = "runs, and was not caught on its own stack: no stack is shown"
            self.runtime.problem("unreadable", f"goroutine {goid}", detail)

    def _settle(self, batch: _Batch, top_only: bool) -> None:
        """Walk the stacks of `batch`, those that moved meanwhile again, a few times at the most.

        What was read of a goroutine belongs together if it did not run between the read of its ``g``
        before and the one after: then its count of stops is the same. At first all are read before and
        all after, which takes a while; those that moved in it are then each read in one go.
        """
        batch.labels[:] = self.labels.read(batch.rows["labels"])
        batch.keep(slice(None), self._walk(batch.rows, top_only))
        after = self._fetch(batch.pointers)
        still = after.ok & (after.signatures == batch.signatures).all(axis=1)
        settled = still & batch.makes_sense()
        if not self._counts_stops:
            settled[:] = False
        batch.move(np.arange(len(batch.pointers)), after)
        pending = np.flatnonzero(~settled)
        for _ in range(_ATTEMPTS):
            if not len(pending):
                return
            pieces = [
                self._settle_closely(batch, pending[begin : begin + _SMALL_BATCH], top_only)
                for begin in range(0, len(pending), _SMALL_BATCH)
            ]
            pending = np.concatenate(pieces)
        batch.quality[pending] = _TORN

    def _settle_closely(
        self, batch: _Batch, pending: NDArray[np.intp], top_only: bool
    ) -> NDArray[np.intp]:
        """Read each of `pending` in one go, microseconds: its ``g``, its stack, its ``g`` again; those
        that cannot be believed even so. Nothing is decoded between the tries, which takes longer."""
        captures, restless = [], pending
        for _ in range(_TRIES):
            capture = self._capture(batch.pointers[restless], batch.rows[restless])
            steady = capture.steady()
            batch.move(restless, capture.before)
            captures.append((restless[steady], capture.those(steady)))
            restless = restless[~steady]
            if not len(restless):
                break
        doubtful = [self._walk_captured(batch, at, capture, top_only) for at, capture in captures]
        return np.concatenate([restless, *doubtful])

    def _walk_captured(
        self, batch: _Batch, at: NDArray[np.intp], capture: _Capture, top_only: bool
    ) -> NDArray[np.intp]:
        """Walk the stacks of `at` in what was captured of them; those that make no sense.

        Without a count of stops they must be the same in both of the captured stacks.
        """
        rows = capture.before.rows
        first, *more = (self._walk(rows, top_only, stacks) for stacks in capture.stacks)
        batch.keep(at, first)
        batch.labels[at] = self.labels.read(rows["labels"])
        good = batch.makes_sense(at)
        for again in more:
            good &= again.node == first.node
        if first.beyond.any():
            good &= ~first.beyond | self._stood_still(batch, at)
        return at[~good]

    def _stood_still(self, batch: _Batch, pending: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of `pending` are still as they were last read."""
        now = self._fetch(batch.pointers[pending])
        same: NDArray[np.bool_] = (now.signatures == batch.signatures[pending]).all(axis=1)
        return now.ok & same

    def _fetch(self, pointers: NDArray[np.uint64]) -> _Fetched:
        return self._decode(self.runtime.memory.gather(pointers, self._dtype.itemsize))

    def _decode(self, gathered: Gathered) -> _Fetched:
        rows = gathered.rows(self._dtype)
        return _Fetched(rows, gathered.ok, _signature(rows, self._ticks(rows)))

    def _capture(self, pointers: NDArray[np.uint64], rows: NDArray[Any]) -> _Capture:
        """The ``g``, the stack and the ``g`` again of each, then the stack again if there is no count
        of stops, in this very order. `rows`: where they were last."""
        parts = 3 if self._counts_stops else 4
        low, high = _capture_range(rows)
        addresses = np.empty((len(rows), parts), np.uint64)
        sizes = np.full((len(rows), parts), self._dtype.itemsize, np.uint64)
        addresses[:, 0::2] = pointers[:, None]
        addresses[:, 1::2] = low[:, None]
        sizes[:, 1::2] = (high - low)[:, None]
        gathered = self.runtime.memory.gather_in_order(addresses.reshape(-1), sizes.reshape(-1))
        stacks = tuple(
            StackBytes.of(_part(gathered, part, parts), low, high) for part in range(1, parts, 2)
        )
        before, after = (self._decode(_part(gathered, part, parts)) for part in (0, 2))
        return _Capture(before, after, stacks, rows["stack"].copy())

    def _walk(self, rows: NDArray[Any], top_only: bool, stacks: StackBytes | None = None) -> Walked:
        """Walk the stacks of those whose registers are in memory; the others have no node.

        `stacks`: what was read of them already.
        """
        status = g_status(rows)
        in_call = (status == SYSCALL) & (rows["syscallsp"] != 0)
        parked = np.isin(status, _PARKED)
        some = np.flatnonzero(parked | in_call)
        cursors = Cursors(
            np.where(in_call, rows["syscallpc"], rows["sched"]["pc"])[some].astype(np.uint64),
            np.where(in_call, rows["syscallsp"], rows["sched"]["sp"])[some].astype(np.uint64),
            rows["stack"]["hi"][some].astype(np.uint64),
        )
        cursors.sp[cursors.sp < rows["stack"]["lo"][some]] = 0
        known = stacks.those(some) if stacks is not None else None
        return self._unwinder.walk(cursors, top_only, stacks=known).spread(some, len(rows))

    def _ticks(self, rows: NDArray[Any]) -> NDArray[np.uint64]:
        """For goroutines in system calls, what their M counts them with; 0 for others.

        The goroutine's own count stands still between one system call and the next (since Go 1.26,
        ``casgstatus``), that of the M does not (``reentersyscall, exitsyscall``).
        """
        ticks = np.zeros(len(rows), np.uint64)
        some = np.flatnonzero((g_status(rows) == SYSCALL) & (rows["m"] != 0) & (rows["m"] % 8 == 0))
        fields = self.runtime.layouts["m"].fields
        if len(some) and fields is not None:
            offset = fields["syscalltick"][1]
            words = self.runtime.memory.gather(rows["m"][some] + np.uint64(offset & ~7), 8)
            shifted = words.words(1)[:, 0] >> np.uint64(8 * (offset & 7))
            ticks[some] = np.where(words.ok, shifted & np.uint64(0xFFFFFFFF), 0)
        return ticks

    def _report(self, batch: _Batch) -> None:
        """Turn the ends of walks into qualities and problems."""
        quality, outcome = batch.quality, batch.outcome
        quality[(outcome == UNREADABLE) & (quality != _TORN)] = _UNREADABLE
        torn = (quality == _TORN) & (outcome != CUT)
        for kind, which, detail in (
            ("unreadable", quality == _UNREADABLE, "its stack could not be read"),
            ("torn", torn, f"moved while it was read, {_ATTEMPTS * _TRIES} tries"),
            ("implausible", outcome == CUT, "its stack does not end where stacks end; cut there"),
            ("truncated", outcome == TRUNCATED, "so deep that frames in its middle are left out"),
        ):
            goids = batch.rows["goid"][which].tolist()
            for goid in goids[:_REPORTED]:
                self.runtime.problem(kind, f"goroutine {goid}", detail)
            if len(goids) > _REPORTED:
                self.runtime.problem(kind, f"{len(goids) - _REPORTED} more goroutines", detail)


@dataclass(slots=True)
class _Read:
    """What was read of some goroutines: their columns, the nodes of their stacks, their addresses."""

    columns: Goroutines
    node: NDArray[np.int64]
    pointers: NDArray[np.uint64]

    @classmethod
    def all(cls, parts: list[_Read]) -> _Read:
        """The goroutines of all `parts`, in their order."""
        columns = {
            name: np.concatenate([getattr(part.columns, name) for part in parts])
            for name in Goroutines.__slots__
        }
        return cls(
            Goroutines(**columns),
            np.concatenate([part.node for part in parts]),
            np.concatenate([part.pointers for part in parts]),
        )

    def replace(self, at: NDArray[np.intp], by: _Read) -> None:
        """The goroutines `at` are as in `by`."""
        for name in Goroutines.__slots__:
            getattr(self.columns, name)[at] = getattr(by.columns, name)
        self.node[at] = by.node

    def without(self, at: NDArray[np.intp]) -> _Read:
        """All but the goroutines `at`."""
        columns = {
            name: np.delete(getattr(self.columns, name), at) for name in Goroutines.__slots__
        }
        return _Read(Goroutines(**columns), np.delete(self.node, at), np.delete(self.pointers, at))


class _Fetched(NamedTuple):
    """``g`` structures that were read, whether each was, and what tells that one has moved."""

    rows: NDArray[Any]
    ok: NDArray[np.bool_]
    signatures: NDArray[np.uint64]

    def those(self, which: NDArray[np.bool_]) -> _Fetched:
        """The goroutines `which`."""
        return _Fetched(self.rows[which], self.ok[which], self.signatures[which])


@dataclass(frozen=True, slots=True)
class _Capture:
    """Goroutines each read in one go: their ``g`` before and after, and between them their `stacks`,
    at the `bounds` that they had when they were last read."""

    before: _Fetched
    after: _Fetched
    stacks: tuple[StackBytes, ...]
    bounds: NDArray[Any]

    def steady(self) -> NDArray[np.bool_]:
        """Which did not move meanwhile, and had their stacks where these were read."""
        same = (self.before.signatures == self.after.signatures).all(axis=1)
        there = (self.before.rows["stack"] == self.bounds) | ~alive(self.before.rows)
        steady: NDArray[np.bool_] = self.before.ok & self.after.ok & same & there
        return steady

    def those(self, which: NDArray[np.bool_]) -> _Capture:
        """The goroutines `which`."""
        stacks = tuple(each.those(which) for each in self.stacks)
        return _Capture(
            self.before.those(which), self.after.those(which), stacks, self.bounds[which]
        )


@dataclass(slots=True)
class _Batch:
    """Some goroutines while they are read: the newest of each, and what its stack was found to be."""

    pointers: NDArray[np.uint64]
    rows: NDArray[Any]
    signatures: NDArray[np.uint64]
    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    where: NDArray[np.int32]
    labels: NDArray[np.int32]
    quality: NDArray[np.uint8]

    @classmethod
    def of(cls, pointers: NDArray[np.uint64], fetched: _Fetched) -> _Batch:
        """Before any stack was walked."""
        count = len(pointers)
        return cls(
            pointers, fetched.rows, fetched.signatures, np.zeros(count, np.int64),
            np.full(count, COMPLETE, np.uint8), np.full(count, NONE, np.int32),
            np.full(count, NONE, np.int32), np.full(count, _STABLE, np.uint8),
        )  # fmt: skip

    def those(self, which: NDArray[np.bool_]) -> _Batch:
        """The goroutines `which`, as a batch of their own."""
        return _Batch(*(getattr(self, name)[which] for name in self.__slots__))

    def keep(self, at: NDArray[np.intp] | slice, walked: Walked) -> None:
        """Take over the stacks of the goroutines `at`."""
        self.node[at], self.outcome[at], self.where[at] = walked.node, walked.outcome, walked.where

    def move(self, at: NDArray[np.intp], fetched: _Fetched) -> None:
        """The goroutines `at` are now as `fetched`; those that could not be read stay as they were."""
        moved = fetched.ok & (fetched.signatures != self.signatures[at]).any(axis=1)
        at = at[moved]
        self.rows[at], self.signatures[at] = fetched.rows[moved], fetched.signatures[moved]
        self.quality[at] = _MOVED

    def makes_sense(self, at: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.bool_]:
        """Which of the goroutines `at` can be goroutines, and have stacks that end as stacks do."""
        whole: NDArray[np.bool_] = self.outcome[at] != CUT
        return plausible(self.pointers[at], self.rows[at]) & whole


def _capture_range(
    rows: NDArray[Any],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Which part of each stack to read: all of a small one, else around where its top was last."""
    low, high = rows["stack"]["lo"] & ~np.uint64(7), rows["stack"]["hi"] & ~np.uint64(7)
    high = np.maximum(low, high)
    sp = np.where(rows["syscallsp"] != 0, rows["syscallsp"], rows["sched"]["sp"]) & ~np.uint64(7)
    size = np.uint64(_CAPTURE_BYTES)
    latest = np.where(high - low > size, high - size, low)
    below = np.where(sp > size // 2, sp - size // 2, 0).astype(np.uint64)
    begin = np.clip(below, low, latest)
    return begin, np.minimum(high, begin + size)


def _part(gathered: Gathered, part: int, parts: int) -> Gathered:
    """Every `parts`-th range of `gathered`, from `part` on."""
    return type(gathered)(gathered.buffer, gathered.offsets[part::parts], gathered.ok[part::parts])


def _signature(rows: NDArray[Any], ticks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What changes when a goroutine runs, as a row of words for each."""
    sched, stack = rows["sched"], rows["stack"]
    parts = [
        rows["goid"], g_status(rows), sched["pc"], sched["sp"], stack["lo"], stack["hi"],
        rows["syscallsp"], rows["syscallpc"], rows["labels"], ticks,
    ]  # fmt: skip
    if "trackingSeq" in (rows.dtype.names or ()):
        parts.append(rows["trackingSeq"])
    return np.stack([part.astype(np.uint64) for part in parts], axis=1)
