"""No answer: which exception, what its one line says, and what the user is told to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import spyglass
from spyglass.binary.executable import Executable
from spyglass.errors import (
    BadDataError,
    NotGoProgram,
    PermissionDenied,
    ProcessNotFound,
    SpyglassError,
    UnsupportedGoVersion,
    UnsupportedProgram,
)
from spyglass.model import Snapshot
from spyglass.procfs.host_processes import pids
from tests.agreement import disagreements
from tests.children import (
    CAP_PERFMON,
    CAP_SYS_PTRACE,
    become,
    become_with,
    drop_capability,
    forked,
    in_child,
    needs_root,
    sleeping,
)
from tests.command import piped
from tests.support import (
    NEWEST,
    Flavour,
    GoProcess,
    Truth,
    build,
    minor_after,
    missing,
    start,
)

pytestmark = pytest.mark.live


def look(pid: int) -> Snapshot:
    with spyglass.attach(pid) as program:
        return program.snapshot()


def refused(pid: int, kind: type[SpyglassError], says: str, hints: str | None) -> None:
    """It is refused by both doors, with that exception and those words; None: there is no hint."""
    with pytest.raises(SpyglassError, match=says) as error:
        look(pid)
    assert error.type is kind
    assert re.search(hints or "^None$", str(error.value.hint))
    done = piped("summary", "--pid", str(pid))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"spyglass: [^\n]*{says}[^\n]*\n", done.stderr)


# Processes that are none.


def test_there_is_no_such_process() -> None:
    pid = max(pids()) + 10_000
    refused(pid, ProcessNotFound, f"there is no process {pid}", "spyglass ps")


def test_a_zombie() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        refused(child.pid, ProcessNotFound, "is a zombie: it has ended", str(os.getpid()))


def test_a_kernel_thread() -> None:
    kthreadd = 2
    if not Path(f"/proc/{kthreadd}/comm").read_text().startswith("kthreadd"):
        missing("no kernel threads are seen here")
    refused(kthreadd, ProcessNotFound, "is a kernel thread, not a process", None)


# Users with some capabilities only.


@needs_root
def test_a_user_with_two_capabilities_sees_goroutines(truth_process: GoProcess) -> None:
    """As docs/spyglass.service gives them: files in /proc that only the process's user may open stay closed."""
    pid = truth_process.pid

    def look_again() -> tuple[Snapshot, str]:
        look(pid)  # imports what another user may not read
        with suppress(SpyglassError), spyglass.attach(os.getpid()):
            pass
        become_with(CAP_SYS_PTRACE, CAP_PERFMON)
        with spyglass.attach(pid) as program:
            snapshot = program.snapshot()
            try:
                program.snapshot(thread_stacks=True)
            except PermissionDenied as error:
                return snapshot, str(error)
        return snapshot, ""

    said = truth_process.truth()
    snapshot, refusal = in_child(look_again)
    moving = [each.id for each in said.goroutines if each.state == "running"]
    assert disagreements(snapshot, said.goroutines, moving) == []
    assert "some of its files in /proc can be opened by root only" in refusal


# Programs that are not for us.


def test_a_program_that_is_not_go() -> None:
    with sleeping() as child:
        says = rf"process {child.pid} \(sleep\) is not a Go program"
        refused(child.pid, NotGoProgram, says, "spyglass ps")


def test_a_program_whose_child_is_go() -> None:
    with GoProcess(["sh", "-c", '"$0"; true', build("truth")]) as process:
        (child,) = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
        says = rf"process {process.pid} \(sh\) is not a Go program"
        refused(process.pid, NotGoProgram, says, f"its child is one: --pid {child}")


#: Elf32_Ehdr and Elf32_Phdr (elf(5)), and code that calls pause(2) for ever.
_LOADED_AT, _HEADERS_BYTES = 0x10000, 52 + 32
_PAUSE = bytes.fromhex("b81d000000 cd80 ebf7")
_TINY_32_BIT = (
    b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, _LOADED_AT + _HEADERS_BYTES, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    + struct.pack("<8I", 1, 0, _LOADED_AT, _LOADED_AT, 93, 93, 5, 0x1000)
    + _PAUSE
)  # fmt: skip


def test_a_32_bit_program(tmp_path: Path) -> None:
    executable = tmp_path / "tiny"
    executable.write_bytes(_TINY_32_BIT)
    executable.chmod(0o755)
    try:
        with sleeping(executable) as child:
            refused(child.pid, UnsupportedProgram, "is a 32-bit program", None)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        missing("this kernel runs no 32-bit programs")


@pytest.mark.parametrize(
    ("at", "byte", "says"),
    [
        (5, 2, "is big-endian; spyglass reads amd64 and arm64"),
        (18, 243, r"is for another processor \(243\); spyglass reads amd64 and arm64"),
    ],
)
def test_a_program_for_another_processor(tmp_path: Path, at: int, byte: int, says: str) -> None:
    image = bytearray(build("truth").read_bytes()[:4096])
    image[at] = byte
    file = tmp_path / "program"
    file.write_bytes(image)
    with pytest.raises(UnsupportedProgram, match=says):
        Executable.open(str(file))


# Go versions.


@contextmanager
def running_changed(
    changes: dict[bytes, bytes], folder: Path, minor: str, flavour: Flavour = Flavour.STRIPPED
) -> Iterator[GoProcess]:
    """The truth program, stripped, with bytes in it replaced by others of the same length."""
    image = build("truth", minor, flavour).read_bytes()
    for old, new in changes.items():
        assert old in image
        assert len(old) == len(new)
        image = image.replace(old, new)
    copy = folder / "server"
    copy.write_bytes(image)
    copy.chmod(0o755)
    with GoProcess([copy]) as process:
        yield process


def called(version: str, minor: str) -> dict[bytes, bytes]:
    """What makes the program say that it is of another version, which begins so."""
    with start("truth", minor) as process:
        own = process.truth().go_version.encode()
    return {own: version.encode().ljust(len(own), b"0")}


#: The end of the name in the type descriptor of the runtime's g: there is none of it then.
NO_DESCRIPTOR = {b"\x0a*runtime.g": b"\x0a*runtime.q"}


def test_a_version_that_nothing_describes(minor: str, tmp_path: Path) -> None:
    with running_changed(
        called(f"go{minor_after(NEWEST)}.", minor) | NO_DESCRIPTOR, tmp_path, minor
    ) as process:
        says = rf"no known layout fits the runtime of process {process.pid} \(go{minor_after(NEWEST)}\.0+\)"
        refused(process.pid, UnsupportedGoVersion, says, "please report it")


def test_a_version_far_from_all_that_are_known(minor: str, tmp_path: Path) -> None:
    with running_changed(called("go1.99.", minor), tmp_path, minor) as process:
        says = r"no known layout fits the runtime of process [0-9]+ \(go1\.99\.0+\)"
        refused(process.pid, UnsupportedGoVersion, says, "please report it")


def test_a_new_version_is_read_by_its_own_descriptions(tmp_path: Path) -> None:
    next_version = called(f"go{minor_after(NEWEST)}.", NEWEST)
    with running_changed(next_version, tmp_path, NEWEST) as process:
        truth, snapshot = process.truth(), look(process.pid)
    assert disagreements(snapshot, truth.goroutines, moving=[1]) == []
    assert_not_wrong(snapshot, truth)


def test_a_version_whose_inlined_calls_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    with running_changed(called("go1.11.", NEWEST), tmp_path, NEWEST, Flavour.EXE) as process:
        refused(process.pid, UnsupportedGoVersion, r"go1\.11: the oldest .* is go1\.12", None)


@pytest.mark.parametrize("version", ["go1.12.", "go1.99."])
def test_any_version_is_read_by_its_debug_information(
    minor: str, version: str, tmp_path: Path
) -> None:
    with running_changed(called(version, minor), tmp_path, minor, Flavour.EXE) as process:
        truth, snapshot = process.truth(), look(process.pid)
    assert disagreements(snapshot, truth.goroutines, moving=[1]) == []
    assert (snapshot.process.go_version or "").startswith(version)
    assert snapshot.scheduler.goroutines == truth.num_goroutine
    assert snapshot.problems == ()


def assert_not_wrong(snapshot: Snapshot, truth: Truth) -> None:
    scheduler, memory = snapshot.scheduler, snapshot.memory
    assert scheduler.goroutines in (None, truth.num_goroutine)
    assert scheduler.gomaxprocs in (None, truth.gomaxprocs)
    assert memory.gc_count in (None, truth.num_gc)
    assert memory.heap_goal_bytes in (None, truth.next_gc_bytes)
    assert {"scheduler", "memory"} <= {problem.subject for problem in snapshot.problems}


# Processes of others.


def as_nobody(pid: int) -> Snapshot:
    become()
    return look(pid)


@needs_root
def test_a_process_of_another_user() -> None:
    with start("truth") as process:
        says = "cannot be read: it runs as root, and spyglass as nobody"
        with pytest.raises(PermissionDenied, match=says) as error:
            in_child(lambda: as_nobody(process.pid))
    assert error.value.hint == "run spyglass with sudo"


@contextmanager
def running_as_nobody(folder: Path, mode: int) -> Iterator[GoProcess]:
    """The truth program as another user, from a file that this one may run, and perhaps read."""
    copy = folder / "server"
    shutil.copy(build("truth"), copy)
    copy.chmod(mode)
    for parent in [folder, *folder.parents[:2]]:
        parent.chmod(parent.stat().st_mode | 0o111)
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with GoProcess([*setpriv, copy]) as process:
        yield process


@needs_root
def test_root_is_not_demanded_where_the_kernel_allows_it(tmp_path: Path) -> None:
    with running_as_nobody(tmp_path, 0o755) as process:
        truth = process.truth()
        seen = in_child(lambda: len(as_nobody(process.pid).goroutines))
        assert seen == len(look(process.pid).goroutines) >= truth.num_goroutine


@needs_root
def test_a_protected_process() -> None:
    with forked(lambda: become(dumpable=False)) as pid:
        with pytest.raises(PermissionDenied, match="cannot be read: it is protected") as error:
            in_child(lambda: as_nobody(pid))
        assert error.value.hint == "run spyglass with sudo"


@needs_root
def test_a_file_that_this_user_may_not_read(tmp_path: Path) -> None:
    with running_as_nobody(tmp_path, 0o711) as process:
        says = "runs a file that this user may not read"
        with pytest.raises(PermissionDenied, match=says) as error:
            in_child(lambda: as_nobody(process.pid))
        assert error.value.hint == "run spyglass with sudo"
        assert disagreements(look(process.pid), process.truth().goroutines, moving=[1]) == []


@needs_root
def test_root_without_the_capability() -> None:
    def look_with_less(pid: int) -> Snapshot:
        drop_capability(CAP_SYS_PTRACE)
        return look(pid)

    with start("truth") as process:
        says = "cannot be read: it has capabilities that spyglass lacks"
        with pytest.raises(PermissionDenied, match=says) as error:
            in_child(lambda: look_with_less(process.pid))
    assert "SYS_PTRACE" in (error.value.hint or "")


# Files that are damaged: what becomes of them is tested at length elsewhere.


@pytest.mark.parametrize(
    "content",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01\x01".ljust(64, b"\0")],
    ids=["empty", "script", "cut off", "zeros"],
)
def test_a_file_that_is_no_program(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises((BadDataError, UnsupportedProgram)) as error:
        Executable.open(str(file))
    assert str(file) in error.value.message
