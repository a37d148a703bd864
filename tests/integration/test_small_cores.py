"""``spyglass core``: what is found in it is what was found in the process."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import spyglass
from spyglass.binary.corefile import CoreFile
from spyglass.cores import small_core
from spyglass.cores.compare import differing
from spyglass.cores.small_core import save_core
from spyglass.export.snapshot_document import document
from spyglass.model import Goroutine, Snapshot
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.targets import Target
from tests.agreement import disagreements
from tests.command import SPYGLASS, piped
from tests.cores import emulated, gcore
from tests.finished import FINISHED, running
from tests.support import Flavour, build, c_shared_host, in_ends, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go]

#: What may differ between the documents of a process and of its core: how long it took to make them,
#: that it is a core, and what the kernel says of limits while the process is there.
_OWN = ("took_ns", "timings_ns", "source", "memory_limits")
_TRIES = 5


def saved(pid: int, path: Path, stop: bool = False) -> Snapshot:
    target = Target.attach(pid)
    try:
        with path.open("w+b") as stream:
            return save_core(target, stream, stop=stop)
    finally:
        target.close()


#: With time for all functions: what is found must not depend on how busy the host is.
_WAITS = WaitOptions(heap=False, code_seconds=1000)


def read(path: Path, exe: Path | None = None, *, threads: bool = False) -> Snapshot:
    with spyglass.open_core(str(path), str(exe) if exe else None) as process:
        return process.snapshot(thread_stacks=threads, waits=_WAITS)


def saved_at_rest(pid: int, core: Path) -> Snapshot:
    """As `saved`, again if a thread moved meanwhile, as some of the runtime's own do now and then."""
    for _ in range(_TRIES):
        live = saved(pid, core)
        if comparable(live) == comparable(read(core)):
            break
    return live


def comparable(snapshot: Snapshot) -> dict[str, Any]:
    whole = document(snapshot)
    for finding in whole["findings"]:
        finding.pop("next", None)  # names the process or the core
    return {key: value for key, value in whole.items() if key not in _OWN}


@in_milestones
@pytest.mark.parametrize(
    "flavour",
    [Flavour.EXE, Flavour.STRIPPED, Flavour.CGO, Flavour.STRIPPED_PIE, Flavour.EXTERNAL_PIE],
)
def test_the_document_is_that_of_the_process(minor: str, flavour: Flavour, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with start("truth", minor, flavour) as process:
        truth = process.truth()
        live = saved_at_rest(process.pid, core)
    found = read(core)
    assert comparable(found) == comparable(live)
    assert disagreements(found, truth.goroutines, moving=[1]) == []
    assert (found.source.kind, found.source.stopped) == ("core", False)
    assert found.problems == ()
    assert core.stat().st_size < 8 << 20


def test_of_a_stopped_process_every_thread_is_as_it_was(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with start("crash", minor) as process:
        live = saved(process.pid, core, stop=True)
    found = read(core, threads=True)
    assert list(found) == list(live)
    assert (found.scheduler, found.processors) == (live.scheduler, live.processors)
    # Code that is not Go's has names in a process, and in a core places in files.
    assert [replace(thread, stack=None) for thread in found.threads] == [
        replace(thread, stack=None) for thread in live.threads
    ]
    assert (found.source.kind, found.source.stopped) == ("core", True)
    assert {thread.runs is not None for thread in found.threads} == {True}
    with CoreFile(str(core)) as file:
        assert {thread.tid for thread in file.threads} == {thread.tid for thread in live.threads}


def test_goroutines_that_run_have_the_stacks_of_samples(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with start("truth", minor, Flavour.EXE, "-spin", "1") as process:
        for _ in range(20):
            live = saved(process.pid, core)
            spins = [g for g in live if g.where and g.where.function == "main.spin1"]
            if spins and spins[0].quality != "torn":
                break
        else:
            pytest.fail("its thread was sampled in no snapshot of 20")
    found = {g.id: g for g in read(core)}
    assert found[spins[0].id].stack == spins[0].stack
    assert found[spins[0].id].m == spins[0].m


def test_what_moved_meanwhile_is_marked(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    for _ in range(_TRIES):
        with start("churn", minor, Flavour.EXE, "-alive", "300") as process:
            live = saved(process.pid, core)
        found = read(core)
        torn = {g.id for g in found if g.quality == "torn"}
        assert torn >= {g.id for g in live if g.quality == "torn"} & {g.id for g in found}
        sure = {(g.id, g.status, g.stack) for g in found if g.quality == "stable"}
        assert sure <= {(g.id, g.status, g.stack) for g in live}
        if torn:  # all of them move all the time, if others leave the program a processor
            break
    assert torn
    assert any("while the core was made" in problem.detail for problem in found.problems)


def test_only_what_may_have_moved_is_looked_at_again(
    minor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A goroutine whose memory was the same whenever it was read is in the core as it was in the process."""
    looked_at: list[Snapshot] = []

    def noted(live: Snapshot, again: Snapshot) -> NDArray[np.uint64]:
        looked_at.append(again)
        return differing(live, again)

    monkeypatch.setattr(small_core, "differing", noted)
    core = tmp_path / "core"
    with start("park", minor, Flavour.EXE, "-n", "2000") as process:
        live = saved(process.pid, core)
    found = read(core)
    assert len(live.goroutines) > 2000
    assert len(looked_at[-1].goroutines) < 500
    sure = {g.id for g in live if g.quality != "torn"}
    assert len(sure) > 1000
    assert as_seen(found, sure) == as_seen(live, sure)


def test_stopped_nothing_moves(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with start("churn", minor, Flavour.EXE, "-alive", "300") as process:
        live = saved(process.pid, core, stop=True)
    found = read(core, threads=True)
    assert list(found) == list(live)
    assert (found.scheduler, found.processors) == (live.scheduler, live.processors)
    assert {g.quality for g in found} == {"stable"}


def test_a_library_in_another_program(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with c_shared_host(minor) as process:
        process.truth()
        live = saved_at_rest(process.pid, core)
    found = read(core)
    assert comparable(found) == comparable(live)
    assert found.process.library == str(build("shared", minor, Flavour.C_SHARED))


def as_seen(snapshot: Snapshot, ids: set[int]) -> dict[int, Goroutine]:
    """The goroutines `ids` without how long they have waited: one may have run on, and wait again where it did, so
    that this is of another moment."""
    return {
        g.id: replace(g, waiting_ns=None, printed_ns=None, quality="")
        for g in snapshot
        if g.id in ids
    }


@pytest.mark.parametrize("name", [name for name in FINISHED if "prometheus" not in name])
def test_programs_from_elsewhere(name: str, tmp_path: Path) -> None:
    core = tmp_path / "core"
    with running(name) as process:
        live = saved(process.pid, core)
    found = read(core)
    own = {g.id for g in live if not g.system}
    sure = {g.id for g in live if g.quality != "torn"} & own
    expected, got = as_seen(live, sure), as_seen(found, sure)
    assert expected == got
    assert len(expected) >= len(own) / 2
    assert found.process == live.process


@in_milestones
@pytest.mark.slow
def test_a_small_core_of_a_large_one(minor: str, tmp_path: Path) -> None:
    with start("truth", minor) as process:
        truth = process.truth()
        large = gcore(process.pid, tmp_path)
    small = tmp_path / "small"
    done = piped("core", "--core", str(large), "-o", str(small))
    assert done.returncode == 0, done.stderr
    assert small.stat().st_size < large.stat().st_size / 20
    whole, part = read(large), read(small)
    assert comparable(part) == comparable(whole)
    assert disagreements(part, truth.goroutines, moving=[1]) == []
    large.unlink()


@in_milestones
def test_an_arm64_core_made_small(minor: str, tmp_path: Path) -> None:
    large = emulated("truth", minor, tmp_path, "-spin", "1").core
    small = tmp_path / "small"
    target = Target.open_core(str(large))
    with small.open("w+b") as stream:
        save_core(target, stream)
    target.close()
    assert comparable(read(small)) == comparable(read(large))
    shutil.rmtree(tmp_path)


@in_ends
@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_saved(minor: str, tmp_path: Path) -> None:
    """Pages are written as they come: a few batches of them are in memory, however many there are, beside a
    kilobyte for what each goroutine waits on."""
    small, large = (
        peak_and_size(number, minor, tmp_path / str(number)) for number in (20_000, 100_000)
    )
    grown_mb, kept_mb = ((b - a) / 1e6 for a, b in zip(small, large, strict=True))
    assert kept_mb > 200
    assert grown_mb < kept_mb / 3


def peak_and_size(number: int, minor: str, core: Path) -> tuple[int, int]:
    """The most memory that saving `number` goroutines takes, and the size of the file, in bytes."""
    with start("park", minor, Flavour.EXE, "-n", str(number)) as process:
        command = [*SPYGLASS, "core", "-p", str(process.pid), "-o", str(core)]
        # The peak of a process is never less than what its parent had: a small one starts it.
        code = "import os, sys; print(os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)[2].ru_maxrss)"
        done = subprocess.run(
            [sys.executable, "-c", code, *command], check=True, capture_output=True, text=True
        )
    size = core.stat().st_size
    core.unlink()
    return int(done.stdout.splitlines()[-1]) * 1024, size


# What other tools make of it.


@pytest.fixture(scope="module")
def small(minor: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core of the truth program, which was stopped for it."""
    core = tmp_path_factory.mktemp("small") / "core"
    with start("truth", minor) as process:
        process.truth()
        saved(process.pid, core, stop=True)
    return core


def gdb(program: Path, core: Path, *commands: str) -> str:
    command = shutil.which("gdb")
    if command is None:
        pytest.skip("no gdb")
    arguments = [part for each in commands for part in ("-ex", each)]
    done = subprocess.run(
        [command, "-nx", "-batch", *arguments, program, core], capture_output=True, text=True,
        check=True, env={**os.environ, "DEBUGINFOD_URLS": ""}, timeout=60,
    )  # fmt: skip
    return done.stdout


@in_ends
def test_gdb_reads_it(small: Path, minor: str) -> None:
    snapshot = read(small)
    printed = gdb(build("truth", minor), small, "info threads", "print 'runtime.allglen'", "bt 1")
    assert set(map(int, re.findall(r"LWP (\d+)", printed))) >= {t.tid for t in snapshot.threads}
    (count,) = re.findall(r"\$1 = (\d+)", printed)
    assert int(count) >= len(snapshot.goroutines)
    assert "runtime.futex" in printed or "Syscall" in printed or "EpollWait" in printed


# The command.


@in_ends
def test_the_command_saves_it_for_its_owner_alone(minor: str, tmp_path: Path) -> None:
    core = tmp_path / "of the incident.core"
    with start("truth", minor) as process:
        truth = process.truth()
        done = piped("core", "--pid", str(process.pid), "-o", str(core))
        assert (done.returncode, done.stdout) == (0, f"{core}\n")
        assert "secrets" in done.stderr
        shown = piped("summary", "--core", str(core), "--json")
        live = piped("summary", "--pid", str(process.pid), "--json")
    assert stat.S_IMODE(core.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [core.name]
    assert json.loads(shown.stdout)["scheduler"] == json.loads(live.stdout)["scheduler"]
    assert json.loads(shown.stdout)["scheduler"]["goroutines"] == truth.num_goroutine


@in_ends
def test_it_has_a_name_of_its_own(minor: str, tmp_path: Path) -> None:
    with start("truth", minor) as process:
        done = piped("core", "-p", str(process.pid), "-o", str(tmp_path))
    (core,) = tmp_path.iterdir()
    assert done.stdout == f"{core}\n"
    assert re.fullmatch(rf"truth-go.*-{process.pid}-\d{{8}}T\d{{6}}Z\.core", core.name)


@in_ends
def test_it_goes_through_a_pipe(minor: str, tmp_path: Path) -> None:
    with start("truth", minor) as process, (tmp_path / "core").open("wb") as stream:
        command = [*SPYGLASS, "core", "-p", str(process.pid), "-o", "-"]
        subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, check=True)
    assert len(read(tmp_path / "core").goroutines) > 70


@in_ends
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--core", "{here}/none"], "no such file"),
        (["--core", "{here}"], "is not a core file"),
        (["--core", "{here}/text"], "is not a core file"),
        (["--core", "{here}/core", "--exe", "{here}/text"], "is not an ELF file"),
        (["--core", "{here}/core", "--exe", "/bin/sh"], "is not the executable of this core"),
        (["--core", "{here}/core", "--stop"], "--stop cannot be used with --core"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    small: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    shutil.copy(small, tmp_path / "core")
    (tmp_path / "text").write_text("no core " * 100)
    done = piped("dump", *(argument.format(here=tmp_path) for argument in arguments))
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@in_ends
def test_a_disk_that_is_full_leaves_nothing(minor: str) -> None:
    with start("truth", minor) as process:
        done = piped("core", "-p", str(process.pid), "-o", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@in_ends
def test_a_process_that_ends_leaves_nothing(tmp_path: Path, minor: str) -> None:
    with start("truth", minor) as process:
        target = Target.attach(process.pid)
    with pytest.raises(spyglass.SpyglassError), (tmp_path / "core").open("w+b") as stream:
        save_core(target, stream)
    target.close()
