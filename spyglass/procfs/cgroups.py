"""Control groups: which a process is in, and how much memory and CPU it may have.

cgroups(7): /proc/PID/cgroup names a process's groups relative to the reader's cgroup namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, text

__all__ = [
    "CpuQuota",
    "Mount",
    "cpu_quota",
    "directories",
    "groups_of",
    "having",
    "memory_limit_bytes",
    "mounts_of",
    "parse_mounts",
    "smallest_limit",
    "smallest_quota",
]

_MAX_CGROUP_BYTES = 1 << 18
_MAX_MOUNTS_BYTES = 1 << 24
_MAX_LIMIT_BYTES = 1 << 16
#: Version 1 says "no limit" with the largest number of pages that fits.
_UNLIMITED_BYTES = 1 << 62


class Mount(NamedTuple):
    """A line of /proc/PID/mountinfo: what is mounted at `point`, from `root` on within it."""

    filesystem: str
    options: tuple[str, ...]
    root: str
    point: str


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """The CPU quota of a control group: `cores` processors' time, in periods (cgroups(7), ``cpu.max``).

    `periods` of them passed since the group was made in which it ran, in `throttled` of them it had to wait,
    `throttled_ns` in all (the processors that waited added up).
    """

    cores: float
    periods: int
    throttled: int
    throttled_ns: int


def memory_limit_bytes(pid: int) -> int | None:
    """The smallest memory limit of the groups that process `pid` is in, as far as can be seen.

    None if there is none, or its groups are not mounted here.
    """
    with refusals(pid):
        return smallest_limit(dict(groups_of(pid)), mounts_of("self"))


def smallest_limit(groups: dict[str, str], mounts: list[Mount]) -> int | None:
    """The smallest memory limit of `groups` (path by controller) as `mounts` show them, in bytes."""
    limits = [
        *_limits_v1(list(directories(groups.get("memory"), having(mounts, "cgroup", "memory")))),
        *_limits_v2(list(directories(groups.get(""), having(mounts, "cgroup2")))),
    ]
    return min((limit for limit in limits if limit < _UNLIMITED_BYTES), default=None)


def cpu_quota(pid: int) -> CpuQuota | None:
    """The smallest CPU quota of the groups that process `pid` is in, as far as can be seen.

    None if there is none, or its groups are not mounted here.
    """
    with refusals(pid):
        return smallest_quota(dict(groups_of(pid)), mounts_of("self"))


def smallest_quota(groups: dict[str, str], mounts: list[Mount]) -> CpuQuota | None:
    """The smallest CPU quota of `groups` (path by controller) as `mounts` show them."""
    version_1 = directories(groups.get("cpu"), having(mounts, "cgroup", "cpu"))
    version_2 = directories(groups.get(""), having(mounts, "cgroup2"))
    quotas = [
        *(_quota_v1(directory) for directory in chain.from_iterable(version_1)),
        *(_quota_v2(directory) for directory in chain.from_iterable(version_2)),
    ]
    known = [quota for quota in quotas if quota is not None]
    return min(known, key=lambda quota: quota.cores, default=None)


def _quota_v1(directory: str) -> CpuQuota | None:
    quota, period = (
        _read_if_there(f"{directory}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")
    )
    return _quota(directory, quota, period)


def _quota_v2(directory: str) -> CpuQuota | None:
    quota, _, period = _read_if_there(f"{directory}/cpu.max").strip().partition(" ")
    return _quota(directory, quota, period)


def _quota(directory: str, quota: str, period: str) -> CpuQuota | None:
    """The quota of the group at `directory`, None if `quota` says that there is none (-1, max)."""
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    lines = (line.partition(" ") for line in _read_if_there(f"{directory}/cpu.stat").split("\n"))
    numbers = {key: int(value) for key, _, value in lines if value.isdecimal()}
    return CpuQuota(
        cores=int(quota) / int(period),
        periods=numbers.get("nr_periods", 0),
        throttled=numbers.get("nr_throttled", 0),
        throttled_ns=numbers.get("throttled_time", numbers.get("throttled_usec", 0) * 1000),
    )


def groups_of(pid: int) -> list[tuple[str, str]]:
    """(controller, path) of each group; the controller of version 2 is ""."""
    lines = text(read(f"/proc/{pid}/cgroup", _MAX_CGROUP_BYTES)).split("\n")
    parts = [line.split(":", 2) for line in lines]
    return [(c, part[2]) for part in parts if len(part) == 3 for c in part[1].split(",")]


def _limits_v1(hierarchies: list[list[str]]) -> Iterator[int]:
    """hierarchical_memory_limit counts the ancestors in, those too that are not visible from here."""
    for *_, directory in hierarchies:
        for line in _read_if_there(f"{directory}/memory.stat").split("\n"):
            key, _, value = line.partition(" ")
            if key == "hierarchical_memory_limit" and value.isdecimal():
                yield int(value)


def _limits_v2(hierarchies: list[list[str]]) -> Iterator[int]:
    for directory in chain.from_iterable(hierarchies):
        value = _read_if_there(f"{directory}/memory.max").strip()
        if value.isdecimal():
            yield int(value)


def having(mounts: list[Mount], filesystem: str, option: str | None = None) -> list[Mount]:
    """Those of `mounts` that are of a kind of file system, and have an option."""
    return [m for m in mounts if m.filesystem == filesystem and option in (None, *m.options)]


def directories(path: str | None, mounts: list[Mount]) -> Iterator[list[str]]:
    """For each mount that shows the group `path`: the directories of its ancestors there, and its own.

    A path with ".." is outside of our cgroup namespace; a mount of another one can show it.
    """
    if path is None:
        return
    for mount in mounts:
        top = mount.root.rstrip("/")
        if path == top or path.startswith(top + "/"):
            names = [name for name in path[len(top) :].split("/") if name]
            if ".." not in names:
                yield ["/".join([mount.point, *names[:i]]) for i in range(len(names) + 1)]


def mounts_of(pid: int | str) -> list[Mount]:
    """What is mounted for process `pid`, or "self". OSError, or `BadDataError` if that is too much."""
    return parse_mounts(text(read(f"/proc/{pid}/mountinfo", _MAX_MOUNTS_BYTES)))


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Decode the contents of a mountinfo file."""
    found = []
    for line in mountinfo.split("\n"):
        mount, _, superblock = line.partition(" - ")
        fields, rest = mount.split(" "), superblock.split(" ")
        if len(fields) >= 6 and len(rest) >= 3:
            root, point = _unescape(fields[3]), _unescape(fields[4])
            found.append(Mount(rest[0], tuple(rest[2].split(",")), root, point))
    return found


def _unescape(name: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), name)


def _read_if_there(path: str) -> str:
    try:
        return text(read(path, _MAX_LIMIT_BYTES))
    except OSError:
        return ""
