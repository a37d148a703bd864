"""Go where it is not expected: in other namespaces, libraries and children; starting, ending, replaced."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import spyglass
from spyglass.errors import (
    BadDataError,
    NotGoProgram,
    ProcessChanged,
    ProcessNotFound,
    SpyglassError,
)
from spyglass.model import Goroutine, Problem, Snapshot
from spyglass.targets import live_process
from tests.agreement import disagreements
from tests.children import drop_capability, in_child, needs_root, wait_until
from tests.support import (
    Flavour,
    GoProcess,
    Truth,
    build,
    c_shared_host,
    go_child,
    in_ends,
    in_milestones,
    in_namespaces,
    missing,
    start,
)

pytestmark = pytest.mark.live

#: The goroutine that answers: it runs while it speaks, and waits for the next command when we look.
SPEAKER = 1


def look(pid: int) -> Snapshot:
    with spyglass.attach(pid) as program:
        return program.snapshot()


def assert_agrees(process: GoProcess, pid: int | None = None) -> Snapshot:
    """What the program says is what is seen of it, in process `pid` if that is not the one started."""
    truth = process.truth()
    snapshot = look(process.pid if pid is None else pid)
    assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []
    assert snapshot.scheduler.goroutines == truth.num_goroutine
    assert snapshot.problems == ()
    return snapshot


@pytest.mark.parametrize("name", ["container", "memory_limit_bytes", "cmdline", "started_at"])
def test_a_fact_that_cannot_be_read_is_a_problem_of_the_snapshot(
    truth_process: GoProcess, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(pid: int) -> object:
        raise BadDataError("/proc/PID/mountinfo holds more than 1 bytes")

    facts = dict(live_process._FACTS)
    monkeypatch.setattr(live_process, "_FACTS", facts | {name: fail})
    snapshot = look(truth_process.pid)
    assert len(snapshot.goroutines) > 70
    assert getattr(snapshot.process, name) in (None, ())
    assert snapshot.process.rss_bytes
    expected = Problem("unreadable", name, "/proc/PID/mountinfo holds more than 1 bytes")
    assert snapshot.problems == (expected,)


def test_an_end_while_facts_are_read_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(pid: int) -> object:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        raise BadDataError("it has just ended")

    facts = dict(live_process._FACTS)
    monkeypatch.setattr(live_process, "_FACTS", facts | {"container": end})
    with start("truth") as process, pytest.raises(ProcessChanged, match="ended"):
        look(process.pid)


@in_milestones
def test_who_looks_for_days_forgets_code_that_was_none(
    minor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.inspector._MAX_KNOWN", 5000)
    with start("truth", minor) as process, spyglass.attach(process.pid) as program:
        truth = process.truth()
        for _ in range(3):
            code = program._tree.code
            for pc in range(program._module.text, program._module.text + 6000):
                code.step(pc, 0)
            snapshot = program.snapshot()
            assert program._tree.code.known < 5000 < code.known
            assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []


def test_what_was_too_much_for_one_look_is_found_by_the_next(
    minor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start("truth", minor) as process, spyglass.attach(process.pid) as program:
        truth, functions = process.truth(), program._module.functions
        with monkeypatch.context() as patched:
            patched.setattr(functions, "allow_steps", lambda: None)
            functions._pc_values._steps_left = 100
            snapshot = program.snapshot()
        assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER])
        assert ("truncated", "function table") in {(p.kind, p.subject) for p in snapshot.problems}
        snapshot = program.snapshot()
        assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []
        assert "function table" not in {problem.subject for problem in snapshot.problems}


def test_profiles_say_that_it_was_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    with start("allocs") as process, spyglass.attach(process.pid) as program:
        monkeypatch.setattr("spyglass.binary.pc_values._MAX_STEPS_IN_ALL", 100)
        wall = program.record(0.3, mode="wall")
        for problems in (program.heap_profile().problems, wall.problems):
            assert [problem.subject for problem in problems].count("function table") == 1


# C.


def test_goroutines_in_c_and_called_from_c_agree(minor: str) -> None:
    with start("cgo", minor) as process:
        snapshot = assert_agrees(process)
    stacks = [[frame.function for frame in each.stack or ()] for each in snapshot]
    in_c = [each for each in snapshot if each.status == "syscall" and not each.system]
    # Those that read through C: started here, by a callback, and by a thread of C, two of each.
    assert len(in_c) >= 6
    assert all(each.m is not None for each in in_c)
    called_again = [names for names in stacks if names.count("main.goCallback") == 2]
    assert len(called_again) == 2
    assert snapshot.process.cgo


@in_ends
def test_processes_of_one_program_share_what_is_large_in_its_file(
    minor: str, tmp_path: Path
) -> None:
    """As of 16 servers that `spyglass serve` looks at, each in a container with a file of its own."""
    program = build("truth", minor, Flavour.STRIPPED)
    copy = shutil.copy(program, tmp_path / "copy")
    with GoProcess([program]) as one, GoProcess([program]) as two, GoProcess([copy]) as other:
        attached = [spyglass.attach(each.pid) for each in (one, two, other)]
        try:
            tables = [each.runtime.functions._image.obj for each in attached]
            assert tables[0] is tables[1]
            assert tables[0] is tables[2]
            for process, inspector in zip((one, two, other), attached, strict=True):
                said = process.truth().goroutines
                assert disagreements(inspector.snapshot(), said, [SPEAKER]) == []
        finally:
            for each in attached:
                each.close()


@pytest.fixture(params=[Flavour.C_SHARED, None], ids=["c_shared", "stripped_c_shared"])
def library(minor: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A Go library that a Python process can load, as it is built or stripped."""
    built = build("shared", minor, Flavour.C_SHARED)
    if request.param:
        return built
    stripped = tmp_path / "libwork.so"
    subprocess.run(["strip", "-o", stripped, built], check=True)
    return stripped


def test_a_go_library_in_a_program_that_is_not_go_agrees(minor: str, library: Path) -> None:
    with c_shared_host(minor, goroutines=20, library=library) as process:
        truth = process.truth()
        snapshot = look(process.pid)
    assert disagreements_but_for_the_speaker(snapshot, truth) == []
    assert len(working(snapshot)) == 60
    assert snapshot.process.library == str(library)
    assert snapshot.process.exe == os.path.realpath(sys.executable)
    assert snapshot.process.go_version == truth.go_version
    assert snapshot.problems == ()


def disagreements_but_for_the_speaker(snapshot: Snapshot, truth: Truth) -> list[str]:
    """The goroutine that answered is the host's thread: it is in C when we look, or is gone."""
    speakers = {e.id for e in truth.goroutines if {"main.Truth", "main.main"} & set(e.functions)}
    said = [each for each in truth.goroutines if each.id not in speakers]
    assert len(said) == truth.num_goroutine - 1
    return disagreements([each for each in snapshot if each.id not in speakers], said)


def working(snapshot: Snapshot) -> list[Goroutine]:
    """The goroutines that StartWork of the library has started."""
    work = {"main.awaitJob", "main.awaitEither", "main.lockAccount"}
    return [each for each in snapshot if work & {frame.function for frame in each.stack or ()}]


def test_a_program_that_its_dynamic_linker_was_asked_to_run_agrees(minor: str) -> None:
    linker, program = Path("/lib64/ld-linux-x86-64.so.2"), build("truth", minor, Flavour.CGO)
    if not linker.exists():
        missing(f"there is no {linker}")
    with GoProcess([linker, program]) as process:
        snapshot = assert_agrees(process)
    assert snapshot.process.library == str(program)
    assert snapshot.process.exe == str(linker.resolve())


# The file of the program.


@contextmanager
def running_copy(minor: str, flavour: Flavour, folder: Path) -> Iterator[tuple[GoProcess, Path]]:
    """A program that runs from a file of its own, which can be changed."""
    copy = folder / "server"
    shutil.copy(build("truth", minor, flavour), copy)
    with GoProcess([copy]) as process:
        yield process, copy


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED_PIE])
def test_a_deleted_executable_is_read(minor: str, flavour: Flavour, tmp_path: Path) -> None:
    with running_copy(minor, flavour, tmp_path) as (process, copy):
        copy.unlink()
        snapshot = assert_agrees(process)
    assert snapshot.process.exe == str(copy)


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED_PIE])
def test_an_executable_that_was_replaced_is_read_as_it_was(
    minor: str, flavour: Flavour, tmp_path: Path
) -> None:
    with running_copy(minor, flavour, tmp_path) as (process, copy):
        upgrade = tmp_path / "upgrade"
        shutil.copy(build("demo", minor, flavour), upgrade)
        upgrade.rename(copy)
        assert_agrees(process)


def test_a_deleted_library_is_read(minor: str, tmp_path: Path) -> None:
    copy = tmp_path / "libwork.so"
    shutil.copy(build("shared", minor, Flavour.C_SHARED), copy)
    with c_shared_host(minor, goroutines=2, library=copy) as process:
        copy.unlink()
        if os.geteuid() != 0:
            missing("only root may open a deleted library")
        snapshot = look(process.pid)
    assert len(working(snapshot)) == 6


CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE = 21, 40


@needs_root
def test_a_library_is_found_by_its_path_without_the_right_to_open_mapped_files(minor: str) -> None:
    def library_seen_with_less(pid: int) -> str | None:
        drop_capability(CAP_SYS_ADMIN)
        drop_capability(CAP_CHECKPOINT_RESTORE)
        return look(pid).process.library

    library = build("shared", minor, Flavour.C_SHARED)
    with c_shared_host(minor, library=library) as process:
        assert in_child(lambda: library_seen_with_less(process.pid)) == str(library)


@needs_root
def test_a_library_that_was_replaced_is_not_taken_for_the_one_that_runs(
    minor: str, tmp_path: Path
) -> None:
    """Only root may open the one that runs: without that right there is only its name."""

    def look_with_less(pid: int) -> str:
        drop_capability(CAP_SYS_ADMIN)
        drop_capability(CAP_CHECKPOINT_RESTORE)
        try:
            return str(look(pid).process.library)
        except NotGoProgram as error:
            return type(error).__name__

    library, upgrade = tmp_path / "libwork.so", tmp_path / "upgrade"
    shutil.copy(build("shared", minor, Flavour.C_SHARED), library)
    with c_shared_host(minor, library=library) as process:
        assert in_child(lambda: look_with_less(process.pid)) == str(library)
        shutil.copy(library, upgrade)
        upgrade.rename(library)
        assert in_child(lambda: look_with_less(process.pid)) == "NotGoProgram"


# Namespaces.


def test_a_process_in_a_root_directory_of_its_own_is_read(minor: str, tmp_path: Path) -> None:
    in_namespaces("chroot", "/")
    shutil.copy(build("truth", minor), tmp_path / "server")
    with GoProcess(["chroot", tmp_path, "/server"]) as process:
        snapshot = assert_agrees(process)
    assert snapshot.process.exe == str(tmp_path / "server")


@pytest.mark.parametrize("program", ["truth", "shared"])
def test_a_file_in_another_mount_namespace_is_read(
    minor: str, program: str, tmp_path: Path
) -> None:
    unshare = in_namespaces("unshare", "--mount")
    script = 'mount -t tmpfs none "$1" && cp "$2" "$1/program" && shift 2 && exec "$@"'
    inside = tmp_path / "program"
    command: list[str | Path] = [inside]
    if program == "shared":
        command = [*c_shared_host(minor, goroutines=2, library=inside).command]
    built = build(program, minor, Flavour.EXE if program == "truth" else Flavour.C_SHARED)
    with GoProcess([*unshare, "sh", "-c", script, "sh", tmp_path, built, *command]) as process:
        assert not inside.exists()
        truth, snapshot = process.truth(), look(process.pid)
    assert disagreements_but_for_the_speaker(snapshot, truth) == []


def test_threads_in_another_pid_namespace_have_the_ids_that_they_have_here(minor: str) -> None:
    unshare = in_namespaces("unshare", "--pid", "--fork", "--mount-proc")
    with GoProcess([*unshare, build("truth", minor)]) as process:
        pid = go_child(process)
        snapshot = assert_agrees(process, pid)
    assert snapshot.process.pid == pid
    tids = {thread.tid for thread in snapshot.threads}
    assert pid in tids
    assert [thread.m for thread in snapshot.threads if thread.tid == pid] == [0]
    assert len([thread for thread in snapshot.threads if thread.m is not None]) >= 4
    assert {processor.tid for processor in snapshot.processors} <= tids | {None}


def test_a_process_in_another_user_namespace_is_read(minor: str) -> None:
    unshare = in_namespaces("unshare", "--user", "--map-root-user")
    with GoProcess([*unshare, build("truth", minor)]) as process:
        assert_agrees(process)


@pytest.mark.parametrize("offset_seconds", [-1_000, 100_000])
def test_goroutines_in_another_time_namespace_have_waited_as_long(
    minor: str, offset_seconds: int
) -> None:
    offsets = ("--monotonic", str(offset_seconds), "--boottime", str(offset_seconds))
    unshare = in_namespaces("unshare", "--time", "--fork", *offsets)
    with GoProcess([*unshare, build("truth", minor)]) as process:
        snapshot = assert_agrees(process, go_child(process))
    assert_waited_no_longer_than_they_ran(snapshot)


def test_goroutines_have_waited_no_longer_than_they_ran(minor: str) -> None:
    with start("truth", minor) as process:
        assert_waited_no_longer_than_they_ran(look(process.pid))


def assert_waited_no_longer_than_they_ran(snapshot: Snapshot) -> None:
    uptime_seconds = snapshot.process.uptime_seconds
    waited = [each.waiting_ns for each in snapshot if each.waiting_ns is not None]
    assert uptime_seconds is not None
    assert uptime_seconds < 60
    assert len(waited) > 50
    assert all(0 <= ns / 1e9 <= uptime_seconds for ns in waited)


# Children.


def test_the_go_child_of_a_shell_is_named(minor: str) -> None:
    with GoProcess(["sh", "-c", '"$0"; true', build("truth", minor)]) as process:
        with pytest.raises(NotGoProgram) as refused:
            look(process.pid)
        (child,) = refused.value.go_children
        assert refused.value.hint == f"its child is one: --pid {child}"
        assert_agrees(process, child)


def test_all_go_children_are_named(minor: str) -> None:
    script = 'exec 3<&0; "$0" <&3 & "$0" <&3 & wait'
    with GoProcess(["sh", "-c", script, build("truth", minor)]) as process:
        assert process.read_line(60) == "ready"
        with pytest.raises(NotGoProgram, match="is not a Go program") as refused:
            look(process.pid)
    assert len(refused.value.go_children) == 2
    assert all(
        f"--pid {child}" in (refused.value.hint or "") for child in refused.value.go_children
    )


# Threads.


def test_a_goroutine_that_spins_is_running_on_its_thread(minor: str) -> None:
    with (
        start("truth", minor, Flavour.EXE, "-n", "1", "-spin", "1") as process,
        spyglass.attach(process.pid) as program,
    ):
        for _ in range(100):  # it may lose its turn, and move to another thread between two reads
            snapshot = program.snapshot()
            spinners = [each for each in snapshot if each.status == "running" and not each.system]
            on_it = {each.goroutine: each for each in snapshot.threads}
            if len(spinners) == 1 and spinners[0].id in on_it:
                spinner, thread = spinners[0], on_it[spinners[0].id]
                statuses = [p.status for p in snapshot.processors if p.m == spinner.m]
                is_running = thread.os_state == "running" and statuses == ["running"]
                if thread.m == spinner.m and is_running:
                    break
    assert spinner.wait_reason is None
    assert spinner.created_by
    assert spinner.created_by.function == "main.main"
    assert spinner.m is not None
    assert spinner.m == thread.m
    assert thread.os_state == "running"
    assert statuses == ["running"]


def test_every_thread_is_there_and_locked_ones_are_known(minor: str) -> None:
    with start("truth", minor, Flavour.EXE, "-n", "60") as process:
        truth, snapshot = process.truth(), look(process.pid)
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
    locked = {each.id for each in truth.goroutines if "main.lockedToThread" in each.functions}
    assert disagreements(snapshot, truth.goroutines, moving=[SPEAKER]) == []
    assert len(locked) == 60
    assert len(snapshot.threads) == threads > 120
    assert {thread.locked_goroutine for thread in snapshot.threads} >= locked
    assert {each.id for each in snapshot if each.locked_to_thread} >= locked


# Processes that begin, end and change while they are looked at.


@in_milestones
@pytest.mark.parametrize(
    "flavour", [Flavour.EXE, Flavour.STRIPPED, Flavour.STRIPPED_PIE, Flavour.EXTERNAL_PIE]
)
def test_a_program_that_is_just_starting_gives_an_answer_or_an_error(
    minor: str, flavour: Flavour
) -> None:
    chance, refusals = random.Random(3), set()
    for _ in range(2):
        with Beginning(build("truth", minor, flavour)) as process:
            refusals.add(process.refusal())
            for _ in range(12):
                process.go_on_for(chance.uniform(0, 0.0005))
                refusals.add(process.refusal())
    assert "is still starting" in str(refusals) or "may still be starting" in str(refusals)
    assert len(refusals - {None}) <= 2


class Beginning:
    """A program that is stopped before its first instruction (ptrace(2)), and goes on bit by bit."""

    def __init__(self, executable: Path) -> None:
        self.executable = executable

    def __enter__(self) -> Beginning:
        self._process = subprocess.Popen(
            [self.executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: _LIBC.ptrace(_TRACEME, 0, 0, 0),
        )
        os.waitpid(self._process.pid, 0)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def refusal(self) -> str | None:
        """Why it cannot be looked at now, if it cannot."""
        try:
            doubts = [problem.detail for problem in look(self._process.pid).problems]
            assert "does not fit this process" not in str(doubts)
        except SpyglassError as error:
            return f"{error.message.replace(str(self._process.pid), '')}: {error.hint}"
        return None

    def go_on_for(self, seconds: float) -> None:
        _LIBC.ptrace(_CONT, self._process.pid, 0, 0)
        time.sleep(seconds)
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitpid(self._process.pid, 0)


_TRACEME, _CONT = 0, 7
_LIBC = ctypes.CDLL(None)


@contextmanager
def soon(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@in_milestones
def test_a_program_that_ends_while_it_is_read_is_reported(minor: str) -> None:
    executable, chance, outcomes = build("truth", minor, Flavour.STRIPPED), random.Random(1), set()
    for _ in range(25):
        delay_seconds = chance.uniform(0.0, 0.04)
        with GoProcess([executable]) as process, soon(delay_seconds, process.kill):
            outcomes.add(outcome_of_looking(process.pid))
    assert outcomes <= {ProcessChanged, ProcessNotFound}
    assert ProcessChanged in outcomes


def outcome_of_looking(pid: int) -> type[SpyglassError]:
    """The error that ends looking again and again."""
    with pytest.raises(SpyglassError) as refused:
        look_forever(pid)
    assert "\n" not in refused.value.message
    return refused.type


def look_forever(pid: int) -> None:
    while True:
        with spyglass.attach(pid) as program:
            for _ in range(5):
                program.snapshot()


#: A Go program, by its library, that becomes one that is not when it is told so.
_EXECUTES = """
import ctypes, os, sys
ctypes.CDLL(sys.argv[1]).StartWork(20)
print("ready", flush=True)
sys.stdin.readline()
os.execv("/bin/sleep", ["sleep", "60"])
"""


@contextmanager
def changeling(minor: str) -> Iterator[tuple[GoProcess, Callable[[], None]]]:
    """A Go program, and what makes it execute another."""
    library = build("shared", minor, Flavour.C_SHARED)
    with GoProcess([sys.executable, "-c", _EXECUTES, library]) as process:
        yield process, lambda: process.tell("now")


def test_a_program_that_has_executed_another_is_reported(minor: str) -> None:
    with changeling(minor) as (process, change), spyglass.attach(process.pid) as program:
        assert len(program.snapshot().goroutines) > 60
        change()
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("sleep"))
        with pytest.raises(ProcessChanged, match="ran another program"):
            program.snapshot()
        with pytest.raises(NotGoProgram):
            look(process.pid)


def test_a_program_that_executes_another_while_it_is_read_is_reported(minor: str) -> None:
    chance, outcomes = random.Random(2), set()
    for _ in range(12):
        with changeling(minor) as (process, change), soon(chance.uniform(0.0, 0.03), change):
            outcomes.add(outcome_of_looking(process.pid))
    assert outcomes <= {ProcessChanged, NotGoProgram}
    assert ProcessChanged in outcomes
