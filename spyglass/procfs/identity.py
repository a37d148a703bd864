"""Which program in which process: what a pid alone does not say, and whether it still holds.

Our own, not that of psutil, which knows a process by its start time alone and does not notice an exec.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from spyglass.errors import ProcessChanged, ProcessNotFound, SpyglassError
from spyglass.procfs.access import refusals
from spyglass.procfs.files import Stat, read_stat, read_status

__all__ = ["Identity", "open_process", "start_time"]

_AGAIN_HINT = "run spyglass again"


@dataclass(frozen=True, slots=True)
class Identity:
    """One run of one program in process `pid`. Close it, or use it in a with statement.

    The start time (`start_ticks`, clock ticks since boot) tells apart processes that had the same
    pid. An exec leaves it as it was; so /proc/PID/maps is held open. It belongs to the address space
    that it was opened for, and reads as empty once that is gone (kernel: ``m_start`` in
    fs/proc/task_mmu.c), even if the same program was run again at the same addresses.
    """

    pid: int
    start_ticks: int
    _maps: int

    def check(self) -> None:
        """Raise `ProcessChanged` if the process ended or runs another program, or is another."""
        with refusals(self.pid):
            try:
                stat = read_stat(self.pid)
            except (FileNotFoundError, ProcessLookupError):
                raise self._changed("ended while it was read") from None
            if stat.start_ticks != self.start_ticks:
                raise self._changed("ended, and its pid was given to another process")
            if stat.ended:
                raise self._changed("ended while it was read")
            if not self._has_address_space():
                raise self._changed("ran another program (exec) while it was read")

    def _has_address_space(self) -> bool:
        try:
            return bool(os.pread(self._maps, 1, 0))
        except ProcessLookupError:
            return False

    def _changed(self, how: str) -> ProcessChanged:
        return ProcessChanged(f"process {self.pid} {how}", _AGAIN_HINT)

    def close(self) -> None:
        """Close the file that is held open."""
        os.close(self._maps)

    def __enter__(self) -> Identity:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_process(pid: int) -> Identity:
    """The identity of process `pid`, if it is one that can be looked into.

    Raises `ProcessNotFound` if there is none, or it is a zombie, a kernel thread or a mere thread,
    and `PermissionDenied` if the kernel does not show its program. Its memory may be refused still
    (Yama): `explain_denied` says why.
    """
    _require_matching_proc()
    with refusals(pid):
        stat = read_stat(pid)
        _require_program(stat)
        os.readlink(f"/proc/{pid}/exe")  # CAP_PERFMON alone opens the mappings, and only those
        maps = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
    identity = Identity(pid, stat.start_ticks, maps)
    try:
        identity.check()
    except BaseException:
        identity.close()
        raise
    return identity


def start_time(pid: int) -> int:
    """When process `pid` started, in clock ticks (``os.sysconf("SC_CLK_TCK")``) since boot."""
    with refusals(pid):
        return read_stat(pid).start_ticks


def _require_matching_proc() -> None:
    """A /proc of another pid namespace would give the facts of one process for the pid of another."""
    try:
        matches = os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        matches = False
    if not matches:
        raise SpyglassError(
            "/proc is not mounted, or shows another pid namespace than the one spyglass runs in",
            "mount it: mount -t proc proc /proc",
        )


def _require_program(stat: Stat) -> None:
    """`ProcessNotFound` for what has a pid and no program."""
    name = f"{stat.pid} ({stat.name})"
    if stat.kernel_thread:
        raise ProcessNotFound(f"{name} is a kernel thread, not a process")
    if stat.ended and stat.threads > 1:
        raise ProcessNotFound(f"the main thread of process {name} has ended, and only others run")
    if stat.ended:
        raise ProcessNotFound(
            f"process {name} is a zombie: it has ended, and its parent {stat.parent} has not noticed",
            f"look at process {stat.parent} instead",
        )
    owner = read_status(stat.pid).get("Tgid", str(stat.pid))
    if owner != str(stat.pid):
        raise ProcessNotFound(f"{name} is a thread of process {owner}", f"use --pid {owner}")
