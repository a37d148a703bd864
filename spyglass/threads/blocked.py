"""Where a thread waits in the kernel: the kernel says it without a stop of the thread."""

from __future__ import annotations

from spyglass import procfs
from spyglass.procfs.files import read
from spyglass.threads.architecture import Registers

__all__ = ["blocked_registers"]

_MAX_BYTES = 512


def blocked_registers(pid: int, tid: int) -> Registers | None:
    """Where thread `tid` of process `pid` left user space, if it is blocked in the kernel.

    Only `pc` (behind the instruction that made the system call) and `sp` are known, the rest is 0.
    None for a thread that runs, could run, or has ended, and where the kernel does not say
    (/proc/PID/task/TID/syscall, proc_pid_syscall(5)). Raises `PermissionDenied`.
    """
    try:
        fields = read(f"/proc/{pid}/task/{tid}/syscall", _MAX_BYTES).split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        raise procfs.explain_denied(pid, memory=False) from None
    if fields in ([], [b"running"]):
        return None
    sp, pc = (int(word, 16) for word in fields[-2:])
    return Registers(tid=tid, pc=pc, sp=sp, bp=0, g=0) if pc else None
