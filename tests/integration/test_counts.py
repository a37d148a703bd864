"""One population: what every view counts adds up to the same numbers of goroutines."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import spyglass
from tests.command import ESCAPES, on_terminal, piped
from tests.support import Flavour, start

pytestmark = [pytest.mark.live, pytest.mark.go]

#: The scheduler of a program with cgo counts more goroutines of the runtime than there are (oneNewExtraM); the
#: runtime calls a finalizer of the last program, whose goroutine is the program's for this time.
_PROGRAMS = [("truth", Flavour.STRIPPED), ("truth", Flavour.CGO), ("finalizers", Flavour.EXE)]
_WITH_SYSTEM = pytest.mark.parametrize("system", [False, True], ids=["", "system"])


@dataclass(frozen=True)
class Counted:
    """A quiet process: its goroutines, the runtime's, and a saved snapshot."""

    pid: str
    file: str
    user: int
    system: int

    @property
    def text(self) -> str:
        return f"{self.user} (+{self.system} runtime)"

    def total(self, system: bool) -> int:
        """The number that a view shows with or without --system."""
        return self.user + self.system * system


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(each, marks=pytest.mark.slow if each[1] is Flavour.CGO else [])
        for each in _PROGRAMS
    ],
    ids=lambda p: f"{p[0]}-{p[1].value}",
)
def counted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counted]:
    program, flavour = request.param
    with start(program, flavour=flavour) as process:
        if program == "finalizers":
            process.ask("wait")
        file = tmp_path_factory.mktemp("counts") / "saved.json.gz"
        assert piped("snapshot", "-p", str(process.pid), "-o", str(file)).returncode == 0
        rows = list(spyglass.load(str(file)))
        own = sum(not each.system for each in rows)
        assert own == len(process.truth().goroutines)
        yield Counted(str(process.pid), str(file), own, len(rows) - own)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def first_cells(text: str, title: str) -> list[str]:
    """The first cell of each row of the table whose first title is `title`, up to an empty line."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.split()[:1] == [title]:
            break
    rows = iter(lines)
    return [line.split()[0] for line in iter(lambda: next(rows, ""), "")]


def facts(text: str, label: str) -> list[int]:
    """The numbers after the words in the section `label`."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(label.ljust(11)))
    part = [lines[first][11:]]
    for line in lines[first + 1 :]:
        if line[:11].strip() or not line:
            break
        part.append(line[11:])
    return [number(each) for each in re.findall(r"\b[A-Za-z][^0-9(]*? ([\d,]+)\b", " ".join(part))]


@_WITH_SYSTEM
def test_a_summary_adds_up(counted: Counted, system: bool) -> None:
    options = ["--system"] if system else []
    for done in (
        piped("summary", "-p", counted.pid, *options).stdout,
        ESCAPES.sub(
            "", on_terminal("summary", counted.file, "--all", *options, width=90, height=24)
        ),
    ):
        assert f"goroutines {counted.text}  " in done
        by_status = facts(done, "goroutines")
        assert sum(by_status) == counted.total(system)
        if "\ncount " in done:
            assert sum(map(number, first_cells(done, "count"))) == counted.total(system)
        else:
            assert len(first_cells(done, "id")) == counted.total(system)
        assert done.count("runtime)") == 1
    listed = piped("summary", counted.file, "--list", *options).stdout
    assert len(first_cells(listed, "id")) == counted.total(system)


def test_a_part_is_shown_as_one(counted: Counted) -> None:
    done = piped("summary", counted.file, "--state", "chan receive", "--json")
    document = json.loads(done.stdout)
    whole = counted.user + counted.system
    assert (document["chosen_from"], document["chosen_from_system"]) == (whole, counted.system)
    found = [g for g in document["goroutines"] if not g["system"]]
    assert 0 < len(found) < counted.user
    text = f"{len(found)} of {counted.text}"
    done = piped("summary", counted.file, "--state", "chan receive")
    assert f"goroutines {text} match  waiting {len(found)}" in done.stdout
    done = piped("dump", counted.file, "--state", "chan receive")
    assert f" {text} goroutines match: " in done.stderr


@_WITH_SYSTEM
@pytest.mark.parametrize("by", [None, "stack", "function", "creator", "state", "label:tenant"])
def test_a_dump_adds_up(counted: Counted, system: bool, by: str | None) -> None:
    options = [*(["--group", by] if by else []), *(["--system"] if system else [])]
    done = piped("dump", "-p", counted.pid, *options)
    footer = done.stderr.splitlines()[-1]
    assert re.match(rf"{re.escape(counted.text)} goroutines( in \d+ groups?)?: ", footer)
    qualities = re.findall(r"([\d,]+) (?:stable|moved|torn|unreadable)", footer)
    assert sum(map(number, qualities)) == counted.total(system)
    found = re.findall(r"^([\d,]+) +\S", done.stdout, re.MULTILINE)
    if by is None:
        assert len(re.findall(r"^goroutine \d+ \[", done.stdout, re.MULTILINE)) == counted.total(
            system
        )
    else:
        assert sum(map(number, found)) == counted.total(system)


def test_one_goroutine_is_one_of_the_same_number(counted: Counted) -> None:
    done = piped("dump", "-p", counted.pid, "--goroutine", "1")
    assert f"1 of {counted.text} goroutines match: 1 stable" in done.stderr


def test_json_adds_up(counted: Counted) -> None:
    for command in ("summary", "dump"):
        rows = json.loads(piped(command, "-p", counted.pid, "--json").stdout)["goroutines"]
        assert sum(not row["system"] for row in rows) == counted.user
        assert sum(row["system"] for row in rows) == counted.system


def test_top_adds_up(counted: Counted) -> None:
    done = piped("top", "-p", counted.pid, "--count", "1", "--limit", "1000", "--json")
    line = json.loads(done.stdout)
    assert (line["goroutines"], line["system_goroutines"]) == (counted.user, counted.system)
    assert sum(line["by_status"].values()) == counted.total(True)
    assert sum(group["count"] for group in line["groups"]) == counted.user
    frame = piped("top", "-p", counted.pid, "--count", "1", "--limit", "1000").stdout
    assert f"goroutines {counted.text}" in frame
    statuses = "running|runnable|waiting|syscall|idle|preempted|copystack|leaked"
    status_line = next(line for line in frame.splitlines() if re.match(rf"({statuses}) ", line))
    by_status = re.findall(rf"\b(?:{statuses}) ([\d,]+)", status_line)
    assert sum(map(number, by_status)) == counted.user
    assert "system" not in status_line
    assert sum(map(number, first_numbers(frame))) == counted.user


def first_numbers(frame: str) -> Iterable[str]:
    """The counts in the rows of a frame of top."""
    return re.findall(r"^[ ▲]*([\d,]+) ", frame, re.MULTILINE)


def test_a_report_adds_up(counted: Counted, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert piped("report", counted.file, "-o", str(page)).returncode == 0
    text = page.read_text()
    tile = r"<dt>Goroutines</dt><dd class=\"value\">([^<]*)</dd><dd class=\"muted\">([^<]*)</dd>"
    (said,) = re.findall(tile, text)
    assert " ".join(map(html.unescape, said)) == counted.text
    assert text.count("<dt>Goroutines</dt>") == 1
    assert "Runtime goroutines</dt>" not in text
    cells = data_of(text)["cells"]
    numbers = list(zip(cells["count"], cells["system"], strict=True))
    assert sum(n for n, system in numbers if not system) == counted.user
    assert sum(n for n, system in numbers if system) == counted.system


def data_of(page: str) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'id="spyglass-report">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


@_WITH_SYSTEM
def test_a_diff_adds_up(counted: Counted, system: bool) -> None:
    options = ["--system"] if system else []
    done = piped("diff", counted.file, "-p", counted.pid, *options)
    if done.returncode:
        done = piped("diff", counted.file, counted.file, *options)
    assert f"before {counted.text}  after {counted.text}  change 0" in done.stdout
    document = json.loads(piped("diff", counted.file, counted.file, "--json", *options).stdout)
    total = [counted.total(system)] * 2
    assert document["goroutines"]["counts"] == total
    assert [each["goroutines"] for each in document["snapshots"]] == total
    for growths in (document["by_creator"], document["by_stack"]):
        assert [
            sum(counts) for counts in zip(*(each["counts"] for each in growths), strict=True)
        ] == total
