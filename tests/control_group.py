"""A control group with a CPU quota, where one can be made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["CpuGroup", "cpu_group"]

_PERIOD_US = 100_000


class CpuGroup:
    """A control group of the cpu controller, version 1 (cgroups(7))."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, pid: int) -> None:
        """Put a process and its threads into it."""
        (self._directory / "cgroup.procs").write_text(str(pid))


@contextmanager
def cpu_group(cores: float) -> Iterator[CpuGroup]:
    """A control group that may use so many processors; what is in it must end before the context does."""
    directory = Path("/sys/fs/cgroup/cpu") / f"spyglass-test-{os.getpid()}"
    try:
        directory.mkdir()
        (directory / "cpu.cfs_quota_us").write_text(str(round(cores * _PERIOD_US)))
    except OSError as error:
        pytest.skip(f"no control group with a CPU quota can be made here: {error}")
    try:
        yield CpuGroup(directory)
    finally:
        deadline = time.monotonic() + 5
        while (directory / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        directory.rmdir()
