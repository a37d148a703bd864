"""Planted incidents and calm programs: what `summary` says first, and whether it is true."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import replace

import pytest

import spyglass
from spyglass.analysis.findings import Finding, findings
from spyglass.analysis.findings.thresholds import MIN_SAMPLES
from spyglass.model import Snapshot
from spyglass.procfs import read_cpu
from tests.command import ESCAPES, on_terminal, piped
from tests.control_group import cpu_group
from tests.finished import running
from tests.integration.test_record import hurried, with_other_work
from tests.support import MATRIX, Flavour, GoProcess, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go]

#: What must be named in the first three lines, by incident.
CULPRITS = {
    "spin": ("main.spinStep", "main.spin"),
    "mutex": ("main.report",),
    "leak": ("main.quote",),
    "pool": ("main.askPeer", "main.order"),
}


def incident(kind: str, minor: str = MATRIX[-1]) -> GoProcess:
    return start("incident", minor, Flavour.STRIPPED, kind)


def observed(process: GoProcess, seconds: float = 0.3) -> Snapshot:
    """A snapshot of `process`, and what it used of the processors for some time before it."""
    since = read_cpu(process.pid)
    with spyglass.attach(process.pid) as inspector:
        time.sleep(seconds)
        return inspector.snapshot("top", cpu_since=since)


def screen_of(process: GoProcess) -> list[str]:
    """The first screen of `summary` on a small terminal; again if it says nothing: on a busy host a program
    that could use a whole processor gets less."""
    for _ in range(10):
        screen = on_terminal("summary", "--pid", str(process.pid), width=80, height=24)
        lines = ESCAPES.sub("", screen).splitlines()
        if lines[0].startswith(("warning", "critical")):
            break
        time.sleep(1)
    return lines


def by_kind(snapshot: Snapshot) -> dict[str, Finding]:
    found = findings(snapshot)
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


@pytest.mark.matrix
@in_milestones
@pytest.mark.parametrize("kind", CULPRITS)
@with_other_work
def test_the_culprit_is_in_the_first_three_lines_of_a_small_terminal(kind: str, minor: str) -> None:
    # The spinning one takes a processor until its share of them is seen: one that it need not share is soon enough.
    with hurried(), incident(kind, minor) as process:
        lines = screen_of(process)
    assert any(function in "".join(lines[:3]) for function in CULPRITS[kind]), lines[:3]
    assert lines[0].startswith(("warning", "critical"))


def test_the_next_command_of_a_finding_works() -> None:
    with incident("leak") as process:
        (finding,) = findings(observed(process, 0))
        assert finding.next is not None
        done = piped(*shlex.split(finding.next)[1:])
    assert done.returncode == 0
    assert "main.quote" in done.stdout


@pytest.mark.parametrize(("kind", "cores"), [("spin", 1), ("calm", 0), ("busy", 2)])
def test_processor_time_is_what_the_program_measures_of_itself(kind: str, cores: int) -> None:
    with incident(kind) as process, spyglass.attach(process.pid) as inspector:
        before = int(process.ask("cpu"))
        since = read_cpu(process.pid)
        time.sleep(0.5)
        use = inspector.snapshot("top", cpu_since=since).cpu
        after = int(process.ask("cpu"))
    assert use is not None
    assert use.used_ns is not None
    assert use.window_ns is not None
    assert use.lifetime_ns is not None
    assert use.window_ns > 500_000_000
    # The program asks a little earlier and later, and its own answer is as exact as the kernel's tick.
    assert use.used_ns <= after - before + 20_000_000
    assert before - 20_000_000 <= use.lifetime_ns <= after + 20_000_000
    if cores < 2:  # nobody else needs the other processor, or little of it
        assert use.used_ns == pytest.approx(after - before, abs=0.25 * use.window_ns)


def samples_in(snapshot: Snapshot) -> int:
    return sum(sample.count for sample in snapshot.cpu.samples) if snapshot.cpu else 0


def test_samples_of_running_threads_are_where_the_program_spends_its_time() -> None:
    with incident("spin") as process:
        snapshot, tries = observed(process), 0
        while samples_in(snapshot) < MIN_SAMPLES and tries < 20:  # few in 25 ms of a busy host
            snapshot, tries = observed(process), tries + 1
        assert snapshot.cpu is not None
        total = samples_in(snapshot)
        names = {"main.spinStep", "main.spin"}
        own = sum(
            sample.count
            for sample in snapshot.cpu.samples
            if sample.where is not None and snapshot.frames[sample.where].function in names
        )
        assert total >= MIN_SAMPLES
        assert own >= 0.8 * total
        window_ns = snapshot.cpu.window_ns  # of a host that is not busy
        full = replace(snapshot.cpu, used_ns=window_ns, sampled_ns=window_ns)
        finding = by_kind(replace(snapshot, cpu=full))["cpu"]
        assert finding.functions[0] in names
        assert f"of {total} samples" in finding.title
        busy = max(snapshot.threads, key=lambda each: each.recent_cpu_ns or 0)
        assert busy.cpu_ns is not None
        assert busy.recent_cpu_ns is not None
        assert busy.cpu_ns >= busy.recent_cpu_ns


def test_a_calm_program_has_no_finding_and_no_samples() -> None:
    with incident("calm") as process:
        snapshot = observed(process)
        assert findings(snapshot) == ()
        assert snapshot.cpu is not None
        assert snapshot.cpu.samples == ()
        assert (snapshot.cpu.used_ns or 0) < 50_000_000
        screen = on_terminal("summary", "--pid", str(process.pid), width=80, height=24)
    assert ESCAPES.sub("", screen).splitlines()[0] == "findings   nothing unusual"


def test_a_mutex_that_is_held_for_a_second_is_said_with_the_time() -> None:
    with incident("mutex") as process:
        unknown = by_kind(observed(process, 0))["lock-wait"]
        assert unknown.title.startswith(
            "8 goroutines wait in sync.(*Mutex).Lock called by main.report"
        )
        process.ask("gc")  # notes when each wait began
        time.sleep(1.1)
        finding = by_kind(observed(process, 0))["lock-wait"]
    assert finding.severity == "warning"
    assert "(oldest >= 1s)" in finding.title
    assert (finding.goroutines, len(finding.examples)) == (8, 5)


def test_requests_are_told_from_connections_without_one() -> None:
    """Their waits are made longer here: a minute is too long for a test."""
    with incident("pool") as process:
        process.ask("gc")
        snapshot = observed(process, 0)
    g = snapshot.goroutines
    long = replace(snapshot, goroutines=replace(g, waiting_ns=g.waiting_ns + 61 * 10**9))
    found = [finding for finding in findings(long) if finding.kind == "old-request"]
    assert {finding.functions for finding in found} == {("main.order",), ("main.askPeer",)}
    assert {finding.title.split()[0] for finding in found} == {"50", "10"}
    assert not [finding for finding in findings(snapshot) if finding.kind == "old-request"]


def test_runnable_goroutines_and_busy_ps() -> None:
    with incident("busy") as process:
        finding = by_kind(observed(process))["runnable"]
    number = int(finding.title.split()[0])
    assert 80 <= number <= 100
    assert "all busy" in finding.title
    assert finding.functions[0] in CULPRITS["spin"]


def test_frequent_collections_are_counted() -> None:
    with incident("gc") as process:
        time.sleep(1)
        finding = by_kind(observed(process))["gc-frequent"]
    assert "garbage collections in the last 10 s" in finding.title


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["prometheus-bookworm", "prometheus-trixie", "etcd-trixie"])
@pytest.mark.slow
def test_nothing_is_unusual_in_an_idle_server(name: str) -> None:
    with running(name) as process:
        time.sleep(2)  # starting up, they are busy
        found = findings(observed(process, 0.5))
        assert [finding for finding in found if finding.severity != "info"] == []
        with spyglass.attach(process.pid) as inspector:
            found = findings(inspector.snapshot("top", watch=0.5))
        serious = {finding.kind for finding in found if finding.severity != "info"}
        assert serious <= {"host-cpu"}  # others may take all processors
        screen = on_terminal("summary", "--pid", str(process.pid), width=80, height=24)
    assert ESCAPES.sub("", screen).splitlines()[0].startswith("findings   nothing unusual")


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a control group")
def test_throttling_by_a_real_quota() -> None:
    with cpu_group(0.2) as group, incident("spin") as process:
        group.add(process.pid)
        snapshot = observed(process, 1.0)
    found = by_kind(snapshot)
    assert snapshot.cpu is not None
    assert snapshot.cpu.limit_cores == 0.2
    assert found["cpu-throttled"].severity == "critical"
    assert "(limit 0.2)" in found["cpu"].title
    used = (snapshot.cpu.used_ns or 0) / (snapshot.cpu.window_ns or 1)
    assert used == pytest.approx(0.2, abs=0.07)
    counts = snapshot.cpu.throttling
    assert counts is not None
    assert 5 <= counts.recent_throttled <= counts.recent_periods <= 25
    assert counts.recent_throttled <= counts.total_throttled
