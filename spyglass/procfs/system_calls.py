"""The system call that a thread is in, and where in the kernel it waits."""

from __future__ import annotations

import os
from dataclasses import dataclass

from spyglass.procfs.files import read, text

__all__ = ["SystemCall", "system_call", "wait_channel"]

_MAX_BYTES = 512
#: Names by number: of calls that block (arch/x86/entry/syscalls/syscall_64.tbl of the kernel).
_AMD64 = {
    0: "read", 1: "write", 2: "open", 7: "poll", 16: "ioctl", 17: "pread64", 18: "pwrite64", 19: "readv",
    20: "writev", 23: "select", 34: "pause", 35: "nanosleep", 40: "sendfile", 42: "connect", 43: "accept",
    44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 61: "wait4", 65: "semop", 70: "msgrcv", 72: "fcntl",
    73: "flock", 74: "fsync", 75: "fdatasync", 128: "rt_sigtimedwait", 130: "rt_sigsuspend", 202: "futex",
    208: "io_getevents", 230: "clock_nanosleep", 232: "epoll_wait", 247: "waitid", 257: "openat", 270: "pselect6",
    271: "ppoll", 275: "splice", 281: "epoll_pwait", 288: "accept4", 299: "recvmmsg", 426: "io_uring_enter",
    441: "epoll_pwait2",
}  # fmt: skip
#: The same of include/uapi/asm-generic/unistd.h.
_ARM64 = {
    4: "io_getevents", 22: "epoll_pwait", 25: "fcntl", 29: "ioctl", 32: "flock", 56: "openat", 63: "read", 64: "write",
    65: "readv", 66: "writev", 67: "pread64", 68: "pwrite64", 71: "sendfile", 72: "pselect6", 73: "ppoll",
    76: "splice", 82: "fsync", 83: "fdatasync", 95: "waitid", 98: "futex", 101: "nanosleep", 115: "clock_nanosleep",
    133: "rt_sigsuspend", 137: "rt_sigtimedwait", 188: "msgrcv", 193: "semop", 202: "accept", 203: "connect",
    206: "sendto", 207: "recvfrom", 211: "sendmsg", 212: "recvmsg", 242: "accept4", 243: "recvmmsg", 260: "wait4",
    426: "io_uring_enter", 441: "epoll_pwait2",
}  # fmt: skip
_NAMES = {"x86_64": _AMD64, "aarch64": _ARM64}.get(os.uname().machine, {})
#: Those whose first argument is a file descriptor.
_OF_FD = frozenset(
    (
        "read", "write", "ioctl", "pread64", "pwrite64", "readv", "writev", "connect", "accept", "accept4", "sendto",
        "recvfrom", "sendmsg", "recvmsg", "recvmmsg", "fcntl", "flock", "fsync", "fdatasync", "epoll_wait",
        "epoll_pwait", "epoll_pwait2", "io_uring_enter",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SystemCall:
    """A system call: its name, or its number as text; `fd`, if its first argument is a file descriptor."""

    name: str
    fd: int | None


def system_call(pid: int, tid: int) -> SystemCall | None:
    """What thread `tid` of process `pid` is blocked in; None if it runs, has ended, or may not be looked at.

    /proc/PID/task/TID/syscall, proc_pid_syscall(5).
    """
    try:
        fields = read(f"/proc/{pid}/task/{tid}/syscall", _MAX_BYTES).split()
        number, first = int(fields[0]), int(fields[1], 16)
    except (OSError, ValueError, IndexError):
        return None
    if number < 0:  # blocked, but in no system call
        return None
    name = _NAMES.get(number, str(number))
    return SystemCall(name, first & 0x7FFFFFFF if name in _OF_FD else None)


def wait_channel(pid: int, tid: int) -> str | None:
    """The function of the kernel that the thread waits in; None if it does not wait, or may not be looked at.

    /proc/PID/task/TID/wchan, proc_pid_wchan(5).
    """
    try:
        name = text(read(f"/proc/{pid}/task/{tid}/wchan", _MAX_BYTES)).strip()
    except OSError:
        return None
    return name if name not in ("", "0") else None
