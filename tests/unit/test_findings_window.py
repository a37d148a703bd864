"""Findings of a window: each at its threshold and just below it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis.findings import Finding, findings
from spyglass.analysis.subset import subset
from spyglass.model import CpuUse, Snapshot, Throttling
from spyglass.scheduler_window import LongCall, SchedulerWindow, WindowProcessor
from tests.snapshots import SCHEDULER, Row, frame, make_snapshot

SECOND_NS = 10**9
LOOP = frame("main.loop", "/src/loop.go", 12)
READ = frame("main.read", "/src/read.go", 20)
ASK = frame("main.ask", "/src/ask.go", 30)
LOCK = frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
WORKER = frame("main.worker", "/src/worker.go", 7)
WINDOW = SchedulerWindow(window_ns=2 * SECOND_NS, looks=40)
ONE_P = replace(SCHEDULER, gomaxprocs=1)
FOUR_PS = replace(SCHEDULER, gomaxprocs=4)


def used(cores: float, throttled: int | None = None, limit: float | None = None) -> CpuUse:
    """So many processors of four, used in two seconds."""
    counts = None if throttled is None else Throttling(1000, 0, 0, 1000, throttled, 0)
    return CpuUse(2 * SECOND_NS, round(cores * 2 * SECOND_NS), None, 4, limit, counts)


def watched(
    window: SchedulerWindow, rows: list[Row] | None = None, cores: float = 0.3, **changes: object
) -> Snapshot:
    changes = {"window": window, "cpu": used(cores), "scheduler": FOUR_PS} | changes
    return make_snapshot(rows or [], **changes)


def kinds(snapshot: Snapshot) -> list[str]:
    return [finding.kind for finding in findings(snapshot)]


def only(snapshot: Snapshot) -> Finding:
    (found,) = findings(snapshot)
    return found


def test_nothing_is_said_of_a_window_in_which_nothing_was_unusual_or_known() -> None:
    assert findings(watched(WINDOW)) == ()
    assert findings(watched(replace(WINDOW, window_ns=0, looks=0))) == ()
    assert findings(watched(WINDOW, cpu=None)) == ()


@pytest.mark.parametrize(
    ("window_ns", "cpu_ns", "found"),
    [
        (500_000_000, 200_000_000, True),
        (499_999_999, 400_000_000, False),
        (SECOND_NS, 199_999_999, False),
        (SECOND_NS, None, False),
    ],
)
def test_a_goroutine_that_keeps_its_p(window_ns: int, cpu_ns: int | None, found: bool) -> None:
    ps = (WindowProcessor(0, 7), WindowProcessor(1, 0, 33, cpu_ns))
    window = replace(WINDOW, window_ns=window_ns, processors=ps)
    snapshot = watched(window, [Row(33, "running", where=LOOP)])
    assert kinds(snapshot) == (["never-yields"] if found else [])
    if found:
        finding = only(snapshot)
        assert finding.title == (
            "goroutine 33 has kept P 1 for the whole 500ms at main.loop: the scheduler could not preempt it"
        )
        assert (finding.severity, finding.examples) == ("warning", (33,))
        assert finding.next == "spyglass dump --pid 1234 --goroutine 33"


def test_it_is_critical_while_stopping_the_world_waits_for_it() -> None:
    ps = (WindowProcessor(1, 0, 33, SECOND_NS),)
    window = replace(WINDOW, processors=ps, stopping_looks=40)
    rows = [Row(33, "running", where=LOOP)]
    assert only(watched(window, rows)).severity == "critical"
    assert only(watched(window, rows)).title.endswith(
        "stopping the world waits for it, and so does all else"
    )
    assert only(watched(replace(window, stopping_looks=39), rows)).severity == "warning"


def test_means_of_a_few_looks_are_not_stated() -> None:
    few = replace(
        WINDOW, looks=4, spinning_ms_mean=9.0, run_queue_mean=9.0, run_queue_max=9,
        processors=(WindowProcessor(0, 10),),
    )  # fmt: skip
    assert findings(watched(few)) == ()
    assert kinds(watched(replace(few, looks=5))) == ["run-wait", "spinning"]
    measured = replace(few, run_wait_p99_ns=10**9, run_wait_median_ns=10**6, run_waits=9)
    assert only(watched(measured)).title == (
        "goroutines wait for a P: half of them up to 1ms, 99 % up to 1s; 9 in the run queues, 4 Ps"
    )


def test_workers_of_the_collector_may_keep_a_p() -> None:
    window = replace(WINDOW, processors=(WindowProcessor(1, 0, 33, SECOND_NS),))
    assert findings(watched(window, [Row(33, "running", where=LOOP, system=True)])) == ()
    assert findings(watched(window, [])) == ()


@pytest.mark.parametrize(
    ("queue", "p99_ns", "starts", "found"),
    [
        (4.0, 50_000_000, 100_000, True),
        (3.9, 50_000_000, 100_000, False),
        (4.0, 49_999_999, 100_000, False),
        (4.0, None, 400, True),
        (4.0, None, 401, False),
        (4.0, None, 0, False),
        (None, 50_000_000, 1, False),
    ],
)
def test_goroutines_that_wait_for_a_p(
    queue: float | None, p99_ns: int | None, starts: int, found: bool
) -> None:
    window = replace(
        WINDOW, run_queue_mean=queue, run_queue_max=9, run_wait_p99_ns=p99_ns, run_waits=5,
        run_wait_median_ns=3_000_000, processors=(WindowProcessor(0, starts),),
    )  # fmt: skip
    snapshot = watched(window)
    assert kinds(snapshot) == (["run-wait"] if found else [])
    if found:
        title = only(snapshot).title
        known = "half of them up to 3ms, 99 % up to 50ms" if p99_ns else "20ms on average"
        assert known in title
        assert title.endswith("; 4.0 in the run queues on average (at most 9), 4 Ps")


def call(goid: int, **changes: object) -> LongCall:
    made = LongCall(goid, goid + 1000, False, 0, "sleeping", "read", 3, "pipe", "pipe_read")
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "state", "found"), [(5, "sleeping", 1), (4, "sleeping", 0), (1, "disk sleep", 1)]
)
def test_threads_that_stay_in_a_call(number: int, state: str, found: int) -> None:
    calls = tuple(call(goid, os_state=state) for goid in range(number))
    rows = [Row(goid, "syscall", where=READ, waiting_ns=goid * SECOND_NS) for goid in range(number)]
    snapshot = watched(replace(WINDOW, calls=calls), rows)
    assert kinds(snapshot) == ["long-calls"] * found
    if number == 5:
        finding = only(snapshot)
        assert (
            finding.title == "5 threads are in read of a pipe called by main.read for at least 4s"
        )
        assert finding.examples == (4, 3, 2, 1, 0)
    if number == 1:
        assert only(snapshot).title == (
            "1 thread is in read of a pipe called by main.read for at least 2s; 1 in uninterruptible sleep"
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"in_c": True}, "are in C (read of a pipe) called"),
        ({"in_c": True, "system_call": None, "target": None}, "are in C (code) called"),
        ({"in_c": None, "system_call": None, "target": None}, "are in a system call called"),
        ({"system_call": "4711", "target": None}, "are in 4711 called"),
    ],
)
def test_what_a_call_is_as_far_as_it_is_known(changes: dict[str, object], text: str) -> None:
    calls = tuple(call(goid, **changes) for goid in range(5))
    rows = [Row(goid, "syscall", where=READ) for goid in range(5)]
    assert text in only(watched(replace(WINDOW, calls=calls), rows)).title


def test_calls_of_goroutines_that_are_not_there_are_left_out() -> None:
    calls = tuple(call(goid) for goid in range(9))
    assert findings(watched(replace(WINDOW, calls=calls), [Row(3, "syscall", where=READ)])) == ()


@pytest.mark.parametrize(
    ("spinning", "cores", "delay_s", "found"),
    [(0.75, 0.3, 0, True), (0.74, 0.3, 0, False), (0.75, 2.4, 1.3, False), (None, 0.3, 0, False)],
)
def test_threads_that_look_for_work(
    spinning: float | None, cores: float, delay_s: float, found: bool
) -> None:
    window = replace(WINDOW, spinning_ms_mean=spinning, run_delay_ns=round(delay_s * SECOND_NS))
    assert ("spinning" in kinds(watched(window, cores=cores))) == found


@pytest.mark.parametrize(
    ("gc_s", "cores", "delay_s", "number", "found"),
    [
        (0.2, 0.4, 0, 3, True),
        (0.19, 0.3, 0, 3, False),
        (0.2, 0.41, 0, 3, False),
        (0.2, 0.4, 0.1, 3, False),
        (0.2, 0.4, 0, 0, False),
        (None, 0.4, 0, 3, False),
    ],
)
def test_the_share_of_the_collector(
    gc_s: float | None, cores: float, delay_s: float, number: int, found: bool
) -> None:
    window = replace(
        WINDOW, gc_count=number, gc_span_ns=2 * SECOND_NS, gc_pause_ns=SECOND_NS // 10,
        gc_cpu_ns=None if gc_s is None else round(gc_s * SECOND_NS), run_delay_ns=round(delay_s * SECOND_NS),
    )  # fmt: skip
    snapshot = watched(window, cores=cores)
    assert kinds(snapshot) == (["gc-cpu"] if found else [])
    if found:
        assert only(snapshot).title == (
            "garbage collection takes 25 % of the time that threads run or wait for a processor; 3 collections, "
            "the world stopped for 5 % of the time"
        )


@pytest.mark.parametrize(
    ("delay_s", "cores", "throttled", "found"),
    [
        (1.0, 0.4, None, True),
        (0.99, 0.4, None, False),
        (1.0, 0.45, 9, False),
        (1.6, 0.81, 0, False),
        (1.0, 0.4, 0, True),
    ],
)
def test_threads_that_wait_for_a_processor_of_the_host(
    delay_s: float, cores: float, throttled: int | None, found: bool
) -> None:
    window = replace(WINDOW, run_delay_ns=round(delay_s * SECOND_NS))
    snapshot = watched(window, cpu=used(cores, throttled))
    assert ("host-cpu" in kinds(snapshot)) == found


def lockers(number: int) -> list[Row]:
    return [
        Row(goid, wait_reason="sync.Mutex.Lock", where=ASK, call=LOCK) for goid in range(number)
    ]


@pytest.mark.parametrize(
    ("number", "cores", "mean", "found"),
    [
        (5, 1.0, 5.0, True),
        (5, 1.0, None, True),
        (4, 1.0, 5.0, False),
        (5, 1.0, 4.9, False),
        (5, 3.0, 5.0, False),
        (5, 0.02, 5.0, False),
    ],
)
def test_locks_are_what_there_is_too_little_of(
    number: int, cores: float, mean: float | None, found: bool
) -> None:
    window = replace(WINDOW, mutex_wait_ns=None if mean is None else round(mean * 2 * SECOND_NS))
    snapshot = watched(window, lockers(number), cores=cores)
    assert ("lock-bound" in kinds(snapshot)) == found
    assert "lock-bound" not in kinds(watched(window, lockers(number), cores=cores, scheduler=ONE_P))


def test_waits_that_ended_are_no_number_of_goroutines() -> None:
    """A wait that began long before the window counts whole: 84 would wait on average, of 5."""
    snapshot = watched(replace(WINDOW, mutex_wait_ns=168 * SECOND_NS), lockers(5), cores=1.0)
    finding = next(each for each in findings(snapshot) if each.kind == "lock-bound")
    assert finding.title == (
        "5 goroutines wait for locks while 1.00 of 4 cores are in use; most at main.ask; "
        "waits that ended meanwhile took about 2m 48s in all"
    )


@pytest.mark.parametrize(
    ("waiting", "idle", "cores", "found"),
    [(20, 60, 0.02, True), (19, 0, 0.02, False), (20, 61, 0.02, False), (20, 60, 0.021, False)],
)
def test_nothing_runs_because_many_wait(waiting: int, idle: int, cores: float, found: bool) -> None:
    rows = [Row(goid, wait_reason="chan send", where=ASK) for goid in range(waiting)]
    rows += [
        Row(1000 + n, wait_reason="chan receive", where=WORKER, start=WORKER) for n in range(idle)
    ]
    snapshot = watched(WINDOW, rows, cores=cores)
    found_kinds = kinds(snapshot)
    assert ("idle" in found_kinds) == found
    if found:
        finding = next(each for each in findings(snapshot) if each.kind == "idle")
        assert finding.title == (
            "0.02 cores in use for 2s, and 20 of 80 goroutines do not wait for work: 20 in chan send at main.ask"
        )
        assert (finding.goroutines, finding.functions) == (20, ("main.ask",))
        assert "idle" not in kinds(subset(snapshot, np.arange(20)))


@pytest.mark.parametrize(
    ("limit", "ps", "throttled", "severity"),
    [
        (1.5, 2, 0, None),
        (0.5, 2, 0, None),
        (2.5, 3, 0, None),
        (2.5, 4, 0, "info"),
        (1.5, 4, 1, "warning"),
        (None, 4, 0, None),
    ],
)
def test_more_ps_than_the_quota_allows(
    limit: float | None, ps: int, throttled: int, severity: str | None
) -> None:
    scheduler = replace(SCHEDULER, gomaxprocs=ps)
    found = findings(make_snapshot([], cpu=used(0.1, throttled, limit), scheduler=scheduler))
    assert [each.severity for each in found if each.kind == "gomaxprocs"] == [severity] * (
        severity is not None
    )
