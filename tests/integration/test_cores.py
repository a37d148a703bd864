"""Cores of every origin, compared with what the programs said of themselves before they ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import spyglass
from spyglass.binary.corefile import CoreFile
from spyglass.errors import NotGoProgram, TargetError, WrongExecutable
from spyglass.model import Goroutine, Snapshot
from tests.agreement import disagreements
from tests.cores import aborted_core, busiest_thread, emulated, gcore, needs_kernel_cores, unlimited
from tests.support import (
    Flavour,
    GoProcess,
    Truth,
    build,
    c_shared_host,
    go_child,
    in_milestones,
    in_namespaces,
    start,
)
from tests.traceback_text import goroutines_of_text

pytestmark = [pytest.mark.live, pytest.mark.go]

SPEAKER = 1
#: Between what a program says and its core the runtime may take a few spans, to print or to tidy up.
_HEAP_BYTES = 1 << 16


def look(core: Path, exe: Path | None = None) -> Snapshot:
    with spyglass.open_core(str(core), str(exe) if exe else None) as process:
        return process.snapshot()


def functions(goroutine: Goroutine) -> list[str]:
    return [frame.function for frame in goroutine.stack or ()]


def running(snapshot: Snapshot) -> list[Goroutine]:
    return [goroutine for goroutine in snapshot if goroutine.status == "running"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory that is removed at once: cores are large, and pytest keeps those of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def assert_is_what_the_program_said(snapshot: Snapshot, truth: Truth, spins: int = 0) -> None:
    moving = {g.id for g in snapshot if g.where and g.where.function == "main.spin1"}
    assert len(moving) == spins
    assert disagreements(snapshot, truth.goroutines, moving={SPEAKER, *moving}) == []
    assert snapshot.scheduler.goroutines == truth.num_goroutine
    assert snapshot.scheduler.gomaxprocs == truth.gomaxprocs == len(snapshot.processors)
    assert abs((snapshot.memory.heap_in_use_bytes or 0) - truth.heap_inuse_bytes) <= _HEAP_BYTES
    assert snapshot.memory.gc_count == truth.num_gc
    assert snapshot.process.go_version == truth.go_version
    assert (snapshot.source.kind, snapshot.source.stopped) == ("core", True)
    assert {goroutine.quality for goroutine in snapshot} == {"stable"}
    assert snapshot.problems == ()


def assert_threads_have_ms(snapshot: Snapshot) -> None:
    ms = [thread.m for thread in snapshot.threads if thread.m is not None]
    assert len(set(ms)) == len(ms) >= len(snapshot.threads) - 1  # one may just have begun
    assert {processor.m for processor in snapshot.processors} - {None} <= set(ms)


# Cores that Go writes, with GOTRACEBACK=crash.


@dataclass(frozen=True)
class Crashed:
    """What a program said of itself, what it printed when it crashed, and its core."""

    truth: Truth
    stderr: str
    core: Path


@pytest.fixture(scope="module")
def crashed(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    """A program that crashed on a signal that came while a goroutine ran."""
    folder = tmp_path_factory.mktemp("crashed")
    command = unlimited([build("truth", minor), "-spin", "2"])
    with GoProcess(command, cwd=folder, env={"GOTRACEBACK": "crash"}) as process:
        truth = process.truth()
        core = aborted_core(process, folder, busiest_thread(process))
        yield Crashed(truth, process.stderr, core)
    shutil.rmtree(folder)


@needs_kernel_cores
def test_a_crash_is_read_as_the_process_was(crashed: Crashed) -> None:
    snapshot = look(crashed.core)
    assert_is_what_the_program_said(snapshot, crashed.truth, spins=2)
    assert_threads_have_ms(snapshot)


@needs_kernel_cores
def test_the_goroutine_that_a_signal_interrupted_has_its_stack(crashed: Crashed) -> None:
    (interrupted, *_) = goroutines_of_text(crashed.stderr)
    assert interrupted.state == "running"
    found = next(g for g in look(crashed.core) if g.id == interrupted.id)
    assert [(f.function, f.line) for f in found.stack or () if f.function != "runtime.goexit"] == [
        (f.function, f.line) for f in interrupted.frames if f.function != "runtime.goexit"
    ]


@needs_kernel_cores
def test_what_a_core_cannot_tell_is_not_known(crashed: Crashed) -> None:
    snapshot = look(crashed.core)
    process = snapshot.process
    assert process.cmdline[-2:] == ("-spin", "2")
    assert process.exe == process.cmdline[0]
    assert (process.started_at, process.uptime_seconds, process.rss_bytes) == (None, None, None)
    assert snapshot.host is None
    assert abs(snapshot.taken_at.timestamp() - crashed.core.stat().st_mtime) < 1e-5
    assert {(thread.name, thread.os_state) for thread in snapshot.threads} == {(None, None)}


@needs_kernel_cores
def test_waits_are_never_longer_than_the_program_ran(crashed: Crashed) -> None:
    waits = [g.waiting_ns for g in look(crashed.core) if g.wait_reason]
    # Unknown for all, if no goroutine of the runtime waited anew between the last collections.
    assert all(wait is None or 0 < wait < 60e9 for wait in waits)


# Cores that the kernel writes of a program that handles nothing.


_TRIES = 4
BUSY = [["main.clock"], ["main.leaf"], ["main.leaf", *["main.down"] * 10]]


def assert_busy_stacks(snapshot: Snapshot) -> None:
    """That the busy goroutines of crash.go have the stacks that they must have."""
    # Tracebacks end at time.now, whose code moves sp (``SPWRITE``): what called it is not known then.
    asking = ["main.clock" if functions(g) == ["time.now"] else "" for g in snapshot]
    names = [[*functions(g), clock] for g, clock in zip(snapshot, asking, strict=True)]
    own = [[name for name in stack if name.startswith("main.")] for stack in names]
    stacks = [[name for name in stack if not name.startswith("main.main")] for stack in own]
    assert sorted(stack for stack in stacks if {"main.leaf", "main.clock"} & set(stack)) == BUSY
    assert all(functions(g)[-1] in ("runtime.goexit", "time.now") for g in running(snapshot))
    assert snapshot.problems == ()


@needs_kernel_cores
@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED, Flavour.PIE, Flavour.CGO])
def test_running_goroutines_have_the_stacks_of_their_threads(
    minor: str, flavour: Flavour, folder: Path
) -> None:
    command = unlimited([build("crash", minor, flavour)])
    for _ in range(_TRIES):
        with GoProcess(command, cwd=folder) as process:
            core = aborted_core(process, folder)
        snapshot = look(core)
        core.unlink()
        assert_busy_stacks(snapshot)
        if running(snapshot):  # all may have lost their turn a moment before
            break
    assert running(snapshot)
    assert snapshot.process.pie == (flavour is Flavour.PIE)
    assert_threads_have_ms(snapshot)


# gcore's.


@in_milestones
@pytest.mark.parametrize(
    "flavour",
    [
        pytest.param(Flavour.EXE, marks=pytest.mark.slow),
        pytest.param(Flavour.STRIPPED, marks=pytest.mark.slow),
        pytest.param(Flavour.NO_SECTIONS, marks=pytest.mark.slow),
        Flavour.STRIPPED_PIE,
        pytest.param(Flavour.EXTERNAL_PIE, marks=pytest.mark.slow),
    ],
)
def test_a_core_of_gcore_is_read_as_the_process(minor: str, flavour: Flavour, folder: Path) -> None:
    with start("truth", minor, flavour) as process:
        truth = process.truth()
        with spyglass.attach(process.pid) as inspector:
            live = inspector.snapshot()
        snapshot = look(gcore(process.pid, folder))
    assert_is_what_the_program_said(snapshot, truth)
    assert_threads_have_ms(snapshot)
    assert snapshot.process.cmdline == live.process.cmdline
    assert snapshot.process.exe == live.process.exe


def test_goroutines_run_on_the_threads_that_gcore_stopped(minor: str, folder: Path) -> None:
    with start("crash", minor) as process:
        snapshot = look(gcore(process.pid, folder))
    assert_busy_stacks(snapshot)


def test_gcore_of_a_container_has_the_ids_of_the_host(minor: str, folder: Path) -> None:
    unshare = in_namespaces("unshare", "--pid", "--fork", "--mount-proc")
    with GoProcess([*unshare, build("crash", minor)]) as process:
        pid = go_child(process)
        snapshot = look(gcore(pid, folder))
    assert_busy_stacks(snapshot)
    assert_threads_have_ms(snapshot)
    assert [thread.m for thread in snapshot.threads if thread.tid == pid] == [0]


@in_milestones
@pytest.mark.slow
def test_a_go_library_of_another_program_is_found(minor: str, folder: Path) -> None:
    library = build("shared", minor, Flavour.C_SHARED)
    with c_shared_host(minor) as process:
        truth = process.truth()
        core = gcore(process.pid, folder)
    # The goroutine that speaks is there only while it does: its thread is not one of Go's.
    speaker = next(g.id for g in truth.goroutines if g.state == "running")
    for snapshot in (look(core), look(core, library)):
        differences = disagreements(snapshot, truth.goroutines, moving=[speaker])
        assert [line for line in differences if f"id={speaker}," not in line] == []
        assert snapshot.process.library == str(library)
        assert snapshot.problems == ()


# Those of an emulator, for arm64.


def test_an_arm64_program_is_read_as_it_was(minor: str, folder: Path) -> None:
    made = emulated("truth", minor, folder, "-spin", "2")
    snapshot = look(made.core)
    assert made.truth is not None
    assert_is_what_the_program_said(snapshot, made.truth, spins=2)
    assert snapshot.process.arch == "arm64"
    assert snapshot.process.exe == str(build("truth", minor, Flavour.ARM64))
    assert_threads_have_ms(snapshot)


def test_running_arm64_goroutines_return_through_the_link_register(
    minor: str, folder: Path
) -> None:
    snapshot = look(emulated("crash", minor, folder, ask=None).core)
    # The emulator may note registers of the other threads while they move.
    whole = [g for g in running(snapshot) if functions(g)[-1:] == ["runtime.goexit"]]
    leaves = [g for g in whole if functions(g)[0] == "main.leaf"]
    assert leaves
    assert all(
        functions(g)[1] in ("main.down", "runtime.goexit")
        or functions(g)[1].startswith("main.main.")
        for g in leaves
    )


# Which program it is of.


@pytest.fixture(scope="module")
def left(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A core whose program is not any more where it was."""
    folder = tmp_path_factory.mktemp("left")
    shutil.copy(build("truth", minor), folder / "server")
    with GoProcess([folder / "server"]) as process:
        core = gcore(process.pid, folder)
    (folder / "server").unlink()
    yield core
    shutil.rmtree(folder)


def test_a_program_that_is_gone_must_be_given(left: Path, minor: str) -> None:
    with pytest.raises(TargetError, match=r"cannot be opened: .*/server") as caught:
        look(left)
    assert "--exe" in (caught.value.hint or "")
    assert len(look(left, build("truth", minor)).goroutines) > 70


def test_another_build_of_it_is_refused(left: Path, minor: str) -> None:
    for program, flavour in (("truth", Flavour.STRIPPED), ("crash", Flavour.EXE)):
        with pytest.raises(WrongExecutable, match="its build id is"):
            look(left, build(program, minor, flavour))
    with pytest.raises(WrongExecutable, match="it is for arm64, and the core is of amd64"):
        look(left, build("truth", minor, Flavour.ARM64))


def test_what_is_no_program_is_refused(left: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 1000)
    for path in (
        tmp_path / "none",
        tmp_path,
        tmp_path / "text",
        Path("/dev/null"),
        Path("/bin/sh"),
    ):
        with pytest.raises(spyglass.SpyglassError):
            look(left, path)


def test_the_stripped_program_serves_for_the_whole_one(
    left: Path, minor: str, tmp_path: Path
) -> None:
    copy = tmp_path / "stripped"
    subprocess.run(["strip", "-o", copy, build("truth", minor)], check=True)
    snapshot = look(left, copy)
    assert snapshot.process.stripped
    assert snapshot.problems == ()
    assert len(snapshot.goroutines) > 70


def without_build_id(executable: Path, copy: Path) -> Path:
    """A program that says nothing of which build it is."""
    image = executable.read_bytes()
    at = image.find(b"Go\0\0")
    copy.write_bytes(image[:at] + b"\1" * 4 + image[at + 4 :])
    copy.chmod(0o755)
    return copy


@in_milestones
@pytest.mark.slow
def test_without_a_build_id_the_contents_tell(minor: str, folder: Path) -> None:
    one = without_build_id(build("truth", minor), folder / "one")
    other = without_build_id(build("crash", minor), folder / "other")
    with GoProcess([one]) as process:
        core = gcore(process.pid, folder)
    assert look(core).problems == ()
    with pytest.raises(WrongExecutable, match="is not the executable of this core"):
        look(core, other)


def test_a_program_without_go_is_no_go_program(folder: Path) -> None:
    with GoProcess(["sh", "-c", "echo ready; read x"]) as process:
        core = gcore(process.pid, folder)
    with pytest.raises(NotGoProgram, match="is not a Go program"):
        look(core)


# Cores that are not whole.


def look_or_refusal(core: Path) -> Snapshot | str:
    try:
        return look(core)
    except spyglass.SpyglassError as error:
        return error.message


@in_milestones
@needs_kernel_cores
@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_core_that_was_cut_short_gives_what_it_can(
    crashed: Crashed, tmp_path: Path, part: float
) -> None:
    whole = look(crashed.core)
    cut = tmp_path / "cut"
    shutil.copy(crashed.core, cut)
    os.truncate(cut, int(crashed.core.stat().st_size * part))
    snapshot = look_or_refusal(cut)
    cut.unlink()
    if isinstance(snapshot, str):  # what all goroutines are found by is missing
        assert "\n" not in snapshot
        assert part < 0.5
        return
    assert "cut short" in snapshot.problems[0].detail
    same = {(g.id, g.status, g.wait_reason, g.stack) for g in whole}
    read = [g for g in snapshot if g.quality == "stable" and g.stack]
    found = {(g.id, g.status, g.wait_reason, g.stack) for g in read}
    assert found <= same
    assert part < 0.9 or found == same


@needs_kernel_cores
def test_without_its_notes_a_core_is_read_all_the_same(crashed: Crashed, folder: Path) -> None:
    copy = folder / "core"
    shutil.copy(crashed.core, copy)
    with CoreFile(str(copy)) as core:
        notes = int(core._headers["offset"][core._headers["type"] == 4][0])
    with copy.open("r+b") as stream:
        stream.seek(notes)
        stream.write(bytes(12))
    exe = Path(look(crashed.core).process.exe or "")
    with pytest.raises(TargetError, match="does not name its executable"):
        look(copy)
    snapshot = look(copy, exe)
    assert (
        disagreements(
            snapshot,
            crashed.truth.goroutines,
            moving={SPEAKER, *(g.id for g in running(snapshot))}
            | {g.id for g in snapshot if g.where and g.where.function == "main.spin1"},
        )
        == []
    )
    assert snapshot.threads == ()
