"""Exceptions for what the kernel answers when /proc/PID is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from spyglass.errors import PermissionDenied, ProcessNotFound, TargetError
from spyglass.procfs.access_rules import Denial, explain, read_attempt
from spyglass.procfs.files import read_stat

__all__ = ["explain_denied", "refusals", "why_denied"]

_HIDDEN = Denial(
    "/proc is mounted so that it hides the processes of others (hidepid)", "run spyglass with sudo"
)


@contextmanager
def refusals(pid: int) -> Iterator[None]:
    """Turn an OSError of the block, which reads /proc/PID, into an exception of spyglass."""
    try:
        yield
    except (FileNotFoundError, ProcessLookupError):
        if _is_hidden(pid):
            raise explain_denied(pid, memory=False) from None
        raise _not_found(pid) from None
    except PermissionError:
        raise explain_denied(pid, memory=False) from None
    except OSError as error:
        raise TargetError(f"process {pid} cannot be read: {error.strerror}") from error


def explain_denied(pid: int, memory: bool = True) -> PermissionDenied:
    """The exception that says which rule refused access to `pid`, and what to do.

    `memory`: its memory was read, rather than only its files in /proc. Raises `ProcessNotFound` if
    the process has ended.
    """
    denial = why_denied(pid, memory)
    return PermissionDenied(
        f"process {pid}{_named(pid)} cannot be read: {denial.reason}", denial.hint
    )


def why_denied(pid: int, memory: bool = True) -> Denial:
    """The rule that refused access to `pid` (see `explain_denied`)."""
    try:
        return explain(read_attempt(pid, memory))
    except (FileNotFoundError, ProcessLookupError):
        if _is_hidden(pid):
            return _HIDDEN
        raise _not_found(pid) from None
    except PermissionError:
        return _HIDDEN


def _not_found(pid: int) -> ProcessNotFound:
    return ProcessNotFound(f"there is no process {pid}", "`spyglass ps` lists the Go processes")


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process and /proc does not show it (hidepid, proc(5))."""
    if os.path.exists(f"/proc/{pid}"):
        return False
    try:
        os.close(os.pidfd_open(pid))
    except (OSError, OverflowError):
        return False
    return True


def _named(pid: int) -> str:
    try:
        return f" ({read_stat(pid).name})"
    except OSError:
        return ""
