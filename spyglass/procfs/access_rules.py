"""Which of the kernel's rules refused one process access to another.

The order of the rules is the kernel's: ptrace(2), "Ptrace access mode checking", then Yama
(``Documentation/admin-guide/LSM/Yama.rst``). What decides which one refused can be read by everyone.
Our own reading, not that of psutil, which says neither capabilities nor user namespaces, and no reason.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from spyglass.errors import BadDataError
from spyglass.procfs.files import read, read_stat, read_status, text
from spyglass.procfs.users import user_name

__all__ = ["Attempt", "Credentials", "Denial", "explain", "read_attempt"]

_CAP_SYS_PTRACE = 1 << 19
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with one of them files of other users can be opened.
_CAPS_OF_FILES = 1 << 1 | 1 << 2
_MAX_UID_MAP_BYTES = 1 << 16
_MAX_ANCESTORS = 1 << 12
#: In the field Seccomp of /proc/PID/status (proc(5)).
_SECCOMP_FILTER = "2"

_CONTAINER_HINT = (
    "start the container with the capability SYS_PTRACE (docker run --cap-add SYS_PTRACE; in"
    " Kubernetes securityContext.capabilities.add)"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a process is: /proc/PID/status, and its user namespace as /proc/PID/uid_map shows it.

    `uids` and `gids` are real, effective, saved; the capability sets are bit masks.
    """

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    permitted: int
    effective: int
    bounding: int
    uid_map: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """An access of `caller` to `target` that the kernel refused.

    `descendant`: the caller started the target, directly or not. `yama` is its ptrace_scope, 0
    without Yama. `memory`: the memory was refused, not just the files of /proc, to which Yama does not
    apply. `filtered`: system calls of the caller are filtered by seccomp(2).
    """

    caller: Credentials
    target: Credentials
    dumpable: bool
    descendant: bool
    yama: int
    memory: bool = True
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Denial:
    """The rule that refused, continuing "process 1 cannot be read: ", and what to do about it."""

    reason: str
    hint: str


def explain(attempt: Attempt) -> Denial:
    """Which rule refused `attempt`; the rules are in the order in which the kernel applies them."""
    caller, target = attempt.caller, attempt.target
    if not caller.effective & _CAP_SYS_PTRACE:
        reason = _unprivileged_reason(attempt)
        if reason:
            return Denial(reason, _privilege_hint(caller))
    if attempt.memory and attempt.yama:
        denial = _yama(attempt)
        if denial:
            return denial
    if not attempt.memory and not _opens_files_of(caller, target):
        return Denial(
            f"some of its files in /proc can be opened by {user_name(target.uids[1])} only",
            "give spyglass CAP_DAC_READ_SEARCH as well, or run it with sudo",
        )
    if caller.uid_map != target.uid_map:
        return Denial(
            "it is in another user namespace", "run spyglass as root outside of all containers"
        )
    by_filter = "a seccomp filter on spyglass, or " if attempt.filtered else ""
    return Denial(
        f"{by_filter}a security module (SELinux, AppArmor, Landlock) refused",
        "see the audit log; in a container, " + _CONTAINER_HINT,
    )


def _opens_files_of(caller: Credentials, target: Credentials) -> bool:
    """Whether `caller` passes the permissions of the files of `target` in /proc that only its user may open, such as
    syscall and auxv: CAP_SYS_PTRACE is asked for beside these (``fs/proc/base.c``)."""
    return caller.uids[1] == target.uids[1] or bool(caller.effective & _CAPS_OF_FILES)


def _unprivileged_reason(attempt: Attempt) -> str | None:
    """The first of the rules that CAP_SYS_PTRACE would lift, Yama's aside."""
    caller, target = attempt.caller, attempt.target
    if set(target.uids) != {caller.uids[0]}:
        return _another_user(caller, target)
    if set(target.gids) != {caller.gids[0]}:
        return "its group is not the group of this user"
    if not attempt.dumpable:
        return "it is protected (it gained privileges, or called prctl with PR_SET_DUMPABLE)"
    if caller.uid_map != target.uid_map:
        return "it is in another user namespace"
    if target.permitted & ~caller.permitted:
        return "it has capabilities that spyglass lacks"
    return None


def _another_user(caller: Credentials, target: Credentials) -> str:
    owner = next((uid for uid in target.uids if uid != caller.uids[0]), target.uids[1])
    lacking = " without CAP_SYS_PTRACE" if caller.uids[1] == 0 else ""
    return f"it runs as {user_name(owner)}, and spyglass as {user_name(caller.uids[1])}{lacking}"


def _yama(attempt: Attempt) -> Denial | None:
    caller, scope = attempt.caller, f"kernel.yama.ptrace_scope is {attempt.yama}"
    if attempt.yama >= 3:
        return Denial(
            f"Yama forbids reading processes ({scope})", "only a reboot can change that setting"
        )
    if caller.effective & _CAP_SYS_PTRACE:
        return None
    if attempt.yama == 2:
        return Denial(
            f"Yama lets only administrators read a process ({scope})", _privilege_hint(caller)
        )
    if attempt.descendant:
        return None
    return Denial(
        f"Yama lets only its ancestors read a process ({scope})",
        _privilege_hint(caller) + ", or run `sysctl kernel.yama.ptrace_scope=0`",
    )


def _privilege_hint(caller: Credentials) -> str:
    if caller.uids[1] == 0 or not caller.bounding & _CAP_SYS_PTRACE:
        return _CONTAINER_HINT
    return "run spyglass with sudo"


def read_attempt(pid: int, memory: bool) -> Attempt:
    """What the rules apply to when this process reads process `pid`; or OSError."""
    target = _credentials(pid)
    return Attempt(
        caller=_credentials("self"),
        target=target,
        # A file of a process that may not be dumped belongs to root (kernel: task_dump_owner).
        dumpable=os.stat(f"/proc/{pid}/maps").st_uid == target.uids[1],
        descendant=_is_descendant(pid),
        yama=_yama_scope(),
        memory=memory,
        filtered=read_status("self").get("Seccomp") == _SECCOMP_FILTER,
    )


def _credentials(pid: int | str) -> Credentials:
    status = read_status(pid)
    try:
        return Credentials(
            uids=tuple(map(int, status["Uid"].split()[:3])),
            gids=tuple(map(int, status["Gid"].split()[:3])),
            permitted=int(status["CapPrm"], 16),
            effective=int(status["CapEff"], 16),
            bounding=int(status["CapBnd"], 16),
            uid_map=_uid_map(pid),
        )
    except (KeyError, ValueError):
        raise BadDataError(f"/proc/{pid}/status is malformed") from None


def _uid_map(pid: int | str) -> bytes:
    try:
        return read(f"/proc/{pid}/uid_map", _MAX_UID_MAP_BYTES)
    except FileNotFoundError:  # a kernel without user namespaces, or it has ended
        return b""


def _is_descendant(pid: int) -> bool:
    for _ in range(_MAX_ANCESTORS):
        if pid <= 1:
            return False
        pid = read_stat(pid).parent
        if pid == os.getpid():
            return True
    return False


def _yama_scope() -> int:
    try:
        return int(text(read("/proc/sys/kernel/yama/ptrace_scope", 16)))
    except (OSError, ValueError):
        return 0
