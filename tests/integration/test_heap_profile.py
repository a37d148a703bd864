"""Heap profiles from outside are those that the program itself writes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

import spyglass
from spyglass.analysis.site_diff import site_difference
from spyglass.cli.report_memory import heap_sites
from spyglass.cli.sources import ProcessSource
from spyglass.export.site_pprof import write_pprof
from spyglass.export.site_reader import load_any_profile
from spyglass.heap_profile import AsOf, HeapProfile
from spyglass.site_profile import SiteProfile
from tests.command import piped
from tests.cores import gcore
from tests.finished import FinishedProcess, running
from tests.pprof_text import Sites, sites_of
from tests.support import MATRIX, NEWEST, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

#: A collection may come between our reading and that of the server.
TRIES = 10
FLAVOURS = [Flavour.EXE, Flavour.STRIPPED, Flavour.STRIPPED_PIE]


def own(process: GoProcess, home: Path) -> Sites:
    path = home / "own.pb.gz"
    assert process.ask(f"heap {path}") == "written"
    return sites_of(path, home)


def ours(profile: HeapProfile, home: Path) -> Sites:
    path = home / "ours.pb.gz"
    with path.open("wb") as stream:
        write_pprof(profile.by_site(), stream)
    return sites_of(path, home)


def without_commands(sites: Sites) -> Sites:
    """`sites` without what answering commands allocates."""
    return Counter({each: n for each, n in sites.items() if "main.serveCommands" not in each[0]})


def profile_of(process: GoProcess, as_of: AsOf) -> HeapProfile:
    with spyglass.attach(process.pid) as inspector:
        return inspector.heap_profile(as_of)


@pytest.fixture(params=MATRIX)
def minor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FLAVOURS)
def process(minor: str, request: pytest.FixtureRequest) -> Iterator[GoProcess]:
    with start("allocs", minor, request.param) as process:
        yield process


def test_it_is_the_profile_that_the_program_writes(process: GoProcess, tmp_path: Path) -> None:
    now, profile = profile_of(process, "now"), profile_of(process, "gc")
    expected, found = own(process, tmp_path), ours(profile, tmp_path)
    assert profile.rate_bytes == 512 << 10
    assert profile.why_not is None
    assert profile.problems == ()
    assert len(expected) > 5
    assert expected - found == Counter()
    assert found - expected == Counter()
    grown = zip(profile.sites.stack.tolist(), profile.in_use()[1].tolist(), strict=True)
    names = [[f.function for f in profile.stack(number)] for number, size in grown if size]
    assert any(each[:2] == ["main.grow", "main.allocate"] for each in names)
    # What was allocated since then is known at once, and to the page after two collections.
    in_use = int(profile.in_use()[1].sum())
    assert now.in_use()[1].sum() > 1.5 * in_use
    assert process.ask("collect") == "collected"
    later = profile_of(process, "now")
    expected, found = own(process, tmp_path), ours(later, tmp_path)
    assert without_commands(found) == without_commands(expected)


def test_the_command_shows_who_allocated(process: GoProcess, tmp_path: Path) -> None:
    pid = str(process.pid)
    shown = piped("memory", pid, "--heap")
    assert shown.returncode == 0
    largest = shown.stdout.partition("in use  objects")[2].splitlines()[1:3]
    assert {"main.large", "main.grow"} == {line.split()[5] for line in largest}
    path = tmp_path / "heap.pb.gz"
    written = piped("memory", pid, "--heap", "--as-of", "gc", "-o", str(path))
    assert (written.returncode, written.stdout) == (0, f"{path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert sites_of(path, tmp_path) == own(process, tmp_path)
    theirs, mine = load_any_profile(tmp_path / "own.pb.gz"), load_any_profile(path)
    assert isinstance(theirs, SiteProfile)
    assert isinstance(mine, SiteProfile)
    changes = site_difference(theirs, mine).sites
    assert len(changes) > 3
    assert {change.amounts.change(kind) for change in changes for kind in range(4)} == {0}


def test_a_file_can_be_without_what_tells_of_the_host(tmp_path: Path) -> None:
    path = tmp_path / "heap.json"
    with start("allocs", NEWEST, Flavour.STRIPPED) as process:
        directory = os.path.dirname(process.command[0])
        for options, tells in (([], True), (["--redact"], False)):
            written = piped("memory", str(process.pid), "--heap", "-o", str(path), *options)
            assert written.returncode == 0, written.stderr
            found = json.loads(path.read_text())
            assert "main.large" in {frame["function"] for frame in found["frames"]}
            assert (directory in path.read_text(), bool(found["process"]["cmdline"])) == (tells, tells)  # fmt: skip
            files = [frame["file"] for frame in found["frames"] if frame["file"]]
            assert any(file.startswith("/") for file in files) == tells


def test_reports_have_it(process: GoProcess, capsys: pytest.CaptureFixture[str]) -> None:
    found = heap_sites(ProcessSource(process.pid), redact=True)
    assert found is not None
    assert "main.large" in {frame.function for frame in found.frames}
    assert not any((frame.file or "").startswith("/") for frame in found.frames)
    with start("park", NEWEST, Flavour.STRIPPED, "-n", "10") as other:
        assert heap_sites(ProcessSource(other.pid), redact=False) is None
    assert "no heap profile: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_core_has_it_too(tmp_path: Path) -> None:
    with start("allocs", MATRIX[-1], Flavour.STRIPPED) as process:
        with spyglass.attach(process.pid) as inspector:
            expected = inspector.heap_profile()
        whole = gcore(process.pid, tmp_path)
        small = tmp_path / "small.core"
        assert piped("core", str(process.pid), "-o", str(small)).returncode == 0
    with spyglass.open_core(str(whole)) as inspector:
        found = inspector.heap_profile()
    assert ours(found, tmp_path) == ours(expected, tmp_path)
    refused = piped("memory", str(small), "--heap")
    assert refused.returncode == 1
    assert refused.stderr.startswith("spyglass: the core has no heap profile: ")
    assert len(refused.stderr.splitlines()) == 1


def test_a_program_that_samples_nothing_says_why(minor: str, tmp_path: Path) -> None:
    """Since Go 1.17 the linker switches it off where nothing reads it (``disableMemoryProfiling``)."""
    with start("park", minor, Flavour.STRIPPED, "-n", "10") as process:
        profile = profile_of(process, "now")
        path = tmp_path / "heap.pb.gz"
        shown = piped("memory", str(process.pid), "--heap", "-o", str(path))
    if minor == "1.15":
        assert (profile.rate_bytes, profile.why_not) == (512 << 10, None)
        assert path.exists()
        return
    assert profile.rate_bytes == 0
    assert profile.why_not is not None
    assert "linker" in profile.why_not
    assert (shown.returncode, shown.stdout) == (1, "")
    assert not path.exists()


def test_wrong_usage_is_reported() -> None:
    refused = piped("memory", "1", "-o", "x.pb.gz")
    assert refused.returncode == 2
    assert "-o requires --heap" in refused.stderr
    assert "--redact requires -o" in piped("memory", "1", "--heap", "--redact").stderr


@pytest.mark.parametrize(
    "name", ["prometheus-bookworm", "prometheus-trixie", "etcd-trixie", "node-exporter-sid"]
)
def test_it_is_the_page_of_a_finished_server(name: str, tmp_path: Path) -> None:
    """Its page is the same as ours of just before, or of just after it."""
    tries = []
    path = tmp_path / "page.pb.gz"
    with running(name) as process, spyglass.attach(process.pid) as inspector:
        before = ours(inspector.heap_profile("gc"), tmp_path)
        for _ in range(TRIES):
            path.write_bytes(page(process, "/debug/pprof/heap"))
            after = ours(inspector.heap_profile("gc"), tmp_path)
            expected = sites_of(path, tmp_path)
            assert expected
            if expected in (before, after):
                return
            tries.append((expected - after, after - expected))
            before = after
    raise AssertionError(tries)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prometheus-trixie", "etcd-trixie", "node-exporter-sid"])
def test_stacks_are_those_of_a_finished_server_that_samples_all(name: str, tmp_path: Path) -> None:
    """Thousands of stacks, those of initializers of thousands of lines and of the runtime's own goroutines among them.
    Between a reading of ours and the page some are added; none goes."""
    path = tmp_path / "page.pb.gz"
    with (
        running(name, ("env", "GODEBUG=memprofilerate=1")) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        before = ours(inspector.heap_profile("gc"), tmp_path)
        path.write_bytes(page(process, "/debug/pprof/heap"))
        profile = inspector.heap_profile("gc")
        after = ours(profile, tmp_path)
        assert profile.problems == ()
        assert all(frame.file and frame.line for frame in profile.frames)
    expected, earlier, later = (
        {names for names, *_ in each} for each in (sites_of(path, tmp_path), before, after)
    )
    assert len(earlier) > 1500
    assert expected - earlier - later == set()
    assert (earlier & later) - expected == set()


def page(process: FinishedProcess, path: str) -> bytes:
    with closing(HTTPConnection("127.0.0.1", process.port, timeout=20)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        return answer.read()
