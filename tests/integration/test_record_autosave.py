"""What is recorded is on disk while it is recorded: spyglass may be killed, and the file is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spyglass.export.profile_reader import load_profile
from spyglass.profile import Profile
from tests.profiles import decoded
from tests.support import NEWEST, Flavour, start

pytestmark = [pytest.mark.go, pytest.mark.live]

#: spyglass, which saves more often than it does by default.
HASTY = """
import sys
from spyglass import cli
from spyglass.cli import autosave
autosave._SECONDS = 0.3
autosave._MAX_SHARE = 1.0
sys.exit(cli.run(sys.argv[1:]))
"""
WAIT_SECONDS = 60


@contextmanager
def hasty(pid: int, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """``spyglass record`` of process `pid` with `arguments`, while the block runs."""
    command = [sys.executable, "-c", HASTY, "record", "--pid", str(pid), *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(path: Path, is_enough: Callable[[Path], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (path.exists() and is_enough(path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_samples(path: Path) -> bool:
    return load_profile(path).account.samples > 50


@pytest.mark.parametrize("mode", ["cpu", pytest.param("wall", marks=pytest.mark.slow)])
def test_what_was_recorded_survives_a_kill(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    with (
        start("shares", NEWEST, Flavour.EXE, "-busy") as process,
        hasty(process.pid, "--mode", mode, "-d", "1h", "-o", path) as running,
    ):
        wait_for(path, has_samples)
        running.kill()
        running.wait(30)
    time.sleep(0.5)  # the child that saves ends by itself
    profile = load_profile(path)
    assert profile.account.unfinished
    assert profile.account.ended is None
    assert int(profile.samples.count.sum()) == profile.account.samples > 50
    assert profile.duration_ns > 0.2e9
    assert profile.account.own_cpu_ns
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["saved.json"]


@pytest.mark.slow
def test_the_file_at_the_end_is_the_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "saved.pb.gz"
    with (
        start("shares", NEWEST, Flavour.EXE, "-busy") as process,
        hasty(process.pid, "-d", "1h", "-o", path) as running,
    ):
        wait_for(
            path, lambda path: any(line.startswith("unfinished") for line in decoded(path).comments)
        )
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert said == f"{path}\n"
    comments = decoded(path).comments
    assert "ended early: by SIGINT" in comments
    assert not any(line.startswith("unfinished") for line in comments)
    assert os.listdir(tmp_path) == ["saved.pb.gz"]


def test_only_what_filters_choose_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    options: list[str | Path] = ["-d", "1h", "--redact", "--label", "colour=red", "-o", path]
    with (
        start("shares", NEWEST, Flavour.EXE, "-busy") as process,
        hasty(process.pid, *options) as running,
    ):
        wait_for(path, lambda path: len(load_profile(path).samples) > 0)
        running.kill()
        running.wait(30)
    profile: Profile = load_profile(path)
    assert profile.chosen_from is not None
    assert profile.chosen_from > profile.samples.count.sum() > 0
    assert profile.label_sets == ()  # redacted
    assert profile.process.cmdline == ()


@pytest.mark.slow
def test_a_file_that_cannot_be_written_meanwhile_is_said_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    path = folder / "saved.json"
    with (
        start("shares", NEWEST, Flavour.EXE, "-busy") as process,
        hasty(process.pid, "-d", "1h", "-o", path) as running,
    ):
        wait_for(path, has_samples)
        folder.rename(elsewhere)
        assert running.stderr
        first = running.stderr.readline()
        time.sleep(1)  # it is not said again
        elsewhere.rename(folder)
        running.send_signal(signal.SIGINT)
        _, more = running.communicate(timeout=30)
    assert running.returncode == 0, more
    assert first == "warning: what is recorded cannot be saved meanwhile\n"
    assert "meanwhile" not in more
    assert not load_profile(path).account.unfinished


@pytest.mark.slow
def test_nothing_is_saved_of_what_is_written_to_standard_output(tmp_path: Path) -> None:
    with (
        start("shares", NEWEST, Flavour.EXE, "-busy") as process,
        hasty(process.pid, "-d", "1s", "--format", "json", "-o", "-") as running,
    ):
        said, _ = running.communicate(timeout=30)
    path = tmp_path / "x.json"
    path.write_text(said)
    assert not load_profile(path).account.unfinished
