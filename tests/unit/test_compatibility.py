"""Files that earlier versions of spyglass saved are read, and say what they said then (docs/compatibility.md)."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import spyglass
from spyglass import cli
from spyglass.export.profile_reader import load_profile
from spyglass.export.site_reader import load_any_profile
from spyglass.model import Snapshot
from spyglass.profile import Profile
from spyglass.site_profile import SiteProfile
from tests.saved_cores import FOLDER as CORES

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "saved"
VERSIONS = sorted(each.name for each in FOLDER.iterdir())
SNAPSHOTS = ("snapshot.json", "snapshot.json.gz", "snapshot.json.zst", "report.html.gz")
EVERY = [(version, name) for version in VERSIONS for name in SNAPSHOTS]
#: The program of all: fixtures/programs/knots.go with -deadlock -convoy 5 -leak 4.
WAITS = {"chan send": 4, "sync.Mutex.Lock": 7}
PROFILES = [("0.3.0", name) for name in ("wall.json", "wall.json.gz", "wall.pb.gz")]
SITES = [("0.3.0", name) for name in ("heap.json", "heap.json.gz", "heap.pb.gz")]


def kept(version: str, name: str, folder: Path) -> Path:
    """The file; reports are kept compressed, and read as they were."""
    path = FOLDER / version / name
    if not name.startswith("report"):
        return path
    page = folder / "report.html"
    page.write_bytes(gzip.decompress(path.read_bytes()))
    return page


def load(version: str, name: str, folder: Path) -> Snapshot:
    return spyglass.load(kept(version, name, folder))


def test_every_release_and_the_next_one_have_their_files() -> None:
    assert {"0.1.0", "0.2.0", spyglass.__version__} <= set(VERSIONS)
    for version, name in EVERY:
        assert (FOLDER / version / name).exists()


@pytest.mark.parametrize(("version", "name"), EVERY)
def test_snapshots_say_what_they_said(version: str, name: str, tmp_path: Path) -> None:
    snapshot = load(version, name, tmp_path)
    reasons = [goroutine.wait_reason for goroutine in snapshot]
    assert {reason: reasons.count(reason) for reason in WAITS} == WAITS
    assert snapshot.process.go_version == "go1.27.3"
    assert snapshot.scheduler.goroutines == 15
    leaks = [g for g in snapshot if g.wait_reason == "chan send"]
    frames = {frame.function for goroutine in leaks for frame in goroutine.stack or ()}
    assert "main.askCarrier.func1" in frames


@pytest.mark.parametrize("version", VERSIONS)
def test_all_files_of_a_version_are_the_same_program(version: str, tmp_path: Path) -> None:
    started = {load(version, name, tmp_path).process.started_at for name in SNAPSHOTS}
    assert len(started) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["summary", "dump", "waits", "memory", "diff"])
def test_commands_read_them(version: str, command: str) -> None:
    path = str(FOLDER / version / "snapshot.json.gz")
    newest = str(FOLDER / VERSIONS[-1] / "snapshot.json.gz")
    arguments = [command, path] if command != "diff" else [command, path, newest, "--force"]
    done = CliRunner().invoke(cli.spyglass, arguments)
    if done.exit_code:  # what was not saved then is said in a line
        assert isinstance(done.exception, spyglass.SpyglassError)
        assert re.search("without|does not say", done.exception.message)
    else:
        assert done.output


@pytest.mark.parametrize(("version", "name"), PROFILES)
def test_profiles_say_what_they_said(version: str, name: str) -> None:
    profile = load_profile(FOLDER / version / name)
    assert profile.mode == "wall"
    functions = {frame.function for frame in profile.frames}
    assert "main.(*pool).get" in functions


@pytest.mark.parametrize(("version", "name"), SITES)
def test_heap_profiles_say_what_they_said(version: str, name: str) -> None:
    profile = load_any_profile(FOLDER / version / name)
    assert isinstance(profile, SiteProfile)
    assert profile.kind == "heap"
    assert "main.hold" in {frame.function for frame in profile.frames}


def test_parquet_files_answer_questions() -> None:
    pytest.importorskip("duckdb")
    fleet = pytest.importorskip("spyglass.fleet.query")
    with fleet.Fleet(str(FOLDER / "0.3.0" / "fleet")) as snapshots:
        (row,) = snapshots.ask("SELECT service, goroutines FROM processes").rows
        waiting = snapshots.ask("SELECT count(*) FROM waits").rows
    assert row == ("orders", 15)
    assert waiting[0][0] > 0


def test_cores_of_the_first_version_are_kept() -> None:
    assert len(list(CORES.glob("*.core.gz"))) >= 8  # tests/unit/test_saved_cores.py reads them


# What a later version may add.


def with_more(value: Any) -> Any:
    """`value` with a field that nobody knows in every object of it, but in those whose names are the program's."""
    if isinstance(value, list):
        return [with_more(each) for each in value]
    if not isinstance(value, dict):
        return value
    free = {"labels", "timings_ns", "classes"}
    grown = {name: each if name in free else with_more(each) for name, each in value.items()}
    return grown | {"of_a_later_version": {"any": [1, None, "thing"]}}


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_fields_of_snapshots_are_skipped(version: str, tmp_path: Path) -> None:
    path = FOLDER / version / "snapshot.json"
    document = json.loads(path.read_text())
    (tmp_path / "x.json").write_text(json.dumps(with_more(document)))
    grown = spyglass.load(tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(path.read_bytes())
    assert same(grown, spyglass.load(tmp_path / "x.json"))


@pytest.mark.parametrize("name", ["wall.json", "heap.json"])
def test_unknown_fields_of_profiles_are_skipped(name: str, tmp_path: Path) -> None:
    path = FOLDER / "0.3.0" / name
    (tmp_path / name).write_text(json.dumps(with_more(json.loads(path.read_text()))))
    grown, plain = load_any_profile(tmp_path / name), load_any_profile(path)
    assert type(grown) is type(plain) in (Profile, SiteProfile)
    assert grown.frames == plain.frames
    assert grown.problems == plain.problems


def same(one: Snapshot, other: Snapshot) -> bool:
    """Whether both would be saved as the same document."""
    from spyglass.export import document

    first, second = (msgspec.json.encode(document(each)) for each in (one, other))
    return first == second


def test_a_schema_with_a_higher_number_is_refused(tmp_path: Path) -> None:
    document = json.loads((FOLDER / VERSIONS[-1] / "snapshot.json").read_text())
    document["schema"] = "spyglass.snapshot/2"
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(spyglass.SpyglassError, match="snapshot/2"):
        spyglass.load(tmp_path / "x.json")
