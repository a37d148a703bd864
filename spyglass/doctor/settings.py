"""Settings of the kernel and properties of this process that decide what spyglass may do."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from spyglass.errors import BadDataError
from spyglass.host_report import Fact
from spyglass.procfs.cgroups import parse_mounts
from spyglass.procfs.files import read, text
from spyglass.procfs.users import user_name

__all__ = ["capabilities", "read_facts", "status_of"]

_MAX_BYTES = 1 << 20
_UNKNOWN = "?"
#: Inodes of the first namespaces (kernel: include/linux/proc_ns.h, PROC_USER_INIT_INO, PROC_PID_INIT_INO).
_FIRST = {"user": 0xEFFFFFFD, "pid": 0xEFFFFFFC}
#: Those that spyglass uses (linux/capability.h).
_CAPABILITIES = {
    "SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYS_NICE": 23, "SYSLOG": 34, "PERFMON": 38,
}  # fmt: skip
_YAMA = {
    0: "processes of the same user may be read",
    1: "processes may be read by their ancestors",
    2: "only CAP_SYS_PTRACE may read processes",
    3: "nobody may read processes",
}
_SECCOMP = {"0": "none", "1": "strict", "2": "filter"}
#: Names of controllers among the options of a mount of version 1.
_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "freezer", "blkio", "cpuset")


def read_facts(root: str = "/") -> tuple[Fact, ...]:
    """The settings, from /proc and /sys below `root`; "?" for what cannot be read."""
    proc, kernel = Path(root, "proc"), Path(root, "proc/sys/kernel")
    status = status_of(proc / "self/status")
    facts = {
        "kernel": f"Linux {_line(kernel / 'osrelease')} {os.uname().machine}",
        "python": platform.python_version(),
        "user": _user(status),
        "capabilities": capabilities(status.get("CapEff", "")),
        "seccomp": _SECCOMP.get(status.get("Seccomp", ""), _UNKNOWN),
        "no_new_privs": {"0": "no", "1": "yes"}.get(status.get("NoNewPrivs", ""), _UNKNOWN),
        "user namespace": _namespace(proc, "user"),
        "pid namespace": _namespace(proc, "pid"),
        "hidepid": _hidepid(proc / "self/mountinfo"),
        "yama ptrace_scope": _yama(kernel / "yama/ptrace_scope"),
        "perf_event_paranoid": _line(kernel / "perf_event_paranoid", "no perf events"),
        "kptr_restrict": _line(kernel / "kptr_restrict"),
        "security modules": _line(Path(root, "sys/kernel/security/lsm")),
        "lockdown": _chosen(_line(Path(root, "sys/kernel/security/lockdown"), "none")),
        "control groups": _control_groups(proc / "self/mountinfo", Path(root, "sys/fs/cgroup")),
    }
    return tuple(Fact(name, value) for name, value in facts.items())


def status_of(path: Path) -> dict[str, str]:
    """A status file (proc_pid_status(5)) by key; empty if it cannot be read."""
    lines = _text(path).split("\n")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def capabilities(mask: str) -> str:
    """Those of a mask in hexadecimal that spyglass uses, by name: "all", "none", "SYS_PTRACE PERFMON"."""
    try:
        held = int(mask, 16)
    except ValueError:
        return _UNKNOWN
    names = [name for name, bit in _CAPABILITIES.items() if held >> bit & 1]
    if len(names) == len(_CAPABILITIES):
        return "all that spyglass uses"
    return " ".join(names) or "none that spyglass uses"


def _user(status: dict[str, str]) -> str:
    try:
        uid = int(status["Uid"].split()[1])
    except (KeyError, ValueError, IndexError):
        return _UNKNOWN
    name = user_name(uid)
    return name if name == str(uid) else f"{name} ({uid})"


def _namespace(proc: Path, kind: str) -> str:
    try:
        link = os.readlink(proc / "self/ns" / kind)
    except OSError:
        return _UNKNOWN
    number = re.fullmatch(rf"{kind}:\[(\d+)\]", link)
    if number is None:
        return _UNKNOWN
    return "of the host" if int(number[1]) == _FIRST[kind] else "not that of the host"


def _hidepid(mountinfo: Path) -> str:
    options = [
        each
        for mount in parse_mounts(_text(mountinfo))
        if mount.point == "/proc"
        for each in mount.options
    ]
    found = [each.partition("=")[2] for each in options if each.startswith("hidepid=")]
    return found[-1] if found else "off"


def _yama(path: Path) -> str:
    value = _line(path, "")
    meaning = _YAMA.get(int(value)) if value.isdecimal() else None
    return f"{value}: {meaning}" if meaning else value or "no Yama"


def _control_groups(mountinfo: Path, unified: Path) -> str:
    mounts = parse_mounts(_text(mountinfo))
    parts = []
    if any(each.filesystem == "cgroup2" for each in mounts):
        points = [each.point for each in mounts if each.filesystem == "cgroup2"]
        where = unified if points[0] == "/sys/fs/cgroup" else unified / Path(points[0]).name
        parts.append(f"version 2: {_line(where / 'cgroup.controllers', 'no controllers')}")
    first = {
        name
        for each in mounts
        if each.filesystem == "cgroup"
        for name in each.options
        if name in _CONTROLLERS
    }
    if first:
        parts.append(f"version 1: {' '.join(sorted(first))}")
    return "; ".join(parts) or "none are mounted here"


def _chosen(line: str) -> str:
    """The word in brackets of ``none [integrity] confidentiality``."""
    found = re.search(r"\[(\w+)\]", line)
    return found[1] if found else line


def _line(path: Path, otherwise: str = _UNKNOWN) -> str:
    return _text(path).strip() or otherwise


def _text(path: Path) -> str:
    try:
        return text(read(str(path), _MAX_BYTES))
    except (OSError, BadDataError):
        return ""
