"""``spyglass summary`` of real processes, as a user runs it: in a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len

from tests.command import ESCAPES, on_terminal, piped
from tests.support import GoProcess, build, in_ends

pytestmark = [pytest.mark.live, pytest.mark.go]

SCHEMA = json.loads(files("spyglass.export").joinpath("snapshot.schema.json").read_text())


def rows_of(output: str, title: str) -> list[list[str]]:
    """The rows of the table whose first title is `title`, cut where columns are."""
    lines = output.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == [title])
    return [re.split(r" {2,}", line.strip()) for line in lines[first + 1 :]]


@in_ends
def test_a_pipe_gets_every_goroutine_whole(truth_process: GoProcess) -> None:
    truth = truth_process.truth()
    done = piped("summary", "-p", str(truth_process.pid), "--list", COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.replace("\n", "").isprintable()
    assert "…" not in done.stdout
    rows = rows_of(done.stdout, "id")
    assert sorted(int(row[0]) for row in rows) == sorted(g.id for g in truth.goroutines)


@in_ends
def test_groups_add_up(truth_process: GoProcess) -> None:
    truth = truth_process.truth()
    done = piped("summary", "-p", str(truth_process.pid))
    counts = [int(row[0].replace(",", "")) for row in rows_of(done.stdout, "count")]
    assert sum(counts) == truth.num_goroutine
    assert counts == sorted(counts, reverse=True)
    assert re.search(
        rf"^goroutines {truth.num_goroutine:,} \(\+\d+ runtime\)  ", done.stdout, re.MULTILINE
    )


@in_ends
def test_json_is_the_document(truth_process: GoProcess) -> None:
    truth = truth_process.truth()
    done = piped("summary", "-p", str(truth_process.pid), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert document["process"]["pid"] == truth_process.pid
    own = {g["id"] for g in document["goroutines"] if not g["system"]}
    assert own == {g.id for g in truth.goroutines}
    assert document["stacks"] == []
    assert {g["stack"] for g in document["goroutines"]} == {None}
    assert document["scheduler"]["goroutines"] == truth.num_goroutine


@in_ends
@pytest.mark.parametrize(
    ("width", "height", "option"),
    [(80, 24, []), (80, 24, ["--list"]), (120, 40, ["--system"]), (200, 50, [])],
)
def test_it_is_one_screen(
    truth_process: GoProcess, width: int, height: int, option: list[str]
) -> None:
    pid = str(truth_process.pid)
    received = on_terminal("summary", "-p", pid, *option, width=width, height=height)
    assert "\x1b[" in received
    lines = ESCAPES.sub("", received).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height - 1
    assert any(line.startswith("program    ") for line in lines)
    assert all(line.isprintable() for line in lines)


@in_ends
def test_all_is_more_than_a_screen(truth_process: GoProcess) -> None:
    truth = truth_process.truth()
    pid = str(truth_process.pid)
    received = on_terminal("summary", "-p", pid, "--list", "--all", width=100, height=24)
    ids = [int(row[0]) for row in rows_of(ESCAPES.sub("", received), "id")]
    assert sorted(ids) == sorted(g.id for g in truth.goroutines)


@in_ends
def test_no_color_is_honoured(truth_process: GoProcess) -> None:
    pid = str(truth_process.pid)
    received = on_terminal("summary", "-p", pid, width=80, height=24, NO_COLOR="1")
    colours = {
        code for codes in re.findall(r"\x1b\[([0-9;]*)m", received) for code in codes.split(";")
    }
    assert colours <= {"", "0", "1", "2"}  # bold and dim are no colours


@in_ends
def test_the_width_can_be_set(truth_process: GoProcess) -> None:
    pid = str(truth_process.pid)
    received = on_terminal("summary", "-p", pid, width=200, height=50, COLUMNS="70")
    widths = [cell_len(line) for line in ESCAPES.sub("", received).splitlines()]
    assert 60 < max(widths) <= 70


@in_ends
def test_a_process_can_be_named(minor: str, tmp_path: Path) -> None:
    program = tmp_path / f"truth-{os.getpid()}"
    shutil.copy(build("truth", minor), program)
    with GoProcess([program]) as one:
        done = piped("summary", "--name", program.name, "--json")
        assert json.loads(done.stdout)["process"]["pid"] == one.pid
        with GoProcess([program]) as other:
            done = piped("summary", "--name", program.name)
    assert (done.returncode, done.stdout) == (1, "")
    first, *listed = done.stderr.splitlines()
    assert first == f"spyglass: 2 Go processes are called {program.name}. choose one with --pid"
    assert {int(line.split()[0]) for line in listed} == {one.pid, other.pid}
    assert all(line.endswith(str(program)) for line in listed)


@in_ends
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_offered_the_pids_of_go_processes(truth_process: GoProcess, shell: str) -> None:
    pid = str(truth_process.pid)
    words = "spyglass summary --pid "
    done = piped(
        _SPYGLASS_COMPLETE=f"{shell}_complete",
        COMP_WORDS=words + pid[:1],
        COMP_CWORD=pid[:1] if shell == "fish" else "3",
    )
    assert done.returncode == 0
    assert pid in re.split(r"[\s,]", done.stdout)
    assert str(os.getpid()) not in re.split(r"[\s,]", done.stdout)


@in_ends
def test_debug_shows_how_long_each_phase_took(truth_process: GoProcess) -> None:
    done = piped("summary", "-p", str(truth_process.pid), "--debug")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) > 3
    assert all(re.fullmatch(r"[a-z ]+ +\d+\.\d{3} ms", line) for line in lines)


def test_a_program_that_is_not_go() -> None:
    done = piped("summary", "-p", str(os.getpid()))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("spyglass: ")
    assert done.stderr.count("\n") == 1
