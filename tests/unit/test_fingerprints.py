"""Finding the runtime's variables without symbols, where there are symbols to tell whether it was right."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.pclntab import FunctionTable, find_pclntab
from spyglass.binary.xrefs import references
from spyglass.errors import MissingInfo
from spyglass.runtime.discovery import layouts
from spyglass.runtime.discovery.fingerprints import GLOBALS, find_globals, fingerprints_of, scan
from tests.finished import finished_program
from tests.support import Flavour, build

#: Without these there is nothing to show.
ESSENTIAL = {"allgs", "allm", "allp", "gomaxprocs", "sched", "memstats"}
ARCHES = {"amd64": Flavour.EXE, "arm64": Flavour.ARM64}


class Program:
    """A program that has symbols, which nothing here uses but `truth`."""

    def __init__(self, path: Path) -> None:
        self.executable = GoExecutable.open(str(path))
        place, text = find_pclntab(self.executable), self.executable.symbol("runtime.text")
        assert place is not None
        assert text is not None
        image = memoryview(self.executable.image.read(place.offset, place.size))
        self.functions = FunctionTable(image, text)

    def found(self, version: str) -> dict[str, list[int]]:
        """Where the variables are by what the table of a version says of its code."""
        fingerprints = layouts.known_fingerprints(version, self.executable.arch)
        assert fingerprints is not None
        code, arch = self.executable.read, self.executable.arch
        return find_globals(fingerprints, scan(fingerprints, self.functions, code, arch))

    @property
    def truth(self) -> dict[str, int]:
        found = {name: self.executable.symbol(f"runtime.{name}") for name in GLOBALS}
        return {name: address for name, address in found.items() if address is not None}


@cache
def program(name: str, minor: str, arch: str) -> Program:
    return Program(build(name, minor, ARCHES[arch]))


@pytest.fixture(params=ARCHES)
def arch(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def assert_found(program: Program, version: str, names: set[str] | None = None) -> None:
    truth, found = program.truth, program.found(version)
    for name in names or truth.keys():
        assert truth[name] in found[name], name
        if name in ESSENTIAL:
            assert found[name] == [truth[name]], name


# The tables were made from the demo server; these are other programs.


@pytest.mark.parametrize("name", ["truth", "park"])
def test_variables_are_where_the_symbols_say(minor: str, arch: str, name: str) -> None:
    assert_found(program(name, minor, arch), f"go{minor}")


def test_neighbouring_versions_serve_each_other(minor: str, arch: str) -> None:
    """A version without a table of its own is read with those next to it."""
    own = int(minor.removeprefix("1."))
    neighbours = [
        f"go1.{n}" for n in (own - 1, own + 1) if layouts.known_fingerprints(f"go1.{n}", arch)
    ]
    if not neighbours:
        pytest.skip("there is no table of a version next to it")
    found = [program("truth", minor, arch).found(version) for version in neighbours]
    truth = program("truth", minor, arch).truth
    for name in ("allgs", "allm", "allp"):
        assert [truth[name]] in [each.get(name) for each in found], name


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("esbuild-0.1.0", "go1.13"),
        ("esbuild-0.1.26", "go1.14"),
        ("buildifier-4.2.5", "go1.17"),
        ("buildifier-7.1.2", "go1.20"),
    ],
)
def test_variables_of_finished_programs_are_where_the_symbols_say(name: str, version: str) -> None:
    assert_found(Program(finished_program(name)), version)


def test_variables_of_a_program_on_arm64_are_where_the_symbols_say(tmp_path: Path) -> None:
    folder = finished_program("buildifier-7.1.2").parent
    path = folder / "buildifier-linux_arm64"
    if not path.exists():
        pytest.skip("the package has no program for arm64")
    shutil.copy(path, tmp_path / "program")
    assert_found(Program(tmp_path / "program"), "go1.20")


def test_fingerprints_are_those_of_the_tables(minor: str, arch: str) -> None:
    """What is recorded of the demo server holds for other programs, but for what they leave out."""
    recorded = layouts.known_fingerprints(f"go{minor}", arch)
    made = fingerprints_of(program("truth", minor, arch).executable)
    assert recorded is not None
    shared = recorded.keys() & made.keys()
    same = [name for name in shared if recorded[name] == made[name]]
    assert len(shared) > 30
    assert len(same) > 0.9 * len(shared)


def test_fingerprints_need_symbols() -> None:
    with pytest.raises(MissingInfo, match="no symbols"):
        fingerprints_of(GoExecutable.open(str(build("truth", flavour=Flavour.STRIPPED))))


# Code and fingerprints made for the purpose: two variables, one of which nothing tells apart from a third.

ANCHORS = {
    "runtime.a": {"sched": [0, 8], "allm": [0]},
    "runtime.b": {"sched": [8], "allp": [0]},
    "runtime.c": {"allm": [0]},
}


def test_a_variable_is_where_those_that_should_mention_it() -> None:
    mentions = {
        "runtime.a": {0x1000, 0x1008, 0x2000, 0x9000},
        "runtime.b": {0x1008, 0x3000, 0x3008, 0x9000},
        "runtime.c": {0x2000, 0x9000},
    }
    found = find_globals(ANCHORS, mentions)
    assert found["sched"] == [0x1000]
    assert found["allm"] == [0x2000]
    assert sorted(found["allp"]) == [0x3000, 0x3008]


def test_what_too_few_mention_is_not_found() -> None:
    mentions = {"runtime.a": {0x1000}, "runtime.b": {0x4000}, "runtime.c": {0x5000}}
    assert set(find_globals(ANCHORS, mentions)) <= {"allp"}
    assert find_globals(ANCHORS, {}) == {}
    assert find_globals({}, mentions) == {}


def test_very_much_code_is_not_compared_for_ever() -> None:
    mentions = {name: set(range(0, 1 << 18, 8)) for name in ANCHORS}
    assert set(find_globals(ANCHORS, mentions)) <= {"sched", "allm", "allp"}


def test_very_long_functions_are_left_out(minor: str) -> None:
    own = program("truth", minor, "amd64")
    function = own.functions.named("runtime.schedinit")
    assert function is not None
    body = own.executable.read(function.entry, function.end - function.entry)
    found = scan(["runtime.schedinit"], own.functions, own.executable.read, "amd64")
    assert found == {"runtime.schedinit": references(body, function.entry, "amd64")}
    assert scan(["runtime.nowhere"], own.functions, own.executable.read, "amd64") == {}
