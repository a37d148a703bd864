from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from spyglass import __version__, cli
from spyglass.__main__ import main
from spyglass.errors import AmbiguousName, ProcessNotFound

#: No process has it: the kernel gives out smaller ones.
NO_PID = str(1 << 22)


def command(raised: BaseException | None = None, writes: str = "") -> Callable[..., None]:
    """What a command does: write something, then raise something."""

    def act(**_options: object) -> None:
        print(writes, end="")
        if raised is not None:
            raise raised

    return act


@pytest.fixture
def summary_does(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give ``spyglass summary`` something else to do."""
    from spyglass.cli.summary import summary

    def does(raised: BaseException | None = None, writes: str = "") -> None:
        monkeypatch.setattr(summary, "callback", command(raised, writes))

    return does


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.metadata.version("spyglass") == __version__
    assert said(capsys, "--version") == (0, f"spyglass {__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(capsys: pytest.CaptureFixture[str], option: str) -> None:
    code, out, err = said(capsys, option)
    assert (code, err) == (0, "")
    for name, words in cli.COMMANDS.items():
        assert f"  {name} " in out
        assert words in out


def test_nothing_asked_for_is_wrong_usage_and_shows_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = said(capsys)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: spyglass ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_what_the_list_says(name: str) -> None:
    found = cli.spyglass.get_command(click.Context(cli.spyglass), name)
    assert found is not None
    assert found.name == name
    assert found.get_short_help_str(limit=200) == cli.COMMANDS[name]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["qqq"], "No such command 'qqq', and no Go process or file has this name. Try `spyglass "),
        (["sumary"], "No such command 'sumary'. Did you mean 'summary'? Try `spyglass --help`"),
        (["dmp", "1"], "No such command 'dmp'. Did you mean 'dump'? Try `spyglass --help`"),
        (["summary"], "no target given; give a pid, a process name, or a file."),
        (["summary", "-p", "1", "--name", "x"], "--pid, --name and --core are mutually exclusive."),
        (
            ["summary", "-p", "1", "--pod", "x"],
            "--container and --pod cannot be used with --pid and ",
        ),
        (["dump", "--core", "x", "--container", "x"], "--container and --pod cannot be used with "),
        (["dump", "x.json", "--pod", "x"], "give one target, not several."),
        (["summary", "-p", "1", "x.json"], "give one target, not several."),
        (["summary", "x.json", "--name", "y"], "give one target, not several."),
        (
            ["summary", "x.json", "--max-size", "big"],
            "Invalid value for '--max-size': 'big' is not",
        ),
        (["dump", "x.json", "--stop"], "--stop cannot be used with a saved snapshot."),
        (["dump", "--group", "x.json"], "Invalid value for '--group': 'x.json' is not stack, "),
        (["summary", "-p", "0"], "Invalid value for '-p' / '--pid': '0' is not a process id."),
        (
            ["summary", "-p", "4194305"],
            "Invalid value for '-p' / '--pid': '4194305' is not a process id.",
        ),
        (["summary", "-p", "x"], "Invalid value for '-p' / '--pid': 'x' is not a valid "),
        (["summary", "-p", "9" * 5000], "Invalid value for '-p' / '--pid': "),
        (["summary", "--color"], "No such option"),
        (["completion"], "no shell given; give one of bash, zsh, fish. Try `spyglass completion "),
        (["completion", "tcsh"], "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    code, out, err = said(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"spyglass: {line}")
    assert err.count("\n") == 1
    assert "Try `spyglass " in err
    assert err.endswith(" --help`\n")


def test_no_answer_is_one_line_and_code_1(
    capsys: pytest.CaptureFixture[str], summary_does: Callable[..., None]
) -> None:
    summary_does(ProcessNotFound("there is no process 7.", "`spyglass ps` lists them"))
    assert said(capsys, "summary", "-p", "7") == (
        1,
        "",
        "spyglass: there is no process 7. `spyglass ps` lists them\n",
    )
    summary_does(ProcessNotFound("there is no process 7"))
    assert said(capsys, "summary", "-p", "7")[2] == "spyglass: there is no process 7\n"


def test_no_process_of_that_pid_or_name(capsys: pytest.CaptureFixture[str]) -> None:
    for target in (["--pid", NO_PID], ["--name", "no such name \x1b[31m"]):
        code, out, err = said(capsys, "summary", *target)
        assert (code, out) == (1, "")
        assert err.startswith("spyglass: ")
        assert err.count("\n") == 1
        assert "\x1b" not in err


def test_several_of_a_name_are_listed(
    capsys: pytest.CaptureFixture[str], summary_does: Callable[..., None]
) -> None:
    summary_does(AmbiguousName("2 Go processes are called x", "choose one with --pid", (2, 3)))
    code, _, err = said(capsys, "summary", "-p", "7")
    assert code == 1
    assert err.startswith("spyglass: 2 Go processes are called x. choose one with --pid\n")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (
            RuntimeError("bad\n\x1b[2Jthing"),
            r"internal error: RuntimeError: bad\x0a\x1b[2Jthing. please report what --debug shows",
        ),
        (KeyError(7), "internal error: KeyError: 7. please report what --debug shows"),
        (MemoryError(), "internal error: MemoryError. please report what --debug shows"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ProcessNotFound("gone \x1b]0;owned\x07"), r"gone \x1b]0;owned\x07"),
    ],
)
def test_whatever_happens_is_one_line(
    capsys: pytest.CaptureFixture[str],
    summary_does: Callable[..., None],
    raised: Exception,
    line: str,
) -> None:
    summary_does(raised)
    assert said(capsys, "summary", "-p", "7") == (1, "", f"spyglass: {line}\n")


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_wherever_it_stands(
    capsys: pytest.CaptureFixture[str], summary_does: Callable[..., None], before: bool
) -> None:
    summary_does(ProcessNotFound("gone \x1b[2J"))
    arguments = ["--debug", "summary"] if before else ["summary", "--debug"]
    code, _, err = said(capsys, *arguments, "-p", "7")
    lines = err.splitlines()
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == r"spyglass: gone \x1b[2J"
    assert "\x1b" not in err


def test_an_interrupt_is_quiet_and_code_130(
    capsys: pytest.CaptureFixture[str], summary_does: Callable[..., None]
) -> None:
    summary_does(KeyboardInterrupt())
    code, out, err = said(capsys, "summary", "-p", "7")
    assert (code, out, err.strip()) == (130, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_spyglass(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    code, out, err = said(capsys, "completion", shell)
    assert (code, err) == (0, "")
    assert f"_SPYGLASS_COMPLETE={shell}_complete" in out


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["summary", "--help"], ["dump", "--help"]]
)
def test_help_needs_nothing_that_takes_long_to_import(arguments: list[str]) -> None:
    done = run(
        "import sys\n"
        "from spyglass.cli import run\n"
        f"assert run({arguments!r}) == 0\n"
        "heavy = {'numpy', 'rich', 'psutil', 'capstone', 'elftools', 'spyglass.model'}\n"
        "print('imported:', *sorted(heavy & sys.modules.keys()))\n"
    )
    assert done.stdout.splitlines()[-1] == "imported:", done


@pytest.mark.parametrize("writes", ["x", "x" * 1_000_000])
def test_a_reader_that_leaves_is_no_error(writes: str) -> None:
    """Both a write and the last flush can meet the closed pipe."""
    code = (
        "import sys\n"
        "from spyglass.cli import run\n"
        "from spyglass.cli.summary import summary\n"
        f"summary.callback = lambda **options: print({len(writes)} * 'x', end='')\n"
        "sys.exit(run(['summary', '-p', '7']))\n"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env=buffered,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_name_beyond_the_encoding_is_no_error() -> None:
    done = run(
        "from spyglass.cli import run\n"
        "from spyglass.cli.summary import summary\n"
        "summary.callback = lambda **options: print('日本 …')\n"
        "raise SystemExit(run(['summary', '-p', '7']))\n",
        PYTHONIOENCODING="ascii",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u65e5\\u672c \\u2026\n", "")


def test_python_does_not_look_for_circles_when_a_command_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["spyglass", "--version"])
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.delitem(sys.modules, "duckdb", raising=False)
    threshold = gc.get_threshold()
    try:
        assert main() == 0
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def test_the_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spyglass", "summary"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "spyglass: no target given; give a pid, a process name, or a file."
    )
