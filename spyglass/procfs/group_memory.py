"""The memory of control groups: limits, use, kills and pressure of a process's group and of those above it.

cgroups(7); the kernel's Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst name the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from spyglass.memory_limits import MemoryLimit, MemoryPressure
from spyglass.model import Problem
from spyglass.procfs.cgroups import Mount, directories, groups_of, having, mounts_of
from spyglass.procfs.files import read_head, text

__all__ = ["GroupMemory", "group_memory", "number", "read_groups", "read_numbers", "read_pressure"]

_MAX_BYTES = 1 << 16
#: Groups above a process's own that are looked at.
_MAX_GROUPS = 64
#: More digits than the largest number of the kernel has.
_MAX_DIGITS = 20
#: Version 1 says "no limit" with the largest number of pages that fits.
_UNLIMITED_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """The limits of a process's groups, from its own to the outermost. `swap_free_bytes`: what they leave of
    swap (version 2); None: they do not limit it."""

    limits: tuple[MemoryLimit, ...] = ()
    pressure: MemoryPressure | None = None
    swap_free_bytes: int | None = None
    problems: tuple[Problem, ...] = ()


class _Group(NamedTuple):
    """A group: its path in its hierarchy, and where its files are."""

    path: str
    directory: str


def group_memory(pid: int) -> GroupMemory:
    """The groups of process `pid` as mounted here or, where they are not, as mounted for the process. OSError."""
    groups = dict(groups_of(pid))
    found = read_groups(groups, mounts_of("self"))
    if found.limits:
        return found
    root = f"/proc/{pid}/root"
    theirs = [m._replace(point=root + m.point) for m in _uncovered(mounts_of(pid))]
    return read_groups(groups, theirs)


def _uncovered(mounts: list[Mount]) -> Iterator[Mount]:
    """Those of `mounts` that no later one covers: what a process mounts over its groups may be anything."""
    for index, mount in enumerate(mounts):
        above = (later.point.rstrip("/") + "/" for later in mounts[index + 1 :])
        if mount.filesystem in ("cgroup", "cgroup2") and not any(
            f"{mount.point}/".startswith(point) for point in above
        ):
            yield mount


def read_groups(groups: dict[str, str], mounts: list[Mount]) -> GroupMemory:
    """What `mounts` show of `groups` (path by controller; that of version 2 is "")."""
    own = _chain(groups.get(""), having(mounts, "cgroup2"))
    if "memory" in groups:
        found = _version_1(_chain(groups["memory"], having(mounts, "cgroup", "memory")))
    else:
        found = _version_2(own)
    if not own or own[0].path == "/":  # the pressure of the root is that of the host
        return found
    return replace(
        found, pressure=read_pressure(f"{own[0].directory}/memory.pressure", own[0].path)
    )


def _chain(path: str | None, mounts: list[Mount]) -> list[_Group]:
    """The group `path` and those above it as far as `mounts` show them, its own first."""
    shown = max(directories(path, mounts), key=len, default=[])
    names = [name for name in (path or "").split("/") if name]
    ups = enumerate(reversed(shown[-_MAX_GROUPS:]))
    return [_Group("/" + "/".join(names[: len(names) - up]), place) for up, place in ups]


def _version_1(chain: list[_Group]) -> GroupMemory:
    if not chain:
        return GroupMemory(problems=_unseen("its control group is not mounted here"))
    limits = [each for up, group in enumerate(chain) for each in _limits_v1(group, is_own=not up)]
    stat = read_numbers(f"{chain[0].directory}/memory.stat")
    least = min((each.bytes for each in limits if each.bytes is not None), default=_UNLIMITED_BYTES)
    hidden = stat.get("hierarchical_memory_limit", _UNLIMITED_BYTES)
    if hidden < least:
        name = "hierarchical_memory_limit"
        limits.append(MemoryLimit("cgroup", name, "kill", bytes=hidden))
    is_root = _exists(f"{chain[-1].directory}/cgroup.sane_behavior")
    return GroupMemory(tuple(limits), problems=() if is_root else _hidden(chain))


def _limits_v1(group: _Group, *, is_own: bool) -> Iterator[MemoryLimit]:
    """The limits of `group`. Before Linux 5.11 the limit of a group without use_hierarchy is for itself only."""
    at = group.directory
    if group.path == "/" or (not is_own and _number(f"{at}/memory.use_hierarchy") == 0):
        return
    stat = read_numbers(f"{at}/memory.stat")
    limit = MemoryLimit(
        "cgroup", "memory.limit_in_bytes", "kill", group.path,
        bytes=_limit(f"{at}/memory.limit_in_bytes"),
        used_bytes=_number(f"{at}/memory.usage_in_bytes"),
        peak_bytes=_number(f"{at}/memory.max_usage_in_bytes"),
        hits=_number(f"{at}/memory.failcnt"),
        oom_kills=read_numbers(f"{at}/memory.oom_control").get("oom_kill"),
    )  # fmt: skip
    limit = _with_files(limit, stat.get("total_inactive_file"), stat.get("total_active_file"))
    if is_own or limit.bytes is not None:
        yield limit
    with_swap = _limit(f"{at}/memory.memsw.limit_in_bytes")
    if with_swap is not None:
        yield replace(
            limit, name="memory.memsw.limit_in_bytes", bytes=with_swap,
            used_bytes=_number(f"{at}/memory.memsw.usage_in_bytes"),
            peak_bytes=_number(f"{at}/memory.memsw.max_usage_in_bytes"),
            hits=_number(f"{at}/memory.memsw.failcnt"), working_set_bytes=None,
        )  # fmt: skip


def _version_2(chain: list[_Group]) -> GroupMemory:
    if not chain:
        return GroupMemory(problems=_unseen("its control group is not mounted here"))
    limits: list[MemoryLimit] = []
    swap_free: list[int] = []
    for group in chain:
        limits += _limits_v2(group, is_own=not limits)
        if (swap := _swap(group)) is not None:
            limits.append(swap)
            swap_free.append(swap.headroom_bytes or 0)
    is_root = not _exists(f"{chain[-1].directory}/cgroup.events")
    return GroupMemory(
        tuple(limits),
        swap_free_bytes=min(swap_free, default=None),
        problems=() if is_root else _hidden(chain),
    )


def _limits_v2(group: _Group, *, is_own: bool) -> Iterator[MemoryLimit]:
    at = group.directory
    used = _number(f"{at}/memory.current")
    if used is None:  # the root, or the controller is not enabled for this group
        return
    stat, events = read_numbers(f"{at}/memory.stat"), read_numbers(f"{at}/memory.events")
    limit = MemoryLimit(
        "cgroup", "memory.max", "kill", group.path,
        bytes=_limit(f"{at}/memory.max"), used_bytes=used,
        peak_bytes=_number(f"{at}/memory.peak"), hits=events.get("max"), oom_kills=events.get("oom_kill"),
    )  # fmt: skip
    inactive, active = stat.get("inactive_file"), stat.get("active_file")
    limit = _with_files(limit, inactive, active, stat.get("slab_reclaimable", 0))
    if is_own or limit.bytes is not None:
        yield limit
    high = _limit(f"{at}/memory.high")
    if high is not None:
        yield replace(
            limit, name="memory.high", effect="slow", bytes=high, hits=events.get("high"),
            oom_kills=None,
        )  # fmt: skip


def _swap(group: _Group) -> MemoryLimit | None:
    used = _number(f"{group.directory}/memory.swap.current")
    limit = _limit(f"{group.directory}/memory.swap.max")
    if limit is None or used is None:
        return None
    name = "memory.swap.max"
    return MemoryLimit("cgroup", name, "swap", group.path, bytes=limit, used_bytes=used)


def _with_files(
    limit: MemoryLimit, inactive: int | None, active: int | None, slab: int = 0
) -> MemoryLimit:
    """`limit` with what can be reclaimed: pages of files on disks, on both lists; those of tmpfs are on neither."""
    if limit.used_bytes is None or inactive is None or active is None:
        return limit
    return replace(
        limit,
        reclaimable_bytes=min(inactive + active + slab, limit.used_bytes),
        working_set_bytes=max(limit.used_bytes - inactive, 0),
    )


def _unseen(why: str) -> tuple[Problem, ...]:
    return (Problem("unknown", "memory limits", why),)


def _hidden(chain: list[_Group]) -> tuple[Problem, ...]:
    return _unseen(f"control groups above {chain[-1].path} cannot be seen from here")


def read_pressure(path: str, group: str | None) -> MemoryPressure | None:
    """The contents of a pressure file (the kernel's Documentation/accounting/psi.rst); None without PSI."""
    shares: dict[str, tuple[float, float, float]] = {}
    for line in _contents(path).split("\n"):
        kind, *pairs = line.split()[:4] or [""]
        with suppress(ValueError):
            ten, minute, five = (float(pair.partition("=")[2]) for pair in pairs)
            if all(0 <= share <= 100 for share in (ten, minute, five)):
                shares[kind] = (ten, minute, five)
    if "some" not in shares:
        return None
    return MemoryPressure(group, shares["some"], shares.get("full", (0.0, 0.0, 0.0)))


def read_numbers(path: str) -> dict[str, int]:
    """A file of lines "name number"; empty if it cannot be read."""
    lines = (line.partition(" ") for line in _contents(path).split("\n"))
    found = {key: number(value) for key, _, value in lines}
    return {key: value for key, value in found.items() if value is not None}


def number(word: str) -> int | None:
    """A number as the kernel writes it; None if `word` is none."""
    word = word.strip()
    if not (word.isascii() and word.isdecimal() and len(word) <= _MAX_DIGITS):
        return None
    return value if (value := int(word)) < 1 << 63 else None


def _number(path: str) -> int | None:
    return number(_contents(path))


def _limit(path: str) -> int | None:
    limit = _number(path)
    return None if limit is None or limit >= _UNLIMITED_BYTES else limit


def _exists(path: str) -> bool:
    try:
        read_head(path, 1)
    except OSError:
        return False
    return True


def _contents(path: str) -> str:
    try:
        return text(read_head(path, _MAX_BYTES))
    except OSError:
        return ""
