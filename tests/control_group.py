"""Control groups with a CPU quota or a limit of memory, where they can be made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["CpuGroup", "MemoryGroup", "cpu_group", "memory_group"]

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
        _remove(directory)


class MemoryGroup:
    """A control group of the memory controller, version 1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = f"/{directory.relative_to(_MEMORY)}"

    def entering(self, *command: str | Path) -> list[str | Path]:
        """`command`, run by a shell that puts itself into the group first."""
        return ["sh", "-c", f'echo $$ > {self.directory}/cgroup.procs; exec "$@"', "sh", *command]

    def kills(self) -> int:
        """How many processes of it the kernel has killed."""
        lines = (self.directory / "memory.oom_control").read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])


_MEMORY = Path("/sys/fs/cgroup/memory")


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """A control group with this limit; what is in it must end before the context does."""
    directory = _MEMORY / f"spyglass-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        directory.mkdir()
        (directory / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    try:
        yield MemoryGroup(directory)
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    deadline = time.monotonic() + 5
    while (directory / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    directory.rmdir()
