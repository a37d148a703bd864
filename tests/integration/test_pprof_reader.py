"""Go's own profiles read as ours: the same samples, and null for what they do not say."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from spyglass import cli
from spyglass.export.profile_reader import is_profile, load_profile
from spyglass.profile import Profile
from tests.command import piped
from tests.go_tool_pprof import go_tool_pprof
from tests.profiles import decoded
from tests.support import Flavour, start

pytestmark = [pytest.mark.go, pytest.mark.live]

Shown = Counter[tuple[tuple[tuple[str, str, int], ...], tuple[tuple[str, str], ...]]]


def shown(profile: Profile) -> Shown:
    """The time of each stack and its labels."""
    found: Shown = Counter()
    samples = profile.samples
    rows = zip(samples.stack, samples.labels, samples.value_ns, strict=True)
    for stack, labels, value_ns in rows:
        lines = tuple((f.function, f.file or "", f.line or 0) for f in profile.stack(int(stack)))
        texts = profile.label_sets[int(labels)] if labels >= 0 else {}
        found[lines, tuple(sorted(texts.items()))] += int(value_ns)
    return found


@pytest.mark.slow
@pytest.mark.matrix
def test_gos_own_profile_is_read_as_it_is(minor: str, tmp_path: Path) -> None:
    path = tmp_path / "go.pb.gz"
    with start("shares", minor, Flavour.EXE, "-busy") as process:
        process.tell(f"profile 1 {path}")
        ours = piped("record", str(process.pid), "-d", "1500ms", "-o", str(tmp_path / "cpu.json"))
        assert process.read_line(30) == "written"
    assert ours.returncode == 0, ours.stderr
    assert is_profile(path)
    profile, gos = load_profile(path), decoded(path)
    expected: Shown = Counter()
    for sample, (_, value_ns) in gos.values.items():
        lines = tuple(tuple(line) for location in sample.locations for line in location)
        expected[lines, sample.labels] += value_ns  # type: ignore[index]
    assert shown(profile) == expected
    assert expected.total() > 0
    assert profile.duration_ns == gos.duration_ns
    assert profile.rate_hz == pytest.approx(1e9 / gos.period)
    assert profile.account.samples == sum(count for count, _ in gos.values.values())
    assert (profile.account.lost, profile.account.coverage, profile.process.pid) == (None,) * 3
    check_commands(tmp_path, minor)


def check_commands(folder: Path, minor: str) -> None:
    """It is converted and compared with a recording of spyglass, and the tool reads what is written of it."""
    saved, again = folder / "x.json", folder / "x.pb.gz"
    for path in (saved, again):
        assert cli.run(["record", "--from", str(folder / "go.pb.gz"), "-o", str(path)]) == 0
    schema = json.loads(files("spyglass.export").joinpath("profile.schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(saved.read_text()))
    assert "main.compute" in go_tool_pprof(minor, folder, "-top", "-cum", again)
    recorded, made_by_tool = folder / "cpu.pb.gz", folder / "tool.pb.gz"
    assert cli.run(["record", "--from", str(folder / "cpu.json"), "-o", str(recorded)]) == 0
    ours = load_profile(recorded)
    for chosen in (["-focus", "main.mix", recorded], [recorded, folder / "go.pb.gz"]):
        go_tool_pprof(minor, folder, "-proto", "-output", made_by_tool, *chosen)
        made = load_profile(made_by_tool)
        # What the recording says of itself is not of what the tool has chosen or merged.
        assert made.account.samples == made.samples.count.sum() != ours.account.samples
        assert (made.account.lost, made.process.pid) == (None, None)
    differences = folder / "difference.json"
    files_of = [str(folder / name) for name in ("go.pb.gz", "cpu.json")]
    assert cli.run(["diff", *files_of, "-o", str(differences)]) == 0
    difference = json.loads(differences.read_text())
    (compute,) = (each for each in difference["functions"] if each["function"] == "main.compute")
    assert compute["total"]["before"] > 0
    assert compute["total"]["after"] > 0
