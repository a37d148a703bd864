"""The Go processes of a host, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

__all__ = ["GoProcess", "Names", "Order", "ProcessList", "UnreadableProcess"]


@dataclass(frozen=True, slots=True)
class Names:
    """What a container is called, and its pod, with the pod's namespace and UID. None: not known, or in no pod."""

    container: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None


@dataclass(frozen=True, slots=True)
class GoProcess:
    """A process whose executable was made by Go. None: not recorded, or not known.

    `package` is the path of the main package, which some builds record without a `module`. `exe` is
    the path in the process's own mount namespace; `exe_deleted`: that file is gone, or another has
    taken its place. `container` is an id, or for LXC and nspawn a name; `container_name`, `pod`, `namespace` and `pod_uid` are
    what the container and its pod are called (`spyglass.container_names`). `cpu_seconds`: the processor time that it used since it started. `cpu_cores`: how
    many processors it used while the list was made; `cpu_limit_cores` and `memory_limit_bytes`: the
    limits of its control groups, None also where there is none.
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
    cpu_seconds: float | None = None
    cpu_cores: float | None = None
    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    container_name: str | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None

    @property
    def average_cores(self) -> float | None:
        """How many processors it used on average since it started."""
        if self.cpu_seconds is None or self.age_seconds <= 0:
            return None
        return self.cpu_seconds / self.age_seconds


@dataclass(frozen=True, slots=True)
class UnreadableProcess:
    """A process that may be a Go process or not; `name` is its comm, `why` says what refused."""

    pid: int
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class ProcessList:
    """The Go processes, and those of which it is not known whether they are, both by pid unless
    `sorted_by` was called."""

    taken_at: datetime
    processes: tuple[GoProcess, ...]
    unreadable: tuple[UnreadableProcess, ...]

    def sorted_by(self, order: Order) -> ProcessList:
        """The same list with its Go processes in `order`: pids ascending, else the largest first."""
        ordered = sorted(self.processes, key=_KEYS[order], reverse=order != "pid")
        return replace(self, processes=tuple(ordered))


def _cpu(process: GoProcess) -> tuple[float, float]:
    return process.cpu_cores or 0, process.average_cores or 0


#: What processes can be sorted by. "cpu": the use now, then the average use.
Order = Literal["cpu", "rss", "age", "pid"]
_KEYS: dict[Order, Callable[[GoProcess], Any]] = {
    "cpu": _cpu,
    "rss": attrgetter("rss_bytes"),
    "age": attrgetter("age_seconds"),
    "pid": attrgetter("pid"),
}
