"""What the scheduler did in some time, against what programs measure of themselves; and that nothing else is said."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import spyglass
from spyglass.analysis.findings import Finding, findings
from spyglass.model import Snapshot
from spyglass.scheduler_window import SchedulerWindow
from tests.control_group import cpu_group
from tests.support import MATRIX, Flavour, GoProcess, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

VERSIONS = pytest.mark.parametrize("minor", MATRIX)
#: What a host whose processors are wanted by others adds to everything, and what the load itself is.
OF_THE_HOST = {"cpu", "host-cpu", "doubt", "problems"}
#: Others may take the processors for as long as a window.
TRIES = 8


@dataclass(frozen=True)
class Watched:
    """A program that was watched: a snapshot with its window, and what the program measured meanwhile."""

    snapshot: Snapshot
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def window(self) -> SchedulerWindow:
        assert self.snapshot.window is not None
        return self.snapshot.window

    @property
    def found(self) -> dict[str, Finding]:
        return {finding.kind: finding for finding in findings(self.snapshot)}

    @property
    def kinds(self) -> set[str]:
        return set(self.found) - OF_THE_HOST

    def measured(self, name: str) -> int:
        return int(self.after[name]) - int(self.before[name])


def stalled(mode: str, minor: str, **env: str) -> GoProcess:
    return start("stalls", minor, Flavour.STRIPPED, mode, env=env)


def watch(
    process: GoProcess, until: Callable[[Watched], bool] = lambda _: True, seconds: float = 0.6
) -> Watched:
    """The process, watched until that is as it should be; `TRIES` times at most."""
    with spyglass.attach(process.pid) as inspector:
        for _ in range(TRIES):
            before = json.loads(process.ask("measure"))
            snapshot = inspector.snapshot("top", watch=seconds)
            watched = Watched(snapshot, before, json.loads(process.ask("measure")))
            if until(watched):
                break
    return watched


def functions_of(watched: Watched) -> list[tuple[str, ...]]:
    """Those of a P that is kept; none if the thread could not be sampled on its stack."""
    return [each.functions for kind, each in watched.found.items() if kind == "never-yields"]


@VERSIONS
def test_a_goroutine_that_cannot_be_preempted_keeps_its_p(minor: str) -> None:
    with stalled("keep", minor, GODEBUG="asyncpreemptoff=1") as process:
        watched = watch(process, lambda each: ("main.keep",) in functions_of(each), 1.0)
    (goid,) = (int(text) for text in watched.after["Goroutines"])
    assert watched.kinds == {"never-yields"}
    finding = watched.found["never-yields"]
    assert (finding.examples, finding.functions) == ((goid,), ("main.keep",))
    assert [p.kept_by for p in watched.window.processors if p.kept_by] == [goid]


@in_milestones
def test_the_world_cannot_be_stopped_while_a_goroutine_keeps_its_p(minor: str) -> None:
    with (
        stalled("halt", minor, GODEBUG="asyncpreemptoff=1") as process,
        spyglass.attach(process.pid) as inspector,
    ):
        for _ in range(TRIES):
            found = {each.kind: each for each in findings(inspector.snapshot("top", watch=1.0))}
            if "never-yields" in found and found["never-yields"].severity == "critical":
                break
    assert found.keys() - OF_THE_HOST == {"never-yields"}
    finding = found["never-yields"]
    assert finding.severity == "critical"
    assert finding.title.endswith("stopping the world waits for it, and so does all else")


@in_milestones
def test_a_goroutine_that_is_preempted_keeps_nothing(minor: str) -> None:
    with (
        stalled("keep", minor, GOMAXPROCS="1") as process,  # so that it comes back to the same P
        spyglass.attach(process.pid) as inspector,
    ):
        time.sleep(0.1)  # until it has the P that said "ready"
        snapshot = inspector.snapshot("top", watch=1.0)
    assert {finding.kind for finding in findings(snapshot)} <= OF_THE_HOST
    assert snapshot.window is not None
    assert [p.kept_by for p in snapshot.window.processors if p.kept_by] == []
    assert (snapshot.window.scheduled or 0) > 0


@VERSIONS
def test_goroutines_wait_for_the_only_p_as_long_as_they_measure(minor: str) -> None:
    with stalled("queue", minor, GOMAXPROCS="1") as process:
        watched = watch(process, lambda each: each.kinds == {"run-wait"})
    window = watched.window
    assert watched.kinds == {"run-wait"}
    assert window.run_queue_mean == pytest.approx(11, abs=1.5)  # twelve, of which one runs
    assert window.idle_ps_mean == 0
    waits = watched.after["RunWaits"][len(watched.before["RunWaits"]) :]
    if window.run_waits:
        assert len(waits) > window.run_waits  # one of eight
        assert window.run_wait_median_ns is not None
        assert min(waits) <= window.run_wait_median_ns <= 1.25 * max(waits)
        assert window.run_wait_median_ns <= (window.run_wait_p99_ns or 0)
    if window.scheduled and window.scheduled > 20:
        mean_ns = (window.run_queue_mean or 0) * window.window_ns / window.scheduled
        assert mean_ns == pytest.approx(statistics.mean(waits), rel=0.7)


@VERSIONS
def test_threads_that_stay_in_a_system_call(minor: str) -> None:
    with stalled("calls", minor) as process:
        watched = watch(process)
    ids = {int(text) for text in watched.after["Goroutines"]}
    calls = {call.goroutine: call for call in watched.window.calls}
    assert ids <= calls.keys() <= ids | {1}
    for goid in ids:
        call = calls[goid]
        assert (call.system_call, call.target, call.in_c) == ("read", "pipe", False)
        assert (call.cpu_ns, call.os_state) == (0, "sleeping")
    assert watched.kinds == {"long-calls", "locked-thread"}
    finding = watched.found["long-calls"]
    assert finding.title.startswith(
        "6 threads are in read of a pipe called by main.readFrom for at"
    )
    assert set(finding.examples) <= ids


@in_milestones
def test_threads_that_stay_in_c(minor: str) -> None:
    with start("cgo", minor, Flavour.CGO, "-n", "5") as process:
        with spyglass.attach(process.pid) as inspector:
            snapshot = inspector.snapshot("top", watch=0.3)
        assert snapshot.window is not None
        kinds = {finding.kind: finding for finding in findings(snapshot)}
        assert kinds["long-calls"].title.startswith(("15 threads", "10 threads"))
        in_c = [call for call in snapshot.window.calls if call.in_c]
        assert len(in_c) == 15
        assert {(call.system_call, call.target) for call in in_c} == {("read", "pipe")}


@in_milestones
def test_locks_and_not_processors_are_what_there_is_too_little_of(minor: str) -> None:
    def is_seen(watched: Watched) -> bool:
        return (
            {"lock-bound"} <= watched.kinds <= {"lock-bound", "lock-wait"} and is_mutex_wait(watched)
        )  # fmt: skip

    with stalled("lock", minor) as process:
        watched = watch(process, is_seen, 1.0)
    assert watched.kinds <= {"lock-bound", "lock-wait"}
    assert watched.found["lock-bound"].functions == ("main.contend",)
    assert 20 <= (watched.found["lock-bound"].goroutines or 0) <= 40
    assert is_mutex_wait(watched)


def is_mutex_wait(watched: Watched) -> bool:
    """Whether waits for the mutex are about what the program measured; the runtime measures one of eight."""
    found_ns, measured_ns = watched.window.mutex_wait_ns, watched.measured("LockWaitNs")
    return found_ns is None or 0.5 * measured_ns <= found_ns <= 2 * measured_ns


@VERSIONS
def test_what_the_collector_takes_is_what_the_program_says(minor: str) -> None:
    def is_seen(watched: Watched) -> bool:
        is_found = "gc-cpu" in watched.found and watched.kinds <= {"gc-cpu", "gc-frequent"}
        return is_found and (watched.window.gc_count or 0) > 4

    with stalled("gc", minor) as process:
        watched = watch(process, is_seen)
    window = watched.window
    assert watched.kinds <= {"gc-cpu", "gc-frequent"}
    assert "gc-cpu" in watched.found
    assert window.gc_count is not None
    assert 4 < window.gc_count <= watched.measured("Collections")
    each_ns = watched.measured("GcCPUNs") / watched.measured("Collections")
    assert (window.gc_cpu_ns or 0) / window.gc_count == pytest.approx(each_ns, rel=0.5)


@in_milestones
def test_threads_that_look_for_work(minor: str) -> None:
    with stalled("seek", minor, GOMAXPROCS="8") as process:
        watched = watch(process, lambda each: each.kinds == {"spinning"})
    assert watched.kinds == {"spinning"}
    assert watched.window.spinning_ms_mean is not None


@in_milestones
def test_nothing_is_unusual_in_a_server_at_work(minor: str) -> None:
    with stalled("serve", minor) as process:
        watched = watch(process, lambda each: not each.kinds)
    assert watched.kinds == set()
    assert (watched.window.scheduled or 0) > 10


@in_milestones
def test_nothing_runs_because_all_wait_for_a_peer(minor: str) -> None:
    with (
        start("incident", minor, Flavour.STRIPPED, "pool") as process,
        spyglass.attach(process.pid) as inspector,
    ):
        snapshot = inspector.snapshot("top", watch=0.3)
    found = {finding.kind: finding for finding in findings(snapshot)}
    assert found.keys() - OF_THE_HOST == {"crowd", "idle"}
    assert found["idle"].goroutines == 60
    assert "50 in chan send at main.order, 10 in IO wait at main.askPeer" in found["idle"].title


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a control group")
@in_milestones
def test_a_quota_is_used_up_by_more_ps_than_it_allows(minor: str) -> None:
    with cpu_group(0.2) as group, stalled("queue", minor, GOMAXPROCS="4") as process:
        group.add(process.pid)
        watched = watch(process, lambda each: QUOTA <= each.kinds)
    assert QUOTA <= watched.kinds <= QUOTA | {"run-wait"}
    assert "host-cpu" not in watched.found  # it is the group that threads wait for
    assert watched.found["gomaxprocs"].severity == "warning"
    assert "GOMAXPROCS is 4" in watched.found["gomaxprocs"].title


QUOTA = {"cpu-throttled", "gomaxprocs"}


@VERSIONS
def test_what_a_version_does_not_record_is_not_known(minor: str) -> None:
    with stalled("serve", minor) as process:
        window = watch(process, seconds=0.1).window
    version = int(minor.partition(".")[2])
    assert (window.run_waits is None) == (version < 17)
    assert (window.mutex_wait_ns is None) == (version < 20)
    assert window.looks > 0
    assert None not in (window.run_queue_mean, window.idle_ps_mean, window.spinning_ms_mean)
    assert window.gc_count == 0
    assert window.processors
