"""Two profiles compared: rates, chance, and what is printed."""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from spyglass import cli
from spyglass.analysis.profile_diff import merged, profile_difference
from spyglass.analysis.profile_functions import function_times
from spyglass.formats import exporter
from spyglass.profile import Profile
from tests.made_profiles import EXIT, HASH, MAIN, MALLOC, MS, SERVE, SHOP, SampleRow, make_profile
from tests.snapshots import PROCESS, frame

PERIOD_NS = 10_101_010


def profile(hash_samples: int, malloc_samples: int, seconds: int = 10) -> Profile:
    rows = [
        SampleRow((HASH, SERVE, MAIN, EXIT), hash_samples * PERIOD_NS, hash_samples),
        SampleRow((MALLOC, SERVE, MAIN, EXIT), malloc_samples * PERIOD_NS, malloc_samples),
    ]
    return make_profile(rows, duration_ns=seconds * 10**9)


def test_times_of_functions() -> None:
    recursive = frame("main.walk")
    rows = [
        SampleRow((HASH, recursive, recursive, MAIN, EXIT), 5, 1),
        SampleRow((recursive, MAIN, EXIT), 7, 1),
        SampleRow((), 3, 1),
    ]
    times = function_times(make_profile(rows))
    found = dict(
        zip(
            times.names,
            zip(times.self_ns.tolist(), times.total_ns.tolist(), strict=True),
            strict=True,
        )
    )
    assert found == {"crypto/sha256.block": (5, 5), "main.walk": (7, 12), "main.main": (0, 12)}
    assert function_times(make_profile([])).names == ()
    assert function_times(SHOP).total_ns.max() == 850 * MS


def test_rates_are_per_second_of_recording() -> None:
    found = profile_difference(profile(100, 50, seconds=10), profile(100, 50, seconds=5))
    changes = {each.function: each for each in found.functions}
    assert changes["crypto/sha256.block"].itself.before == pytest.approx(0.101, abs=0.001)
    assert changes["crypto/sha256.block"].itself.after == pytest.approx(0.202, abs=0.001)
    assert changes["main.main"].itself.change == 0
    assert changes["main.main"].total.change == pytest.approx(found.whole.change)


def test_a_change_that_may_be_chance_is_not_sure() -> None:
    found = profile_difference(profile(100, 400), profile(115, 520))
    changes = {each.function: each for each in found.functions}
    assert changes["runtime.mallocgc"].itself.is_sure  # 120 of 920 samples: 4 deviations
    assert not changes["crypto/sha256.block"].is_sure  # 15 of 215: 1
    assert next(iter(changes)) == "runtime.mallocgc"


def test_chance_is_called_sure_in_one_of_twenty() -> None:
    """Two profiles of the same program differ by chance: two deviations are 95 %."""
    import numpy as np

    random = np.random.default_rng(7)
    pairs = random.poisson(100, (400, 2)).tolist()
    sure = [
        profile_difference(profile(a, 1), profile(b, 1)).functions[0].itself.is_sure
        for a, b in pairs
    ]
    assert 0.02 < sum(sure) / len(sure) < 0.08


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, each in (
        ("a.json", profile(100, 400)), ("b.json", profile(115, 520)),
        ("wall.json", replace(profile(1, 1), mode="wall")),
        ("other.json", replace(profile(1, 1), process=replace(PROCESS, build_id=None, module="x/y"))),
    ):  # fmt: skip
        with Path(name).open("wb") as stream:
            exporter("profile", "json").write(each, stream)
    return tmp_path


def test_diff_prints_what_became_slower(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["diff", "a.json", "b.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "program    /usr/bin/prometheus  CPU profile",
        "before     2026-11-20 06:20:00Z  for 10.0 s  samples 100  coverage 99.0 %",
        "after      2026-11-20 06:20:00Z  for 10.0 s  samples 100  coverage 99.0 %",
        "time       505.1 before, 641.4 after, +136.4",
        "",
        " self    was  change  total    was  change  function",
        "525.3  404.0  +121.2  525.3  404.0  +121.2  runtime.mallocgc",
        "  0.0    0.0       0  641.4  505.1  +136.4  example.com/shop.(*Server).serve",
        "  0.0    0.0       0  641.4  505.1  +136.4  main.main",
        "milliseconds per second of recording; 1 function without a sure change, --all shows them",
    ]
    assert cli.run(["diff", "a.json", "b.json", "--all", "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[7] == "116.2  101.0  ~+15.2  116.2  101.0  ~+15.2  crypto/sha256.block"
    assert lines[8] == (
        "milliseconds per second of recording; ~ may be chance; 2 more, --limit shows them"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["a.json", "b.json", "wall.json"], 2, "two profiles are compared, not more"),
        (
            ["a.json", "wall.json"],
            1,
            "the profiles are of modes cpu and wall. --force compares them",
        ),
        (["a.json", "other.json"], 1, "the profiles are of different programs: module"),
        (["a.json", "b.json", "--system"], 2, "--fail-on and --system cannot be used with"),
        (["a.json", "b.json", "--json", "-o", "x.html"], 2, "--json and --output x.html exclude"),
        (["a.json", "1"], 1, "a.json is a profile, and other targets are not"),
        (["a.json", "none.json"], 1, "no such file: none.json"),
        (
            ["a.json", "b.json", "-o", "x.svg"],
            2,
            "the output of two profiles is a page: give a name",
        ),
    ],
)
def test_what_cannot_be_compared(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, line: str
) -> None:
    assert cli.run(["diff", *arguments]) == status
    assert capsys.readouterr().err.startswith(f"spyglass: {line}")


def test_force_compares_them_anyway(files: Path) -> None:
    assert cli.run(["diff", "a.json", "other.json", "--force"]) == 0


def test_a_page_of_both(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["diff", "a.json", "b.json", "-o", "x.html"]) == 0
    assert capsys.readouterr().out == "x.html\n"
    found = re.search(r'id="spyglass-profile">(.*?)</script>', Path("x.html").read_text())
    assert found
    data = json.loads(found[1])
    assert sum(data["rows"]["before"]) == pytest.approx(500 * PERIOD_NS / 10)
    assert sum(data["rows"]["after"]) == pytest.approx(635 * PERIOD_NS / 10)
    assert Path("x.html").stat().st_mode & 0o777 == 0o600


def test_a_document_of_both(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["diff", "a.json", "b.json", "--json"]) == 0
    said = capsys.readouterr()
    made = json.loads(said.out)
    schemas = importlib.resources.files("spyglass.export")
    schema = json.loads(schemas.joinpath("profile-diff.schema.json").read_text())
    Draft202012Validator(schema).validate(made)
    whole = json.loads(schemas.joinpath("profile.schema.json").read_text())
    for name in set(schema["$defs"]) & set(whole["$defs"]):
        assert schema["$defs"][name] == whole["$defs"][name]
    assert (made["schema"], made["before"]["mode"]) == ("spyglass.profile-diff/1", "cpu")
    assert made["after"]["duration_ns"] == 10**10
    first = made["functions"][0]
    assert (first["function"], first["self"]["sure"]) == ("runtime.mallocgc", True)
    assert first["self"]["difference"] == pytest.approx(120 * PERIOD_NS / 1e10)
    assert made["whole"]["after"] == pytest.approx(635 * PERIOD_NS / 1e10)
    assert cli.run(["diff", "a.json", "b.json", "-o", "x.json"]) == 0
    assert Path("x.json").read_text() == said.out


def test_other_targets_have_no_page(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spyglass.export.snapshot_file import save
    from tests.snapshots import make_snapshot

    save(make_snapshot(), "s.json")
    assert cli.run(["diff", "s.json", "s.json", "-o", "x.html"]) == 2
    assert capsys.readouterr().err.startswith("spyglass: --output requires two profiles")


def test_profiles_are_merged_whole() -> None:
    both = merged(SHOP, profile(100, 50))
    rows = range(len(SHOP.samples), len(both.samples))
    names = {frame.function for row in rows for frame in both.stack(int(both.samples.stack[row]))}
    assert names == {
        "crypto/sha256.block",
        SERVE.function,
        "main.main",
        "runtime.goexit",
        "runtime.mallocgc",
    }
    first = both.samples.labels[: len(SHOP.samples)]
    assert next(both.label_sets[each] for each in first.tolist() if each >= 0) == {"tenant": "blue"}
    assert {both.states[each] for each in both.samples.state.tolist()} == {"running", "g0", "C"}
