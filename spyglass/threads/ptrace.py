"""The requests of ptrace(2) that spyglass makes, each for one thread.

The kernel takes them from the very thread that seized, and no other; when that thread ends, for
whatever reason, it lets all go.
"""

from __future__ import annotations

import ctypes
import os
import struct

from spyglass.threads.architecture import Architecture, Registers

__all__ = ["detach", "has_stopped", "interrupt", "registers", "seize"]

# linux/ptrace.h, linux/elf.h
_SEIZE, _INTERRUPT, _DETACH, _GETREGSET = 0x4206, 0x4207, 17, 0x4204
_NT_PRSTATUS = 1
#: linux/wait.h: threads too, not only children that are processes.
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def seize(tid: int) -> None:
    """PTRACE_SEIZE: trace thread `tid`, which keeps running. Raises OSError."""
    _ptrace(_SEIZE, tid)


def interrupt(tid: int) -> None:
    """PTRACE_INTERRUPT: ask the seized thread `tid` to stop. Raises OSError."""
    _ptrace(_INTERRUPT, tid)


def detach(tid: int, signal: int = 0) -> None:
    """Detach from the stopped thread `tid` and deliver `signal`; OSError, also if it is not stopped.

    A thread that job control stopped (SIGSTOP, Ctrl-Z) stays so.
    """
    _ptrace(_DETACH, tid, signal)


def registers(architecture: Architecture, tid: int) -> Registers | None:
    """The registers of the stopped thread `tid`; None if it runs 32-bit code. Raises OSError, also if it ended."""
    layout = struct.Struct(f"<{architecture.saved_words}Q")
    buffer = ctypes.create_string_buffer(layout.size)
    vector = _IoVec(ctypes.addressof(buffer), layout.size)
    _ptrace(_GETREGSET, tid, ctypes.addressof(vector), _NT_PRSTATUS)
    if vector.size != layout.size:
        return None
    return architecture.from_saved(tid, layout.unpack(buffer.raw))


def has_stopped(tid: int) -> int | None:
    """None while the seized thread `tid` runs; once it has stopped or ended, the signal that it was
    about to get and has not got yet, or 0.

    Such a signal is only peeked at (WNOWAIT): if spyglass were killed now, the kernel would still
    deliver it (``ptrace_stop`` keeps it until a wait that takes it away).
    """
    options = os.WSTOPPED | os.WEXITED | os.WNOHANG | _WALL
    try:
        found = os.waitid(os.P_PID, tid, options | os.WNOWAIT)
        if found is None:
            return None
        if found.si_code != os.CLD_TRAPPED:
            return 0
        # The high byte tells an interruption or job control's stop (PTRACE_EVENT_STOP) from a signal.
        if found.si_status >> 8 == 0:
            return int(found.si_status)
        # Consume the event: where the target is a child of this process, waitpid would report it as an end.
        os.waitid(os.P_PID, tid, options)
    except ChildProcessError:  # it has ended
        pass
    return 0


def _ptrace(request: int, tid: int, data: int = 0, address: int = 0) -> None:
    if _libc.ptrace(request, tid, address, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
