"""Capabilities that a program's file permits, as the image's interpreter does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spyglass.cli import capabilities
from tests.children import NOBODY, become, in_child, needs_root, prctl

PR_SET_KEEPCAPS = 8
DAC_READ_SEARCH, SYS_PTRACE, PERFMON, KILL = 1 << 2, 1 << 19, 1 << 38, 1 << 5


def effective() -> int:
    """The effective capabilities of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("\nCapEff:")[2].split("\n", 1)[0], 16)


def as_nobody(*, permitted: bool) -> tuple[int, int, int]:
    """The effective capabilities of another user before and after, and whether it may send signals to process 1, as an errno."""
    if permitted:  # what is permitted stays so, and nothing is effective: as after a file with permitted capabilities is run
        prctl(PR_SET_KEEPCAPS, 1)
    become(NOBODY)
    before = effective()
    capabilities.use_permitted()
    try:
        os.kill(1, 0)
        refused = 0
    except OSError as error:
        refused = error.errno or 0
    return before, effective(), refused


@needs_root
def test_what_is_permitted_and_wanted_becomes_effective_and_nothing_else() -> None:
    if not effective() & SYS_PTRACE:
        pytest.skip("these capabilities are not permitted here")
    wanted = effective() & (DAC_READ_SEARCH | SYS_PTRACE | PERFMON)
    before, after, refused = in_child(lambda: as_nobody(permitted=True))
    assert (before, after) == (0, wanted)
    assert refused
    assert not after & KILL


@needs_root
def test_nothing_becomes_effective_that_is_not_permitted() -> None:
    assert in_child(lambda: as_nobody(permitted=False))[:2] == (0, 0)


def test_a_status_that_cannot_be_read_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_set", lambda _status, _name: int("x", 16))
    capabilities.use_permitted()
