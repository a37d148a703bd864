"""A recording while it runs: what all kinds have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spyglass.errors import SpyglassError
from spyglass.procfs.cpu_times import process_times
from spyglass.profile import Account, Mode, Profile
from spyglass.runtime.recording.rows import Rows, Stacks
from spyglass.runtime.snapshotter import process_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["Progress", "Recording"]

_CHECK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recording is: `elapsed_ns`, `samples`, `coverage` (as `Account.coverage`), samples `lost`,
    and `behind_ns`: how late the last sample was read, or the last reading was."""

    elapsed_ns: int
    samples: int
    coverage: float | None
    lost: int
    behind_ns: int


class Recording(ABC):
    """Records process `target` from now on, until `finish`. Close it, or use it in a with statement.

    Call `step` again and again: nothing is read between the calls. It may be ended at any time; when the process
    ends or executes another program, `ended` says so, and what there is up to then is kept.
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
        self._finished_ns: int | None = None
        self._own_began_ns = time.process_time_ns()
        self._used_began_ns = self._used_ns = self._read_used() or 0
        self._next_check = 0.0
        self._behind_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def step(self, seconds: float = 0.25) -> Progress:
        """Record for at most `seconds`; returns early when the process has ended."""
        until = time.monotonic() + seconds
        while self.ended is None and (left := until - time.monotonic()) > 0:
            try:
                self._record(left)
            except SpyglassError:
                self._check(force=True)
                if self.ended is None:
                    raise
            self._check()
        return self.progress()

    def progress(self) -> Progress:
        """How far it is."""
        account = self._account()
        return Progress(
            self._elapsed_ns(), account.samples, account.coverage, account.lost, self._behind_ns
        )

    def finish(self) -> Profile:
        """End it: what was recorded."""
        if self._finished_ns is None:
            self._check(force=True)
            self._finished_ns = self._finish()
            self.close()
        frames, offsets, stack_frames = self._stacks.columns()
        labels, label_sets = self._named_labels(self._rows.labels())
        if self._rows.folded:
            self._runtime.problem(
                "truncated", "goroutines", "too many: later ones are not told apart"
            )
        return Profile(
            mode=self.mode, process=self._process, started_at=self._started_at,
            duration_ns=self._elapsed_ns(), rate_hz=self._rate_hz,
            account=replace(self._account(), ended=self.ended),
            samples=self._rows.samples(labels), frames=frames, stack_offsets=offsets,
            stack_frames=stack_frames, states=self._states(), label_sets=label_sets,
            problems=(*self._runtime.problems, *self._facts.problems), host=self._facts.host,
        )  # fmt: skip

    @abstractmethod
    def close(self) -> None:
        """Give back what the recording holds."""

    @abstractmethod
    def _record(self, seconds: float) -> None:
        """Record for at most `seconds`."""

    @abstractmethod
    def _finish(self) -> int:
        """Add to the rows what is not in them yet; until when it was recorded (CLOCK_MONOTONIC, ns)."""

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
        """Notice that the process has ended, or runs another program; note what it used up to now."""
        now = time.monotonic()
        if self.ended is not None or (now < self._next_check and not force):
            return
        self._next_check = now + _CHECK_SECONDS
        at_ns = time.monotonic_ns()
        try:
            self._target.process.check()
        except SpyglassError as error:
            self.ended = error.message
            return
        self._checked_ns = at_ns
        self._used_ns = self._read_used() or self._used_ns
