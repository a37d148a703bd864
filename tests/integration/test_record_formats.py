"""``spyglass record`` of a live program: what it writes, read by ``go tool pprof``, and converted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from spyglass.export.profile_reader import load_profile
from tests.command import SPYGLASS, piped
from tests.go_tool_pprof import go_tool_pprof
from tests.profiles import decoded
from tests.support import Flavour, GoProcess, build, in_ends, in_milestones, start

pytestmark = [pytest.mark.go, pytest.mark.live]

#: The innermost function of the program, and those that call it in turns.
LEAF, KINDS = "main.leaf", {f"main.burn{n}" for n in range(8)}


def burners(minor: str) -> GoProcess:
    """A program that keeps all processors busy, so no longer than it is needed."""
    return start("burners", minor, Flavour.EXE, "-life", "20ms")


@pytest.fixture(scope="module")
def saved(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the program."""
    path = tmp_path_factory.mktemp("recorded") / "cpu.json"
    with burners(minor) as process:
        done = piped("record", str(process.pid), "-d", "2s", "--rate", "199", "-o", str(path))
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    assert re.match(
        r"\d+ samples for \d\.\d+ s of \d\.\d+ s CPU time used \(coverage \d+\.\d %\)\n",
        done.stderr,
    )
    return path


def converted(saved: Path, name: str, *arguments: str) -> Path:
    path = saved.parent / name
    done = piped("record", "--from", str(saved), "-o", str(path), *arguments)
    assert done.returncode == 0, done.stderr
    return path


@in_ends
@pytest.mark.slow
def test_all_formats_have_the_same_sum(saved: Path) -> None:
    total_ns = int(load_profile(saved).samples.value_ns.sum())
    assert total_ns > 0
    found = decoded(converted(saved, "cpu.pb.gz"))
    assert sum(found.samples.values()) == total_ns
    folded = converted(saved, "cpu.folded").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in folded) == total_ns
    speedscope = json.loads(converted(saved, "cpu.speedscope.json").read_text())
    assert sum(speedscope["profiles"][0]["weights"]) == total_ns
    page = converted(saved, "cpu.html").read_text()
    data = re.search(r'id="spyglass-profile">(.*?)</script>', page)
    assert data
    assert sum(json.loads(data[1])["rows"]["value_ns"]) == total_ns
    assert "main.leaf: " in converted(saved, "cpu.svg").read_text()


@in_ends
def test_labels_and_goroutines_are_roots(saved: Path) -> None:
    lines = converted(saved, "by.folded", "--by", "label:kind").read_text().splitlines()
    roots = {line.partition(";")[0] for line in lines}
    known = {root for root in roots if root.startswith("kind=")}
    assert known
    for line in lines:
        root, kind = line.split(";")[0], re.search(r"main\.burn(\d)", line)
        if root in known and kind:
            assert root == f"kind={kind[1]}"
    lines = converted(saved, "by.folded", "--by", "goroutine").read_text().splitlines()
    assert any(re.match(r"goroutine \d+;main\.burn", line) for line in lines)


@in_milestones
@pytest.mark.slow
@pytest.mark.matrix
def test_the_tool_reads_it(saved: Path, minor: str, tmp_path: Path) -> None:
    path = converted(saved, "cpu.pb.gz")
    top = go_tool_pprof(minor, tmp_path, "-top", "-cum", path)
    assert "Type: cpu" in top
    assert re.search(r"Duration: \d(\.\d+)?s, Total samples = ", top)
    assert any(name in top for name in KINDS)
    peek = go_tool_pprof(minor, tmp_path, "-peek", r"main\.work$", path)
    assert LEAF in peek
    assert "coverage" in go_tool_pprof(minor, tmp_path, "-comments", path)
    tags = go_tool_pprof(minor, tmp_path, "-tags", path)
    assert "kind: Total" in tags
    assert "thread: Total" in tags
    traces = go_tool_pprof(minor, tmp_path, "-traces", path)
    assert "main.leaf" in traces


@in_milestones
@pytest.mark.slow
def test_waits_are_leaves(minor: str, tmp_path: Path) -> None:
    lines: dict[str, dict[str, int]] = {}
    with start("incident", minor, Flavour.EXE, "mutex") as process:
        for mode in ("wall", "offcpu"):
            path = tmp_path / f"{mode}.folded"
            done = piped("record", str(process.pid), "--mode", mode, "-d", "1s", "-o", str(path))
            assert done.returncode == 0, done.stderr
            assert "of the time of goroutines\n" in done.stderr
            found = (line.rpartition(" ") for line in path.read_text().splitlines())
            lines[mode] = {stack: int(time_ns) for stack, _, time_ns in found}
    for times in lines.values():
        assert not any("runtime.gopark" in stack for stack in times)
        locked = sum(
            ns for stack, ns in times.items() if re.search(r"main\.report;.*;\[s\S+\]$", stack)
        )
        lasted = sum(ns for stack, ns in times.items() if stack.startswith("runtime.main;"))
        assert lasted > 0.8 * 10**9  # longer on a busy host
        assert locked == pytest.approx(8 * lasted, rel=0.1)  # eight requests wait


def wait_until_recording(pid: int) -> None:
    """Wait until process `pid` has perf events, and some samples."""
    deadline = time.monotonic() + 60
    while not any("perf_event" in target(each) for each in Path(f"/proc/{pid}/fd").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)


def target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # it was closed
        return ""


@in_ends
def test_ctrl_c_keeps_what_there_is(minor: str, tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    with burners(minor) as process:
        command = [*SPYGLASS, "record", str(process.pid), "-d", "1h", "-o", str(path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            wait_until_recording(running.pid)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)
        assert process.is_alive()
    assert running.returncode == 0, said
    assert "ended early: by SIGINT" in said
    assert load_profile(path).account.samples > 0
    assert path.stat().st_mode & 0o777 == 0o600


@in_ends
def test_a_program_is_started_recorded_and_ended(minor: str, tmp_path: Path) -> None:
    path, program = tmp_path / "cpu.pb.gz", build("burners", minor)
    reading, writing = os.pipe()  # the program ends when its standard input does
    command = [*SPYGLASS, "record", "-d", "1s", "-o", str(path), "--", str(program)]
    done = subprocess.run(
        command, stdin=reading, capture_output=True, text=True, timeout=60, check=False
    )
    os.close(reading)
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ready\n{path}\n"
    assert "recording began" in done.stderr
    assert any(LEAF in each.functions for each in decoded(path).samples)


@in_ends
@pytest.mark.slow
def test_the_end_of_a_program_ends_the_recording(minor: str, tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    with burners(minor) as process:
        command = [*SPYGLASS, "record", str(process.pid), "-d", "1h", "-o", str(path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            wait_until_recording(running.pid)
            process.kill()
            _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert "ended early: " in said
    assert load_profile(path).account.samples > 0
