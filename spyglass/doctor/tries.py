"""Trying what spyglass does to a process: each gives None if it works, else the rule that refused."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import closing

from spyglass import procfs
from spyglass.doctor.subjects import Subject, fork
from spyglass.errors import PermissionDenied, SpyglassError
from spyglass.memory.process import ProcessMemory
from spyglass.procfs.access_rules import Denial
from spyglass.threads import ptrace
from spyglass.threads.architecture import own_architecture
from spyglass.threads.perf import Event, Sampling
from spyglass.threads.permission import why_refused

__all__ = ["has_call", "read_memory", "sample", "stop", "take_priority"]

_PERIOD_NS = 10_000_000
_STACK_BYTES, _RING_BYTES = 1 << 12, 1 << 15
_REFUSED = "threads cannot be sampled: "
_libc = ctypes.CDLL(None, use_errno=True)


def read_memory(subject: Subject | int) -> tuple[Denial | None, bool]:
    """Read a subject's memory, or ask the kernel whether that of a process may be read: who refused, and whether
    process_vm_readv(2) does not work but /proc/PID/mem does."""
    pid = subject if isinstance(subject, int) else subject.pid
    try:
        with closing(ProcessMemory(pid)) as memory:
            if (
                isinstance(subject, Subject)
                and memory.read(subject.address, len(subject.mark)) != subject.mark
            ):
                return Denial("what was read is not what is there", "please report it"), False
            return None, memory.by_file
    except PermissionDenied:
        return procfs.why_denied(pid), False
    except SpyglassError as error:
        return Denial(error.message, error.hint or ""), False


def sample(tid: int, *, kernel: bool) -> Denial | None:
    """Open an event that samples thread `tid`, with what it does in system calls if `kernel`; it is not started."""
    try:
        sampling = Sampling(_PERIOD_NS, _STACK_BYTES, kernel, _RING_BYTES, recording=True)
        with closing(Event(own_architecture(), tid, sampling)):
            return None
    except OSError as error:
        reason, _, remedy = why_refused(tid, error).removeprefix(_REFUSED).partition("; ")
        return Denial(reason, remedy)
    except SpyglassError as error:
        return Denial(error.message, error.hint or "")


def stop(subject: Subject) -> Denial | None:
    """Begin to trace the subject, as --stop does (ptrace(2), PTRACE_SEIZE); it ends soon anyhow."""
    try:
        ptrace.seize(subject.pid)
    except OSError as error:
        if error.errno == errno.EPERM and read_memory(subject)[0] is None:
            return Denial(
                "ptrace is forbidden (seccomp)", "start the container with --cap-add SYS_PTRACE"
            )
        return procfs.why_denied(subject.pid)
    return None


def take_priority() -> bool:
    """Whether a process of ours may have a real-time priority: tried in one that ends at once (sched(7))."""
    child = fork()
    if child == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def has_call(number: int) -> bool:
    """Whether the kernel has a system call and lets us make it: called with arguments that it cannot use."""
    _libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 4)
    return ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)
