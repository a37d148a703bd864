"""The shape of a snapshot document, for reading one that may be wrong on purpose.

It says the same as ``snapshot.schema.json``, in types that are checked while the text is parsed: what
does not fit is refused where it stands, before anything is made of what follows. Fields that are not
named here are skipped.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from spyglass.errors import BadDataError
from spyglass.export.account_types import MemoryAccount
from spyglass.export.schema_numbers import (
    Address,
    Cores,
    Count,
    Descriptor,
    KnownCount,
    Mean,
    Number,
    Percent,
    Seconds,
    Share,
)

__all__ = ["CREATOR", "PLACE", "Document", "checked", "decoded", "misfit"]

#: How msgspec says where something is: ``$.goroutines[17].labels[...]``.
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_OFFSET = re.compile(r" \(byte \d+\)")
#: A complaint quotes what it is about, which may be long.
_MAX_COMPLAINT = 200

Value = TypeVar("Value")


class Source(Struct, frozen=True):
    kind: Literal["process", "core"]
    stopped: bool
    stopped_ns: KnownCount = None


class AnyProcess(Struct, frozen=True):
    """The program of a profile, of which one of pprof does not say all."""

    pid: KnownCount
    exe: str | None
    cmdline: list[str]
    started_at: str | None
    uptime_seconds: Seconds | None
    go_version: str | None
    module: str | None
    module_version: str | None
    build_id: str | None
    arch: str | None
    stripped: bool | None
    pie: bool | None
    rss_bytes: KnownCount
    container: str | None
    cgo: bool | None = None
    memory_limit_bytes: KnownCount = None
    library: str | None = None
    container_name: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None


class Process(AnyProcess, frozen=True, kw_only=True):
    """The program of a snapshot."""

    pid: Count
    arch: str
    stripped: bool
    pie: bool


class Scheduler(Struct, frozen=True):
    gomaxprocs: KnownCount
    goroutines: KnownCount
    system_goroutines: KnownCount
    run_queue: KnownCount
    idle_ps: KnownCount
    idle_ms: KnownCount
    spinning_ms: KnownCount
    freed_ms: KnownCount
    gc_waiting: bool | None


class Processor(Struct, frozen=True):
    id: Count
    status: str
    schedtick: Count
    syscalltick: Count
    run_queue: Count
    m: KnownCount
    tid: KnownCount = None


class Thread(Struct, frozen=True):
    tid: Count
    name: str | None
    os_state: str | None
    m: KnownCount
    goroutine: KnownCount
    p: KnownCount
    spinning: bool
    locked_goroutine: KnownCount
    runs: str | None = None
    stack: list[Count] | None = None
    cpu_ns: KnownCount = None
    recent_cpu_ns: KnownCount = None


class Throttling(Struct, frozen=True):
    total_periods: Count
    total_throttled: Count
    total_throttled_ns: Count
    recent_periods: Count
    recent_throttled: Count
    recent_throttled_ns: Count


class CpuSample(Struct, frozen=True):
    where: KnownCount
    runs: str | None
    count: Count


class CpuUse(Struct, frozen=True):
    window_ns: KnownCount
    used_ns: KnownCount
    lifetime_ns: KnownCount
    processors: KnownCount
    limit_cores: Cores | None
    throttling: Throttling | None = None
    samples: list[CpuSample] = field(default_factory=list)
    sampled_threads: KnownCount = None
    sampled_ns: KnownCount = None


class WindowProcessor(Struct, frozen=True):
    id: Count
    scheduled: Count
    kept_by: KnownCount = None
    kept_cpu_ns: KnownCount = None


class LongCall(Struct, frozen=True):
    goroutine: Count
    tid: Count
    in_c: bool | None = None
    cpu_ns: KnownCount = None
    os_state: str | None = None
    system_call: str | None = None
    fd: KnownCount = None
    target: str | None = None
    wchan: str | None = None


class Window(Struct, frozen=True):
    """`spyglass.scheduler_window.SchedulerWindow`."""

    window_ns: Count
    looks: Count
    run_queue_mean: Mean | None = None
    run_queue_max: KnownCount = None
    idle_ps_mean: Mean | None = None
    spinning_ms_mean: Mean | None = None
    stopping_looks: KnownCount = None
    run_waits: KnownCount = None
    run_wait_median_ns: KnownCount = None
    run_wait_p99_ns: KnownCount = None
    mutex_wait_ns: KnownCount = None
    gc_count: KnownCount = None
    gc_span_ns: KnownCount = None
    gc_cpu_ns: KnownCount = None
    gc_pause_ns: KnownCount = None
    run_delay_ns: KnownCount = None
    processors: list[WindowProcessor] = field(default_factory=list)
    calls: list[LongCall] = field(default_factory=list)


class Memory(Struct, frozen=True):
    heap_in_use_bytes: KnownCount
    heap_idle_bytes: KnownCount
    heap_released_bytes: KnownCount
    stacks_in_use_bytes: KnownCount
    heap_goal_bytes: KnownCount
    gc_count: KnownCount
    gc_pause_total_ns: KnownCount
    last_gc_at: str | None
    last_gc_pause_ns: KnownCount
    gogc_percent: Percent | None
    memory_limit_bytes: KnownCount
    recent_gc_count: KnownCount = None


class MemoryLimit(Struct, frozen=True):
    kind: Literal["cgroup", "rlimit", "host", "gomemlimit"]
    name: str
    effect: Literal["kill", "slow", "refuse", "collect", "swap"]
    path: str | None = None
    bytes: KnownCount = None
    used_bytes: KnownCount = None
    reclaimable_bytes: KnownCount = None
    working_set_bytes: KnownCount = None
    peak_bytes: KnownCount = None
    hits: KnownCount = None
    oom_kills: KnownCount = None
    headroom_bytes: KnownCount = None  # not kept: it follows from the rest


class MemoryPressure(Struct, frozen=True):
    path: str | None
    some_percent: tuple[Share, Share, Share]
    full_percent: tuple[Share, Share, Share]


class MemoryLimits(Struct, frozen=True):
    """`spyglass.memory_limits.MemoryLimits`, without files."""

    rows: Annotated[list[MemoryLimit], Meta(max_length=1024)]
    pressure: Annotated[list[MemoryPressure], Meta(max_length=16)] = field(default_factory=list)
    swap_free_bytes: KnownCount = None
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] | None = None


class Place(Struct, frozen=True, gc=False):
    function: str
    file: str | None
    line: KnownCount


class FramedPlace(Place, frozen=True, gc=False):
    frame: KnownCount = None


class Creator(FramedPlace, frozen=True, gc=False, kw_only=True):
    goroutine: KnownCount


class Frame(Place, frozen=True, gc=False, kw_only=True):
    pc: Count
    inlined: bool
    hidden: bool
    offset: KnownCount = None


class Goroutine(Struct, frozen=True, gc=False):
    """A goroutine. Its places stay text (`PLACE`, `CREATOR`): a million have some thousands of them."""

    id: Count
    status: Literal[
        "idle", "runnable", "running", "syscall", "waiting", "moribund", "dead", "enqueue",
        "copystack", "preempted", "leaked",
    ]  # fmt: skip
    wait_reason: str | None
    waiting_ns: KnownCount
    stack: KnownCount
    start: Raw
    created_by: Raw
    m: KnownCount
    locked_to_thread: bool
    system: bool
    labels: dict[str, str] | None
    quality: Literal["stable", "moved", "torn", "unreadable"]
    printed_ns: KnownCount | UnsetType = UNSET
    where: Raw = Raw(b"null")
    call: Raw = Raw(b"null")


PLACE: msgspec.json.Decoder[FramedPlace | None] = msgspec.json.Decoder(FramedPlace | None)
CREATOR: msgspec.json.Decoder[Creator | None] = msgspec.json.Decoder(Creator | None)


class Elided(Struct, frozen=True):
    stack: Count
    after: Count
    frames: Count


class Problem(Struct, frozen=True):
    kind: str
    subject: str
    detail: str


class Waiters(Struct, frozen=True, gc=False):
    """Goroutines by what they want to do with an object."""

    send: list[Count] | None = None
    receive: list[Count] | None = None
    lock: list[Count] | None = None
    rlock: list[Count] | None = None
    wait: list[Count] | None = None
    read: list[Count] | None = None
    write: list[Count] | None = None
    accept: list[Count] | None = None
    connect: list[Count] | None = None
    sleep: list[Count] | None = None


class Holder(Struct, frozen=True):
    goroutine: Count
    mode: Literal["write", "read", "done"]
    grade: Annotated[int, Meta(ge=1, le=5)]
    evidence: str | None = None
    frame: Frame | None = None


class WaitObject(Struct, frozen=True, gc=False):
    """What goroutines wait on; what is null is left out."""

    kind: Literal[
        "channel", "mutex", "rwmutex", "waitgroup", "cond", "once", "semaphore", "fd", "timer", "nothing",
        "runtime",
    ]  # fmt: skip
    address: Address | None = None
    name: str | None = None
    type: str | None = None
    length: KnownCount = None
    capacity: KnownCount = None
    closed: bool | None = None
    locked: bool | None = None
    readers: KnownCount = None
    waiters_state: KnownCount = None
    counter: Number | None = None
    fd: Descriptor | None = None
    target: str | None = None
    local: str | None = None
    remote: str | None = None
    connection: str | None = None
    receive_queue_bytes: KnownCount = None
    send_queue_bytes: KnownCount = None
    deadline_in_ns: Number | None = None
    due_in_ns: Number | None = None
    left_locked: bool | None = None
    holders: list[Holder] = field(default_factory=list)
    waiters: Waiters = Waiters()


class Unresolved(Struct, frozen=True, gc=False):
    goroutine: Count
    why: Literal["moved while it was read", "not understood"]


class LookedAt(Struct, frozen=True):
    stacks: bool
    globals: bool
    heap_bytes: Count
    heap_complete: bool
    marks: Annotated[int, Meta(ge=0, le=1000)]


class Waits(Struct, frozen=True):
    looked_at: LookedAt
    unresolved: list[Unresolved]
    stuck: list[Count]
    not_stuck: list[Count]


class Finding(Struct, frozen=True):
    """Not kept: findings follow from the rest."""

    kind: str
    severity: Literal["critical", "warning", "info"]
    title: str
    detail: str | None = None
    goroutines: KnownCount = None
    examples: list[Count] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    next: str | None = None
    objects: list[Count] = field(default_factory=list)


class Document(Struct, frozen=True):
    """All of it, as ``spyglass.export.snapshot_document`` makes it."""

    schema: Literal["spyglass.snapshot/1"]
    spyglass_version: str
    taken_at: str
    took_ns: Count
    source: Source
    process: Process
    scheduler: Scheduler
    processors: list[Processor]
    threads: list[Thread]
    memory: Memory
    goroutines: list[Goroutine]
    stacks: list[list[Count]]
    frames: list[Frame]
    problems: list[Problem]
    timings_ns: dict[str, Count] = field(default_factory=dict)
    host: str | None = None
    redacted: bool = False
    chosen_from: KnownCount = None
    chosen_from_system: KnownCount = None
    elided: list[Elided] = field(default_factory=list)
    cpu: CpuUse | None = None
    memory_limits: MemoryLimits | None = None
    memory_account: MemoryAccount | None = None
    window: Window | None = None
    findings: list[Finding] = field(default_factory=list)
    waits: Waits | None = None
    wait_objects: list[WaitObject] = field(default_factory=list)


_DOCUMENT = msgspec.json.Decoder(Document)


def decoded(text: bytes) -> Document:
    """The document that is the JSON `text`; `BadDataError` with a JSON pointer if it does not fit."""
    return checked(_DOCUMENT, text)


def checked(
    decoder: msgspec.json.Decoder[Value], text: bytes, prefix: str = "", begin: int = 0
) -> Value:
    """What `decoder` makes of `text`. `BadDataError` with a JSON pointer if it does not fit.

    `prefix` points to where the text is in its document; if it is of an array's elements, `begin` is the
    number of the first.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at `$")
        steps: list[str | int] = [name or int(index) for name, index in _STEP.findall(where)]
        if steps and isinstance(steps[0], int):
            steps[0] += begin
        pointer = prefix + "".join(f"/{step}" for step in steps)
        raise misfit(pointer, what or str(error)) from None
    except RecursionError:
        raise BadDataError("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Where it is not JSON is not known: this is only a part of the text.
        what = _OFFSET.sub("", str(error))
        raise BadDataError(f"it is not JSON: {what}"[:_MAX_COMPLAINT]) from None


def misfit(pointer: str, what: str) -> BadDataError:
    """The error for what does not fit at `pointer` (RFC 6901)."""
    if pointer == "/schema":
        return BadDataError(f"it is not a spyglass.snapshot/1: {what[:_MAX_COMPLAINT]}")
    return BadDataError(f"{pointer or 'the document'}: {what[:_MAX_COMPLAINT]}")
