"""Where a process spends its processor time: samples of all its threads, each with its goroutine.

At a sample only what would be gone later is read (`Witness`). Stacks are walked, and samples folded, once a
second for all of them.
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass import procfs
from spyglass.memory.allocator import return_freed_memory
from spyglass.model import NONE, UNREAD, Problem
from spyglass.profile import Account, Mode, Profile
from spyglass.runtime.recording.merging import stacks_with
from spyglass.runtime.recording.native_frames import Native, NativeFrames
from spyglass.runtime.recording.rows import Rows, Stacks
from spyglass.runtime.recording.sampled_stacks import (
    DO,
    GOROUTINE,
    STATES,
    SampledStacks,
    Walks,
)
from spyglass.runtime.recording.session import Recording
from spyglass.runtime.recording.witness import Noted, Witness
from spyglass.threads.kernel_symbols import KernelSymbols
from spyglass.threads.recorder import ThreadRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.targets import Target

__all__ = ["CpuRecording", "without_doubtful_labels"]

_FOLD_SECONDS = 1.0
#: Samples are folded earlier when there are this many: that takes 1 ms, and rings are not read meanwhile.
_MAX_HELD = 64
#: So long it reads samples before it looks at anything else: whoever leaves the highest priority loses the processor.
_HURRY_SECONDS = 0.25
#: Limit of what a tree of stacks remembers before a new one is begun: 10 MB.
_MAX_KNOWN = 1 << 16


class CpuRecording(Recording):
    """Samples threads `rate_hz` times in each second of their processor time. `new_tree` makes a tree of stacks.
    `native`: with callers in C, and the kernel's functions.

    Raises `spyglass.errors.TargetError` if the kernel does not allow it: the message says which rule forbids
    it, and how to allow it.
    """

    mode: Mode = "cpu"

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        new_tree: Callable[[], StackTree],
        rate_hz: float,
        native: bool = False,
    ) -> None:
        own_began_ns = time.process_time_ns()
        # Takes long: before the time that the process uses is counted.
        self._native = _native(target, native)
        super().__init__(target, runtime, rate_hz)
        self._own_began_ns = own_began_ns
        self._new_tree = new_tree
        self._period_ns = int(1e9 / rate_hz)
        self._witness = Witness(self._runtime, target.process.outer_tids)
        self._walker = self._new_walker()
        self._noted: list[Noted] = []
        self._next_fold = time.monotonic() + _FOLD_SECONDS
        self._samples = self._cut = self._known = self._unknown = self._unread = 0
        #: Goroutines that changed their labels other than by calling ``pprof.Do``: when, is not known.
        self._relabelled: set[int] = set()
        self._witness.owners.list_all()
        self._recorder = ThreadRecorder(target.pid, rate_hz, native)
        self._before, self._before_ns = Account(), 0

    def part(self) -> Profile:
        """What was recorded since the last part, or since the beginning, which is not kept: for a view of the last
        seconds, whose memory stays flat."""
        whole = self.so_far()
        account = _since(self._before, whole.account)
        duration_ns = whole.duration_ns - self._before_ns
        self._before, self._before_ns = whole.account, whole.duration_ns
        self._rows, self._stacks = Rows(), Stacks()
        return replace(whole, account=account, duration_ns=duration_ns)

    def close(self) -> None:
        """End the sampling."""
        self._recorder.close()

    def _record(self, seconds: float) -> None:
        until = min(time.monotonic() + min(seconds, _HURRY_SECONDS), self._next_fold)
        with self._recorder.hurry:
            while len(self._noted) < _MAX_HELD and (left := until - time.monotonic()) > 0:
                for sample in self._recorder.wait(left):
                    self._noted.append(self._witness.note(sample))
                    self._behind_ns = time.monotonic_ns() - sample.time_ns
        now = time.monotonic()
        if now >= self._next_fold or len(self._noted) >= _MAX_HELD:
            self._check(force=True)
            self._fold()
            self._witness.owners.list_all()
            self._next_fold = now + _FOLD_SECONDS

    def _settle(self) -> int:
        settled_ns = time.monotonic_ns()
        self._fold()
        return settled_ns

    def _fold(self) -> None:
        """Walk the stacks of the samples that were noted, and add them to the rows."""
        noted, self._noted = self._noted, []
        if self.ended is not None:  # what came after an exec is of another program
            noted = [each for each in noted if each.sample.time_ns <= self._checked_ns]
        if not noted:
            return
        if self._is_worn(self._walker.tree, _MAX_KNOWN):
            self._walker = self._new_walker()
            return_freed_memory()  # else what lies between pieces of it adds up over hours
        walks = self._walker.walk(noted)
        stacks = self._stacks.of_nodes(self._walker.tree, walks.node, walks.inner)
        states = walks.state.tolist()
        rows = [
            (
                stacks[row],
                *self._goroutine(each, walks, row),
                states[row],
                each.sample.registers.tid,
            )
            for row, each in enumerate(noted)
        ]
        self._rows.add(np.array(rows, np.int64), 1, self._period_ns)
        self._samples += len(noted)
        self._cut += int((~walks.complete & (walks.state == GOROUTINE)).sum())

    def _goroutine(self, noted: Noted, walks: Walks, row: int) -> tuple[int, int]:
        """The goid and the labels of a sample, each `NONE` where it is not proven."""
        if not walks.of_goroutine[row]:
            return NONE, NONE
        same_calls = bool(walks.same_calls[row])
        lived = noted.lived and (noted.settled or bool(walks.same_start[row]))
        if noted.goid == NONE or not (same_calls or lived):
            self._unknown += 1
            return NONE, NONE
        self._known += 1
        if noted.labels == UNREAD:
            self._unread += 1
        in_do = bool(walks.in_do[row])
        if noted.lived and not noted.kept_labels and not in_do:
            self._relabelled.add(noted.goid)
        # ``SetGoroutineLabels`` leaves nothing on the stack.
        same_labels = noted.kept_labels or (same_calls and in_do)
        has_labels = same_labels and walks.same_labelling[row]
        return noted.goid, max(noted.labels, NONE) if has_labels else NONE

    def _profile(self, until_ns: int, account: Account) -> Profile:
        return without_doubtful_labels(super()._profile(until_ns, account), self._relabelled)

    def _problems(self) -> list[Problem]:
        problems, recorder = super()._problems(), self._recorder
        if not recorder.kernel:
            detail = "time in system calls is not sampled: not allowed"
            problems.append(Problem("unknown", "kernel", detail))
        if recorder.refused is not None:
            detail = f"some are not sampled: {recorder.refused}"
            problems.append(Problem("unreadable", "threads", detail))
        if self._unread:
            detail = f"those of {self._unread} samples could not be read"
            problems.append(Problem("unreadable", "labels", detail))
        return problems

    def _account(self) -> Account:
        counts = self._recorder.counts
        samples = self._samples + len(self._noted)
        return Account(
            samples=samples,
            lost=counts.lost,
            throttled=counts.throttled,
            cut=self._cut,
            goroutine_known=self._known,
            goroutine_unknown=self._unknown,
            cpu_used_ns=self._cpu_used_ns(),
            cpu_sampled_ns=samples * self._period_ns,
            threads_seen=counts.seen,
            threads_missed=counts.missed,
            own_cpu_ns=self._own_cpu_ns(),
        )

    def _states(self) -> tuple[str, ...]:
        return STATES

    def _named_labels(
        self, column: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Mapping[str, str], ...]]:
        return self._witness.labels.named(column)

    def _new_walker(self) -> SampledStacks:
        is_go = self._witness.is_go
        frames = NativeFrames(self._native, self._runtime, is_go)
        return SampledStacks(self._new_tree(), self._runtime, frames, is_go)


def without_doubtful_labels(profile: Profile, relabelled: Collection[int]) -> Profile:
    """`profile` without labels of samples of the goroutines `relabelled` that are not in ``pprof.Do``."""
    samples = profile.samples
    do = [at for at, frame in enumerate(profile.frames) if frame.function == DO]
    in_do = stacks_with(profile, do)[samples.stack]
    doubtful = np.isin(samples.goroutine, np.array([*relabelled], np.int64)) & ~in_do
    labels = np.where(doubtful, np.int32(NONE), samples.labels)
    return replace(profile, samples=replace(samples, labels=labels))


def _since(before: Account, now: Account) -> Account:
    """The counts of `now` without those of `before`."""
    counts: dict[str, Any] = {}
    for each in fields(Account):
        earlier, later = getattr(before, each.name), getattr(now, each.name)
        if type(later) is int:
            counts[each.name] = later - (earlier or 0)
    return replace(now, **counts)


def _native(target: Target, callers: bool) -> Native:
    """What names code that is not Go's, with `callers` more than the innermost function of C."""
    describe = target.process.native_names(target.memory)
    if not callers:
        return Native(describe)
    code = [(each.start, each.end) for each in procfs.maps(target.pid) if each.executable]
    return Native(describe, code, KernelSymbols())
