"""What befalls a process while it is recorded: it ends, executes another program, starts children and threads, is
stopped. What there is up to then is kept, and the account says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import spyglass
from spyglass.export.profile_reader import load_profile
from spyglass.model import NONE
from spyglass.profile import Mode, Profile
from spyglass.runtime.recording import session
from spyglass.runtime.recording.session import Recording
from spyglass.words.profile_account import account_lines
from tests.command import SPYGLASS
from tests.support import NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.go, pytest.mark.live]

MODES: list[Mode] = ["cpu", "wall"]
RATE_HZ = {"cpu": 199, "wall": 20}
OTHER = "main.burnOther"


def events() -> GoProcess:
    return start("events", NEWEST, Flavour.EXE)


def recorded(mode: Mode, act: Callable[[GoProcess, Recording], None]) -> Profile:
    """A recording of the program, during which `act` is called."""
    with (
        events() as process,
        spyglass.attach(process.pid) as program,
        program.recording(mode=mode, rate_hz=RATE_HZ[mode]) as recording,
    ):
        recording.step(0.6)
        act(process, recording)
        return recording.finish()


def seconds_in(profile: Profile) -> Counter[str]:
    """The time that samples with each function on their stacks stand for."""
    found: Counter[str] = Counter()
    for stack, value in zip(profile.samples.stack, profile.samples.value_ns, strict=True):
        found.update(dict.fromkeys({f.function for f in profile.stack(int(stack))}, int(value)))
    return Counter({name: round(ns / 1e9, 3) for name, ns in found.items()})


def is_consistent(profile: Profile) -> bool:
    """Whether the account says of the samples what they say themselves."""
    counts, account = profile.samples.count, profile.account
    known = profile.samples.goroutine != NONE
    in_profile = int(counts.sum()) == account.samples
    return in_profile and int(counts[known].sum()) == account.goroutine_known


@pytest.mark.parametrize("mode", MODES)
def test_another_program_ends_it_and_is_not_in_it(mode: Mode) -> None:
    def execute(process: GoProcess, recording: Recording) -> None:
        process.tell("exec")
        assert process.read_line(30) == "ready"
        recording.step(5)

    profile = recorded(mode, execute)
    assert profile.account.ended is not None
    assert "ran another program (exec)" in profile.account.ended
    assert f"ended early: {profile.account.ended}" in account_lines(profile)
    found = seconds_in(profile)
    assert found["main.burn"] > 0
    assert OTHER not in found
    assert profile.duration_ns < 4e9


@pytest.mark.parametrize("mode", MODES)
def test_a_child_is_not_sampled_and_the_process_goes_on(mode: Mode) -> None:
    def fork(process: GoProcess, recording: Recording) -> None:
        child = int(process.ask("child"))
        before = time.monotonic()
        recording.step(1)
        assert time.monotonic() - before >= 0.9
        os.kill(child, signal.SIGKILL)

    profile = recorded(mode, fork)
    assert profile.account.ended is None
    found = seconds_in(profile)
    assert found["main.burn"] > 0
    assert OTHER not in found


def test_threads_that_begin_and_end_are_sampled_and_counted() -> None:
    def begin(process: GoProcess, recording: Recording) -> None:
        process.tell("threads 10")
        recording.step(1)
        process.read_line(30)

    profile = recorded("cpu", begin)
    account = profile.account
    assert account.ended is None
    assert account.threads_seen is not None
    assert account.threads_missed is not None
    assert account.threads_seen + account.threads_missed >= 10
    threads = {
        int(thread)
        for stack, thread in zip(profile.samples.stack, profile.samples.thread, strict=True)
        if any(frame.function == "main.burnOnThread" for frame in profile.stack(int(stack)))
    }
    assert len(threads) >= 3


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "stays stopped"])
@pytest.mark.parametrize("mode", MODES)
def test_a_stop_is_noticed_and_what_there_is_is_kept(mode: Mode, goes_on: bool) -> None:
    stopped_ns = 0

    def stop(process: GoProcess, recording: Recording) -> None:
        nonlocal stopped_ns
        began_ns = time.monotonic_ns()
        os.kill(process.pid, signal.SIGSTOP)
        recording.step(1)
        if goes_on:
            os.kill(process.pid, signal.SIGCONT)
            stopped_ns = time.monotonic_ns() - began_ns
            recording.step(0.6)
        else:
            recording.settle()
            stopped_ns = time.monotonic_ns() - began_ns
            profile = recording.finish()
            assert profile.account.still_stopped
            os.kill(process.pid, signal.SIGCONT)

    profile = recorded(mode, stop)
    account = profile.account
    assert account.stopped_ns is not None
    assert 0 < account.stopped_ns <= stopped_ns + 0.1e9
    assert account.still_stopped == (not goes_on)
    assert account.ended is None
    assert seconds_in(profile)["main.burn"] > 0
    (line,) = (line for line in account_lines(profile) if "was stopped" in line)
    assert line.endswith(", and was at the end") == (not goes_on)


def test_a_process_that_was_not_stopped_is_not_said_to_be() -> None:
    profile = recorded("cpu", lambda _process, recording: None)
    assert profile.account.stopped_ns is None
    assert not any("stopped" in line for line in account_lines(profile))


@pytest.mark.parametrize("mode", MODES)
def test_what_there_is_so_far_while_it_goes_on(mode: Mode) -> None:
    seen: list[Profile] = []

    def look(_process: GoProcess, recording: Recording) -> None:
        seen.extend([recording.so_far(), recording.so_far(settled=True)])
        recording.step(0.6)

    profile = recorded(mode, look)
    first, again = seen
    assert first.account.unfinished
    assert not profile.account.unfinished
    assert "unfinished: saved while the recording went on" in account_lines(first)
    assert is_consistent(first)
    assert is_consistent(profile)
    assert 0 < first.account.samples == again.account.samples < profile.account.samples
    assert first.duration_ns == again.duration_ns < profile.duration_ns
    assert first.problems == again.problems
    subjects = [(each.kind, each.subject) for each in profile.problems]
    assert len(subjects) == len(set(subjects))  # none is listed again


def test_the_coverage_of_the_progress_is_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_CHECK_SECONDS", 1000)  # long after the samples
    with (
        events() as process,
        spyglass.attach(process.pid) as program,
        program.recording(rate_hz=50) as recording,
    ):
        now = recording.step(0.8)
    assert now.samples > 0
    assert now.coverage is None or now.coverage < 1.3


def test_in_a_profile_of_waits_the_account_is_of_its_samples() -> None:
    with start("shares") as process, spyglass.attach(process.pid) as program:
        wall = program.record(1.5, mode="wall", rate_hz=20)
        offcpu = program.record(0.6, mode="offcpu", rate_hz=20)
    assert is_consistent(wall)
    assert is_consistent(offcpu)
    lines = account_lines(wall)
    (sampled,) = (line for line in lines if "CPU time used (coverage" in line)
    assert sampled.startswith("where they run: samples for ")
    assert not any("lost" in line for line in account_lines(offcpu))


@pytest.mark.parametrize(
    "event",
    ["exec", *(pytest.param(each, marks=pytest.mark.slow) for each in ("kill", "interrupt"))],
)
def test_a_series_keeps_what_there_is_and_says_why_it_ended(event: str, tmp_path: Path) -> None:
    folder = tmp_path / "series"
    options = ["-d", "300ms", "--every", "600ms", "--format", "json", "-o", str(folder)]
    with events() as process:
        command = [*SPYGLASS, "record", str(process.pid), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            wait_for_files(folder, 2)
            if event == "exec":
                process.tell("exec")
            elif event == "kill":
                process.kill()
            else:
                running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    why = {"exec": "ran another program (exec)", "kill": "ended while it was read"}
    assert said.splitlines()[-1].endswith(why.get(event, "ended early: by SIGINT") + AGAIN[event])
    files = sorted(folder.iterdir())
    assert [path.name[:5] for path in files] == [f"{n:04}-" for n in range(1, len(files) + 1)]
    profiles = [load_profile(path) for path in files]
    assert sum(seconds_in(each)["main.burn"] for each in profiles) > 0
    assert not any(OTHER in seconds_in(each) for each in profiles)
    assert all(each.account.ended is None for each in profiles[:-1])


#: What the message goes on with.
AGAIN = {"exec": " while it was read", "kill": "", "interrupt": ""}


def wait_for_files(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while not folder.exists() or len(list(folder.iterdir())) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)
