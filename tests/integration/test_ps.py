from __future__ import annotations

import json
import os
import pwd
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from spyglass import attach, procfs
from spyglass.binary.go_executable import GoExecutable
from spyglass.errors import AmbiguousName, PermissionDenied, ProcessNotFound
from spyglass.export.plain_values import plain
from spyglass.process_list import GoProcess
from spyglass.processes import find_by_name, go_processes
from spyglass.procfs.cpu_times import process_times
from tests import finished
from tests.children import become, in_child, needs_root, sleeping
from tests.command import on_terminal, piped
from tests.support import MATRIX, Flavour, build, start, toolchain

pytestmark = [pytest.mark.live, pytest.mark.go]

SCHEMA = json.loads(files("spyglass.export").joinpath("ps.schema.json").read_text())


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Go program under a name that nothing else has; waits for its input."""
    path = tmp_path_factory.mktemp("ps") / "spyglass-test-program"
    return Path(shutil.copy(build("truth"), path))


def listed(pid: int) -> GoProcess:
    (process,) = go_processes([pid]).processes
    return process


def running(program: Path | str, *arguments: str, **options: Any) -> Any:
    """A context with a process that runs `program` and waits for its input."""
    return sleeping(
        program, *arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **options
    )


@pytest.fixture
def process(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running(program, "an argument") as child:
        yield child


def spyglass(*arguments: str) -> str:
    done = piped(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def threads_and_rss_bytes(pid: int) -> tuple[int, int]:
    """As /proc/PID/status has them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["Threads"]), int(status["VmRSS"].split()[0]) * 1024


def test_a_go_process_is_described(program: Path) -> None:
    started = time.monotonic()
    with running(program, "an argument") as process:
        assert_is_described(program, process, started)


def assert_is_described(program: Path, process: subprocess.Popen[bytes], started: float) -> None:
    # It may still be starting: what there is of it only becomes more.
    threads_before, rss_before = threads_and_rss_bytes(process.pid)
    found = listed(process.pid)
    threads_after, rss_after = threads_and_rss_bytes(process.pid)
    with GoExecutable.open(str(program)) as executable:
        assert found.go_version == executable.build_info.go_version
    assert found.go_version
    assert found.go_version.startswith("go1.")
    assert found.cmdline == (str(program), "an argument")
    assert found.exe == str(program)
    assert found.user == pwd.getpwuid(os.geteuid()).pw_name
    assert threads_before <= found.threads <= threads_after
    assert found.rss_bytes is not None
    assert 0.9 * rss_before <= found.rss_bytes <= 1.1 * rss_after
    assert found.started_at == listed(process.pid).started_at == procfs.started_at(process.pid)
    # The kernel counts in ticks, of which it may have begun one more.
    assert 0 <= found.age_seconds <= time.monotonic() - started + 0.02
    assert found.started_at.timestamp() == pytest.approx(time.time() - found.age_seconds, abs=2)
    assert not found.stripped
    assert not found.exe_deleted


def test_all_go_processes_are_found_and_no_others(process: subprocess.Popen[bytes]) -> None:
    with sleeping() as other:
        pids = [found.pid for found in go_processes().processes]
    assert process.pid in pids
    assert other.pid not in pids
    assert os.getpid() not in pids
    assert pids == sorted(pids)


@pytest.mark.parametrize("flavour", [Flavour.STRIPPED, Flavour.NO_SECTIONS, Flavour.PIE])
def test_programs_of_every_shape_are_found(flavour: Flavour) -> None:
    with running(build("truth", flavour=flavour)) as child:
        found = listed(child.pid)
    assert found.go_version
    assert found.stripped == (flavour is not Flavour.PIE)


@pytest.mark.parametrize("name", ["esbuild-0.0.2", "esbuild-0.27.0", "esbuild-0.1.26"])
def test_the_version_is_that_of_summary_without_build_info_too(name: str) -> None:
    with finished.running(name) as child:
        found = listed(child.pid)
        with attach(child.pid) as inspector:
            assert found.go_version == inspector.snapshot("top").process.go_version
    assert found.go_version
    assert found.go_version.startswith("go1.")


def test_the_module_is_that_of_the_build(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.com/team/waits/v2\n\ngo 1.13\n")
    (tmp_path / "main.go").write_text(
        'package main\n\nimport "time"\n\nfunc main() { time.Sleep(time.Hour) }\n'
    )
    subprocess.run(
        [toolchain(), "build", "-o", "waits", "."],
        cwd=tmp_path,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"},
        check=True,
        timeout=300,
    )
    with running(tmp_path / "waits") as child:
        found = listed(child.pid)
    assert (found.module, found.module_version) == ("example.com/team/waits/v2", "(devel)")
    assert found.package == "example.com/team/waits/v2"


def test_a_deleted_executable_is_read_all_the_same(tmp_path: Path, program: Path) -> None:
    copy = Path(shutil.copy(program, tmp_path / "upgraded"))
    with running(copy) as child:
        copy.unlink()
        copy.write_text("another version")
        found = listed(child.pid)
        assert (found.exe, found.exe_deleted) == (str(copy), True)
        assert find_by_name("upgraded") == child.pid


def test_a_shared_executable_is_looked_at_once(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    really_open = GoExecutable.open

    def open_and_note(path: str) -> GoExecutable:
        opened.append(path)
        return really_open(path)

    monkeypatch.setattr(GoExecutable, "open", open_and_note)
    with ExitStack() as stack:
        pids = [stack.enter_context(running(program)).pid for _ in range(10)]
        assert len(go_processes(pids).processes) == 10
    assert len(opened) == 1


def test_a_process_that_has_ended_is_left_out(program: Path) -> None:
    with running(program) as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        listing = go_processes([child.pid])
    assert (listing.processes, listing.unreadable) == ((), ())
    assert go_processes([child.pid]).unreadable == ()


def test_a_program_of_another_kind_is_recognised(tmp_path: Path) -> None:
    """A 32-bit program, which this kernel runs too."""
    program = tmp_path / "small"
    # mov $29, %eax (pause); int $0x80; and again, at the only address of the only segment.
    code = b"\xb8\x1d\x00\x00\x00\xcd\x80\xeb\xf7"
    size = 52 + 32 + len(code)
    base = 0x08048000
    header = b"\x7fELF\1\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000)
    program.write_bytes(header + segment + code)
    program.chmod(0o755)
    try:
        with sleeping(program) as child:
            (unreadable,) = go_processes([child.pid]).unreadable
    except OSError as error:
        pytest.skip(f"this kernel runs no 32-bit programs: {error}")
    assert (unreadable.pid, unreadable.name) == (child.pid, "small")
    assert "32-bit" in unreadable.why


# --name


def test_a_process_is_found_by_each_of_its_names(program: Path) -> None:
    with running("its-argument", executable=program) as child:
        assert find_by_name("its-argument") == child.pid
        assert find_by_name("spyglass-test-program") == child.pid
        assert find_by_name("spyglass-test-p") == child.pid  # the comm: 15 bytes


def test_several_of_a_name_are_named_and_none_is_chosen(program: Path) -> None:
    with running(program) as first, running(program) as second:
        with pytest.raises(AmbiguousName, match="2 Go processes") as error:
            find_by_name(program.name)
        assert error.value.pids == tuple(sorted((first.pid, second.pid)))


def test_there_is_no_go_process_of_that_name() -> None:
    with (
        sleeping("no-go-program-has-this-name", "600", executable="/bin/sleep"),
        pytest.raises(ProcessNotFound, match="no Go process") as error,
    ):
        find_by_name("no-go-program-has-this-name")
    assert "spyglass ps" in (error.value.hint or "")


# Without permission


@needs_root
def test_what_cannot_be_read_is_listed_with_the_reason(
    process: subprocess.Popen[bytes], program: Path
) -> None:
    def list_as_nobody() -> Any:
        become()
        return go_processes()

    def find_as_nobody() -> int:
        become()
        return find_by_name(program.name)

    listing = in_child(list_as_nobody)
    assert process.pid not in [found.pid for found in listing.processes]
    (found,) = [each for each in listing.unreadable if each.pid == process.pid]
    assert found.name == "spyglass-test-p"
    assert found.why == "it runs as root, and spyglass as nobody"
    kernel_threads = {2, *children_of(2)}
    assert not kernel_threads & {each.pid for each in listing.unreadable}
    with pytest.raises(PermissionDenied, match="it runs as root"):
        in_child(find_as_nobody)


def children_of(parent: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(path.parent.name))
    return found


# The command


def test_the_document_follows_its_schema(process: subprocess.Popen[bytes]) -> None:
    document = json.loads(spyglass("ps", "--json"))
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        document
    )
    (found,) = [each for each in document["processes"] if each["pid"] == process.pid]
    assert found["cmdline"][1:] == ["an argument"]
    assert found["started_at"].endswith("Z")
    assert set(found) == set(SCHEMA["$defs"]["process"]["properties"])


def test_a_start_identifies_a_process_in_every_list(process: subprocess.Popen[bytes]) -> None:
    documents = [json.loads(spyglass("ps", "--json")) for _ in range(3)]
    found = [each for made in documents for each in made["processes"] if each["pid"] == process.pid]
    assert len(found) == 3
    (started_at,) = {each["started_at"] for each in found}
    assert started_at == plain(procfs.started_at(process.pid))


def test_the_use_of_processors_is_measured_while_the_list_is_made() -> None:
    """Of a process that is busy, and of one that waits."""
    with start("labels", MATRIX[-1], Flavour.EXE, "-churn", "2") as busy, start("truth") as idle:
        time.sleep(0.2)
        before = process_times([busy.pid, idle.pid])
        time.sleep(0.3)
        first, second = go_processes([busy.pid, idle.pid], before).processes
        if first.pid != busy.pid:
            first, second = second, first
        (lone,) = go_processes([idle.pid]).processes
    assert first.cpu_cores is not None
    assert second.cpu_cores is not None
    assert first.cpu_seconds is not None
    assert first.cpu_cores > 0.05 > second.cpu_cores
    assert first.average_cores == first.cpu_seconds / first.age_seconds
    assert lone.cpu_cores is None  # nothing to compare with


def test_limits_are_those_of_the_control_groups(process: subprocess.Popen[bytes]) -> None:
    found = listed(process.pid)
    quota = procfs.cpu_quota(process.pid)
    assert found.cpu_limit_cores == (quota.cores if quota else None)
    assert found.memory_limit_bytes == procfs.memory_limit_bytes(process.pid)


@pytest.mark.parametrize(("order", "key"), [("rss", "rss_bytes"), ("age", "age_seconds")])
def test_the_command_sorts(program: Path, order: str, key: str) -> None:
    with running(program), running(program):
        made = json.loads(spyglass("ps", "--json", "--sort", order))["processes"]
    assert len(made) >= 2
    assert [each[key] for each in made] == sorted((each[key] for each in made), reverse=True)


def test_a_pipe_gets_plain_and_whole_lines(program: Path) -> None:
    with running(program, "x" * 3000) as child:
        output = spyglass("ps")
    assert "\x1b" not in output
    (line,) = [line for line in output.splitlines() if line.split()[0] == str(child.pid)]
    assert line.endswith(f"{program} {'x' * 3000}")


def test_a_terminal_gets_lines_that_fit(program: Path) -> None:
    with running(program, "x" * 3000) as child:
        output = on_terminal("ps", width=80, height=24)
    assert "\x1b[1m" in output
    plain = [strip_styles(line) for line in output.splitlines()]
    assert max(map(len, plain)) <= 80
    assert any(line.strip().startswith(f"{child.pid} ") for line in plain)


def strip_styles(line: str) -> str:
    first, *rest = line.split("\x1b[")
    return first + "".join(part.partition("m")[2] for part in rest)


def test_escape_sequences_of_a_process_are_made_visible(program: Path) -> None:
    with running("\x1b]0;title\x07", "two\nlines", "\u202e\x7f", executable=program) as child:
        for output in (spyglass("ps"), strip_styles(on_terminal("ps", width=200, height=24))):
            (line,) = [line for line in output.splitlines() if str(child.pid) in line.split()[:1]]
            assert line.isprintable()
            assert r"\x1b]0;title\x07" in line
            assert r"two\x0alines" in line
            assert r"\u202e" in line
        document = spyglass("ps", "--json")
    assert document.isascii()
    assert document.strip().isprintable()
    (found,) = [each for each in json.loads(document)["processes"] if each["pid"] == child.pid]
    assert found["cmdline"] == ["\x1b]0;title\x07", "two\nlines", "\u202e\x7f"]
