"""Where goroutines spend their lives, running or waiting: all of them are read again and again.

What a reading finds stands for the time since the one before. A goroutine that has not moved in between was there
all the time: its stack is not walked again, and its time is exact, not sampled. Of very many goroutines each
reading takes a random part. Readings come at random times around their rate, so that nothing in the program
is in step with them.

What runs is gone before its stack can be read. Where it runs is therefore known from samples of the threads'
processor time, if the kernel allows these. Goroutines run for at least that time; readings tell if it is
longer, because their threads wait for a processor.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import SpyglassError, TargetError
from spyglass.model import NONE, STATUSES, Goroutines, Problem
from spyglass.profile import Account, Mode, Profile
from spyglass.runtime.goroutines.consistency import Quality
from spyglass.runtime.goroutines.decode import RUNNING, WAITING, g_pointers
from spyglass.runtime.goroutines.goroutine_reader import Reader
from spyglass.runtime.goroutines.wait_reasons import named_reasons
from spyglass.runtime.recording.cpu import CpuRecording
from spyglass.runtime.recording.merging import NO_STACK, merged, on_goroutines
from spyglass.runtime.recording.rows import Rows
from spyglass.runtime.recording.session import Recording
from spyglass.runtime.scheduler.thread_registers import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.goroutines.consistency import Read
    from spyglass.runtime.goroutines.side_readers import SideReaders
    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.targets import Target

__all__ = ["WallOptions", "WallRecording"]

#: From so many goroutines on each reading takes a part of them.
_VERY_MANY, _PART = 100_000, 20_000
_MAX_KNOWN = 1 << 17
#: Samples of running goroutines in a second of processor time.
_SAMPLES_HZ = 99
#: Goroutines that ran, and whose times are kept apart.
_MAX_RAN = 1 << 16


class _Places:
    """Where each goroutine was when it was last read, by its place in ``runtime.allgs``: its row (stack, goid,
    labels, state; stack `NONE`: not counted), and how many readings, and how much time, are not yet counted."""

    def __init__(self, count: int) -> None:
        self.row = np.full((count, 4), NONE, np.int64)
        self.count = np.zeros(count, np.int64)
        self.value_ns = np.zeros(count, np.float64)

    def grown(self, count: int) -> _Places:
        """The same with room for `count`."""
        larger, known = _Places(count), len(self.count)
        larger.row[:known], larger.count[:known] = self.row, self.count
        larger.value_ns[:known] = self.value_ns
        return larger


@dataclass(frozen=True, slots=True)
class WallOptions:
    """Goroutines are read `rate_hz` times a second, less often where that would take more than `max_cpu` of a
    processor. `mode` "offcpu" leaves out those that run; `system`: with the runtime's own. `native`: as for
    `CpuRecording`."""

    mode: Mode
    rate_hz: float
    max_cpu: float
    system: bool = False
    native: bool = False


class WallRecording(Recording):
    """Reads goroutines as `options` say. `new_tree` makes a tree of stacks."""

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        new_tree: Callable[[], StackTree],
        options: WallOptions,
    ) -> None:
        super().__init__(target, runtime, options.rate_hz)
        self.mode = options.mode
        self._options = options
        self._new_tree = new_tree
        self._scratch = self._runtime.for_reading()
        self._reader = self._new_reader(None)
        self._cpu = self._begin_cpu(target, runtime)
        self._pointers = np.zeros(0, np.uint64)
        self._signatures: NDArray[np.uint64] | None = None
        self._places = _Places(0)
        self._words: dict[str, int] = {}
        self._doubts: Counter[str] = Counter()
        self._readings = self._samples = 0
        #: The goids that the last reading found running, and for how long each ran; `NONE`: others.
        self._ran: list[int] = []
        self._running_ns: Counter[int] = Counter()
        #: Goids of the runtime's own goroutines, and of those that also call the program's functions.
        self._system: set[int] = set()
        self._calling_back: set[int] = set()
        self._next = time.monotonic()
        self._last_ns = self._began_ns

    def close(self) -> None:
        """End the sampling."""
        if self._cpu is not None:
            self._cpu.close()

    def finish(self) -> Profile:
        """End it: what was recorded, with the samples of what ran."""
        profile = super().finish()
        return self._with_running(profile, self._cpu.finish() if self._cpu else None)

    def finish_running(self) -> Profile | None:
        """The profile of processor time that was recorded at the same time; None if that was not wanted, or not
        allowed."""
        return self._cpu.finish() if self._cpu else None

    def settle(self) -> None:
        """As `Recording.settle`."""
        super().settle()
        if self._cpu is not None:
            self._cpu.settle()

    def so_far(self, *, settled: bool = False) -> Profile:
        """As `Recording.so_far`, with the samples of what ran."""
        profile = super().so_far(settled=settled)
        return self._with_running(profile, self._cpu.so_far(settled=True) if self._cpu else None)

    def _with_running(self, profile: Profile, sampled: Profile | None) -> Profile:
        """`profile` with the samples of what ran, and what it knows of goroutines."""
        if sampled is not None:
            rows = on_goroutines(sampled)
            if not self._options.system:
                system = np.array([*(self._system - self._calling_back)], np.int64)
                rows &= ~np.isin(sampled.samples.goroutine, system)
            profile = merged(profile, sampled, rows, self._running_ns)
        counts, is_known = profile.samples.count, profile.samples.goroutine != NONE
        known, unknown = int(counts[is_known].sum()), int(counts[~is_known].sum())
        account = replace(profile.account, goroutine_known=known, goroutine_unknown=unknown)
        return replace(profile, account=account)

    def _begin_cpu(self, target: Target, runtime: Runtime) -> CpuRecording | None:
        """What samples running goroutines, if that is wanted and allowed."""
        if self._options.mode == "offcpu":
            return None
        try:
            native = self._options.native
            return CpuRecording(target, runtime, self._new_tree, _SAMPLES_HZ, native)
        except TargetError as error:
            detail = f"where they run is not known: {error.message}"
            self._runtime.problem("unreadable", "running goroutines", detail)
            return None

    def _wait(self, seconds: float) -> None:
        if self._cpu is not None:
            self._cpu.step(seconds)
        else:
            time.sleep(seconds)

    def _record(self, seconds: float) -> None:
        left = self._next - time.monotonic()
        if left > 0:
            self._wait(min(left, seconds))
            if left > seconds:
                return
        self._behind_ns = max(int((time.monotonic() - self._next) * 1e9), 0)
        began = time.process_time()
        self._check(force=True)
        if self.ended is None:
            self._read_all()
        cost = (time.process_time() - began) / self._options.max_cpu
        wait = random.uniform(0.5, 1.5) / self._options.rate_hz
        self._next = max(self._next + wait, time.monotonic() + cost - wait)

    def _settle(self) -> int:
        return self._last_ns

    def _finish(self) -> int:
        if self.ended is None:
            with suppress(SpyglassError):  # it ends now
                self._read_all()
        return self._last_ns

    def _all_rows(self) -> Rows:
        self._count(np.flatnonzero(self._places.count))
        return super()._all_rows()

    def _rate(self) -> float:
        return self._readings * 1e9 / max(self._last_ns - self._began_ns, 1)

    def _problems(self) -> list[Problem]:
        doubts = self._doubts + Counter(problem.kind for problem in self._scratch.problems)
        return super()._problems() + [
            Problem(kind, "goroutines", f"{count} times while they were read")
            for kind, count in doubts.items()
        ]

    def _read_all(self) -> None:
        """Read all goroutines, or a part of very many, and add the time since the last reading."""
        self._renew()
        pointers = g_pointers(self._scratch)
        now_ns = time.monotonic_ns()
        elapsed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        self._readings += 1
        if len(pointers) > _VERY_MANY:
            self._read_part(pointers, elapsed_ns)
            return
        again = self._reader.again(pointers)
        # Of those that run nothing is known but that: what they stand for is counted by each reading.
        unmoved = self._unmoved(pointers, again.signatures) & again.ok & ~again.runs
        moved = np.flatnonzero(~unmoved)
        self._signatures, self._pointers = again.signatures, pointers
        self._count(moved[self._places.count[moved] > 0])
        self._places.row[moved] = NONE
        read = self._reader.read(pointers[moved], False)
        order = np.argsort(pointers[moved])
        at = moved[order[np.searchsorted(pointers[moved][order], read.pointers)]]
        self._places.row[at] = self._rows_of(read, again.runs[at])
        self._add_running(self._ran, elapsed_ns)
        counted = self._places.row[:, 0] != NONE
        self._places.count[counted] += 1
        self._places.value_ns[counted] += elapsed_ns
        self._samples += int(counted.sum())

    def _add_running(self, goids: list[int], ns: float) -> None:
        """Add `ns` to the time that each of `goids` ran for."""
        for goid in goids:
            is_kept = goid in self._running_ns or len(self._running_ns) < _MAX_RAN
            self._running_ns[goid if is_kept else NONE] += round(ns)

    def _unmoved(
        self, pointers: NDArray[np.uint64], signatures: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Which of the goroutines at `pointers` have not moved since the last reading."""
        before, known = self._signatures, len(self._pointers)
        unmoved = np.zeros(len(pointers), np.bool_)
        if before is None or not np.array_equal(pointers[:known], self._pointers):
            self._count(np.flatnonzero(self._places.count))
            self._places = _Places(len(pointers))
            return unmoved
        self._places = self._places.grown(len(pointers))
        if self._reader.counts_stops:
            unmoved[:known] = (signatures[:known] == before).all(axis=1)
        return unmoved

    def _read_part(self, pointers: NDArray[np.uint64], elapsed_ns: int) -> None:
        """Read a random part of the goroutines at `pointers`, each of which stands for others too: its goid would
        tell nothing."""
        self._count(np.flatnonzero(self._places.count))
        self._signatures = None
        chosen = np.sort(np.random.default_rng().choice(pointers, _PART, replace=False))
        runs = self._reader.again(chosen).runs
        read = self._reader.read(chosen, False)
        rows = self._rows_of(read, runs[np.searchsorted(chosen, read.pointers)])
        rows = rows[rows[:, 0] != NONE]
        rows[:, 1] = NONE
        weight = len(pointers) / _PART
        self._add_running([NONE] * len(self._ran), elapsed_ns * weight)
        self._add(rows, 1, elapsed_ns * weight)
        self._samples += len(rows)

    def _rows_of(self, read: Read, ran: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Stack, goid, labels and state of the goroutines that were read, as numbers of this recording; those
        that `ran` just before ran all the time that a reading stands for."""
        goroutines = read.columns
        rows = np.empty((len(goroutines), 4), np.int64)
        rows[:, 0] = self._stack_numbers(read)
        rows[:, 1] = goroutines.id.astype(np.int64)
        rows[:, 2] = np.maximum(goroutines.labels, NONE)
        rows[:, 3] = self._state_numbers(goroutines)
        rows[ran, 0] = self._stacks.of_frames([NO_STACK])
        rows[ran, 3] = self._words.setdefault(STATUSES[RUNNING], len(self._words))
        late = (goroutines.status == RUNNING) & ~ran  # it waited, and runs now: where is not known
        rows[late, 0] = self._stacks.of_frames([NO_STACK])
        rows[late, 3] = self._words.setdefault(STATUSES[WAITING], len(self._words))
        left_out = goroutines.system & (not self._options.system)
        self._ran = rows[ran & ~left_out, 1].tolist()
        self._system.update(rows[goroutines.system, 1].tolist())
        others = rows[~goroutines.system, 1]
        is_back = np.isin(others, np.fromiter(self._system, np.int64, len(self._system)))
        self._calling_back.update(others[is_back].tolist())
        if self.mode == "offcpu" or self._cpu is not None:
            left_out = left_out | ran
        rows[left_out, 0] = NONE
        return rows

    def _stack_numbers(self, read: Read) -> NDArray[np.int64]:
        torn = read.columns.quality >= Quality.TORN
        nodes, which = numbered(np.where(torn, 0, read.node))
        known = nodes > self._reader.tree.SAMPLED
        numbers = np.empty(len(nodes), np.int64)
        some = nodes[known]
        numbers[known] = self._stacks.of_nodes(self._reader.tree, some, [()] * len(some))
        numbers[~known] = self._stacks.of_frames([NO_STACK])
        return numbers[which]

    def _state_numbers(self, goroutines: Goroutines) -> NDArray[np.int64]:
        """The number of each goroutine's wait reason, or else of its status."""
        reasons, goroutines = named_reasons(self._scratch, goroutines)
        reason = goroutines.wait_reason.astype(np.int64)
        keys = np.where(reason >= 0, reason + len(STATUSES), goroutines.status)
        words = (*STATUSES, *reasons)
        different, which = numbered(keys)
        numbers = [
            self._words.setdefault(words[key] if key < len(words) else "unknown", len(self._words))
            for key in different.tolist()
        ]
        return np.array(numbers, np.int64)[which]

    def _count(self, at: NDArray[np.intp]) -> None:
        """Add what is not yet counted of the places `at` to the rows."""
        places = self._places
        self._add(places.row[at], places.count[at], places.value_ns[at])
        places.count[at], places.value_ns[at] = 0, 0

    def _add(self, rows: NDArray[np.int64], counts: ArrayLike, values_ns: ArrayLike) -> None:
        """As `Rows.add`, for rows of no thread."""
        self._rows.add(np.column_stack([rows, np.full(len(rows), NONE)]), counts, values_ns)

    def _renew(self) -> None:
        """Forget the problems of the last reading, and stacks if there are many."""
        self._doubts.update(problem.kind for problem in self._scratch.problems)
        self._scratch.problems.clear()
        if self._is_worn(self._reader.tree, _MAX_KNOWN):
            self._reader = self._new_reader(self._reader.side_readers)
        self._reader.side_readers.renew()

    def _new_reader(self, side_readers: SideReaders | None) -> Reader:
        return Reader(self._scratch, self._new_tree(), None, Threads({}), side_readers)

    def _account(self) -> Account:
        return Account(samples=self._samples, own_cpu_ns=self._own_cpu_ns())

    def _states(self) -> tuple[str, ...]:
        return tuple(self._words)

    def _named_labels(
        self, column: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Mapping[str, str], ...]]:
        goroutines = Goroutines.of(len(column), labels=column)
        goroutines, fields = self._reader.side_readers.finish(goroutines)
        return goroutines.labels, fields["label_sets"]
