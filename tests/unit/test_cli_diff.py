"""``spyglass diff`` of files, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len

from spyglass import cli
from spyglass.analysis.snapshot_diff import Difference, difference
from spyglass.export.diff_document import difference_document
from spyglass.export.snapshot_file import save
from spyglass.memory_account import ResidentPart
from spyglass.model import Frame
from spyglass.render.diff_view import render
from spyglass.render.view_options import View
from tests.saved import ACCOUNT
from tests.snapshots import MEMORY, PROCESS, SCHEDULER, TAKEN_AT, Row, frame, make_snapshot

SCHEMA = json.loads(files("spyglass.export").joinpath("diff.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

MAIN, QUOTE = frame("main.main", line=30), frame("main.quote", line=96)
ASK, SERVE = frame("main.ask", line=108), frame("main.serve", line=50)
ESCAPE = "\x1b]0;owned\x07"

Save = Callable[..., str]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def waiting(goid: int, where: Frame, creator: Frame) -> Row:
    return Row(
        goid, wait_reason="select", where=where, stack=(where,), creator=creator, start=where
    )


def rows(leaked: int, served: int = 3) -> list[Row]:
    return [
        *(waiting(i, SERVE, MAIN) for i in range(1, served + 1)),
        *(waiting(1000 + i, ASK, QUOTE) for i in range(leaked)),
    ]


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    def write(
        name: str, leaked: int, minutes: float = 0, served: int = 3, **changes: object
    ) -> str:
        when = TAKEN_AT + timedelta(minutes=minutes)
        path = tmp_path / name
        waited_ns = int(minutes * 60 * 10**9)
        found = [replace(row, waiting_ns=waited_ns) for row in rows(leaked, served)]
        save(make_snapshot(found, taken_at=when, **changes), path)
        return str(path)

    return write


def test_the_leak_is_named_first(capsys: pytest.CaptureFixture[str], saved: Save) -> None:
    figures = {
        "scheduler": replace(SCHEDULER, run_queue=7),
        "memory": replace(MEMORY, heap_in_use_bytes=2**30, gogc_percent=-1),
    }
    one, two = saved("one.json", 2), saved("two.json.gz", 42, 10, served=2, **figures)
    code, out, err = said(capsys, "diff", one, two)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "program    /usr/bin/prometheus  pid 1234  go1.24.4",
        f"compared   {one} 2026-11-20 06:20:00Z  {two} 2026-11-20 06:30:00Z  interval 10m",
        "goroutines before 5  after 44  change +39  per minute +3.9  created 40  exited 1  stuck 4",
        "scheduler  run queue 0 → 7",
        "memory     heap in use 12.3 MiB → 1.0 GiB  gogc 100 → off",
        "",
        "change  per minute  before  after  stuck  created by  at",
        "   +40        +4.0       2     42      2  main.quote  /src/main.go:96",
        "    -1        -0.1       3      2      2  main.main   /src/main.go:30",
        "",
        "+40        before 2  after 42  per minute +4.0  created 40  stuck 2, up to 10m",
        "           main.ask",
        "               /src/main.go:108",
        "           created by main.quote /src/main.go:96",
        "",
        "-1         before 3  after 2  per minute -0.1  exited 1  stuck 2, up to 10m",
        "           main.serve",
        "               /src/main.go:50",
        "           created by main.main /src/main.go:30",
        "",
    ]


def test_parts_of_resident_memory_that_changed_are_shown(
    capsys: pytest.CaptureFixture[str], saved: Save
) -> None:
    less, more = (
        replace(
            ACCOUNT, rss_bytes=number << 20, resident=(ResidentPart("go_stacks", number << 20, ""),)
        )
        for number in (3, 8)
    )
    one, two = saved("one.json", 2, account=less), saved("two.json", 2, 10, account=more)
    line = (
        "resident   sum 3.0 MiB → 8.0 MiB (+5.0 MiB)  goroutine stacks 3.0 MiB → 8.0 MiB (+5.0 MiB)"
    )
    assert line in said(capsys, "diff", one, two)[1].splitlines()
    fallen = (
        "resident   sum 8.0 MiB → 3.0 MiB (-5.0 MiB)  goroutine stacks 8.0 MiB → 3.0 MiB (-5.0 MiB)"
    )
    three = saved("three.json", 2, 20, account=less)
    assert fallen in said(capsys, "diff", two, three)[1].splitlines()
    assert "\nresident " not in said(capsys, "diff", one, saved("four.json", 2, 10))[1]
    made = json.loads(said(capsys, "diff", one, two, "--json")[1])
    assert made["resident"]["go_stacks"] == {"before": 3 << 20, "after": 8 << 20}


def test_what_did_not_change_is_shown_if_asked_for(
    capsys: pytest.CaptureFixture[str], saved: Save
) -> None:
    one, two = saved("one.json", 2), saved("two.json", 5, 1)
    assert "main.serve" not in said(capsys, "diff", one, two)[1]
    assert "main.serve" in said(capsys, "diff", one, two, "--all")[1]
    _, out, _ = said(capsys, "diff", one, two, "--all", "--limit", "1")
    assert ("main.ask" in out, "main.serve" in out) == (True, False)
    _, out, _ = said(capsys, "diff", one, one)
    assert "no creator has more or fewer goroutines than before" in out


def test_a_series_has_curves(capsys: pytest.CaptureFixture[str], saved: Save) -> None:
    series = [saved(f"{i}.json", leaked, i) for i, leaked in enumerate((0, 10, 20, 80))]
    code, out, err = said(capsys, "diff", *series)
    assert (code, err) == (0, "")
    assert "interval 3m" in out
    assert "  2 more  " in out
    row = next(line for line in out.splitlines() if line.startswith("   +80"))
    assert row.split() == ["+80", "+26.7", "0", "80", "▁▂█", "0", "main.quote", "/src/main.go:96"]


def test_json(capsys: pytest.CaptureFixture[str], saved: Save) -> None:
    one, two = saved("one.json", 2), saved("two.json", 42, 10, served=2)
    code, out, err = said(capsys, "diff", one, two, "--json")
    assert (code, err) == (0, "")
    assert out[:-1].isascii()
    assert out[:-1].isprintable()
    document = json.loads(out)
    VALIDATOR.validate(document)
    goroutines = document["goroutines"]
    assert (goroutines["counts"], goroutines["per_minute"]) == ([5, 44], 3.9)
    assert goroutines["born"] == list(range(1002, 1042))
    assert goroutines["gone"] == [3]
    assert [each["id"] for each in goroutines["stuck"]] == [1, 2, 1000, 1001]
    assert {each["stuck_ns"] for each in goroutines["stuck"]} == {600 * 10**9}
    places = [document["by_stack"][each["by_stack"]]["where"] for each in goroutines["stuck"]]
    assert [place["function"] for place in places] == ["main.serve"] * 2 + ["main.ask"] * 2
    leak = document["by_stack"][0]
    assert (leak["counts"], leak["difference"], leak["per_minute"]) == ([2, 42], 40, 4.0)
    assert (leak["born"], leak["gone"], leak["stuck"]) == (40, 0, 2)
    assert leak["stack"] == [{"function": "main.ask", "file": "/src/main.go", "line": 108}]
    assert document["by_creator"][0]["created_by"]["function"] == "main.quote"
    assert [each["file"] for each in document["snapshots"]] == [one, two]


def test_the_schema_knows_all_of_it() -> None:
    found = difference([make_snapshot(rows(1)), make_snapshot([]), make_snapshot(rows(3))])
    for made in (difference_document(found), difference_document(unlike())):
        VALIDATOR.validate(made)
        assert made.keys() == SCHEMA["properties"].keys()
        assert made["goroutines"].keys() == SCHEMA["properties"]["goroutines"]["properties"].keys()
        assert made["snapshots"][0].keys() == SCHEMA["$defs"]["snapshot"]["properties"].keys()
        growth = SCHEMA["$defs"]["growth"]["properties"].keys()
        assert made["by_creator"][0].keys() - {"created_by"} == growth
        assert made["by_stack"][0].keys() - {"where", "call", "start", "stack"} == growth


def unlike() -> Difference:
    """Of two processes, at one moment, with nothing known of anyone."""
    other = make_snapshot([Row(1)], process=replace(PROCESS, pid=5))
    return difference([make_snapshot([Row(1)]), other])


@pytest.mark.parametrize(("most", "code"), [(39, 3), (40, 0), (10**11, 0), (0, 3)])
def test_growth_above_the_limit_has_an_exit_status_of_its_own(
    capsys: pytest.CaptureFixture[str], saved: Save, most: int, code: int
) -> None:
    one, two = saved("one.json", 2), saved("two.json", 42, 10)
    for option in ([], ["--json"]):
        found, out, err = said(capsys, "diff", one, two, "--fail-on", f"growth>{most}", *option)
        assert found == code
        assert "main.ask" in out
        words = f"growth>{most}: creator main.quote grew by 40 goroutines\n"
        assert err == (words if code else "")


def test_growth_of_a_stack_alone_is_growth(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    save(make_snapshot([waiting(i, SERVE, MAIN) for i in range(1, 10)]), before)
    save(make_snapshot([waiting(i, ASK, MAIN) for i in range(1, 10)]), after)
    code, _, err = said(capsys, "diff", str(before), str(after), "--fail-on", "growth > 8")
    assert (code, err) == (3, "growth>8: stack main.ask grew by 9 goroutines\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "two targets are needed, such as two files, or a file and a pid."),
        (["a.json"], "two targets are needed, such as two files, or a file and a pid."),
        (["a", "b", "--fail-on", "growth=3"], "Invalid value for '--fail-on': 'growth=3' is not"),
        (["a", "b", "--fail-on", "growth>x"], "Invalid value for '--fail-on': 'growth>x' is not"),
        (["a", "b", "--fail-on", "growth>-1"], "Invalid value for '--fail-on': 'growth>-1' is not"),
        (["a", "b", "--fail-on", "shrink>1"], "Invalid value for '--fail-on': 'shrink>1' is not"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    code, out, err = said(capsys, "diff", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"spyglass: {line}")
    assert err.count("\n") == 1


def test_different_programs_are_compared_only_if_forced(
    capsys: pytest.CaptureFixture[str], saved: Save
) -> None:
    other = replace(PROCESS, exe="/bin/x", module=f"evil{ESCAPE}", build_id="y", pid=5)
    one, two = saved("one.json", 2), saved("two.json", 9, 1, process=other)
    code, out, err = said(capsys, "diff", one, two)
    assert (code, out) == (1, "")
    assert err == (
        "spyglass: the snapshots are of different programs: module github.com/prometheus/prometheus is not "
        "module evil\\x1b]0;owned\\x07. --force compares them anyway\n"
    )
    code, out, err = said(capsys, "diff", one, two, "--force")
    assert code == 0
    assert "+7         before 2  after 9  per minute +7.0\n" in out
    assert "created ?  exited ?  stuck ?" in out
    assert err.splitlines() == [
        "note: they are of two processes, 1234 and 5: goroutines are not compared one by one",
        "note: they are of two builds of the program: lines of code may have moved",
    ]


def test_names_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = []
    for number in (1, 5):
        bad = frame(f"main{ESCAPE}.f", f"/src/{ESCAPE}\n.go")
        made = [waiting(i, bad, bad) for i in range(1, number + 1)]
        process = replace(PROCESS, exe=f"/bin/{ESCAPE}")
        threads = tuple(replace(t, os_state=f"{ESCAPE}{number}") for t in make_snapshot().threads)
        path = tmp_path / f"{number}{ESCAPE}.json"
        save(make_snapshot(made, process=process, threads=threads, host=ESCAPE), path)
        paths.append(str(path))
    code, out, err = said(capsys, "diff", *paths, "--fail-on", "growth>1")
    assert code == 3
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert "owned" in out


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 30), (60, 10), (200, 100)])
def test_it_fits_a_terminal(width: int, height: int) -> None:
    places = [frame(f"github.com/some/where/package.(*Type).method{i}", line=i) for i in range(40)]
    before = make_snapshot([waiting(1, MAIN, MAIN)])
    many = [waiting(10 + i, places[i % 40], places[i % 7]) for i in range(800)]
    found = difference([before, make_snapshot(many, taken_at=TAKEN_AT + timedelta(minutes=3))])
    lines = [line.plain for line in render(found, View(width=width, height=height))]
    assert max(map(cell_len, lines)) <= width
    blocks = [line for line in lines if line.startswith("+20 ")]
    assert len(blocks) >= 1
    assert len(lines) < height or len(blocks) == 1
    assert ("more stacks; --all shows them" in lines[-1]) is (height < 100 or len(blocks) < 40)
    everything = [
        line.plain for line in render(found, View(width=width, height=height, everything=True))
    ]
    assert sum(line.startswith("+20 ") for line in everything) == 40


def test_a_block_names_the_user_function_and_its_call() -> None:
    lock = frame("sync.(*Mutex).Lock", "/go/src/sync/mutex.go", 46)
    row = Row(1, wait_reason="sync.Mutex.Lock", where=ASK, call=lock, stack=(lock, ASK, MAIN))
    found = difference([make_snapshot([]), make_snapshot([row])])
    lines = [line.plain for line in render(found, View())]
    (first,) = (line for line in lines if line.startswith("+1 "))
    assert first.endswith("  at main.ask  in sync.(*Mutex).Lock")
