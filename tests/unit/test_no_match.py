"""What is said of a filter that matches nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from spyglass import cli
from spyglass.analysis.filters import Filter
from spyglass.analysis.no_match import no_match
from spyglass.export import document
from spyglass.export.snapshot_file import save
from spyglass.model import Snapshot
from tests.snapshots import Row, frame, make_snapshot

MAIN, WAIT = frame("main.main", line=30), frame("main.wait", line=7)
SECOND_NS = 1_000_000_000

SNAPSHOT = make_snapshot(
    [
        *(
            Row(number, wait_reason="chan send", waiting_ns=90 * SECOND_NS, stack=(WAIT, MAIN),
                where=WAIT, creator=MAIN, labels={"tenant": "blue"})
            for number in range(1, 4)
        ),
        Row(7, "running", stack=(MAIN,), where=MAIN, labels={"tenant": "red", "path": "/x"}),
        Row(9, wait_reason="GC worker (idle)", system=True),
    ]
)  # fmt: skip
USER_ROWS = np.arange(4)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (
            {"states": ("mutex",)},
            'no goroutine is in state "mutex"; there are: chan send 3, running 1',
        ),
        (
            {"states": ("mutex", "select")},
            'no goroutine is in state "mutex" or "select"; there are: chan send 3, running 1',
        ),
        (
            {"function": re.compile("^nothing$")},
            'no goroutine has a function matching "^nothing$" on its stack; '
            "they are in: main.wait 3, main.main 1",
        ),
        (
            {"creator": re.compile("other")},
            'no goroutine has a creator matching "other"; creators are: main.main 3',
        ),
        (
            {"labels": (("tenant", "green"),)},
            "no goroutine has label tenant=green; "
            "labels are: tenant=blue 3, tenant=red 1, path=/x 1",
        ),
        ({"ids": (5, 6)}, "there is no goroutine 5 or 6; there are 4, with ids from 1 to 7"),
        (
            {"min_wait_ns": 3600 * SECOND_NS},
            "no goroutine is known to have a wait of 1h or more; the longest known wait is 1m 30s",
        ),
        (
            {"states": ("chan",), "labels": (("tenant", "green"),)},
            "no goroutine has label tenant=green; "
            "labels are: tenant=blue 3, tenant=red 1, path=/x 1",
        ),
        (
            {"states": ("chan",), "labels": (("tenant", "red"),)},
            "no goroutine matches all filters; each alone matches: "
            'state "chan": 3, label tenant=red: 1',
        ),
    ],
)
def test_the_condition_that_fails_is_named(wanted: dict[str, object], sentence: str) -> None:
    assert no_match(SNAPSHOT, USER_ROWS, Filter(**wanted)) == sentence  # type: ignore[arg-type]


def test_only_the_most_frequent_are_listed() -> None:
    many = make_snapshot([Row(n, wait_reason=f"reason {n:02}") for n in range(1, 12)])
    sentence = no_match(many, np.arange(11), Filter(states=("mutex",)))
    assert sentence.endswith("reason 07 1, reason 08 1, and 3 more")


def test_where_there_is_nothing() -> None:
    none = np.arange(0)
    assert no_match(SNAPSHOT, none, Filter(ids=(5,))) == "there is no goroutine 5; there are none"
    assert no_match(SNAPSHOT, none, Filter(states=("x",))).endswith("; none is known")
    waits = no_match(SNAPSHOT, none, Filter(min_wait_ns=1))
    assert waits.endswith("no wait has a known beginning: Go timestamps waits only at GC")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "x.json"
    save(SNAPSHOT, path)
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "command", [["summary"], ["summary", "--list"], ["dump"], ["dump", "--group"], ["report"]]
)
def test_commands_say_it_and_exit_with_status_1(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, command[0], file, *command[1:], "--no-system", "--state", "mutex")
    assert (code, out) == (1, "")
    line = 'spyglass: no goroutine is in state "mutex"; there are: chan send 3, running 1\n'
    assert err == line
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]  # a report is not written


@pytest.mark.parametrize("command", ["summary", "dump"])
def test_a_document_is_written_all_the_same(
    capsys: pytest.CaptureFixture[str], file: str, command: str
) -> None:
    code, out, err = said(capsys, command, file, "--json", "--state", "mutex")
    assert code == 1
    expected: Snapshot = make_snapshot([])
    made = json.loads(out)
    assert (made["goroutines"], made["chosen_from"]) == ([], 5)
    assert set(made) == set(document(expected))
    assert err.startswith('spyglass: no goroutine is in state "mutex"; there are: chan send 3, ')


def test_runtime_goroutines_that_match_are_mentioned(
    capsys: pytest.CaptureFixture[str], file: str
) -> None:
    code, _, err = said(capsys, "dump", file, "--state", "gc worker")
    assert code == 1
    assert err.endswith("running 1. --system includes runtime goroutines, of which 1 match\n")
    assert said(capsys, "dump", file, "--state", "gc worker", "--system")[0] == 0


def test_a_process_without_goroutines_is_no_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save(make_snapshot([]), tmp_path / "none.json")
    assert said(capsys, "dump", str(tmp_path / "none.json"))[0] == 0
