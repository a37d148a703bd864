"""Limits of memory with real control groups: what is used, what is killed, and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

import spyglass
from spyglass.analysis.findings.limits import limit_findings
from spyglass.analysis.memory_forecast import forecast
from spyglass.cli.memory import memory
from spyglass.cli.summary import summary
from spyglass.errors import SpyglassError
from spyglass.export.snapshot_file import save
from spyglass.memory_limits import MemoryForecast, MemoryLimit, MemoryLimits, MemoryReading
from spyglass.procfs.memory_limits import memory_limits
from tests.command import piped
from tests.control_group import MemoryGroup, memory_group
from tests.support import NEWEST, GoProcess, build, in_namespaces

pytestmark = pytest.mark.live
MIB = 1 << 20


@contextmanager
def grow(group: MemoryGroup, *flags: str, minor: str = NEWEST, **env: str) -> Iterator[GoProcess]:
    """The program grow in `group`."""
    with GoProcess(group.entering(build("grow", minor), *flags), env=env) as process:
        yield process


def own(limits: MemoryLimits) -> MemoryLimit:
    assert limits.group is not None
    return limits.group


def wait_until(met: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_group_says_its_limit_its_use_and_past_kills() -> None:
    with memory_group(32 * MIB) as group:
        killed = subprocess.run(group.entering("tail", "/dev/zero"), check=False)
        assert killed.returncode == -9
        with grow(group) as process:
            limits = memory_limits(process.pid)
    row = own(limits)
    assert (row.name, row.path, row.bytes) == ("memory.limit_in_bytes", group.path, 32 * MIB)
    assert row.oom_kills == 1
    assert row.hits
    assert 0 < (row.held_bytes or 0) <= (row.used_bytes or 0) <= 32 * MIB
    assert (row.peak_bytes or 0) > 30 * MIB
    (found,) = (each for each in limit_findings(limits, "next") if each.kind == "oom-kills")
    assert "killed 1 process of its control group" in found.title


def test_a_group_full_of_page_cache_has_headroom_and_no_forecast(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with memory_group(128 * MIB) as group:
        with grow(group, "-write", "300", "-most", "160", "-file", str(log)) as process:
            wait_until(lambda: (own(memory_limits(process.pid)).used_bytes or 0) > 120 * MIB)
            with spyglass.attach(process.pid) as program:
                readings = []
                for _ in range(20):
                    readings.append(program.memory_reading())
                    time.sleep(0.02)
                limits = program.memory_account().limits
        assert group.kills() == 0
    assert limits is not None
    assert limits.files is not None
    if any(file.in_memory for file in limits.files):
        pytest.skip("the directory for temporary files is in memory")
    # What was just written is on its way to the disk; it can be reclaimed all the same.
    assert (own(limits).headroom_share or 0) > 0.3
    assert isinstance(forecast(readings), str)
    (file,) = (each for each in limits.files if each.path == str(log))
    assert (file.cached_bytes or 0) > MIB
    kinds = [each.kind for each in limit_findings(limits, "next")]
    assert "memory-limit" not in kinds


HIDDEN = """
for mount in $(grep -o '/sys/fs/cgroup[^ ]*' /proc/mounts | sort -r); do umount -l $mount; done
exec "$@"
"""
LOOK = """
import sys
from spyglass.procfs.memory_limits import memory_limits
print(*(row.bytes for row in memory_limits(int(sys.argv[1])).rows if row.kind == "cgroup"))
"""


@pytest.mark.parametrize("namespace", ["-m", "-C"])
def test_groups_are_found_from_a_container_beside_the_process(namespace: str) -> None:
    """Where control groups are not mounted for spyglass, and where its own namespace hides that of the process."""
    command = in_namespaces("unshare", namespace)
    if namespace == "-m":
        command += ["sh", "-c", HIDDEN, "sh"]
    with memory_group(64 * MIB) as group, grow(group) as process:
        found = subprocess.run(
            [*command, sys.executable, "-c", LOOK, str(process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.stdout == f"{64 * MIB}\n", found.stderr


def test_gomemlimit_is_one_of_the_limits() -> None:
    with (
        GoProcess([build("grow")], env={"GOMEMLIMIT": "200MiB"}) as process,
        spyglass.attach(process.pid) as program,
    ):
        account = program.memory_account()
        limits = account.limits
    assert limits is not None
    (row,) = (each for each in limits.rows if each.kind == "gomemlimit")
    assert (row.bytes, row.used_bytes) == (200 * MIB, account.go.limited_bytes)
    assert limits.rows[-1].kind == "host"


def test_commands_judge_what_is_left_of_the_limits_of_a_process_and_of_a_snapshot(
    tmp_path: Path,
) -> None:
    """The program does nothing meanwhile; it needs more than a hundredth of its limit, and far less than all of it."""
    saved = tmp_path / "one.json.gz"
    with memory_group(32 * MIB) as group, grow(group) as process:
        with spyglass.attach(process.pid) as program:
            save(program.with_account(program.snapshot()), saved)
        for command in (summary, memory):
            for target in (str(process.pid), str(saved)):
                done = CliRunner().invoke(command, [target, "--fail-on", "headroom<99%"])
                assert done.exit_code == 3, done.output
                assert "are left of the memory limit of its control group\n" in done.output
                assert "\nprogram " in done.output
                done = CliRunner().invoke(command, [target, "--fail-on", "headroom<1%"])
                assert done.exit_code == 0, done.output


def test_watching_says_when_the_limit_is_met() -> None:
    """By a program that grows by 25 MiB a second; where it gets no processor for a while, it is watched again."""
    watch = ("--watch", "0.8s", "--json", "--fail-on", "headroom<99%")
    with memory_group(2048 * MIB) as group, grow(group, "-keep", "25") as process:
        for _ in range(4):
            done = piped("memory", str(process.pid), *watch)
            known = json.loads(done.stdout)
            if known["forecast"] is not None:
                break
    assert done.returncode == 3, done.stderr
    assert "are left of the memory limit of its control group" in done.stderr
    assert (known["limits"][0]["path"], known["limits"][0]["bytes"]) == (group.path, 2048 * MIB)
    assert known["forecast"]["limit"] == 0
    assert known["forecast"]["earliest_in_seconds"] > 0
    assert known["findings"][0]["kind"] == "memory-forecast"


@pytest.mark.parametrize(
    "arguments",
    [("--count", "2"), ("--watch", "1s", "--types"), ("--watch", "1s", "--block"), ("--watch", "1ms")],
)  # fmt: skip
def test_options_that_do_not_fit(arguments: tuple[str, ...]) -> None:
    done = piped("memory", str(os.getpid()), *arguments)
    assert done.returncode == 2, done.stderr


# Real kills


def readings_until_killed(
    group: MemoryGroup, process: GoProcess
) -> tuple[list[MemoryReading], int]:
    """A reading four times a second until the kernel kills `process`, and when it did.

    They are without the memory of the host: what other programs do with that is another forecast.
    """
    readings = []
    with spyglass.attach(process.pid) as program:
        while process.is_alive():
            try:
                readings.append(without_host(program.memory_reading()))
            except SpyglassError:
                break
            deadline = time.monotonic() + _INTERVAL_S
            while process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
    process.wait()
    assert group.kills() == 1
    return readings, time.monotonic_ns()


def when_met(group: MemoryGroup, readings: list[MemoryReading], killed_ns: int) -> int:
    """When what `group` holds was first as much as its limit, but for 1 %."""
    for reading in readings:
        for row in reading.limits.rows:
            if row.path == group.path and (row.held_bytes or 0) >= 0.99 * (row.bytes or 0):
                return reading.at_ns
    return killed_ns


def without_host(reading: MemoryReading) -> MemoryReading:
    rows = tuple(row for row in reading.limits.rows if row.kind != "host")
    return replace(reading, limits=replace(reading.limits, rows=rows))


def is_even(times_ns: list[int]) -> bool:
    """Whether readings are as many as were due, nearly, and without long gaps: where other programs keep the reader waiting,
    they keep the program from growing, too."""
    seconds = (times_ns[-1] - times_ns[0]) / 1e9
    longest = max((b - a) / 1e9 for a, b in pairwise(times_ns))
    return len(times_ns) >= 0.7 * seconds / _INTERVAL_S and longest <= 1


_INTERVAL_S = 0.25
#: Of the program that grows, until the readings of one are even.
_TRIALS = 3

KILLS = {
    "leak": ("1.15", "0", ("-keep", "8")),
    "leak and garbage": (NEWEST, "0", ("-keep", "7", "-waste", "60")),
    "leak and garbage with GOMEMLIMIT": (NEWEST, "70MiB", ("-keep", "6", "-waste", "60")),
    "saw": (NEWEST, "0", ("-keep", "6", "-waste", "40", "-saw", "24", "-teeth", "8")),
    "saw with GOMEMLIMIT": (
        NEWEST, "70MiB", ("-keep", "3", "-waste", "40", "-saw", "24", "-teeth", "8"),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_at_half_time_the_moment_when_the_limit_is_met_lies_in_the_interval(name: str) -> None:
    """Of a program that grows evenly: a forecast is of what happens if it goes on like this.

    The kernel kills when the limit is met, or up to 20 seconds later: first it takes back the program's own code, again
    and again.
    """
    minor, limit, flags = KILLS[name]
    env = {} if limit == "0" else {"GOMEMLIMIT": limit}
    for _ in range(_TRIALS):
        with memory_group(80 * MIB) as group, grow(group, *flags, minor=minor, **env) as process:
            begin_ns = time.monotonic_ns()
            readings, killed_ns = readings_until_killed(group, process)
        if is_even([begin_ns, *(reading.at_ns for reading in readings), killed_ns]):
            break
    else:
        pytest.skip("other programs need the processors: none of the programs grew evenly")
    met_ns = when_met(group, readings, killed_ns)
    half_ns = (begin_ns + met_ns) / 2
    seen = [reading for reading in readings if reading.at_ns <= half_ns]
    found = forecast(seen)
    assert isinstance(found, MemoryForecast), found
    assert seen[-1].limits.rows[found.limit].path == group.path
    assert found.latest_in_seconds is not None
    until_met, until_killed = ((ns - seen[-1].at_ns) / 1e9 for ns in (met_ns, killed_ns))
    assert found.earliest_in_seconds <= until_killed
    assert until_met <= found.latest_in_seconds
