"""Processes to try things on: our own, which end when the trial does, however that ends."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

__all__ = ["Subject", "foreign_pid", "fork", "subject"]

_NOBODY = 65534
_WALL = 0x40000000
#: What is read of the subject's memory, which is a copy of ours.
_MARK = ctypes.create_string_buffer(b"spyglass doctor")


@dataclass(frozen=True, slots=True)
class Subject:
    """Process `pid`, with `mark` at `address` of its memory."""

    pid: int
    address: int = ctypes.addressof(_MARK)
    mark: bytes = _MARK.raw


@contextmanager
def subject(as_nobody: bool = False) -> Iterator[Subject | None]:
    """A process that waits until the block is left; None if it cannot be made, or not `as_nobody`.

    It is a child of init, not of spyglass: Yama lets a process read what it has started itself.
    """
    (ready, says), (waits, leave) = os.pipe(), os.pipe()
    child = fork()
    if child == 0:
        os.close(leave)
        _start(says, waits, as_nobody)
    os.close(says)
    os.close(waits)
    os.waitpid(child, 0)
    pid = int(os.read(ready, 32) or 0)
    os.close(ready)
    try:
        yield Subject(pid) if pid else None
    finally:
        os.close(leave)
        # It is ours to wait for if it was traced, or if spyglass is the init of a container.
        if pid:
            with suppress(ChildProcessError):
                os.waitpid(pid, _WALL)


def fork() -> int:
    """A child as fork(2) makes it: only system calls may follow in it."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # threads; what follows are system calls only
        return os.fork()


def _start(says: int, waits: int, as_nobody: bool) -> NoReturn:
    """Start the subject, and end; in the subject, wait until the other end of `waits` is closed."""
    try:
        if os.fork() == 0:
            if as_nobody:
                os.setgroups([])
                os.setresgid(_NOBODY, _NOBODY, _NOBODY)
                os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            os.write(says, str(os.getpid()).encode())
            os.close(says)
            os.read(waits, 1)
    finally:
        os._exit(0)


def foreign_pid() -> int | None:
    """A process with a program that belongs to another user than this one; None if none is seen."""
    own = os.geteuid()
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdecimal() and os.stat(f"/proc/{name}").st_uid != own:
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    if stream.read(1):  # a kernel thread has none
                        return int(name)
    return None
