"""Block and mutex profiles from outside are those that the program itself writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import spyglass
from spyglass import cli
from spyglass.analysis.profile_frames import is_in_profile
from spyglass.export.site_reader import load_any_profile
from spyglass.runtime.heap.contention_profile import ContentionKind
from spyglass.site_profile import SiteProfile
from tests.support import MATRIX, Flavour, GoProcess, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

#: A lock of the runtime may be contended between our reading and that of the program.
TRIES = 5
KINDS: list[ContentionKind] = ["block", "mutex"]
#: What a generic function was made for, which Go's profiles have in its name, and its tracebacks have not.
MADE_FOR = re.compile(r"\[.*\]")

#: Functions of a stack, its number of events and their time in ns.
Rows = Counter[tuple[tuple[str, ...], tuple[int, ...]]]


@pytest.fixture(scope="module", params=MATRIX)
def minor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def process(minor: str) -> Iterator[GoProcess]:
    with start("delays", minor, Flavour.STRIPPED, "-block", "50000", "-mutex", "3") as process:
        yield process


def rows_of(profile: object) -> Rows:
    assert isinstance(profile, SiteProfile)
    assert [tuple(kind) for kind in profile.kinds] == [
        ("contentions", "count"),
        ("delay", "nanoseconds"),
    ]
    names = [
        MADE_FOR.sub("[...]", each.function) if is_in_profile(each) else ""
        for each in profile.frames
    ]
    return Counter(
        (tuple(filter(None, (names[each] for each in profile.frames_of(stack)))), tuple(amounts))
        for stack, amounts in zip(profile.stack.tolist(), profile.amounts.tolist(), strict=True)
    )


def ours(process: GoProcess, kind: ContentionKind) -> Rows:
    with spyglass.attach(process.pid) as inspector:
        profile = inspector.contention_profile(kind)
    assert profile.problems == ()
    return rows_of(profile)


def own(process: GoProcess, kind: str, home: Path) -> Rows:
    path = home / "own.pb.gz"
    assert process.ask(f"{kind} {path}") == "written"
    return rows_of(load_any_profile(path))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_profile_that_the_program_writes(
    process: GoProcess, kind: ContentionKind, tmp_path: Path
) -> None:
    own(process, kind, tmp_path)  # a program that is asked for the first time measures its clock
    for _ in range(TRIES):
        before, expected = ours(process, kind), own(process, kind, tmp_path)
        found = ours(process, kind)
        if before == found:
            break
    assert found == expected
    names = {name for names, _ in found for name in names}
    assert "main.(*account).hold" in names
    if kind == "block":
        assert {"main.take", "main.receive"} <= names


def test_the_command_shows_where_it_waited(
    process: GoProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own(process, "block", tmp_path)
    for kind in KINDS:
        assert cli.run(["memory", str(process.pid), f"--{kind}"]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        assert f"{kind} profile since the program started, of " in shown.out
        assert "main.(*account).hold" in shown.out
    path = tmp_path / "x.pb.gz"
    assert cli.run(["memory", str(process.pid), "--mutex", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert set(rows_of(load_any_profile(path)))


def test_a_program_that_does_not_sample_says_so(
    minor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    remarks = {
        "block": "block profile is off: the program has no call of runtime.SetBlockProfileRate",
        "mutex": "mutex profile is off: runtime.SetMutexProfileFraction is not in effect",
    }
    with start("park", minor, Flavour.STRIPPED, "-n", "10") as process:
        pid = str(process.pid)
        for kind, remark in remarks.items():
            assert cli.run(["memory", pid, f"--{kind}"]) == 0
            shown = capsys.readouterr().out
            assert "samples    none" in shown
            assert remark in shown
        assert cli.run(["memory", pid, "--block", "-o", "x.pb.gz"]) == 1
    assert "there is nothing to write: block profile is off" in capsys.readouterr().err


def test_wrong_usage_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in (
        (("--block", "--mutex"), "exclude each other"),
        (("--heap", "-o", "x.txt"), "tells no format"),
    ):
        assert cli.run(["memory", "1", *arguments]) == 2
        assert complaint in capsys.readouterr().err
