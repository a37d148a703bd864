"""What the doctor finds on this host, and in processes that were made to lack something; all of it really tried."""

from __future__ import annotations

import json
import os
import signal
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from spyglass import cli
from spyglass.doctor import examine
from spyglass.doctor.subjects import fork, subject
from spyglass.host_report import Check, HostReport
from spyglass.procfs.host_processes import pids
from tests.children import (
    CAP_PERFMON,
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    become,
    drop_capability,
    forbid_calls,
    forked,
    in_child,
    needs_root,
    sleeping,
    unshare_mounts_and_hide_processes,
    wait_until,
)
from tests.command import piped
from tests.support import GoProcess

pytestmark = pytest.mark.live

SCHEMA = json.loads(files("spyglass.export").joinpath("doctor.schema.json").read_text())
_MACHINE = os.uname().machine
_READV = {"x86_64": 310, "aarch64": 270}[_MACHINE]
_PERF = {"x86_64": 298, "aarch64": 241}[_MACHINE]
_PTRACE = {"x86_64": 101, "aarch64": 117}[_MACHINE]


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Another user may not be allowed to read the standard library: all is imported before."""
    examine(os.getpid())


def checks(report: HostReport) -> dict[str, Check]:
    return {each.name: each for each in (report.target.checks if report.target else report.checks)}


def report_as_nobody(pid: int | None = None) -> HostReport:
    become()
    return examine(pid)


def as_nobody(pid: int | None = None) -> dict[str, Check]:
    return checks(report_as_nobody(pid))


@needs_root
def test_as_root_all_that_the_tests_need_works() -> None:
    found = checks(examine())
    for name in ("processor", "/proc", "memory of your processes", "memory of others' processes"):
        assert found[name].state == "works", found[name]


@needs_root
def test_as_another_user_others_are_refused_and_own_ones_are_not() -> None:
    found = in_child(as_nobody)
    refused = found["memory of others' processes"]
    assert refused.state == "refused"
    assert "spyglass as nobody" in (refused.why or "")
    assert "run spyglass with sudo" in refused.remedies
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    if not yama.exists() or yama.read_text().strip() == "0":
        assert found["memory of your processes"].state == "works"
    assert found["real-time priority"].state == "limited"


@needs_root
def test_samples_in_system_calls_are_limited_by_the_setting() -> None:
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if paranoid < 2:
        pytest.skip(f"kernel.perf_event_paranoid is {paranoid}")
    found = in_child(as_nobody)["samples in system calls"]
    assert found.state == ("limited" if paranoid == 2 else "refused")
    assert f"kernel.perf_event_paranoid is {paranoid}" in (found.why or "")


@needs_root
@pytest.mark.parametrize(
    ("numbers", "name", "state", "why"),
    [
        ([_PERF], "samples of threads", "refused", "a seccomp filter forbids perf_event_open"),
        ([_READV], "process_vm_readv", "limited", "/proc/PID/mem is read instead"),
        ([_PTRACE], "stopping (ptrace)", "refused", "seccomp"),
        ([438, 451], "system calls", "limited", "pidfd_getfd"),
    ],
    ids=["perf_event_open", "process_vm_readv", "ptrace", "newer calls"],
)
def test_a_seccomp_filter_is_found_by_trying(
    numbers: list[int], name: str, state: str, why: str
) -> None:
    def look() -> HostReport:
        forbid_calls(*numbers)
        return examine()

    report = in_child(look)
    found = checks(report)
    assert (found[name].state, why in (found[name].why or "")) == (state, True), found[name]
    assert {each.name: each.value for each in report.facts}["seccomp"] == "filter"
    assert found["memory of your processes"].state == "works"


@needs_root
def test_hidden_processes() -> None:
    def look() -> HostReport:
        unshare_mounts_and_hide_processes()
        become()
        return examine()

    report = in_child(look)
    assert checks(report)["/proc of others"].state == "limited"
    assert {each.name: each.value for each in report.facts}["hidepid"] in ("2", "invisible")


def test_a_process_that_can_be_inspected_is_not_stopped(truth_process: GoProcess) -> None:
    found = checks(examine(truth_process.pid))
    for name in ("process", "memory", "Go runtime"):
        assert found[name].state == "works", found[name]
    assert found["stopping"].state == "not tried"
    assert truth_process.truth().num_goroutine > 0


@needs_root
def test_a_process_of_another_user(truth_process: GoProcess) -> None:
    found = in_child(lambda: as_nobody(truth_process.pid))
    assert "it runs as root, and spyglass as nobody" in (found["memory"].why or "")
    assert (found["Go runtime"].state, found["samples"].state) == ("not tried", "refused")


@needs_root
def test_root_without_capabilities(truth_process: GoProcess) -> None:
    def look() -> dict[str, Check]:
        for number in (CAP_SYS_PTRACE, CAP_PERFMON, CAP_SYS_ADMIN):
            drop_capability(number)
        return checks(examine(truth_process.pid))

    found = in_child(look)["memory"]
    assert (found.state, found.why) == ("refused", "it has capabilities that spyglass lacks")
    assert any("SYS_PTRACE" in each for each in found.remedies)


@needs_root
def test_a_protected_process() -> None:
    with forked(lambda: become(dumpable=False)) as pid:
        report = in_child(lambda: report_as_nobody(pid))
    assert report.target is not None
    assert dict((each.name, each.value) for each in report.target.facts)["dumpable"].startswith(
        "no"
    )
    assert "it is protected" in (checks(report)["memory"].why or "")


def test_a_program_that_is_not_go() -> None:
    with sleeping() as child:
        found = checks(examine(child.pid))
    assert found["memory"].state == "works"
    assert "is not a Go program" in (found["Go runtime"].why or "")


def test_a_process_that_is_traced(truth_process: GoProcess) -> None:
    with subject() as traced:
        assert traced is not None
        seized = in_child(lambda: checks_while_traced(traced.pid))
    assert seized["stopping"].state == "refused"
    assert "traces it" in (seized["stopping"].why or "")


def checks_while_traced(pid: int) -> dict[str, Check]:
    from spyglass.threads import ptrace

    ptrace.seize(pid)
    return checks(examine(pid))


def test_there_is_no_such_process() -> None:
    report = examine(max(pids()) + 10_000)
    assert report.refused
    assert list(checks(report)) == ["process"]
    assert "there is no process" in (checks(report)["process"].why or "")


def test_the_exit_status_says_that_something_is_refused() -> None:
    absent = str(max(pids()) + 10_000)
    done = CliRunner().invoke(cli.spyglass, ["doctor", "--pid", absent])
    assert (done.exit_code, "there is no process" in done.output) == (1, True)


def test_subjects_end_even_if_spyglass_is_killed() -> None:
    reads, writes = os.pipe()
    pid = fork()
    if pid == 0:
        with subject() as ours:
            os.write(writes, str(ours.pid if ours else 0).encode())
            signal.pause()
        os._exit(0)
    os.close(writes)
    made = int(os.read(reads, 32))
    os.close(reads)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(
        lambda: (
            not Path(f"/proc/{made}/cmdline").exists()
            or not Path(f"/proc/{made}/cmdline").read_bytes()
        )
    )


def test_the_command(truth_process: GoProcess) -> None:
    done = piped("doctor", "--json", "--pid", str(truth_process.pid))
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    assert done.returncode == int(document["refused"])
    assert document["target"]["pid"] == truth_process.pid
    assert done.stderr == ""
