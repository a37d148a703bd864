"""Every limit of a process's memory that the kernel knows: control groups, resource limits, and the host's memory."""

from __future__ import annotations

import re

from spyglass.memory_limits import MemoryLimit, MemoryLimits, OpenFile
from spyglass.procfs.access import refusals
from spyglass.procfs.files import read_head, read_status, text
from spyglass.procfs.group_memory import group_memory, number, read_numbers, read_pressure

__all__ = ["host_limits", "memory_limits", "parse_resource_limits"]

_MAX_BYTES = 1 << 14
_KIB = 1 << 10
#: What is limited: the line of /proc/PID/limits, and that of /proc/PID/status which says how much is used
#: (getrlimit(2); the kernel's ``may_expand_vm``, mm/mmap.c).
_RESOURCES = (
    ("RLIMIT_AS", "Max address space", "VmSize"),
    ("RLIMIT_DATA", "Max data size", "VmData"),
)
#: ``vm.overcommit_memory``: the kernel promises no more than CommitLimit (proc_sys_vm(5)).
_NEVER_OVERCOMMIT = 2


def memory_limits(pid: int, *, files: bool = False) -> MemoryLimits:
    """The limits of process `pid`, without that of the Go runtime. With `files`, what it has open is looked at,
    which takes up to a tenth of a second. Raises `TargetError` if there is no such process."""
    with refusals(pid):
        groups = group_memory(pid)
        resources = parse_resource_limits(_text(f"/proc/{pid}/limits"), read_status(pid))
        adjustment = _text(f"/proc/{pid}/oom_score_adj").strip()
        host, swap_free = host_limits()
        pressure = (groups.pressure, read_pressure("/proc/pressure/memory", None))
        return MemoryLimits(
            rows=(*groups.limits, *resources, *host),
            pressure=tuple(each for each in pressure if each is not None),
            swap_free_bytes=_least(swap_free, groups.swap_free_bytes),
            oom_score_adj=_signed(adjustment),
            files=_files(pid) if files else None,
            problems=groups.problems,
        )


def _files(pid: int) -> tuple[OpenFile, ...]:
    from spyglass.procfs.open_files import open_files

    return open_files(pid)


def _least(*known: int | None) -> int | None:
    return min((each for each in known if each is not None), default=None)


def _signed(word: str) -> int | None:
    value = number(word.removeprefix("-"))
    return -value if value is not None and word.startswith("-") else value


def parse_resource_limits(limits: str, status: dict[str, str]) -> list[MemoryLimit]:
    """The soft limits in the contents of /proc/PID/limits; `status` says how much is used."""
    found = []
    for name, label, used in _RESOURCES:
        line = re.search(rf"^{label} +(\d{{1,20}}) ", limits, re.MULTILINE | re.ASCII)
        if line is not None:
            found.append(
                MemoryLimit(
                    "rlimit", name, "refuse", bytes=int(line[1]), used_bytes=_kib(status.get(used))
                )
            )
    return found


def _kib(value: str | None) -> int | None:
    kib = number((value or "").removesuffix("kB"))
    return None if kib is None else kib * _KIB


def host_limits() -> tuple[list[MemoryLimit], int | None]:
    """The host's memory as a limit, the limit of what it promises if there is one, and how much swap is free."""
    lines = (line.partition(":") for line in _text("/proc/meminfo").split("\n"))
    known = {key: size for key, _, value in lines if (size := _kib(value)) is not None}
    total, available = known.get("MemTotal"), known.get("MemAvailable")
    limits = []
    if total is not None and available is not None:
        free = min(known.get("MemFree", 0), available)
        limits.append(
            MemoryLimit(
                "host", "MemTotal", "kill", bytes=total,
                used_bytes=total - free, reclaimable_bytes=available - free,
                oom_kills=read_numbers("/proc/vmstat").get("oom_kill"),
            )
        )  # fmt: skip
    if number(_text("/proc/sys/vm/overcommit_memory")) == _NEVER_OVERCOMMIT:
        limits.append(
            MemoryLimit(
                "host", "CommitLimit", "refuse",
                bytes=known.get("CommitLimit"), used_bytes=known.get("Committed_AS"),
            )
        )  # fmt: skip
    return limits, known.get("SwapFree")


def _text(path: str) -> str:
    try:
        return text(read_head(path, _MAX_BYTES))
    except OSError:
        return ""
