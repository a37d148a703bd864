"""Targets as people type them: pids, names of processes, and files, and what could be two of these."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from spyglass import cli
from spyglass.cli.sources import CoreSource, ProcessSource, SavedSource
from spyglass.cli.typed_targets import typed_source
from spyglass.errors import AmbiguousName, ProcessNotFound
from spyglass.export.snapshot_file import save
from tests.command import piped
from tests.saved import with_everything
from tests.support import GoProcess, build

NAME = "typed-target"
#: No process has it: the kernel assigns smaller ones.
NO_PID = str(1 << 22)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of a name that no other process has."""
    return Path(shutil.copy(build("labels"), tmp_path_factory.mktemp("bin") / NAME))


@pytest.fixture(scope="module")
def process(program: Path) -> Iterator[GoProcess]:
    with GoProcess([program]) as started:
        yield started


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_pid_and_a_name_are_a_process(process: GoProcess) -> None:
    assert typed_source(str(process.pid)) == ProcessSource(process.pid)
    assert typed_source(NAME) == ProcessSource(process.pid)


@pytest.mark.parametrize("command", [[], ["summary"], ["dump"]])
def test_commands_take_them(
    capsys: pytest.CaptureFixture[str], process: GoProcess, command: list[str]
) -> None:
    for target in (str(process.pid), NAME):
        code, out, _ = said(capsys, *command, target, "--json")
        assert code == 0
        assert f'"pid":{process.pid},' in out


@pytest.mark.parametrize(
    "command",
    [
        ["top", "--count", "1"],
        ["snapshot", "-o", "out"],
        ["report", "-o", "out"],
        pytest.param(["core", "-o", "out"], marks=pytest.mark.slow),
        pytest.param(["diff", "x.json.gz"], marks=pytest.mark.slow),
    ],
)
def test_every_command_takes_them(process: GoProcess, empty: Path, command: list[str]) -> None:
    assert piped("snapshot", NAME, "-o", "x.json.gz").returncode == 0
    for target in (str(process.pid), NAME):
        done = piped(*command, target)
        assert done.returncode == 0, done.stderr


def test_options_may_follow_a_target_without_a_command(
    capsys: pytest.CaptureFixture[str], process: GoProcess
) -> None:
    code, out, _ = said(capsys, str(process.pid), "--list", "--state", "chan receive")
    assert code == 0
    assert f"pid {process.pid} " in out


def test_files_are_told_apart_by_what_is_in_them(empty: Path) -> None:
    save(with_everything(), empty / "saved.json.gz")
    (empty / "renamed").write_bytes((empty / "saved.json.gz").read_bytes())
    (empty / "core.7").write_bytes(b"\x7fELF\2\1\1".ljust(16, b"\0") + b"\4\0" + bytes(46))
    assert typed_source("saved.json.gz", None, 9) == SavedSource("saved.json.gz", 9)
    assert typed_source("renamed") == SavedSource("renamed")
    assert typed_source("missing.json") == SavedSource("missing.json")
    assert typed_source("./missing") == SavedSource("./missing")
    assert typed_source("-") == SavedSource("-")
    assert typed_source("core.7", "/bin/x") == CoreSource("core.7", "/bin/x")
    assert typed_source("./core.7") == CoreSource("./core.7")


def test_a_file_called_like_a_pid(process: GoProcess, empty: Path) -> None:
    save(with_everything(), empty / "x.json")
    for name in (str(process.pid), NO_PID):
        (empty / name).write_bytes((empty / "x.json").read_bytes())
    pid = str(process.pid)
    with pytest.raises(AmbiguousName) as error:
        typed_source(pid)
    assert error.value.message == f"{pid} is both a process and a file"
    assert error.value.hint == f"use --pid {pid}, or ./{pid} for the file"
    assert typed_source(f"./{pid}") == SavedSource(f"./{pid}")
    assert typed_source(NO_PID) == SavedSource(NO_PID)  # there is no such process


def test_a_file_called_like_a_process(process: GoProcess, empty: Path) -> None:
    (empty / NAME).write_text("{}")
    with pytest.raises(AmbiguousName) as error:
        typed_source(NAME)
    assert error.value.message == f"{NAME} is both a Go process and a file"
    assert error.value.hint == f"use --pid {process.pid}, or ./{NAME} for the file"


def test_executables_and_other_directories_are_no_targets(
    process: GoProcess, program: Path, empty: Path
) -> None:
    """The executable of the process, and a directory with its data."""
    shutil.copy(program, empty / NAME)
    assert typed_source(NAME) == ProcessSource(process.pid)
    (empty / NAME).unlink()
    (empty / NAME).mkdir()
    assert typed_source(NAME) == ProcessSource(process.pid)
    save(with_everything(), empty / NAME / "1.json.gz")
    with pytest.raises(AmbiguousName):  # a series of snapshots
        typed_source(NAME)


def test_several_processes_of_a_name_are_listed(
    capsys: pytest.CaptureFixture[str], process: GoProcess, program: Path
) -> None:
    with GoProcess([program]) as other:
        for command in ([], ["summary"]):
            code, out, err = said(capsys, *command, NAME)
            assert (code, out) == (1, "")
            first, *lines = err.splitlines()
            assert first == f"spyglass: 2 Go processes are called {NAME}. choose one with --pid"
            assert {line.split()[0] for line in lines} == {str(process.pid), str(other.pid)}
        Path(NAME).write_text("{}")
        with pytest.raises(AmbiguousName, match="is a file, and 2 Go processes have that name"):
            typed_source(NAME)


def test_what_is_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProcessNotFound, match="no Go process and no file called nothing-at-all"):
        typed_source("nothing-at-all")
    for pid in ("0", "4194305", "9" * 5000):
        with pytest.raises(ProcessNotFound, match="there is no process "):
            typed_source(pid)
    assert said(capsys, NO_PID)[2].startswith(f"spyglass: there is no process {NO_PID}. ")
    assert said(capsys, "nothing-at-all")[0] == 2
    for path in ("./nothing", "nothing.json"):
        assert said(capsys, path) == (1, "", f"spyglass: no such file: {path}\n")


def test_a_fifo_is_not_read_to_find_out_what_it_is(empty: Path) -> None:
    os.mkfifo(empty / "pipe")
    assert typed_source("./pipe") == SavedSource("./pipe")


def test_an_executable_is_only_for_a_core(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "summary", "x.json", "--exe", "y")
    assert code == 2
    assert err.startswith("spyglass: --exe requires a core file. ")


def test_a_pid_needs_no_list_of_processes(process: GoProcess) -> None:
    """psutil, which lists them, takes long to import."""
    code = (
        "import sys\n"
        "from spyglass.cli import run\n"
        f"assert run(['{process.pid}', '--json']) == 0\n"
        "print('psutil' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"


# Completion


def completed(*words: str) -> dict[str, str | None]:
    """What is offered for the last of `words`, and the help text of each."""
    completer = ShellComplete(cli.spyglass, {}, "spyglass", "_SPYGLASS_COMPLETE")
    items: list[CompletionItem] = completer.get_completions(list(words[:-1]), words[-1])
    return {item.value: item.help for item in items if item.type == "plain"}


def test_processes_are_completed(process: GoProcess) -> None:
    pid = str(process.pid)
    assert pid in completed("summary", pid[:2])
    assert pid in completed("dump", "--pid", pid[:2])
    assert completed("summary", NAME[:5]) == {NAME: f"pid {pid}"}
    assert completed("summary", "--name", NAME[:5]) == {NAME: f"pid {pid}"}
    assert completed(NAME[:5]) == {NAME: f"pid {pid}"}
    assert "dump" in completed("d")
    assert completed("summary", "./x") == {}


@pytest.mark.parametrize("target", ["pid", "name", "without a command", "option", "file"])
def test_states_and_labels_are_completed(process: GoProcess, empty: Path, target: str) -> None:
    pid = str(process.pid)
    if target == "file":
        assert piped("snapshot", pid, "-o", "x.json.gz").returncode == 0
    words = {
        "pid": ["dump", pid],
        "name": ["summary", NAME],
        "without a command": [pid],
        "option": ["report", "--pid", pid],
        "file": ["dump", "x.json.gz"],
    }[target]
    assert "chan receive" in completed(*words, "--state", "RECEIVE")
    labels = completed(*words, "--label", "")
    assert labels
    label = next(iter(labels))
    assert "=" in label
    assert piped("dump", pid, "--label", label).returncode == 0


def test_a_completion_does_not_fail() -> None:
    for words in (["dump"], ["dump", NO_PID], ["dump", "missing.json"], ["dump", "-p", "1", "x"]):
        assert completed(*words, "--state", "") == {}
        assert completed(*words, "--label", "") == {}


def in_bash(cursor: int, *words: str) -> list[str]:
    """What bash is told for the word at `cursor` of the line `words`, split as bash splits it."""
    done = piped(
        COMP_WORDS="\n".join(words), COMP_CWORD=str(cursor), _SPYGLASS_COMPLETE="bash_complete"
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.removeprefix("plain,") for line in done.stdout.splitlines()]


def test_bash_gets_quoted_words(process: GoProcess) -> None:
    line = ["spyglass", "dump", str(process.pid), "--state", "chan"]
    assert r"chan\\ receive" in in_bash(4, *line)


@pytest.mark.parametrize("option", [["--label"], ["--label", "="]])
def test_bash_splits_words_at_equal_signs(
    process: GoProcess, empty: Path, option: list[str]
) -> None:
    line = ["spyglass", "dump", str(process.pid), *option]
    assert "tenant=blue" in in_bash(len(line), *line, "ten")
    assert "blue" in in_bash(len(line) + 1, *line, "tenant", "=")
    assert in_bash(len(line) + 2, *line, "tenant", "=", "blu") == ["blue"]
    assert str(process.pid) in in_bash(4, "spyglass", "dump", "--pid", "=", str(process.pid)[:3])
