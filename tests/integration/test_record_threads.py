"""Recordings of programs with many threads, of threads that end, and by a user without privileges."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import spyglass
from spyglass.errors import TargetError
from spyglass.profile import Mode, Profile
from spyglass.runtime.recording import cpu, wall  # noqa: F401  (another user may not read them here)
from tests.children import NOBODY, become, in_child, needs_root, wait_until
from tests.integration.test_record import hurried, with_other_work
from tests.support import NEWEST, Flavour, GoProcess, build, start

pytestmark = pytest.mark.live

_THREADS = 200


def record(process: GoProcess, seconds: float, rate_hz: float = 99) -> Profile:
    with spyglass.attach(process.pid) as program:
        return program.record(seconds, rate_hz=rate_hz)


@with_other_work
def test_two_hundred_threads_are_sampled_without_loss() -> None:
    with hurried(), start("threads", NEWEST, Flavour.EXE, "-n", str(_THREADS)) as process:
        wait_until(lambda: int(process.ask("begun")) == _THREADS)
        profile = record(process, 2)
    account = profile.account
    assert (account.threads_seen or 0) >= _THREADS
    assert (account.lost, account.throttled, account.threads_missed) == (0, 0, 0)
    # Each thread uses less than two periods: their parts must count too.
    assert 0.7 < (account.coverage or 0) < 1.3
    assert len(set(profile.samples.thread.tolist())) > _THREADS / 4


@with_other_work
def test_threads_that_begin_and_end_are_sampled_or_counted() -> None:
    with hurried(), start("threads", NEWEST, Flavour.EXE, "-life", "40ms") as process:
        before = int(process.ask("begun"))
        profile = record(process, 2, rate_hz=499)
        ended = int(process.ask("begun")) - before
    account = profile.account
    assert ended > 10
    assert (account.threads_seen or 0) + (account.threads_missed or 0) >= ended
    assert len(set(profile.samples.thread.tolist())) > ended / 4
    assert 0.4 < (account.coverage or 0) < 1.1


@needs_root
@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_an_ordinary_user_records_a_process_of_their_own_or_is_told_why_not(
    mode: Mode, tmp_path: Path
) -> None:
    def record_as_nobody() -> Profile | str:
        become()
        try:
            with spyglass.attach(process.pid) as program:
                return program.record(1, mode=mode, rate_hz=99)
        except TargetError as error:
            return error.message

    with busy_as_nobody(tmp_path) as process:
        found = in_child(record_as_nobody)
    if isinstance(found, str):
        assert mode == "cpu"
        assert "kernel.perf_event_paranoid is" in found
        return
    assert found.account.samples > 10
    names = {frame.function for frame in found.frames}
    refused = [problem.detail for problem in found.problems if problem.kind == "unreadable"]
    assert "main.compute" in names or any("perf_event_paranoid" in each for each in refused)
    if mode == "cpu":
        assert [problem.subject for problem in found.problems] == ["kernel"]
        assert (found.account.goroutine_known or 0) > 0


@contextmanager
def busy_as_nobody(folder: Path) -> Iterator[GoProcess]:
    """A busy program as another user, from a file that this one may read."""
    copy = folder / "busy"
    shutil.copy(build("shares", NEWEST, Flavour.EXE), copy)
    copy.chmod(0o755)
    for parent in [folder, *folder.parents[:2]]:
        parent.chmod(parent.stat().st_mode | 0o111)
    setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with GoProcess([*setpriv, copy, "-busy"]) as process:
        yield process
