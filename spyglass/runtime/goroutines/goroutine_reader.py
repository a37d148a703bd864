"""Read goroutines and their stacks while they run, and know which of what was read belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.runtime.goroutines.claims import Claims
from spyglass.runtime.goroutines.consistency import (
    Batch,
    Capture,
    Quality,
    Read,
)
from spyglass.runtime.goroutines.decode import (
    RUNNING,
    SYSCALL,
    alive,
    decode,
    g_status,
    plausible,
)
from spyglass.runtime.goroutines.fetcher import Again, Fetcher, ReadBatch, saved_cursors
from spyglass.runtime.goroutines.prefetch import has_processor_to_spare, prefetched
from spyglass.runtime.goroutines.side_readers import SideReaders
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.unwinder import Unwinder
from spyglass.runtime.stacks.walks import (
    INCOMPLETE,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackBytes,
    Walked,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.scheduler.thread_registers import Threads
    from spyglass.threads import Registers

__all__ = ["Reader"]

#: Goroutines are read in batches, so that memory stays bounded and caches warm; moving ones in smaller
#: batches.
_BATCH = 1 << 14
_SMALL_BATCH = 1 << 8
#: From as many batches on, a thread reads the next one while the last is decoded; for fewer, starting it
#: takes longer than it saves.
_BATCHES_WORTH_A_THREAD = 16
#: How often an implausible goroutine is read again, and how often in a row a moving one is.
_ATTEMPTS = 3
_TRIES = 8
_REPORTED = 3


class Reader:
    """Reads goroutines of one process into columns; the tree of stacks grows over all batches.

    `now_ns`: the clock that the runtime reads, None if it is not known. `threads`: how to find where
    running goroutines are. `side_readers`: those of an earlier reader, whose numbers go on.
    """

    def __init__(
        self,
        runtime: Runtime,
        tree: StackTree,
        now_ns: int | None,
        threads: Threads,
        side_readers: SideReaders | None = None,
    ) -> None:
        self.runtime = runtime
        self.tree = tree
        self.now_ns = now_ns
        self.threads = threads
        self.side_readers = side_readers or SideReaders(runtime)
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._fetcher = Fetcher(runtime, self.side_readers)

    def again(self, pointers: NDArray[np.uint64]) -> Again:
        """What tells whether the goroutines at `pointers` have moved since the last time."""
        return self._fetcher.again(pointers)

    @property
    def counts_stops(self) -> bool:
        """Whether this version of Go counts how often a goroutine stops running."""
        return self._fetcher.counts_stops

    def read(self, pointers: NDArray[np.uint64], top_only: bool) -> Read:
        """The goroutines at `pointers`, without the dead."""
        self._unwinder.renew()
        begins = range(0, max(len(pointers), 1), _BATCH)
        ahead = (
            len(begins) >= _BATCHES_WORTH_A_THREAD
            and self.runtime.memory.takes_threads
            and has_processor_to_spare()
        )

        def fetch(begin: int) -> ReadBatch:
            return self._fetcher.batch(pointers[begin : begin + _BATCH], top_only)

        parts, claims = [], []
        for fetched in prefetched(fetch, begins, ahead):
            batch = self._batch(fetched, top_only)
            parts.append(self._decoded(batch))
            claims.append(Claims.of(batch.rows))
        read = Read.all(parts)
        contested = read.pointers[Claims.all(claims).contested()]
        if self.tree.is_full:
            self.runtime.problem(
                "truncated", "stacks", "too many different stacks: some are incomplete"
            )
        running = np.flatnonzero(read.columns.status == RUNNING)
        if len(running):
            read = self._catch_running(read, running, top_only)
        if len(contested):
            self._doubt(read, contested)
        return read

    def _doubt(self, read: Read, contested: NDArray[np.uint64]) -> None:
        """Mark the goroutines at `contested` that have still what another one has too."""
        for _ in range(_ATTEMPTS):
            now = self._fetcher.fetch(contested)
            lives = now.ok & alive(now.rows)
            contested = contested[lives][Claims.of(now.rows[lives]).contested()]
            if not len(contested):
                return
        read.columns.quality[np.isin(read.pointers, contested)] = Quality.TORN
        detail = f"{len(contested)} have an id or a stack that another one has too"
        self.runtime.problem("implausible", "goroutines", detail)

    def _batch(self, read: ReadBatch, top_only: bool) -> Batch:
        if read.lost:
            self.runtime.problem("unreadable", "goroutines", f"{read.lost} could not be read")
        self._settle(read, top_only)
        self._report(read.batch)
        return read.batch.select(self._are_goroutines(read.batch))

    def _are_goroutines(self, batch: Batch) -> NDArray[np.bool_]:
        """Which of `batch` are alive, and have fields that can be true: of others nothing is shown."""
        lives = alive(batch.rows)
        believed = lives & plausible(batch.pointers, batch.rows)
        lost = int((lives & ~believed).sum())
        if lost:
            self.runtime.problem("implausible", "goroutines", f"{lost} are implausible: left out")
        return believed

    def _decoded(self, batch: Batch) -> Read:
        has_stack = batch.node > StackTree.SAMPLED
        columns = decode(self.tree.code, batch.rows, batch.columns, has_stack, self.now_ns)
        return Read(columns, batch.node, batch.pointers)

    def _catch_running(self, read: Read, running: NDArray[np.intp], top_only: bool) -> Read:
        """`read` with the goroutines at `running` read again, with stacks where they can be read."""
        pointers = read.pointers[running]
        batch = Batch.of(pointers, self._fetcher.fetch(pointers), self.side_readers.columns)
        self._catch(batch, top_only)
        self._report(batch)
        lives = self._are_goroutines(batch)
        read.replace(running[lives], self._decoded(batch.select(lives)))
        return read if lives.all() else read.without(running[~lives])

    def _catch(self, batch: Batch, top_only: bool) -> None:
        """Find where the running goroutines of `batch` are, each by a sample of its thread. Goroutines
        that stop running meanwhile are read as all others."""
        uncaught = np.ones(len(batch.pointers), np.bool_)
        for _ in range(_ATTEMPTS):
            at = np.flatnonzero(uncaught)
            self.side_readers.read(batch, at)
            runs = g_status(batch.rows[at]) == RUNNING
            uncaught[self._sample(batch, at[runs], top_only)] = False
            parked = at[~runs]
            moving = self._settle_closely(batch, parked, top_only)
            uncaught[parked] = g_status(batch.rows[parked]) == RUNNING
            uncaught[moving] = True
            if not uncaught.any():
                return
            at = np.flatnonzero(uncaught)
            batch.move(at, self._fetcher.fetch(batch.pointers[at]))
        at = np.flatnonzero(uncaught)
        self._read_aside(batch, at)
        if self.threads.stopped:
            at = at[~self._walk_saved(batch, at, top_only)]
        # An attempt that failed may have left a stack: of another moment than what was read since.
        runs = g_status(batch.rows[at]) == RUNNING
        batch.forget_stacks(at[runs])
        batch.quality[at[~runs]] = Quality.TORN
        self._report_uncaught(batch, at, runs)

    def _walk_saved(self, batch: Batch, at: NDArray[np.intp], top_only: bool) -> NDArray[np.bool_]:
        """Walk the stacks of running goroutines of a stopped process whose threads are on the system
        stack: where they left their own is saved then, in their ``g`` (``systemstack``, ``mcall``;
        ``gogo`` clears it), or while they ask the kernel's page for the time (``nanotime1``, where
        it is cleared after) in their ``m``. Which could be walked."""
        rows = batch.rows[at]
        low, high = rows["stack"]["lo"], rows["stack"]["hi"]
        asks_sp = self._words_of_ms(rows, "vdsoSP")
        asks = (low < asks_sp) & (asks_sp < high)
        sp = np.where(asks, asks_sp, rows["sched"]["sp"])
        saved: NDArray[np.bool_] = (low < sp) & (sp < high)
        pc = np.where(asks, self._words_of_ms(rows, "vdsoPC"), rows["sched"]["pc"])
        lr = np.where(asks, 0, rows["sched"]["lr"]).astype(np.uint64)
        cursors = Cursors(pc[saved], sp[saved], high[saved], lr[saved])
        batch.keep(at[saved], self._unwinder.walk(cursors, top_only))
        return saved

    def _words_of_ms(self, rows: NDArray[Any], field: str) -> NDArray[np.uint64]:
        """A word of the M of each of `rows`, 0 where it cannot be read."""
        if not self.runtime.layouts.has("m", field):
            return np.zeros(len(rows), np.uint64)
        fields = self.runtime.layouts["m"].fields
        assert fields is not None
        words = self.runtime.memory.gather(rows["m"] + np.uint64(fields[field][1]), 8)
        return np.where(words.ok, words.words(1)[:, 0], np.uint64(0))

    def _sample(self, batch: Batch, at: NDArray[np.intp], top_only: bool) -> NDArray[np.intp]:
        """Sample the threads of the running goroutines `at`, and walk the stacks of the goroutines that
        were running on them. Returns these goroutines."""
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
        now = self._fetcher.fetch(batch.pointers[rows])
        there = now.ok & (now.rows["stack"] == batch.rows["stack"][rows])
        there &= (now.rows["goid"] == batch.rows["goid"][rows]) & (walked.outcome != INCOMPLETE)
        batch.keep(rows[there], walked.select(there))
        self.side_readers.forget_changed(batch, rows[there], now.rows[there])
        self.side_readers.confirm(batch, rows[there])
        ran_on: NDArray[np.bool_] = (now.signatures == batch.signatures[rows]).all(axis=1)
        batch.quality[rows[there & ~ran_on]] = Quality.MOVED
        if not self.threads.stopped:
            batch.quality[rows[there & walked.beyond]] = Quality.TORN
        caught: NDArray[np.intp] = rows[there]
        return caught

    def _report_uncaught(self, batch: Batch, at: NDArray[np.intp], runs: NDArray[np.bool_]) -> None:
        """Say why the goroutines `at` were not caught. Those that run on and off, which do not run just
        now, are reported as torn; that the kernel refuses samples is said for them too."""
        if not len(at):
            return
        if self.threads.denied:
            self.runtime.problem("unreadable", "running goroutines", self.threads.denied)
            return
        for goid in batch.rows["goid"][at[runs]][:_REPORTED].tolist():
            detail = "running; could not be sampled on its stack"
            self.runtime.problem("unreadable", f"goroutine {goid}", detail)

    def _settle(self, read: ReadBatch, top_only: bool) -> None:
        """Walk the stacks of the goroutines of `read`; read the goroutines that moved meanwhile again, at
        most a few times.

        What was read of a goroutine belongs together if it did not run between the read of its ``g``
        before and the one after: then its count of stops is the same. At first all are read before and
        all after, which takes a while; goroutines that moved are then each read in one call. Stacks that
        do not end in what was read of them are read further when they are walked, so the ``g`` of these
        is read once more.
        """
        batch, after = read.batch, self._fetcher.compare(read.after)
        walked = self._unwinder.walk(read.cursors, top_only, stacks=read.stacks)
        walked = _spread(walked, read.walked, batch.rows)
        batch.keep(slice(None), walked)
        still = after.ok & (after.signatures == batch.signatures).all(axis=1)
        settled = still & batch.is_plausible()
        if not self._fetcher.counts_stops:
            settled[:] = False
        further = np.flatnonzero(settled & walked.beyond)
        if len(further):
            settled[further] = self._stood_still(batch, further)
        batch.quality[after.ok & ~still] = Quality.MOVED
        moved, pending = np.flatnonzero(~still), np.flatnonzero(~settled)
        batch.move(moved, self._fetcher.fetch(batch.pointers[moved]))
        for _ in range(_ATTEMPTS):
            if not len(pending):
                return
            pieces = [
                self._settle_closely(batch, pending[begin : begin + _SMALL_BATCH], top_only)
                for begin in range(0, len(pending), _SMALL_BATCH)
            ]
            pending = np.concatenate(pieces)
        self._read_aside(batch, pending)
        batch.quality[pending] = Quality.TORN

    def _settle_closely(
        self, batch: Batch, pending: NDArray[np.intp], top_only: bool
    ) -> NDArray[np.intp]:
        """Read each of `pending` within microseconds: its ``g``, its stack, its ``g`` again. Returns the
        goroutines that are still doubtful. Nothing is decoded between the tries: that takes longer."""
        captures, restless = [], pending
        for _ in range(_TRIES):
            capture = self._fetcher.capture(batch.pointers[restless], batch.rows[restless])
            steady = capture.steady()
            batch.move(restless, capture.before)
            captures.append((restless[steady], capture.select(steady)))
            restless = restless[~steady]
            if not len(restless):
                break
        doubtful = [self._walk_captured(batch, at, capture, top_only) for at, capture in captures]
        return np.concatenate([restless, *doubtful])

    def _walk_captured(
        self, batch: Batch, at: NDArray[np.intp], capture: Capture, top_only: bool
    ) -> NDArray[np.intp]:
        """Walk the stacks of `at` in what was captured of them. Returns the implausible ones.

        Without a count of stops they must be the same in both of the captured stacks.
        """
        rows = capture.before.rows
        self._read_aside(batch, at)
        first, *more = (self._walk(rows, top_only, stacks) for stacks in capture.stacks)
        batch.keep(at, first)
        good = batch.is_plausible(at)
        for again in more:
            good &= again.node == first.node
        if first.beyond.any():
            good &= ~first.beyond | self._stood_still(batch, at)
        return at[~good]

    def _read_aside(self, batch: Batch, at: NDArray[np.intp]) -> None:
        """Read what the side readers read of `at`: it is certain where the goroutine stood still
        meanwhile. That they have the same pointers is not enough: labels given up are collected, and
        their place given to others, whose first owner may have got it back by then."""
        self.side_readers.read(batch, at)
        some = at[self.side_readers.have_something(batch.rows[at])]
        if len(some):
            self.side_readers.forget(batch, some[~self._stood_still(batch, some)])
            if not self.counts_stops:
                self.side_readers.confirm(batch, some)

    def _stood_still(self, batch: Batch, pending: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of `pending` are still as they were last read."""
        now = self._fetcher.again(batch.pointers[pending])
        same: NDArray[np.bool_] = (now.signatures == batch.signatures[pending]).all(axis=1)
        return now.ok & same

    def _walk(self, rows: NDArray[Any], top_only: bool, stacks: StackBytes) -> Walked:
        """Walk the stacks of the goroutines whose registers are in memory; the others have no node.

        `stacks`: what was read of them already.
        """
        some, cursors = saved_cursors(rows)
        walked = self._unwinder.walk(cursors, top_only, stacks=stacks.select(some))
        return _spread(walked, some, rows)

    def _report(self, batch: Batch) -> None:
        """Turn the ends of walks into qualities and problems."""
        quality, outcome = batch.quality, batch.outcome
        quality[(outcome == UNREADABLE) & (quality != Quality.TORN)] = Quality.UNREADABLE
        torn = (quality == Quality.TORN) & (outcome != INCOMPLETE)
        for kind, which, detail in (
            ("unreadable", quality == Quality.UNREADABLE, "its stack could not be read"),
            ("torn", torn, f"moved while it was read, {_ATTEMPTS * _TRIES} tries"),
            (
                "implausible",
                outcome == INCOMPLETE,
                "unwinding stopped before the stack bottom",
            ),
            ("truncated", outcome == TRUNCATED, "deep stack: frames in its middle are left out"),
        ):
            goids = batch.rows["goid"][which].tolist()
            for goid in goids[:_REPORTED]:
                self.runtime.problem(kind, f"goroutine {goid}", detail)
            if len(goids) > _REPORTED:
                self.runtime.problem(kind, f"{len(goids) - _REPORTED} more goroutines", detail)


def _spread(walked: Walked, some: NDArray[np.intp], rows: NDArray[Any]) -> Walked:
    """`walked`, which is of `some` of `rows`, for all of them.

    Of a goroutine in a system call ``reentersyscall`` has recorded where it made it; without that record
    its stack is unreadable.
    """
    every = walked.spread(some, len(rows))
    without_record = (g_status(rows) == SYSCALL) & (rows["syscallsp"] == 0)
    every.outcome[without_record] = UNREADABLE
    return every
