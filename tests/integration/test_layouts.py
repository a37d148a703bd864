"""Tables, debug information and type descriptors say the same, and Go's own reader agrees."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import spyglass
from fixtures import fetch
from fixtures.layouts import TABLES, has_debug_information, make_table
from spyglass.binary.dwarf import Dwarf
from spyglass.binary.go_executable import GoExecutable
from spyglass.binary.gotypes import GoTypes
from spyglass.errors import MissingInfo
from spyglass.runtime.discovery import layouts
from spyglass.runtime.discovery.layouts import (
    GoVersion,
    Layouts,
    StructLayout,
    candidate_layouts,
    resolve,
)
from spyglass.runtime.discovery.module import find_module
from spyglass.runtime.discovery.required_fields import STRUCTS, Field
from spyglass.targets import Target
from tests.agreement import disagreements
from tests.finished import finished_program, running
from tests.support import ALL_MINORS, NEWEST, Flavour, GoProcess, build, start

#: A description that structs.go prints.
_Type = dict[str, Any]

#: Finished programs of versions that have no toolchain, with debug information.
WITH_DWARF = [program.name for program in fetch.programs() if has_debug_information(program)]
#: What the runtime allocates, so that every program has its type descriptor.
DESCRIBED = ("g", "m", "p")


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.ARM64], ids=lambda each: each.value)
def test_the_table_is_what_the_toolchains_programs_say(minor: str, flavour: Flavour) -> None:
    _compare_table(build("demo", minor, flavour), f"go{minor}")


@pytest.mark.parametrize("name", WITH_DWARF)
def test_the_table_is_what_a_finished_program_says(name: str) -> None:
    path = finished_program(name)
    version = GoVersion.parse(make_table(path)["go"])
    _compare_table(path, str(version))


def _compare_table(path: Path, version: str) -> None:
    with GoExecutable.open(str(path)) as executable:
        table = next(candidate_layouts(version, executable.arch, None, None, None))
        ours = Layouts.of("DWARF", resolve(Dwarf.of(executable).struct))
    theirs = Layouts.of("debug/dwarf", dict(_according_to_go(path)))
    assert set(table.structs) == set(theirs.structs)
    for name in theirs.structs:
        assert table[name] == theirs[name], f"the table's {name}"
        assert ours[name] == theirs[name], f"our reading of {name}"


def _according_to_go(path: Path) -> Iterator[tuple[str, StructLayout]]:
    """As debug/dwarf of the Go standard library reads it."""
    command = [str(build("structs")), str(path), *STRUCTS]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    for name, wanted in STRUCTS.items():
        if name in said:
            places = {each.name: _place(said[name], each) for each in wanted}
            fields = {field: place for field, place in places.items() if place}
            if fields:
                yield name, StructLayout(said[name]["size"], fields)


def _place(struct: _Type, wanted: Field) -> tuple[int, str] | None:
    for path in wanted.names:
        offset, found = 0, struct
        for name in path.split("."):
            members = [each for each in found.get("members", ()) if each["name"] == name]
            if not members:
                break
            offset, found = offset + members[0]["offset"], members[0]["type"]
        else:
            at, code = _format(found)
            if wanted.fits(code):
                return offset + at, code
    return None


def _format(described: _Type) -> tuple[int, str]:
    """Offset of what counts in a type, and its format as required_fields.py declares it."""
    size, members = described["size"], described.get("members", [])
    if "scalar" in described:
        return 0, described["scalar"]
    if "element" in described:
        code = described["element"].get("scalar")
        count = size // described["element"]["size"]
        return 0, f"({count},){code}" if code else f"V{size}"
    filled = [each for each in members if each["name"] != "_" and each["type"]["size"]]
    if len(filled) == 1:
        at, code = _format(filled[0]["type"])
        return filled[0]["offset"] + at, code
    if filled and all(each["type"]["size"] == 8 for each in filled):
        return 0, f"({len(filled)},)u8"
    return 0, f"V{size}"


@pytest.mark.live
@pytest.mark.parametrize(
    "flavour",
    [Flavour.STRIPPED, Flavour.NO_SECTIONS, Flavour.PIE, Flavour.STRIPPED_EXTERNAL_PIE],
    ids=lambda each: each.value,
)
def test_type_descriptors_say_what_the_table_says(minor: str, flavour: Flavour) -> None:
    table = next(candidate_layouts(f"go{minor}", "amd64", None, None, None))
    with start("truth", minor, flavour) as process, _attached(process) as target:
        types = _types(target, minor)
        fields = resolve(GoTypes(target.memory, *types, target.constant).struct)
        assert resolve(GoTypes(target.memory, *types).struct) == fields
    described = Layouts.of("", fields)
    assert set(described.structs) >= set(DESCRIBED)
    for name in described.structs:
        assert described[name] == table[name], name


@pytest.mark.live
def test_a_program_is_read_without_its_table(minor: str, truth_process: GoProcess) -> None:
    """With a development version, first its debug information serves, then its type descriptors."""
    table = next(candidate_layouts(f"go{minor}", "amd64", None, None, None))
    with _attached(truth_process) as target:
        types = _types(target, minor)
        found = list(
            candidate_layouts("devel +abc", "amd64", target.executable, target.memory, types)
        )
        odd = candidate_layouts(
            f"go{minor} X:other", "amd64", target.executable, target.memory, types
        )
        assert next(odd).source == f"table go{minor}"
    assert [each.source for each in found] == ["DWARF", "type descriptors"]
    assert dict(found[0].structs) == dict(table.structs)
    assert "schedt" not in found[1]
    for name in DESCRIBED:
        assert found[1][name] == table[name]


@pytest.mark.live
def test_an_odd_version_that_is_laid_out_otherwise_does_not_get_the_table(
    truth_process: GoProcess, minor: str
) -> None:
    other = next(f"go{each}" for each in ALL_MINORS if each != minor)
    with _attached(truth_process) as target:
        found = candidate_layouts(
            f"{other}.1 X:odd", "amd64", None, target.memory, _types(target, minor)
        )
        assert [each.source.split(",")[0] for each in found] == ["type descriptors"]


@pytest.mark.live
@pytest.mark.parametrize(
    ("name", "below", "above"),
    [("esbuild-0.8.57", "go1.15", "go1.17"), ("esbuild-0.14.29", "go1.17", "go1.19")],
)
def test_an_unknown_version_is_read_from_itself_and_its_neighbours(
    name: str, below: str, above: str
) -> None:
    with running(name) as process, _attached(process) as target:
        version = {"esbuild-0.8.57": "go1.16", "esbuild-0.14.29": "go1.18"}[name]
        [known] = candidate_layouts(
            version, "amd64", target.executable, target.memory, _types(target, above[2:])
        )
    assert known.source == f"type descriptors, {below} and {above}"
    assert {*DESCRIBED, "schedt"} <= set(known.structs)
    assert "mstats" not in known


@pytest.mark.live
@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED], ids=lambda each: each.value)
def test_a_version_whose_tables_are_not_made_yet(
    flavour: Flavour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest version as it was before its tables: from debug information nothing is missing; from
    type descriptors and the code that the version before would have, goroutines are whole, and
    problems say what is not known."""
    shutil.copytree(TABLES, tmp_path / "tables", ignore=shutil.ignore_patterns(f"go{NEWEST}-*"))
    monkeypatch.setattr(layouts, "files", lambda package: tmp_path)
    with start("truth", NEWEST, flavour) as process:
        with spyglass.attach(process.pid) as program:
            source, snapshot = program.runtime.layouts.source, program.snapshot()
        truth = process.truth()
    assert disagreements(snapshot, truth.goroutines, moving=[1]) == []
    assert source == ("DWARF" if flavour is Flavour.EXE else "type descriptors")
    subjects = {problem.subject for problem in snapshot.problems}
    assert subjects == (set() if flavour is Flavour.EXE else {"scheduler", "memory"})


@contextmanager
def _attached(process: GoProcess) -> Iterator[Target]:
    target = Target.attach(process.pid)
    try:
        yield target
    finally:
        target.close()


def _types(target: Target, minor: str) -> tuple[int, int]:
    """``types`` and ``etypes`` of the module data, found as spyglass does."""
    kind = next(candidate_layouts(f"go{minor}", "amd64", None, None, None))["moduledata"]
    row = target.memory.array(find_module(target).address, kind, 1)[0]
    return int(row["types"]), int(row["etypes"])


def test_debug_information_of_nothing_is_missing_info() -> None:
    with (
        GoExecutable.open(str(build("truth", flavour=Flavour.STRIPPED))) as executable,
        pytest.raises(MissingInfo, match="no debug information"),
    ):
        Dwarf.of(executable)
