"""Facts about one process: its program, owner, age and memory.

Our own reading of a few numbers, not psutil's: every snapshot has them, and importing psutil takes
11 ms, 4 % of the processor time of ``spyglass summary``.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, read_head, read_stat, text
from spyglass.procfs.users import user_name

__all__ = [
    "MAX_COMMAND_LINE_BYTES",
    "comm",
    "command_line",
    "executable",
    "is_stopped",
    "owner",
    "rss_bytes",
    "started_at",
    "thread_count",
    "uptime_seconds",
]

#: A longer command line is cut: a process can make it as long as its address space.
MAX_COMMAND_LINE_BYTES = 1 << 20

_DELETED = " (deleted)"
_MAX_STATM_BYTES = 1 << 10
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NS_PER_SECOND = 10**9


def comm(pid: int) -> str:
    """The name of process `pid` that ps(1) shows, 15 bytes at most."""
    with refusals(pid):
        return read_stat(pid).name


def owner(pid: int) -> str:
    """The effective user of process `pid`."""
    with refusals(pid):
        return user_name(os.stat(f"/proc/{pid}").st_uid)


def thread_count(pid: int) -> int:
    """The number of threads of process `pid`."""
    with refusals(pid):
        return read_stat(pid).threads


def is_stopped(pid: int) -> bool:
    """Whether a signal or a tracer has stopped process `pid`."""
    with refusals(pid):
        return read_stat(pid).stopped


def started_at(pid: int) -> datetime:
    """When process `pid` started, up to a second early, and the same at every reading.

    The kernel has it in ticks since boot. The moment of boot is taken in whole seconds, as btime in
    /proc/stat (proc_stat(5)), which would cost more to read; it moves only when the clock is set.
    """
    with refusals(pid):
        since_boot = timedelta(seconds=read_stat(pid).start_ticks / _TICKS_PER_SECOND)
    return datetime.fromtimestamp(_boot_ns() // _NS_PER_SECOND, UTC) + since_boot


def _boot_ns() -> int:
    """The moment of boot, up to some hundred ns early: the two clocks are read one after the other, and
    the attempt with the least time between them is the best one."""
    return max(
        time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for _ in range(3)
    )


def uptime_seconds(pid: int) -> float:
    """How long process `pid` has been running, suspension of the host included."""
    with refusals(pid):
        start_seconds = read_stat(pid).start_ticks / _TICKS_PER_SECOND
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - start_seconds, 0)


def rss_bytes(pid: int) -> int:
    """The resident memory of process `pid` (proc_pid_statm(5))."""
    with refusals(pid):
        return int(read(f"/proc/{pid}/statm", _MAX_STATM_BYTES).split()[1]) * _PAGE_BYTES


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of process `pid`, cut at `MAX_COMMAND_LINE_BYTES`; empty for a kernel thread."""
    with refusals(pid):
        raw = read_head(f"/proc/{pid}/cmdline", MAX_COMMAND_LINE_BYTES)
    return tuple(text(raw.removesuffix(b"\0")).split("\0")) if raw else ()


def executable(pid: int) -> tuple[str | None, bool]:
    """The path of the executable of process `pid` in its mount namespace, None if not known.

    And whether that file was deleted, which the kernel appends to the path (proc(5)).
    """
    with refusals(pid):
        try:
            link = text(os.readlink(f"/proc/{pid}/exe".encode()))
        except PermissionError:
            return None, False
        except FileNotFoundError:
            os.stat(
                f"/proc/{pid}"
            )  # a kernel thread has none; a process that has ended is an error
            return None, False
    return link.removesuffix(_DELETED), link.endswith(_DELETED)
