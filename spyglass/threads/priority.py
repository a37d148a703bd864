"""How soon the calling thread gets a processor when it wakes up: its priority, and the length of its time slices."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from contextlib import suppress

from spyglass.threads.architecture import own_architecture

__all__ = ["Hurry", "set_slice", "slice_ns"]

#: What is read of the process must be of the moment of the sample.
_NICE = -15
#: The shortest that the kernel takes. A thread that wakes up with a shorter slice than what runs gets the processor
#: at once (``kernel/sched/fair.c: PREEMPT_SHORT``), also from threads of another control group or session, among which
#: nice(2) says nothing. It gets no more processor time than without.
_SLICE_NS = 100_000
#: ``struct sched_attr`` (sched_setattr(2)): size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")
_RUNTIME = 5
#: Policies that have slices: SCHED_OTHER and SCHED_BATCH.
_FAIR = (os.SCHED_OTHER, os.SCHED_BATCH)
#: The lowest priority of SCHED_FIFO, which is above all of SCHED_OTHER (sched(7)).
_LOWEST, _NONE = os.sched_param(1), os.sched_param(0)
#: At most so much of each second is run before all others: on a host with many busy processors samples come so
#: often that a processor would have nothing else to do.
_FIRST_NS, _SECOND_NS = 200_000_000, 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)


class Hurry:
    """A high priority and short time slices of the calling thread, as far as that is allowed, until `restore`.

    In a with statement what it does comes before all that others do, if it may, for a fifth of a processor's time at
    most: use it for what takes microseconds.
    """

    def __init__(self) -> None:
        self._nice, self._slice_ns = os.getpriority(os.PRIO_PROCESS, 0), slice_ns()
        self._policy = os.sched_getscheduler(0)
        self._may_be_first = self._policy in _FAIR
        self._is_first = False
        self._began_ns = self._used_ns = 0
        self._until_ns = 0
        _set_nice(min(_NICE, self._nice))
        set_slice(_SLICE_NS)

    def __enter__(self) -> None:
        if self._may_be_first and self._has_time():
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, _LOWEST)
            except OSError:  # not allowed: CAP_SYS_NICE, or the control group has no time for that
                self._may_be_first = False
                return
            self._is_first, self._began_ns = True, time.thread_time_ns()

    def __exit__(self, *exception: object) -> None:
        if self._is_first:
            os.sched_setscheduler(0, self._policy, _NONE)
            self._is_first = False
            self._used_ns += time.thread_time_ns() - self._began_ns

    def _has_time(self) -> bool:
        now_ns = time.monotonic_ns()
        if now_ns >= self._until_ns:
            self._until_ns, self._used_ns = now_ns + _SECOND_NS, 0
        return self._used_ns < _FIRST_NS

    def restore(self) -> None:
        """Set what it had before."""
        _set_nice(self._nice)
        set_slice(self._slice_ns)


def slice_ns() -> int:
    """The time slice of the calling thread, in ns; 0 if the kernel does not tell (before Linux 6.12)."""
    words = _attributes()
    return words[_RUNTIME] if words is not None else 0


def set_slice(size_ns: int) -> None:
    """Set the time slice of the calling thread; 0: that which threads have if nobody sets it.

    It needs no privilege. Nothing happens where the kernel does not know it (before Linux 6.12).
    """
    words = _attributes()
    if words is not None:
        words[_RUNTIME] = size_ns
        _call(own_architecture().sched_setattr, _ATTRIBUTES.pack(*words), 0)


def _attributes() -> list[int] | None:
    """Those of the calling thread; None if it has none with a time slice, or they are not to be had."""
    room = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = own_architecture().sched_setattr + 1  # sched_getattr
    if _call(number, room, _ATTRIBUTES.size, 0) < 0:
        return None
    words = list(_ATTRIBUTES.unpack(room.raw))
    return words if words[1] in _FAIR else None


def _call(number: int, attributes: object, *more: int) -> int:
    arguments = map(ctypes.c_long, more)
    return int(_libc.syscall(ctypes.c_long(number), ctypes.c_long(0), attributes, *arguments))


def _set_nice(nice: int) -> None:
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
