"""The Go processes of a host, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["GoProcess", "ProcessList", "UnreadableProcess"]


@dataclass(frozen=True, slots=True)
class GoProcess:
    """A process whose executable was made by Go. None: not recorded, or not known.

    `package` is the path of the main package, which some builds record without a `module`. `exe` is
    the path in the process's own mount namespace; `exe_deleted`: that file is gone, or another has
    taken its place.
    """

    pid: int
    user: str
    go_version: str | None
    package: str | None
    module: str | None
    module_version: str | None
    started_at: datetime
    age_seconds: float
    rss_bytes: int
    threads: int
    cmdline: tuple[str, ...]
    exe: str | None
    exe_deleted: bool
    stripped: bool
    container: str | None


@dataclass(frozen=True, slots=True)
class UnreadableProcess:
    """A process that may be a Go process or not; `name` is its comm, `why` says what refused."""

    pid: int
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class ProcessList:
    """The Go processes, and those of which it is not known whether they are, both by pid."""

    taken_at: datetime
    processes: tuple[GoProcess, ...]
    unreadable: tuple[UnreadableProcess, ...]
