"""A snapshot: one decoded moment of a Go program, as plain data.

Small things are frozen dataclasses. Goroutines are columns (numpy arrays of one length), because
there may be a million; a `Goroutine` is a view of one row. Frames and stacks are stored once and
shared by index. The JSON form is described in ``export/snapshot.schema.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from spyglass.escape import one_line
from spyglass.table import Column, Table, column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory_account import MemoryAccount
    from spyglass.memory_limits import MemoryLimits
    from spyglass.scheduler_window import SchedulerWindow
    from spyglass.wait_graph import WaitGraph

__all__ = [
    "NONE",
    "QUALITIES",
    "RECENT_GC_SECONDS",
    "STATUSES",
    "UNREAD",
    "Column",
    "CpuSample",
    "CpuUse",
    "Frame",
    "Goroutine",
    "Goroutines",
    "MemoryStats",
    "Problem",
    "Process",
    "Processor",
    "Scheduler",
    "Snapshot",
    "Source",
    "Thread",
    "Throttling",
]

#: Goroutine states; a column holds the index. The order and the words are the runtime's
#: (``runtime/runtime2.go``, ``_Gidle`` and following; number 5 is ``_Gmoribund_unused`` and 7
#: ``_Genqueue_unused``, neither of which a running program ever shows).
STATUSES: tuple[str, ...] = (
    "idle",
    "runnable",
    "running",
    "syscall",
    "waiting",
    "moribund",
    "dead",
    "enqueue",
    "copystack",
    "preempted",
    "leaked",
)

#: How far a row can be trusted: nothing moved between the reads before and after; it moved and was
#: read again until it stood still; it never stood still; it could not be read.
QUALITIES: tuple[str, ...] = ("stable", "moved", "torn", "unreadable")

#: In a column: there is no value.
NONE = -1
#: In the column of labels: there are some, and they could not be read.
UNREAD = -2


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the answer that is missing or doubtful.

    `kind` is one of unreadable, implausible, torn, truncated, unsupported, unknown; `subject` names
    what it is about ("goroutine 77", "scheduler"), `detail` says why. Both may quote a target or a file, and are
    one line without control characters, of limited length (`spyglass.escape.one_line`).
    """

    kind: str
    subject: str
    detail: str

    def __post_init__(self) -> None:
        for name in ("kind", "subject", "detail"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a snapshot came from: a live "process" or a "core"; whether its threads were stopped, and
    for how long."""

    kind: str
    stopped: bool = False
    stopped_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """The program that was inspected. None: not known."""

    pid: int | None
    exe: str | None
    cmdline: tuple[str, ...]
    started_at: datetime | None
    uptime_seconds: float | None
    go_version: str | None
    module: str | None
    module_version: str | None
    build_id: str | None
    arch: str | None
    stripped: bool | None
    pie: bool | None
    cgo: bool | None
    rss_bytes: int | None
    container: str | None
    memory_limit_bytes: int | None
    #: The file that holds the Go runtime when it is not `exe` (a c-shared library).
    library: str | None = None
    #: What the container, an id, and its pod are called (`spyglass.container_names`).
    container_name: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Throttling:
    """How often the kernel made a control group wait because its CPU quota was used up.

    In periods of the quota (``nr_periods``, ``nr_throttled``; ``cpu.stat``, cgroups(7)), and the time
    of all processors that waited: `total_*` since the group was made, `recent_*` in the window.
    """

    total_periods: int
    total_throttled: int
    total_throttled_ns: int
    recent_periods: int
    recent_throttled: int
    recent_throttled_ns: int


@dataclass(frozen=True, slots=True)
class CpuSample:
    """In `count` samples of running threads, user's code was at frame `where` (as `Goroutines.where`; None:
    only the runtime's, or not known), and what ran innermost was `runs`: "goroutine", "g0" (the
    scheduler and the garbage collector), "gsignal", "C"; None: not known."""

    where: int | None
    runs: str | None
    count: int


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Processor time of the process. None: not known.

    `used_ns` in the `window_ns` before the snapshot, `lifetime_ns` since the process started; both count
    all threads, ended ones too. `processors`: on how many it may run (sched_getaffinity(2));
    `limit_cores`: the quota of its control group. `samples`: what running threads were doing meanwhile, the
    most frequent first: of `sampled_threads`, which used `sampled_ns` of `used_ns`.
    """

    window_ns: int | None
    used_ns: int | None
    lifetime_ns: int | None
    processors: int | None
    limit_cores: float | None
    throttling: Throttling | None = None
    samples: tuple[CpuSample, ...] = ()
    sampled_threads: int | None = None
    sampled_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The runtime's own counters (``runtime.sched``). None: cannot be known in this program."""

    gomaxprocs: int | None
    goroutines: int | None
    system_goroutines: int | None
    run_queue: int | None
    idle_ps: int | None
    idle_ms: int | None
    spinning_ms: int | None
    freed_ms: int | None
    gc_waiting: bool | None


@dataclass(frozen=True, slots=True)
class Processor:
    """A P of the scheduler; `run_queue` counts its queue and runnext; `m` is the id of its M."""

    id: int
    status: str
    schedtick: int
    syscalltick: int
    run_queue: int
    m: int | None
    tid: int | None


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of the process, and the M that the runtime runs on it, if it is one of Go's.

    `os_state` is the kernel's word (running, sleeping, disk sleep, ...); `goroutine` and
    `locked_goroutine` are goroutine ids; `p` is the id of the P it holds. With `thread_stacks`, `runs`
    says what is on the thread (its goroutine, g0, gsignal, or C) and `stack` (indices into
    `Snapshot.frames`) where, innermost frame first. `cpu_ns` is the processor time that it used
    since it started, `recent_cpu_ns` in the window of `Snapshot.cpu`; None: not known.
    """

    tid: int
    name: str | None
    os_state: str | None
    m: int | None
    goroutine: int | None
    p: int | None
    spinning: bool
    locked_goroutine: int | None
    runs: str | None = None
    stack: tuple[int, ...] | None = None
    cpu_ns: int | None = None
    recent_cpu_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """What the runtime accounts for, in its own sense of each word (``runtime.MemStats``)."""

    heap_in_use_bytes: int | None
    heap_idle_bytes: int | None
    heap_released_bytes: int | None
    stacks_in_use_bytes: int | None
    heap_goal_bytes: int | None
    gc_count: int | None
    gc_pause_total_ns: int | None
    last_gc_at: datetime | None
    last_gc_pause_ns: int | None
    #: None: not known; -1: GOGC=off.
    gogc_percent: int | None
    #: None: not known, or no limit.
    memory_limit_bytes: int | None
    #: Collections that ended in the last `RECENT_GC_SECONDS`; None: not known.
    recent_gc_count: int | None = None


#: The seconds of `MemoryStats.recent_gc_count`.
RECENT_GC_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One call on a stack, or a place in the code (where a goroutine starts, or was created).

    `hidden`: Go's own traceback leaves it out by default. `offset`: bytes from the beginning of its
    function to `pc`; None where there are none, and for an inlined call, which has no beginning.
    """

    function: str
    file: str | None
    line: int | None
    pc: int
    inlined: bool = False
    hidden: bool = False
    offset: int | None = None


@dataclass(init=False, eq=False, repr=False)
class Goroutines(Table):
    """The goroutines as columns, all of one length, in the order of the runtime's ``allgs``.

    =============  ======  ==========================================================
    column         dtype   meaning
    =============  ======  ==========================================================
    id             uint64  goid
    status         uint8   index into `STATUSES`
    wait_reason    int16   index into `Snapshot.wait_reasons`, `NONE` unless waiting
    waiting_ns     int64   lower bound of its wait, `NONE` when not known
    printed_ns     int64   the wait that Go's traceback prints, or `NONE`
    stack          int32   index into `Snapshot.stacks`, `NONE` when there is none
    where          int32   frame index: where the user's code waits, or `NONE`
    call           int32   frame index: what `where` called, or `NONE`
    start          int32   frame index: where it begins, or `NONE`
    creator        int32   frame index: the ``go`` statement that made it, or `NONE`
    creator_id     int64   goid of its creator, `NONE` when not recorded
    m              int64   id of the M it runs on, or `NONE`
    locked         bool    locked to its thread
    system         bool    a runtime goroutine
    labels         int32   index into `Snapshot.label_sets`, `NONE` or `UNREAD`
    quality        uint8   index into `QUALITIES`
    stops          int16   how often it stopped running, modulo 256, or `NONE`
    stack_bytes    int64   the size of its stack, or `NONE`
    =============  ======  ==========================================================

    `where` is the innermost frame of the user's code: not the runtime's, not of a wrapper that the
    compiler made, and not the standard library's (decided in
    ``runtime/stacks/standard_library.py``). In a stack without user's code it is the outermost frame of the standard
    library: an idle connection of a server is at ``net/http.(*conn).serve``. `NONE`: the stack is the
    runtime's all the way, or is not known.

    `printed_ns` is no bound of the wait: the runtime sets ``g.waitsince`` when a garbage collection finds the
    goroutine waiting, to the mark termination of the collection before that one (``mgcmark.go: markroot``,
    ``work.tstart``, which ``mgc.go: gcMark`` sets). `waiting_ns` is counted from the end of the
    collection that found it (``runtime/goroutines/waits.py``).

    `call` is the frame just inside `where`, wrappers left out: ``sync.(*Mutex).Lock``,
    ``net/http.(*Client).Do``, ``time.Sleep``. `NONE` if `where` is innermost, or if Go's traceback
    leaves the frame inside it out (``runtime.chanrecv1``): then the state says what it does.

    `stops` is ``g.trackingSeq``, which ``casgstatus`` (``runtime/proc.go``) counts since Go 1.17. It is not in
    documents, nor is `stack_bytes`: what ``g.stack`` spans, used or not.
    """

    id: NDArray[np.uint64] = column(np.uint64)
    status: NDArray[np.uint8] = column(np.uint8)
    wait_reason: NDArray[np.int16] = column(np.int16, NONE, "wait_reasons")
    waiting_ns: NDArray[np.int64] = column(np.int64, NONE)
    printed_ns: NDArray[np.int64] = column(np.int64, NONE)
    stack: NDArray[np.int32] = column(np.int32, NONE, "stacks")
    where: NDArray[np.int32] = column(np.int32, NONE, "frames")
    call: NDArray[np.int32] = column(np.int32, NONE, "frames")
    start: NDArray[np.int32] = column(np.int32, NONE, "frames")
    creator: NDArray[np.int32] = column(np.int32, NONE, "frames")
    creator_id: NDArray[np.int64] = column(np.int64, NONE)
    m: NDArray[np.int64] = column(np.int64, NONE)
    locked: NDArray[np.bool_] = column(np.bool_)
    system: NDArray[np.bool_] = column(np.bool_)
    labels: NDArray[np.int32] = column(np.int32, NONE, "label_sets")
    quality: NDArray[np.uint8] = column(np.uint8)
    stops: NDArray[np.int16] = column(np.int16, NONE)
    stack_bytes: NDArray[np.int64] = column(np.int64, NONE)


@dataclass(frozen=True, slots=True)
class Goroutine:
    """One row of `Goroutines`, with its indices looked up."""

    id: int
    status: str
    wait_reason: str | None
    waiting_ns: int | None
    printed_ns: int | None
    where: Frame | None
    call: Frame | None
    start: Frame | None
    created_by: Frame | None
    creator_id: int | None
    m: int | None
    locked_to_thread: bool
    system: bool
    quality: str
    stack: tuple[Frame, ...] | None
    #: Its pprof labels; empty too when they could not be read, which a problem says.
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One decoded moment of a Go program.

    `stack_offsets` (int64, one more than there are stacks) cuts `stack_frames` (int32 indices into
    `frames`) into stacks, each innermost frame first. Both are empty in a snapshot with
    ``stacks="top"``, which has `Goroutines.where` and `call` all the same.
    """

    taken_at: datetime
    took_ns: int
    source: Source
    process: Process
    scheduler: Scheduler
    processors: tuple[Processor, ...]
    threads: tuple[Thread, ...]
    memory: MemoryStats
    goroutines: Goroutines
    wait_reasons: tuple[str, ...]
    frames: tuple[Frame, ...]
    stack_offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    stack_frames: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    #: Of very deep stacks the middle is left out: stack number -> (behind how many frames, how many).
    elided: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: The distinct sets of pprof labels that goroutines have, none of them empty.
    label_sets: tuple[Mapping[str, str], ...] = ()
    #: The number of goroutines that filters chose these from (``chosen_from`` in JSON); None: no filter.
    matched_of: int | None = None
    #: How many of those are the runtime's (``chosen_from_system`` in JSON).
    matched_of_system: int = 0
    problems: tuple[Problem, ...] = ()
    #: Processor time; None in a core, and in files of spyglass 0.2 and earlier.
    cpu: CpuUse | None = None
    #: Limits of memory; None in a core, and in files of spyglass 0.2 and earlier.
    limits: MemoryLimits | None = None
    #: What the scheduler did for some time before; None: it was not watched.
    window: SchedulerWindow | None = None
    #: What goroutines wait on; None: it was not read.
    waits: WaitGraph | None = None
    #: Where its memory goes (`spyglass.inspector.Inspector.memory_account`); None: it was not read.
    account: MemoryAccount | None = None
    #: The name of the machine it was taken on; None: not known, or left out.
    host: str | None = None
    #: Whether command line, labels, directories and host were left out (`spyglass.analysis.redaction`).
    redacted: bool = False
    #: The file it was loaded from; None: it was taken just now. Not part of the document.
    file: str | None = None
    #: How long each phase took, in ns, in the order they ran.
    timings_ns: dict[str, int] = field(default_factory=dict)

    def frame(self, index: int) -> Frame | None:
        """The frame at `index`, None for `NONE`."""
        return self.frames[index] if index >= 0 else None

    def stack(self, index: int) -> tuple[Frame, ...] | None:
        """The frames of stack `index`, innermost first; None for `NONE`."""
        if index < 0:
            return None
        low, high = self.stack_offsets[index], self.stack_offsets[index + 1]
        return tuple(self.frames[i] for i in self.stack_frames[low:high])

    def goroutine(self, row: int) -> Goroutine:
        """Row `row` of `goroutines` with everything looked up."""
        g = self.goroutines
        return Goroutine(
            id=int(g.id[row]),
            status=STATUSES[g.status[row]],
            wait_reason=self.wait_reasons[g.wait_reason[row]] if g.wait_reason[row] >= 0 else None,
            waiting_ns=_known(g.waiting_ns[row]),
            printed_ns=_known(g.printed_ns[row]),
            where=self.frame(int(g.where[row])),
            call=self.frame(int(g.call[row])),
            start=self.frame(int(g.start[row])),
            created_by=self.frame(int(g.creator[row])),
            creator_id=_known(g.creator_id[row]),
            m=_known(g.m[row]),
            locked_to_thread=bool(g.locked[row]),
            system=bool(g.system[row]),
            quality=QUALITIES[g.quality[row]],
            stack=self.stack(int(g.stack[row])),
            labels=self.label_sets[g.labels[row]] if g.labels[row] >= 0 else {},
        )

    def __iter__(self) -> Iterator[Goroutine]:
        return (self.goroutine(row) for row in range(len(self.goroutines)))


def _known(value: np.int64) -> int | None:
    return int(value) if value >= 0 else None
