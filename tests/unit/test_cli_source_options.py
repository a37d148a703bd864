"""Commands that are told a file instead of a process: the same views, filters and groups."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spyglass import cli
from spyglass.export import document
from spyglass.export.snapshot_file import save
from spyglass.model import Snapshot
from tests.saved import MAIN, ROWS, with_everything
from tests.snapshots import make_snapshot

ESCAPE = "\x1b]0;owned\x07"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "incident.json.gz"
    save(with_everything(), path)
    return str(path)


def test_a_summary_of_a_file_says_so(capsys: pytest.CaptureFixture[str], file: str) -> None:
    code, out, err = said(capsys, "summary", file)
    assert (code, err) == (0, "")
    first, second, third, command, *_ = out.splitlines()
    assert first == f"saved      {file}  taken 2026-11-20 06:20:00Z  on web-3  redacted"
    assert (second, third) == (
        "findings   nothing unusual",
        "info       torn: goroutine 17: moved",
    )
    assert command == f"           spyglass summary {file} --debug"
    assert "\nprogram    /usr/bin/prometheus  pid 1234" in out
    assert "goroutines 4 (+1 runtime) of 5 (+2 runtime) match  " in out


def test_a_dump_of_a_file_says_so(capsys: pytest.CaptureFixture[str], file: str) -> None:
    code, out, err = said(capsys, "dump", file)
    assert code == 0
    assert "goroutine 1 [chan receive]:\nmain.main(...)\n\t/src/main.go:30\n" in out
    assert err.splitlines()[-1].startswith(
        f"{file}, taken 2026-11-20 06:20:00Z: 4 of 5 (+2 runtime) goroutines match: "
    )


@pytest.mark.parametrize("command", ["summary", "dump"])
def test_json_of_a_file_is_what_was_saved(
    capsys: pytest.CaptureFixture[str], file: str, command: str
) -> None:
    code, out, _ = said(capsys, command, file, "--json")
    assert code == 0
    found, saved = json.loads(out), document(with_everything())
    for finding, expected in zip(found["findings"], saved["findings"], strict=True):
        assert (finding.pop("next"), expected.pop("next")) == (
            "spyglass summary incident.json.gz --debug",  # a redacted one has no directories
            "spyglass summary --pid 1234 --debug",
        )
    assert found == saved


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--state", "running"], [17]),
        (["--label", "tenant=blue"], [17, 2**48]),
        (["--min-wait", "1h"], [18]),
        (["--creator", r"main\.main", "--limit", "1"], [17]),
        (["--goroutine", "2"], [2]),
        (["--function", "gopark"], [1, 18]),
    ],
)
def test_filters(
    capsys: pytest.CaptureFixture[str], file: str, arguments: list[str], ids: list[int]
) -> None:
    _, out, _ = said(capsys, "dump", file, *arguments)
    assert [int(part.split()[1]) for part in out.split("\n\n") if part] == ids
    _, out, _ = said(capsys, "dump", file, "--json", *arguments)
    assert [goroutine["id"] for goroutine in json.loads(out)["goroutines"]] == ids


def test_groups(capsys: pytest.CaptureFixture[str], file: str) -> None:
    code, out, _ = said(capsys, "dump", file, "--group")
    assert code == 0
    assert out.startswith("2          chan receive 1  select 1  waiting 106751d 23h  ids 1, 18\n")
    _, out, _ = said(capsys, "dump", file, "--group", "label:tenant")
    assert "tenant=blue" in out


def test_standard_input(
    capsys: pytest.CaptureFixture[str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Path(file).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    code, out, _ = said(capsys, "summary", "-", "--json")
    assert code == 0
    found, saved = json.loads(out), document(with_everything())
    for finding, expected in zip(found["findings"], saved["findings"], strict=True):
        assert (finding.pop("next"), expected.pop("next")) == (
            "spyglass summary snapshot --debug",
            "spyglass summary --pid 1234 --debug",
        )
    assert found == saved


@pytest.mark.parametrize(
    ("size", "is_enough"), [("1000", False), ("2k", False), ("1MB", True), ("1 GiB", True)]
)
def test_max_size(
    capsys: pytest.CaptureFixture[str], file: str, size: str, is_enough: bool
) -> None:
    code, _, err = said(capsys, "summary", file, "--max-size", size)
    assert code == (0 if is_enough else 1)
    if not is_enough:
        assert err.endswith("--max-size allows more, if you trust it\n")
        assert ": it is larger than " in err


def test_a_file_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "summary", "x.json") == (1, "", "spyglass: no such file: x.json\n")
    assert said(capsys, "summary", "./1") == (1, "", "spyglass: no such file: ./1\n")
    code, _, err = said(capsys, "dump", "no-such")
    assert (code, err) == (
        1,
        "spyglass: there is no Go process and no file called no-such. "
        "`spyglass ps` lists the Go processes\n",
    )
    code, _, err = said(capsys, "summary", str(tmp_path))
    assert (code, err) == (1, f"spyglass: Is a directory. {tmp_path}\n")


def test_a_file_that_does_not_fit_says_where(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / f"x{ESCAPE}.json"
    made = document(with_everything())
    made["goroutines"][2]["status"] = ESCAPE
    path.write_text(json.dumps(made))
    code, out, err = said(capsys, "summary", str(path))
    assert (code, out) == (1, "")
    assert err.endswith(
        r"x\x1b]0;owned\x07.json: /goroutines/2/status: Invalid enum value '\x1b]0;owned\x07'" "\n"
    )


def hostile() -> Snapshot:
    """Every string of it would do something to a terminal, every number is as large as can be."""
    made = with_everything()

    def worse(value: object) -> object:
        if isinstance(value, str):
            return value + ESCAPE + "\n\u202e"
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        return 2**63 - 1

    def all_worse(part: object) -> object:
        if isinstance(part, tuple):
            return tuple(worse(each) if isinstance(each, str) else all_worse(each) for each in part)
        names = type(part).__dataclass_fields__  # type: ignore[attr-defined]
        changes = {
            name: tuple(map(worse, value)) if isinstance(value, tuple) else worse(value)
            for name in names
            if name not in ("kind", "gogc_percent", "uptime_seconds", "stack")
            for value in [getattr(part, name)]
        }
        return replace(part, **changes)  # type: ignore[type-var]

    names = ("process", "scheduler", "processors", "threads", "memory", "frames", "problems")
    changes = {name: all_worse(getattr(made, name)) for name in (*names, "wait_reasons")}
    labels = tuple({ESCAPE: ESCAPE} for _ in made.label_sets)
    return replace(made, **changes, label_sets=labels, host=ESCAPE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary"],
        ["summary", "--list", "--system", "--debug"],
        ["dump", "--debug"],
        ["dump", "--runtime-frames", "--system"],
        ["dump", "--threads"],
        ["dump", "--group"],
        ["dump", "--group", "creator"],
        ["dump", "--group", f"label:{ESCAPE}"],
        ["dump", "--json"],
        ["dump", "--format", "folded"],
    ],
)
def test_nothing_in_a_file_is_obeyed_by_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "x.json"
    save(hostile(), path)
    code, out, err = said(capsys, arguments[0], str(path), *arguments[1:])
    assert code == 0
    for line in (out + err).replace("\t", " ").splitlines():
        assert line.isprintable()
    assert "owned" in out
    assert "\u202e" not in out


def test_stacks_that_were_not_saved_are_a_problem(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "top.json"
    save(make_snapshot([replace(row, stack=None) for row in ROWS]), path)
    _, out, err = said(capsys, "dump", str(path))
    assert "stack unavailable" in out
    assert "unknown: stacks: saved without whole stacks\n" in err
    _, out, err = said(capsys, "summary", str(path))
    assert (MAIN.function in out, "saved without" in out + err) == (True, False)
