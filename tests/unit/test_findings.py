"""Each finding at its threshold and just below it; what is hostile stays text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis.findings import SEVERITIES, Finding, findings
from spyglass.analysis.findings.finding import Findable
from spyglass.analysis.subset import subset
from spyglass.model import CpuSample, CpuUse, Frame, Problem, Processor, Snapshot, Throttling
from spyglass.render.findings import finding_lines
from tests.snapshots import MEMORY, PROCESS, Row, frame, make_snapshot

SECOND_NS = 10**9
QUOTE = frame("main.quote", "/src/quote.go", 12)
REPORT = frame("main.report", "/src/report.go", 30)
LOCK = frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
SERVE = frame("net/http.(*Server).Serve", "/go/src/net/http/server.go", 3086)
CONN = frame("net/http.(*conn).serve", "/go/src/net/http/server.go", 1900)
WORKER = frame("main.worker", "/src/worker.go", 7)
IDLE = Row(9000, wait_reason="chan receive", where=WORKER, start=WORKER)


def rows(count: int, **common: object) -> list[Row]:
    return [Row(100 + i, **common) for i in range(count)]  # type: ignore[arg-type]


def padded(some: Sequence[Row], total: int) -> Snapshot:
    """`some` goroutines among `total`; the others are idle workers."""
    others = [replace(IDLE, id=10_000 + i) for i in range(total - len(some))]
    return make_snapshot([*some, *others])


def only(snapshot: Snapshot) -> Finding:
    (found,) = findings(snapshot)
    return found


def test_nothing_is_unusual_in_a_program_that_does_nothing() -> None:
    assert findings(make_snapshot([])) == ()
    assert findings(padded([], 1000)) == ()


@pytest.mark.parametrize(("count", "total", "found"), [(20, 80, 1), (19, 60, 0), (25, 101, 0)])
def test_a_crowd_of_senders(count: int, total: int, found: int) -> None:
    snapshot = padded(rows(count, wait_reason="chan send", where=QUOTE), total)
    assert len(findings(snapshot)) == found
    if found:
        assert only(snapshot).title == (
            "25 % of goroutines are in chan send at main.quote (20, wait time not known)"
        )


def test_a_crowd_is_of_all_who_wait_there_whoever_made_them() -> None:
    made = [
        replace(row, creator=frame(f"main.f{row.id % 3}"), waiting_ns=row.id * SECOND_NS)
        for row in rows(30, wait_reason="chan send", where=QUOTE)
    ]
    finding = only(padded(made, 40))
    assert finding.title == (
        "75 % of goroutines are in chan send at main.quote (30, oldest >= 2m 9s)"
    )
    assert (finding.kind, finding.severity, finding.goroutines) == ("crowd", "warning", 30)
    assert finding.examples == (129, 128, 127, 126, 125)
    assert finding.functions == ("main.quote",)
    assert finding.next == "spyglass dump --pid 1234 --group stack --state 'chan send'"


@pytest.mark.parametrize(
    ("waits", "examples"),
    [
        ([None] * 9, (100, 101, 102, 103, 104)),
        ([None, 5, 9, 5, 5, 5, 5, 5, None], (102, 101, 103, 104, 105)),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], (108, 107, 106, 105, 104)),
        ([7, None, 7], (100, 102, 101)),
    ],
)
def test_examples_are_those_that_wait_longest_then_the_lowest_ids(
    waits: list[int | None], examples: tuple[int, ...]
) -> None:
    some = [Row(100 + i, waiting_ns=wait, where=QUOTE) for i, wait in enumerate(waits)]
    rows = np.arange(len(some))
    assert Findable(make_snapshot(some[::-1])).examples(rows) == examples


def test_the_detail_of_a_finding_is_below_its_title() -> None:
    lines = finding_lines([Finding("x", "warning", "title", detail="more", next="run")], 80)
    assert [line.plain.split() for line in lines] == [["warning", "title"], ["more"], ["run"]]


def test_what_the_next_largest_group_does_is_said() -> None:
    made = [
        *rows(30, wait_reason="chan send", where=QUOTE),
        *[Row(500 + i, wait_reason="IO wait", where=REPORT) for i in range(10)],
    ]
    finding = only(make_snapshot(made))
    assert finding.title.endswith("; 10 are in IO wait at main.report")
    assert finding.functions == ("main.quote", "main.report")


def test_idle_workers_are_no_crowd_and_others_are_worth_a_remark() -> None:
    idle = rows(500, wait_reason="chan receive", where=WORKER, start=WORKER)
    assert findings(make_snapshot(idle)) == ()
    deep = rows(500, wait_reason="chan receive", where=QUOTE, start=WORKER)
    assert only(make_snapshot(deep)).severity == "info"
    assert only(make_snapshot([replace(row, creator=SERVE) for row in deep])).severity == "warning"


@pytest.mark.parametrize(
    ("count", "waited_ns", "severity"),
    [
        (1, SECOND_NS - 1, None),
        (1, SECOND_NS, "warning"),
        (1, 60 * SECOND_NS, "critical"),
        (4, None, None),
        (5, None, "warning"),
        (5, 0, "warning"),
    ],
)
@pytest.mark.parametrize(
    ("reason", "call"),
    [("sync.Mutex.Lock", LOCK), ("semacquire", LOCK), ("sync.RWMutex.RLock", None)],
)
def test_lock_waits(
    count: int, waited_ns: int | None, severity: str | None, reason: str, call: Frame | None
) -> None:
    some = rows(count, wait_reason=reason, waiting_ns=waited_ns, where=REPORT, call=call)
    found = findings(padded(some, 50))
    assert [finding.severity for finding in found] == [severity] * (severity is not None)
    for finding in found:
        who = "1 goroutine waits" if count == 1 else f"{count} goroutines wait"
        what = call.function if call else reason
        assert finding.title.startswith(f"{who} in {what} called by main.report (")


def locks(functions: int, each: int, waited_ns: int | None = None) -> Snapshot:
    return make_snapshot(
        Row(
            100 * i + j, wait_reason="sync.Mutex.Lock", call=LOCK, waiting_ns=waited_ns,
            where=frame(f"main.f{i}"),
        )
        for i in range(functions)
        for j in range(each)
    )  # fmt: skip


@pytest.mark.parametrize(("functions", "each", "found"), [(10, 3, 1), (2, 2, 0), (5, 1, 1)])
def test_locks_of_many_functions_are_one_finding(functions: int, each: int, found: int) -> None:
    snapshot = locks(functions, each)
    assert len(findings(snapshot)) == found
    if found:
        finding = only(snapshot)
        assert finding.title == (
            f"{functions * each} goroutines wait for locks in {functions} functions, "
            f"{each} of them in main.f0"
        )
        assert (finding.severity, finding.goroutines) == ("warning", functions * each)


def test_of_many_locks_that_are_held_long_three_are_named() -> None:
    found = findings(locks(100, 2, 2 * SECOND_NS))
    assert [f.kind for f in found] == ["lock-wait"] * 4
    assert found[-1].title.startswith("194 goroutines wait for locks in 97 functions, 2 of them in")


def test_no_lock_that_is_held_for_long_is_left_out() -> None:
    found = findings(locks(4, 1, 60 * SECOND_NS))
    assert [f.severity for f in found] == ["critical"] * 4
    assert found[-1].title == "1 goroutine waits for a lock in main.f3"


def test_a_semaphore_that_is_no_lock_is_none() -> None:
    some = rows(10, wait_reason="semacquire", waiting_ns=90 * SECOND_NS, where=REPORT)
    assert findings(padded(some, 50)) == ()


@pytest.mark.parametrize(("seconds", "found"), [(59, 0), (60, 1)])
def test_old_requests(seconds: int, found: int) -> None:
    waiting = {"wait_reason": "select", "waiting_ns": seconds * SECOND_NS, "creator": SERVE}
    snapshot = padded([*rows(3, where=QUOTE, **waiting), Row(7, where=CONN, **waiting)], 50)  # type: ignore[arg-type]
    assert len(findings(snapshot)) == found
    if found:
        finding = only(snapshot)
        assert finding.title == (
            "3 requests of net/http wait for over a minute in select at main.quote (oldest >= 1m)"
        )


def cpu(used: float, *samples: CpuSample, **more: object) -> CpuUse:
    used_ns = round(used * SECOND_NS)
    fields = {"processors": 4, "limit_cores": None, "sampled_ns": used_ns} | more
    return CpuUse(SECOND_NS, used_ns, None, samples=samples, **fields)  # type: ignore[arg-type]


def busy(use: CpuUse) -> Snapshot:
    return replace(make_snapshot([Row(1, "running", where=QUOTE)]), cpu=use)


QUOTE_SAMPLES = CpuSample(0, "goroutine", 9)


def test_processor_time_is_worth_a_line_from_half_a_processor_on() -> None:
    assert findings(busy(cpu(0.49, QUOTE_SAMPLES))) == ()
    assert only(busy(cpu(0.5))).title == "CPU 0.50 of 4 cores"
    assert only(busy(cpu(0.5))).severity == "info"


@pytest.mark.parametrize(("others", "severity"), [(1, "warning"), (2, "warning"), (3, "info")])
def test_a_hot_function_is_named(others: int, severity: str) -> None:
    use = cpu(1.01, QUOTE_SAMPLES, CpuSample(None, "g0", others))
    finding = only(busy(use))
    share, total = 900 // (9 + others), 9 + others
    assert finding.title == (f"CPU 1.01 of 4 cores: {share} % in main.quote (9 of {total} samples)")
    assert finding.severity == severity
    assert finding.functions == (("main.quote",) if severity == "warning" else ())


@pytest.mark.parametrize(
    ("sampled_s", "of"),
    [(0.899, " of 2 threads that used 899ms of 1s"), (0.9, ""), (None, "")],
)
def test_samples_of_some_threads_are_no_share_of_all(sampled_s: float | None, of: str) -> None:
    sampled_ns = None if sampled_s is None else round(sampled_s * SECOND_NS)
    use = cpu(
        1.0, QUOTE_SAMPLES, CpuSample(None, "g0", 2), sampled_threads=2, sampled_ns=sampled_ns
    )
    finding = only(busy(use))
    assert finding.title == f"CPU 1.00 of 4 cores: 81 % in main.quote (9 of 11 samples{of})"
    assert finding.severity == ("warning" if sampled_s == 0.9 else "info")


def test_few_samples_say_nothing_about_shares() -> None:
    finding = only(busy(cpu(1.0, CpuSample(0, "goroutine", 9))))
    assert (finding.title, finding.severity) == ("CPU 1.00 of 4 cores", "info")


def test_what_is_not_the_users_is_said_so() -> None:
    use = cpu(1.0, CpuSample(None, "g0", 12), CpuSample(None, "C", 3))
    assert "80 % in the scheduler or garbage collector (12 of 15 samples)" in only(busy(use)).title


@pytest.mark.parametrize(
    ("limits", "severity"),
    [
        ({"processors": 2}, "info"),
        ({"processors": 1}, "warning"),
        ({"processors": 2, "limit_cores": 1.0}, "warning"),
        ({"processors": None}, "info"),
    ],
)
def test_processors_that_are_all_in_use(limits: dict[str, object], severity: str) -> None:
    assert only(busy(cpu(0.9, **limits))).severity == severity


def test_a_small_quota_that_is_used_up_is_worth_a_line() -> None:
    assert only(busy(cpu(0.2, limit_cores=0.2))).title == "CPU 0.20 of 4 cores (limit 0.2)"


def test_a_window_that_is_too_short_says_nothing() -> None:
    short = replace(cpu(1.0), window_ns=49_000_000, used_ns=49_000_000)
    assert findings(busy(short)) == ()


@pytest.mark.parametrize(
    ("recent", "total", "severity"),
    [((0, 10), (9, 100), None), ((1, 10), (9, 100), "warning"), ((0, 10), (10, 100), "warning"),
     ((5, 10), (10, 100), "critical"), ((0, 0), (0, 0), None)],
)  # fmt: skip
def test_throttling(recent: tuple[int, int], total: tuple[int, int], severity: str | None) -> None:
    counts = Throttling(total[1], total[0], 3 * SECOND_NS, recent[1], recent[0], 0)
    found = findings(busy(cpu(0.1, throttling=counts)))
    assert [finding.severity for finding in found] == [severity] * (severity is not None)
    for finding in found:
        assert f"{recent[0]} of the last {recent[1]} periods" in finding.title


@pytest.mark.parametrize(
    ("rss", "severity"), [(899, None), (900, "warning"), (969, "warning"), (970, "critical")]
)
def test_resident_memory_near_the_limit(rss: int, severity: str | None) -> None:
    process = replace(PROCESS, rss_bytes=rss << 20, memory_limit_bytes=1000 << 20)
    found = findings(make_snapshot(process=process))
    assert [finding.severity for finding in found] == [severity] * (severity is not None)


@pytest.mark.parametrize(("heap", "found"), [(879, 0), (880, 1)])
def test_the_heap_near_gomemlimit(heap: int, found: int) -> None:
    memory = replace(
        MEMORY,
        heap_in_use_bytes=heap << 20,
        stacks_in_use_bytes=20 << 20,
        memory_limit_bytes=1000 << 20,
    )
    assert [f.kind for f in findings(make_snapshot(memory=memory))] == ["heap-limit"] * found


@pytest.mark.parametrize(
    ("number", "text"), [(49, None), (50, "50 garbage"), (256, "256 or more garbage")]
)
def test_frequent_collections(number: int, text: str | None) -> None:
    found = findings(make_snapshot(memory=replace(MEMORY, recent_gc_count=number)))
    assert [f.title.startswith(text or "") for f in found] == [True] * (text is not None)


def processors(*states: str) -> tuple[Processor, ...]:
    return tuple(Processor(i, state, 0, 0, 0, None, None) for i, state in enumerate(states))


@pytest.mark.parametrize(("count", "found"), [(19, 0), (20, 1)])
def test_runnable_goroutines(count: int, found: int) -> None:
    snapshot = make_snapshot(
        rows(count, status="runnable", where=QUOTE), processors=processors("running", "syscall")
    )
    assert [f.title for f in findings(snapshot)] == [
        f"{count} runnable at this moment, 2 Ps, all busy; {count} at main.quote"
    ] * found


@pytest.mark.parametrize(("count", "found"), [(31, 0), (32, 1)])
def test_system_calls_that_pile_up(count: int, found: int) -> None:
    snapshot = make_snapshot(rows(count, status="syscall", where=QUOTE))
    assert [f.kind for f in findings(snapshot)] == ["threads"] * found


def test_locked_threads_are_a_remark() -> None:
    finding = only(make_snapshot(rows(1, status="syscall", where=QUOTE, locked=True)))
    assert finding.title == "1 goroutine is locked to a thread, the first at main.quote"
    assert finding.severity == "info"


@pytest.mark.parametrize(("torn", "total", "found"), [(5, 100, 1), (4, 10, 0), (5, 101, 0)])
def test_goroutines_that_could_not_be_read_as_of_one_moment(
    torn: int, total: int, found: int
) -> None:
    some = rows(torn, wait_reason="select", where=WORKER, start=WORKER, quality="torn")
    assert [f.kind for f in findings(padded(some, total))] == ["doubt"] * found


def test_problems_are_one_finding() -> None:
    problems = tuple(Problem("unknown", "scheduler", f"field {i}") for i in range(3))
    finding = only(make_snapshot(problems=problems))
    assert finding.title == "unknown: scheduler: field 0, and 2 more problems"
    assert finding.next == "spyglass summary --pid 1234 --debug"


def test_the_most_severe_comes_first() -> None:
    made = [
        *rows(40, wait_reason="chan send", where=QUOTE),
        Row(1, wait_reason="sync.Mutex.Lock", waiting_ns=90 * SECOND_NS, where=REPORT),
        Row(2, "syscall", where=QUOTE, locked=True),
    ]
    snapshot = replace(make_snapshot(made), problems=(Problem("unknown", "x", "y"),))
    found = findings(snapshot)
    assert [f.kind for f in found] == ["lock-wait", "crowd", "locked-thread", "problems"]
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=SEVERITIES.index)


def test_of_a_part_nothing_is_said_about_shares() -> None:
    made = rows(40, wait_reason="chan send", where=QUOTE)
    part = subset(replace(make_snapshot(made), cpu=cpu(1.0, QUOTE_SAMPLES)), np.arange(0))
    assert [finding.kind for finding in findings(part)] == ["cpu"]
    assert part.cpu is not None
    assert [part.frames[s.where or 0].function for s in part.cpu.samples] == ["main.quote"]


HOSTILE = "main.\x1b[2J\u202e[red]" + "x" * 300


@pytest.mark.parametrize("width", [1, 20, 80, None])
def test_hostile_names_are_text(width: int | None) -> None:
    made = rows(40, wait_reason="chan send", where=frame(HOSTILE))
    lines = list(finding_lines(findings(make_snapshot(made)), width))
    assert all(line.plain.isprintable() for line in lines)
    assert width is None or all(line.cell_len <= max(width, 1) for line in lines)
    assert "\x1b" not in "".join(line.plain for line in lines)


def test_a_low_terminal_has_three_and_counts_the_others() -> None:
    made = [Finding("crowd", "warning", f"crowd {i}") for i in range(4)]
    lines = [line.plain for line in finding_lines([*made, Finding("x", "info", "y")], 80, low=True)]
    assert lines == [
        *(f"warning    crowd {i}" for i in range(3)),
        " " * 11 + "2 more findings: --all",
    ]
    quiet = [line.plain for line in finding_lines([Finding("x", "info", "y")], 80, low=True)]
    assert quiet == ["findings   nothing unusual  1 more finding: --all"]
