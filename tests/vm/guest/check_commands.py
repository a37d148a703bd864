"""What each command says of Go programs, compared with what these say of themselves."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from spyglass import Inspector, attach, open_core
from tests.agreement import disagreements
from tests.command import SPYGLASS
from tests.support import GoProcess
from tests.vm.guest.machine import SETTINGS, is_spinning, newest, spyglass, started, told

Note = Callable[[str, object], None]


@pytest.fixture(params=SETTINGS["go"][::-1], scope="module")
def truth(request: pytest.FixtureRequest) -> Iterator[GoProcess]:
    with started("truth", request.param, "-n", "10") as process:
        yield process


@pytest.fixture(params=SETTINGS["go"][::-1])
def minor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_emulated_processor_can_be_trusted() -> None:
    """All that follows rests on numpy, which uses instructions that few programs do."""
    source = random.Random(1)
    for count in range(1, 80):
        numbers = [source.getrandbits(48) for _ in range(count)]
        column = np.array(numbers, np.uint64)
        assert column[np.argsort(column)].tolist() == np.sort(column).tolist() == sorted(numbers)


def test_summary(truth: GoProcess) -> None:
    said = truth.truth()
    text = spyglass("summary", "--pid", truth.pid)
    assert said.go_version in text
    assert f"goroutines {said.num_goroutine:,}" in " ".join(text.split())


def test_every_goroutine_is_as_the_program_says(truth: GoProcess, record_property: Note) -> None:
    said = truth.truth()
    with attach(truth.pid) as program:
        snapshot = program.snapshot()
        held = program.snapshot(stop=True)
    # The one that answers ran when it said so, and is in a system call by now.
    moving = [each.id for each in said.goroutines if each.state == "running"]
    assert disagreements(snapshot, said.goroutines, moving) == []
    assert disagreements(held, said.goroutines, moving) == []
    record_property("note", f"{len(said.goroutines)} goroutines, also stopped")


@pytest.mark.parametrize("stop", [False, True], ids=["perf", "stop"])
def test_a_running_goroutine_is_seen_where_it_is(minor: str, stop: bool) -> None:
    with started("truth", minor, "-spin", "1") as process, attach(process.pid) as program:
        assert any(is_spinning(program.snapshot(stop=stop)) for _ in range(10))


@pytest.mark.parametrize("options", [(), ("--stop",)], ids=["running", "stopped"])
def test_dump_and_threads(truth: GoProcess, options: tuple[str, ...]) -> None:
    code, text, errors = told("dump", "--pid", truth.pid, "--threads", *options)
    assert code == 0, errors
    assert text.count("\ngoroutine ") >= len(truth.truth().goroutines) - 1
    cut = re.findall(r"thread (\d+): unwinding stopped", errors)
    assert not cut, [part for part in text.split("\n\n") if f"thread {cut[0]} " in part]


def test_threads_that_sleep_are_where_a_stop_finds_them(
    truth: GoProcess, record_property: Note
) -> None:
    """The idle threads of the program wake up now and then: of one moment in five they are the same."""
    with attach(truth.pid) as program:
        for _ in range(5):
            seen, held = (_stacks_of_threads(program, stop) for stop in (False, True))
            others = [(seen.get(tid), stack) for tid, stack in held.items()]
            others = [each for each in others if each[0] != each[1]]
            if not others:
                break
    assert not others
    deep = [stack for stack in seen.values() if len(stack) > 4]
    assert len(deep) > 2, seen
    record_property("note", f"{len(deep)} of {len(seen)}: {deep[-1]}")


def _stacks_of_threads(program: Inspector, stop: bool) -> dict[int, list[str]]:
    """Functions and lines, but for the line of the innermost: a thread that is stopped is at the instruction that will
    make the system call again."""
    snapshot = program.snapshot(stop=stop, thread_stacks=True)
    return {
        thread.tid: [
            f"{snapshot.frames[number].function}:{snapshot.frames[number].line if depth else ''}"
            for depth, number in enumerate(thread.stack or ())
        ]
        for thread in snapshot.threads
    }


def test_a_snapshot_is_read_again(truth: GoProcess, tmp_path: Path) -> None:
    path = tmp_path / "saved.json.gz"
    spyglass("snapshot", "--pid", truth.pid, "-o", path)
    count = truth.truth().num_goroutine
    assert f"goroutines {count:,}" in " ".join(spyglass("summary", path).split())


def test_a_small_core_is_read_again(truth: GoProcess, tmp_path: Path) -> None:
    path = tmp_path / "small.core"
    spyglass("core", "--pid", truth.pid, "-o", path)
    said = truth.truth()
    with open_core(str(path)) as program:
        moving = [each.id for each in said.goroutines if each.state == "running"]
        assert disagreements(program.snapshot(), said.goroutines, moving) == []


def test_waits(minor: str) -> None:
    # The program gives the goroutine that all others wait for 50 ms to take its lock, which may be too short here.
    for _ in range(3):
        with started("knots", minor, "-deadlock", "-convoy", "20", "-leak", "30") as process:
            text = spyglass("waits", "--pid", process.pid)
        if "20 goroutines wait for" in text:
            break
    assert "hold what the other wants" in text
    assert "20 goroutines wait for main.(*pool).mu" in text
    assert "can never be woken" in text


def test_record(minor: str, tmp_path: Path, record_property: Note) -> None:
    path = tmp_path / "cpu.json"
    with started("shares", minor, "-busy") as process:
        spyglass("record", "--pid", process.pid, "--duration", "5s", "-o", path)
    profile = json.loads(path.read_text())
    functions = {frame["function"] for frame in profile["frames"]}
    assert "main.compute" in functions or any("sha256" in name for name in functions), functions
    account = profile["account"]
    assert account["samples"] > 5  # of a machine that is slow
    record_property("note", f"{account['samples']} samples, coverage {account['coverage']:.2f}")


def test_wall(minor: str, tmp_path: Path) -> None:
    path = tmp_path / "wall.json"
    with started("shares", minor) as process:
        options = ("--mode", "wall", "--rate", 5, "--duration", "5s", "-o", path)
        spyglass("record", "--pid", process.pid, *options)
    states = {each["state"] for each in json.loads(path.read_text())["samples"]}
    assert {"sleep", "chan receive"} <= states, states


def test_memory(truth: GoProcess) -> None:
    document = json.loads(spyglass("memory", "--pid", truth.pid, "--json"))
    assert document["process"]["pid"] == truth.pid


def test_top() -> None:
    with started("truth", newest()) as process:
        screen = _screen([*SPYGLASS, "top", "--pid", str(process.pid)], 90)
    assert b"goroutines" in screen, screen[-2000:]
    assert b"main." in screen, screen[-2000:]


def _screen(command: list[str], seconds: float) -> bytes:
    """What a command has drawn on a terminal when it has named a function, or after `seconds`; it is ended."""
    outer, inner = pty.openpty()
    child = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    drawn, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and b"main." not in drawn:
            if select.select([outer], [], [], 1)[0]:
                drawn += os.read(outer, 1 << 16)
    finally:
        child.kill()
        child.wait()
        os.close(outer)
    return drawn
