"""The processes of this host as psutil reads them: which there are, and their children.

Not imported by `spyglass.procfs` itself: importing psutil takes 11 ms of processor time, 4 % of
``spyglass summary``. psutil is not used for names, arguments, users and numbers of threads: it reads a
command line of any size whole and splits ``cat and dog``, one argument, into three; and a process
that calls itself "Uid:", tab, 0, tab, 0, tab, 0 is root to it (psutil 7.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from spyglass.errors import TargetError
from spyglass.procfs.access import refusals

__all__ = ["descendants", "pids"]


def pids() -> list[int]:
    """The processes that /proc shows, kernel threads among them, in ascending order.

    Raises `TargetError` if /proc cannot be listed.
    """
    try:
        return psutil.pids()
    except OSError as error:
        raise TargetError(
            f"cannot list processes: {error.strerror}", "check that /proc is mounted"
        ) from None


def descendants(pid: int) -> list[int]:
    """The children of process `pid`, and theirs, and so on; a parent comes before its children."""
    with _psutil_refusals(pid):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@contextmanager
def _psutil_refusals(pid: int) -> Iterator[None]:
    """Turn what psutil raises in the block, which asks it about `pid`, into an exception of spyglass."""
    with refusals(pid):
        try:
            yield
        except (psutil.NoSuchProcess, ValueError):  # ValueError: a number that is no pid
            raise ProcessLookupError from None
        except psutil.AccessDenied:
            raise PermissionError from None
