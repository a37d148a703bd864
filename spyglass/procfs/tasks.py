"""The threads of a process, as the kernel sees them.

Our own reading, not that of psutil, which says neither their names nor their states.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, split_stat

__all__ = ["STATES", "ThreadState", "threads"]

_MAX_STAT_BYTES = 1 << 13

#: The letter in /proc/PID/stat -> the kernel's word (``task_state_array``, fs/proc/array.c).
STATES = {
    b"R": "running",
    b"S": "sleeping",
    b"D": "disk sleep",
    b"T": "stopped",
    b"t": "tracing stop",
    b"X": "dead",
    b"Z": "zombie",
    b"P": "parked",
    b"I": "idle",
}


@dataclass(frozen=True, slots=True)
class ThreadState:
    """A thread: its id, the name it gave itself (15 bytes at most), and one of `STATES`' words."""

    tid: int
    name: str
    os_state: str


def threads(pid: int) -> tuple[ThreadState, ...]:
    """The threads of process `pid` by id, without any that end meanwhile.

    About 10 us each; there are no more than the kernel's pid_max.
    """
    with refusals(pid):
        directory = os.open(f"/proc/{pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return tuple(_states(directory))
        finally:
            os.close(directory)


def _states(directory: int) -> Iterator[ThreadState]:
    for tid in sorted(int(name) for name in os.listdir(directory)):
        try:
            raw = read(f"{tid}/stat", _MAX_STAT_BYTES, dir_fd=directory)
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, fields = split_stat(raw)
        yield ThreadState(tid, name, STATES.get(fields[:1], "unknown"))
