"""Programs of Go versions and processors that few machines have, read from their cores; without Go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import spyglass
from spyglass.model import Snapshot
from tests.agreement import disagreements
from tests.saved_cores import FOLDER, NAMES, SavedCore, lasting


@dataclass(frozen=True)
class Looked:
    saved: SavedCore
    snapshot: Snapshot


@pytest.fixture(scope="module", params=NAMES)
def looked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    saved = SavedCore.unpack(request.param, tmp_path_factory.mktemp("cores"))
    with spyglass.open_core(str(saved.core), str(saved.exe)) as process:
        return Looked(saved, process.snapshot(thread_stacks=True))


def test_there_is_one_for_each_version_without_a_toolchain_and_for_arm64() -> None:
    assert {"go1.13-amd64", "go1.14-amd64", "go1.16-amd64", "go1.17-amd64"} <= set(NAMES)
    assert {"go1.18-amd64", "go1.20-amd64", "go1.21-arm64", "go1.27-arm64"} <= set(NAMES)


def test_goroutines_are_what_the_program_said(looked: Looked) -> None:
    said = looked.saved.said
    assert len(said) >= 5
    assert disagreements(looked.snapshot, said, whole=True) == []
    assert {goroutine.quality for goroutine in looked.snapshot} == {"stable"}


def test_the_document_is_as_it_was(looked: Looked) -> None:
    assert lasting(looked.snapshot) == looked.saved.expected


def test_the_version_is_that_of_the_name(looked: Looked) -> None:
    version, arch = looked.saved.name.split("-")
    assert re.match(rf"{re.escape(version)}(?![0-9])", looked.snapshot.process.go_version or "")
    assert looked.snapshot.process.arch == arch
    assert looked.snapshot.source.kind == "core"


def test_running_goroutines_of_arm64_have_stacks(looked: Looked) -> None:
    busy = [g for g in looked.snapshot if g.where and g.where.function == "main.spin1"]
    assert len(busy) == (looked.snapshot.process.arch == "arm64")


def test_they_are_small() -> None:
    for name in NAMES:
        assert sum(path.stat().st_size for path in FOLDER.glob(f"{name}.*")) <= 300 << 10


def test_another_ones_program_is_refused(looked: Looked, tmp_path: Path) -> None:
    other = SavedCore.unpack(next(n for n in NAMES if n != looked.saved.name), tmp_path)
    with pytest.raises(spyglass.SpyglassError, match="is not the executable of this core"):
        spyglass.open_core(str(looked.saved.core), str(other.exe))
