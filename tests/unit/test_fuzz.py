"""Targets of the fuzzer read their seeds, and what did harm once; a fault of a reader is noticed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from spyglass.errors import BadDataError
from tests.fuzz.target import FOUND, MODULES, Target, found_inputs, read_input, target_named

#: These take more than a tenth of a second for an input.
_SLOW = ("small-core", "parquet")
_NAMES = [pytest.param(each, marks=[pytest.mark.slow] * (each in _SLOW)) for each in MODULES]


@pytest.mark.parametrize("name", _NAMES)
def test_seeds_and_what_did_harm_once_are_read(name: str) -> None:
    target = target_named(name)
    seeds = list(target.seeds())
    assert seeds
    for data in [*seeds, *found_inputs(name)]:
        assert len(data) <= target.max_bytes
        read_input(target, data)


def test_some_seed_of_each_target_is_read_without_an_error() -> None:
    for name in MODULES.keys() - {*_SLOW, "packed"}:
        target = target_named(name)
        target.read(next(iter(target.seeds())))


@pytest.mark.parametrize("name", [each for each in MODULES if each not in _SLOW])
def test_changed_seeds_are_read(name: str) -> None:
    target, chance = target_named(name), random.Random(1)
    if target.mutate is None:
        return
    for data in target.seeds():
        made = target.mutate(data, target.max_bytes, chance)
        assert len(made) <= target.max_bytes
        read_input(target, made)


def test_what_did_harm_is_of_a_target_and_small() -> None:
    kept = [path for path in FOUND.rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} <= MODULES.keys()
    assert sum(path.stat().st_size for path in kept) < 300_000


def test_other_errors_and_raw_texts_are_faults() -> None:
    def fail(data: bytes) -> None:
        if data == b"ours":
            raise BadDataError("\x1b[31m\u202e\udcff")
        raise IndexError

    target = Target(fail, lambda: [b""])
    read_input(target, b"ours")
    with pytest.raises(IndexError):
        read_input(target, b"")


@pytest.mark.slow
def test_the_fuzzer_runs_and_keeps_what_it_finds(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--target",
        "funcdata",
        "--seconds",
        "1",
        "--corpus",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("funcdata")
    assert len(list((tmp_path / "funcdata").iterdir())) > 2
