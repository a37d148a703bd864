"""A profile: where a Go program spent its time during a recording, as plain data.

Frames and stacks are stored once and shared by index, as in a `spyglass.model.Snapshot`; samples are columns
(numpy arrays of one length). The JSON form is described in ``export/profile.schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from spyglass.model import Frame, Problem, Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Account", "Mode", "Profile", "Samples"]

#: cpu: processor time of threads; wall: time of goroutines, running or not; offcpu: the waiting part of that.
Mode = Literal["cpu", "wall", "offcpu"]


#: A lower rate is none.
_MIN_RATE_HZ = 1e-6


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples with equal stack, goroutine, labels, state and thread are one row.

    ==========  ======  ============================================================
    column      dtype   meaning
    ==========  ======  ============================================================
    stack       int32   index into the stacks of the profile
    count       int64   how many samples
    value_ns    int64   the time that they stand for
    goroutine   int64   goid where the stack proves it, else `spyglass.model.NONE`
    labels      int32   index into `Profile.label_sets`, `NONE` for none or not known
    state       int16   index into `Profile.states`
    thread      int64   id of the thread, `NONE` where it is not on one
    ==========  ======  ============================================================
    """

    stack: NDArray[np.int32]
    count: NDArray[np.int64]
    value_ns: NDArray[np.int64]
    goroutine: NDArray[np.int64]
    labels: NDArray[np.int32]
    state: NDArray[np.int16]
    thread: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stack)


@dataclass(frozen=True, slots=True)
class Account:
    """What a profile is made of, and what it lacks. None: not known.

    `samples` that were taken; `lost`: dropped by the kernel because nobody read them in time; `throttled`: how often
    the kernel suspended sampling; `cut`: stacks that did not fit into their sample. `goroutine_known` and
    `goroutine_unknown`: samples on goroutines' stacks, with and without a proof of whose. `cpu_used_ns`: processor
    time of the process as the kernel accounts it; `cpu_sampled_ns`: what the samples stand for.
    `threads_missed`: threads that began and ended unsampled. `own_cpu_ns`: what spyglass used itself. `stopped_ns`: how
    long at least a signal or a tracer had stopped the process, None if it was not seen stopped; `still_stopped`: and it
    was at the end. `ended`: why it ended before its time, or None; `unfinished`: it went on when this was made.

    In a profile of waits, what is said of processor time and its samples, such as `lost`, is of the samples that tell
    where goroutines run.
    """

    samples: int = 0
    lost: int | None = 0
    throttled: int | None = 0
    cut: int | None = 0
    goroutine_known: int | None = 0
    goroutine_unknown: int | None = 0
    cpu_used_ns: int | None = None
    cpu_sampled_ns: int = 0
    threads_seen: int | None = 0
    threads_missed: int | None = None
    own_cpu_ns: int | None = None
    stopped_ns: int | None = None
    still_stopped: bool = False
    ended: str | None = None
    unfinished: bool = False

    @property
    def coverage(self) -> float | None:
        """The share of the used processor time that the samples stand for."""
        if not self.cpu_used_ns:
            return None
        return self.cpu_sampled_ns / self.cpu_used_ns


@dataclass(frozen=True, slots=True)
class Profile:
    """One recording.

    `stack_offsets` (int64, one more than there are stacks) cuts `stack_frames` (int32 indices into `frames`) into
    stacks, each innermost frame first. `states`: "running", the state or wait reason of a goroutine, "g0" (the
    scheduler and the garbage collector), "C". `rate_hz`: samples in a second of processor time (cpu), or
    readings in a second (wall, offcpu).
    """

    mode: Mode
    process: Process
    started_at: datetime
    duration_ns: int
    rate_hz: float
    account: Account
    samples: Samples
    frames: tuple[Frame, ...]
    stack_offsets: NDArray[np.int64]
    stack_frames: NDArray[np.int32]
    states: tuple[str, ...]
    label_sets: tuple[Mapping[str, str], ...] = ()
    problems: tuple[Problem, ...] = field(default=())
    #: The name of the machine; None: not known, or left out.
    host: str | None = None
    #: The number of samples that filters chose these from; None: no filter.
    chosen_from: int | None = None

    @property
    def period_ns(self) -> float:
        """The time that a sample stands for; 0 if nothing says so."""
        return 1e9 / self.rate_hz if self.rate_hz >= _MIN_RATE_HZ else 0.0

    def stack(self, index: int) -> tuple[Frame, ...]:
        """The frames of stack `index`, innermost first."""
        low, high = self.stack_offsets[index], self.stack_offsets[index + 1]
        return tuple(self.frames[i] for i in self.stack_frames[low:high])
