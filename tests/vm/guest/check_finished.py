"""What commands say of finished programs, compared with the traceback that these print when they are told to quit."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.fetch import find_program
from spyglass import attach, open_core
from spyglass.model import Goroutine, Snapshot
from tests.agreement import disagreements
from tests.finished import FinishedProcess, finished_program, running
from tests.traceback_text import TextGoroutine, goroutines_of_text
from tests.vm.guest.machine import SETTINGS, spyglass, told

Note = Callable[[str, object], None]

#: The runtime's own goroutines may do something between a look and the end of the program: what is wrong is so each time.
_TRIES = 3
_LINES = 300_000


@pytest.fixture(params=SETTINGS["finished"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _compared(name: str, look: Callable[[FinishedProcess], Snapshot]) -> list[TextGoroutine]:
    """What the program says of itself, after what `look` sees of it was compared with that."""
    for _ in range(_TRIES):
        with running(name) as process:
            seen = look(process)
            said = process.quit_traceback()
        found = disagreements(seen, said, whole=True)
        if not found:
            break
    assert found == []
    assert len(said) >= 5
    return said


@pytest.mark.parametrize("stop", [False, True], ids=["running", "stopped"])
def test_goroutines_are_what_the_program_says(name: str, stop: bool, record_property: Note) -> None:
    def look(process: FinishedProcess) -> Snapshot:
        with attach(process.pid) as program:
            return program.snapshot(stop=stop)

    said = _compared(name, look)
    record_property("note", f"Go {find_program(name).go}, {len(said)} goroutines")


@pytest.mark.parametrize("options", [(), ("--stop",)], ids=["running", "stopped"])
def test_dump_and_threads(name: str, options: tuple[str, ...]) -> None:
    with running(name) as process:
        code, text, errors = told("dump", "--pid", process.pid, "--threads", *options)
        said = process.quit_traceback()
    assert code == 0, errors
    ids = {each.id for each in goroutines_of_text(text)}
    assert 1 in ids
    assert ids <= {each.id for each in said}
    cut = re.findall(r"thread (\d+): unwinding stopped", errors)
    assert not cut, [part for part in text.split("\n\n") if f"thread {cut[0]} " in part]


def test_a_small_core_is_read_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "small.core"

    def look(process: FinishedProcess) -> Snapshot:
        path.unlink(missing_ok=True)
        spyglass("core", "--pid", process.pid, "-o", path)
        with open_core(str(path)) as program:
            return program.snapshot()

    _compared(name, look)


def test_summary_and_a_snapshot(name: str, tmp_path: Path) -> None:
    path = tmp_path / "saved.json.gz"
    with running(name) as process:
        live = spyglass("summary", "--pid", process.pid)
        spyglass("snapshot", "--pid", process.pid, "-o", path)
    for text in (live, spyglass("summary", path)):
        assert f"go{find_program(name).go}" in text
        assert "goroutines" in text


def test_waits(name: str) -> None:
    """Who receives from a channel waits for a channel, and nobody is stuck: the program waits for its input."""
    with running(name) as process:
        document = json.loads(spyglass("waits", "--pid", process.pid, "--json"))
        said = {each.id: each.state for each in process.quit_traceback()}
    kinds = {each["id"]: each["kind"] for each in document["objects"]}
    seen = {each["id"]: each for each in document["goroutines"]}
    receiving = [goid for goid, state in said.items() if state == "chan receive"]
    assert receiving
    for goid in receiving:
        assert [kinds[each["object"]] for each in seen[goid]["waits_on"]] == ["channel"]
    assert not [each for each in seen.values() if each["stuck"]]
    assert document["deadlocks"] == []


@contextmanager
def _working(name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which reads and prints a long source text."""
    source = folder / "long.js"
    with source.open("w") as file:
        for number in range(_LINES):
            file.write(f"export function f{number}(a, b) {{ return a * {number} + b }}\n")
    command = [
        str(finished_program(name)),
        "--minify",
        str(source),
        f"--outfile={folder / 'out.js'}",
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("stop", [False, True], ids=["perf", "stop"])
def test_running_goroutines_are_seen_where_they_are(
    name: str, stop: bool, tmp_path: Path, record_property: Note
) -> None:
    """A goroutine that runs has a whole stack, from where it was started, with the program's own code in it."""
    ran: list[list[str]] = []
    with _working(name, tmp_path) as child, attach(child.pid) as program:
        while child.poll() is None and len(ran) < 10:
            ran += [_functions(each) for each in program.snapshot(stop=stop) if _runs(each)]
        assert child.poll() is None, "it has ended already"
    own = [stack for stack in ran if any("esbuild/" in function for function in stack)]
    assert own, ran
    assert {stack[-1] for stack in own} == {"runtime.goexit"}
    record_property("note", f"{len(own)} of {len(ran)}: {own[0][:4]}")


def _runs(goroutine: Goroutine) -> bool:
    return goroutine.status == "running" and bool(goroutine.stack)


def _functions(goroutine: Goroutine) -> list[str]:
    return [frame.function for frame in goroutine.stack or ()]


def test_record(name: str, tmp_path: Path, record_property: Note) -> None:
    path = tmp_path / "cpu.json"
    with _working(name, tmp_path) as child:
        spyglass("record", "--pid", child.pid, "--duration", "3s", "-o", path)
    profile = json.loads(path.read_text())
    functions = {frame["function"] for frame in profile["frames"]}
    assert any("esbuild/" in function for function in functions), functions
    account = profile["account"]
    record_property("note", f"{account['samples']} samples, coverage {account['coverage']:.2f}")
