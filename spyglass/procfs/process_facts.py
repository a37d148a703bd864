"""Facts about one process: its program, owner, age and size."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, read_head, read_stat, text
from spyglass.procfs.users import user_name

__all__ = [
    "MAX_COMMAND_LINE_BYTES",
    "Facts",
    "command_line",
    "cpu_ns",
    "executable_path",
    "facts",
    "user_name",
]

#: A longer command line is cut: a process can make it as long as its address space.
MAX_COMMAND_LINE_BYTES = 1 << 20

_DELETED = " (deleted)"
_MAX_STATM_BYTES = 1 << 10
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel tells everyone about a process, and `exe`, None if this user may not know it.

    `name` is the comm that ps shows, 15 bytes at most. `user` is the effective one.
    """

    pid: int
    name: str
    exe: str | None
    exe_deleted: bool
    cmdline: tuple[str, ...]
    user: str
    started_at: datetime
    uptime_seconds: float
    rss_bytes: int
    threads: int


def facts(pid: int) -> Facts:
    """The facts about process `pid`; `ProcessNotFound` or `PermissionDenied`."""
    with refusals(pid):
        stat = read_stat(pid)
        exe, deleted = _executable(pid)
        uptime = max(
            time.clock_gettime(time.CLOCK_BOOTTIME) - stat.start_ticks / _TICKS_PER_SECOND, 0
        )
        return Facts(
            pid=pid,
            name=stat.name,
            exe=exe,
            exe_deleted=deleted,
            cmdline=_command_line(pid),
            user=user_name(os.stat(f"/proc/{pid}").st_uid),
            # Not from btime of /proc/stat, which is whole seconds and moves when the clock is set.
            started_at=datetime.now(UTC) - timedelta(seconds=uptime),
            uptime_seconds=uptime,
            rss_bytes=int(read(f"/proc/{pid}/statm", _MAX_STATM_BYTES).split()[1]) * _PAGE_BYTES,
            threads=stat.threads,
        )


def cpu_ns(pid: int) -> int:
    """How much of processors process `pid` had since it started, as exact as the kernel's clock tick."""
    with refusals(pid):
        return read_stat(pid).cpu_ticks * 1_000_000_000 // _TICKS_PER_SECOND


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of process `pid`, cut at `MAX_COMMAND_LINE_BYTES`; empty for a kernel thread."""
    with refusals(pid):
        return _command_line(pid)


def executable_path(pid: int) -> str | None:
    """Where the executable of process `pid` was found, in its mount namespace; None if not known."""
    with refusals(pid):
        return _executable(pid)[0]


def _command_line(pid: int) -> tuple[str, ...]:
    raw = read_head(f"/proc/{pid}/cmdline", MAX_COMMAND_LINE_BYTES)
    if not raw:
        return ()
    return tuple(text(raw.removesuffix(b"\0")).split("\0"))


def _executable(pid: int) -> tuple[str | None, bool]:
    """The path, and whether nothing is at it any more, which the kernel notes behind the path."""
    try:
        path = text(os.readlink(f"/proc/{pid}/exe".encode()))
    except OSError:
        return None, False
    return path.removesuffix(_DELETED), path.endswith(_DELETED)
