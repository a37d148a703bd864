"""A recording while it runs: what all kinds have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spyglass.errors import SpyglassError
from spyglass.model import Problem
from spyglass.procfs.cpu_times import process_times
from spyglass.procfs.process_facts import is_stopped
from spyglass.profile import Account, Mode, Profile
from spyglass.runtime.recording.rows import Rows, Stacks
from spyglass.runtime.snapshotter import process_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.targets import Target

__all__ = ["Progress", "Recording"]

_CHECK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recording is: `elapsed_ns`, `samples`, `coverage` (as `Account.coverage`, a moment ago), samples
    `lost`, and `behind_ns`: how late the last sample was read, or the last reading was."""

    elapsed_ns: int
    samples: int
    coverage: float | None
    lost: int
    behind_ns: int


class Recording(ABC):
    """Records process `target` from now on, until `finish`. Close it, or use it in a with statement.

    Call `step` again and again: nothing is read between the calls. It may be ended at any time; when the process
    ends or executes another program, `ended` says so, and what there is up to then is kept. `so_far` gives that
    without ending it.
    """

    mode: Mode

    def __init__(self, target: Target, runtime: Runtime, rate_hz: float) -> None:
        self._target = target
        self._runtime = runtime.for_reading(target.process.problems)
        self._rate_hz = rate_hz
        self._facts = target.process.facts()
        self._process = process_of(target, self._runtime, self._facts)
        self._rows, self._stacks = Rows(), Stacks()
        self.ended: str | None = None
        self._started_at = target.process.taken_at()
        self._began_ns = self._checked_ns = time.monotonic_ns()
        self._settled_ns, self._settled = self._began_ns, Account()
        self._finished_ns: int | None = None
        self._own_began_ns = time.process_time_ns()
        self._used_began_ns = self._used_ns = self._read_used() or 0
        self._next_check = 0.0
        self._behind_ns = 0
        self._coverage: float | None = None
        self._stopped_ns: int | None = None
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def step(self, seconds: float = 0.25) -> Progress:
        """Record for at most `seconds`; returns early when the process has ended."""
        until = time.monotonic() + seconds
        while self.ended is None and (left := until - time.monotonic()) > 0:
            with self._until_it_ends():
                self._record(left)
            self._check()
        return self.progress()

    def progress(self) -> Progress:
        """How far it is."""
        account = self._account()
        return Progress(
            self._elapsed_ns(), account.samples, self._coverage, account.lost or 0, self._behind_ns
        )

    def finish(self) -> Profile:
        """End it: what was recorded."""
        if self._finished_ns is None:
            self._check(force=True)
            self._finished_ns = self._finish()
            self.close()
        return self._profile(self._finished_ns, self._whole_account())

    def settle(self) -> None:
        """Add what is only noted to the rows: then `so_far` reads nothing of the process, and a child can call it."""
        self._check(force=True)
        with self._until_it_ends():
            self._settled_ns = self._settle()
        self._settled = self._whole_account()

    def so_far(self, *, settled: bool = False) -> Profile:
        """What was recorded up to now, or up to the last `settle`; the recording goes on."""
        if self._finished_ns is not None:
            return self.finish()
        if not settled:
            self.settle()
        return self._profile(self._settled_ns, replace(self._settled, unfinished=True))

    @contextmanager
    def _until_it_ends(self) -> Iterator[None]:
        """Errors in the block are none if the process has ended."""
        try:
            yield
        except SpyglassError:
            self._check(force=True)
            if self.ended is None:
                raise

    def _profile(self, until_ns: int, account: Account) -> Profile:
        """What was recorded until `until_ns` (CLOCK_MONOTONIC), with its `account`."""
        rows = self._all_rows()
        frames, offsets, stack_frames = self._stacks.columns()
        labels, label_sets = self._named_labels(rows.labels())
        self._runtime.note_exhausted()
        return Profile(
            mode=self.mode, process=self._process, started_at=self._started_at,
            duration_ns=until_ns - self._began_ns, rate_hz=self._rate(), account=account,
            samples=rows.samples(labels), frames=frames, stack_offsets=offsets,
            stack_frames=stack_frames, states=self._states(), label_sets=label_sets,
            problems=tuple(dict.fromkeys((*self._runtime.problems, *self._facts.problems, *self._problems()))),
            host=self._facts.host,
        )  # fmt: skip

    def _is_worn(self, tree: StackTree, most: int) -> bool:
        """Whether `tree` is to be replaced by a new one: it knows more than `most` places, or some of them in part only,
        which is noted."""
        functions = self._runtime.functions
        is_incomplete = functions.is_exhausted
        self._runtime.note_exhausted()
        functions.allow_steps()
        return is_incomplete or max(tree.code.known, len(tree)) > most

    @abstractmethod
    def close(self) -> None:
        """Give back what the recording holds."""

    @abstractmethod
    def _record(self, seconds: float) -> None:
        """Record for at most `seconds`."""

    @abstractmethod
    def _settle(self) -> int:
        """Add to the rows what is only noted; until when it was recorded (CLOCK_MONOTONIC, ns)."""

    def _finish(self) -> int:
        """The same at the end."""
        return self._settle()

    @abstractmethod
    def _account(self) -> Account:
        """The account up to now."""

    @abstractmethod
    def _states(self) -> tuple[str, ...]:
        """`Profile.states`."""

    @abstractmethod
    def _named_labels(
        self, column: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Mapping[str, str], ...]]:
        """The column `labels` as the profile has it, and `Profile.label_sets`."""

    def _all_rows(self) -> Rows:
        """The rows, with all that was read."""
        return self._rows

    def _rate(self) -> float:
        """`Profile.rate_hz`."""
        return self._rate_hz

    def _problems(self) -> list[Problem]:
        """What is missing or doubtful up to now."""
        found = []
        if self._rows.folded:
            detail = "too many: later ones are not told apart"
            found.append(Problem("truncated", "goroutines", detail))
        if self._stacks.is_full:
            found.append(Problem("truncated", "stacks", "too many: later ones are not kept"))
        return found

    def _whole_account(self) -> Account:
        """The account, with what befell the process."""
        return replace(
            self._account(),
            ended=self.ended,
            stopped_ns=self._stopped_ns,
            still_stopped=self._is_stopped,
        )

    def _elapsed_ns(self) -> int:
        return (self._finished_ns or time.monotonic_ns()) - self._began_ns

    def _own_cpu_ns(self) -> int:
        return time.process_time_ns() - self._own_began_ns

    def _cpu_used_ns(self) -> int:
        return self._used_ns - self._used_began_ns

    def _read_used(self) -> int | None:
        times = process_times([self._target.pid])
        return times[self._target.pid].used_ns if times else None

    def _check(self, force: bool = False) -> None:
        """Notice that the process has ended, runs another program or is stopped; note what it used up to now."""
        now = time.monotonic()
        if self.ended is not None or (now < self._next_check and not force):
            return
        self._next_check = now + _CHECK_SECONDS
        at_ns = time.monotonic_ns()
        try:
            self._target.process.check()
            self._note_stop(is_stopped(self._target.pid), at_ns)
        except SpyglassError as error:
            self.ended = error.message
            return
        self._checked_ns = at_ns
        self._used_ns = self._read_used() or self._used_ns
        self._coverage = self._account().coverage

    def _note_stop(self, is_stopped: bool, at_ns: int) -> None:
        """Count the time between two looks that both saw the process stopped."""
        if is_stopped:
            since_ns = at_ns - self._checked_ns if self._is_stopped else 0
            self._stopped_ns = (self._stopped_ns or 0) + since_ns
        self._is_stopped = is_stopped
