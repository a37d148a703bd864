"""Saving while a recording goes on, where there are no children, or nothing is known of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

from spyglass.cli import autosave
from spyglass.cli.autosave import Autosave
from spyglass.profile import Profile
from spyglass.runtime.recording.session import Recording
from tests.made_profiles import SHOP


class Made:
    """A recording, as far as saving needs one."""

    def settle(self) -> None:
        pass

    def so_far(self, *, settled: bool) -> Profile:
        assert settled
        return SHOP


def made() -> Recording:
    return cast(Recording, Made())


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autosave, "_SECONDS", 0.0)


def test_a_child_writes_and_its_time_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def write(profile: Profile) -> None:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        path.write_text(f"{os.getpid()} {profile.account.samples}")

    with Autosave(made(), write) as saving:
        saving.look()
    pid, samples = path.read_text().split()
    assert int(pid) != os.getpid()
    assert int(samples) == 100
    own_ns = saving.counted(SHOP).account.own_cpu_ns
    assert own_ns is not None
    assert SHOP.account.own_cpu_ns is not None
    assert own_ns - SHOP.account.own_cpu_ns >= 0.04e9


def test_nothing_is_done_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forked"))
    with Autosave(made(), None) as saving:
        saving.look()


def test_the_recording_goes_on_where_there_can_be_no_child(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with Autosave(made(), lambda _profile: None) as saving:
        for _ in range(3):
            saving.look()
    said = capsys.readouterr().err
    assert said == "warning: what is recorded cannot be saved meanwhile\n"


def test_children_may_be_nobodys(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever starts spyglass may ignore SIGCHLD: then there is nothing to wait for."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Autosave(made(), lambda _profile: None) as saving:
            for _ in range(3):
                saving.look()
                time.sleep(0.05)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert capsys.readouterr().err == ""


def test_a_failure_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_profile: Any) -> None:
        raise OSError(28, "No space left on device")

    with Autosave(made(), fail) as saving:
        for _ in range(20):
            saving.look()
            time.sleep(0.01)
    assert capfd.readouterr().err == "warning: what is recorded cannot be saved meanwhile\n"
