"""Why the kernel refuses perf_event_open(2), and what to do about it."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from spyglass import procfs
from spyglass.procfs.files import read, read_status, text

__all__ = ["Caller", "explain", "read_caller", "why_refused"]

_CAP_SYS_ADMIN, _CAP_PERFMON = 1 << 21, 1 << 38
_SECCOMP_FILTER = "2"
_ALL_USERS = (0, 0, (1 << 32) - 1)


@dataclass(frozen=True, slots=True)
class Caller:
    """What the rules look at: `privileged` with CAP_PERFMON (or CAP_SYS_ADMIN) on the whole host,
    `filtered` by seccomp(2), and the setting kernel.perf_event_paranoid, None if there is none."""

    privileged: bool
    filtered: bool
    paranoid: int | None


def why_refused(tid: int, error: OSError) -> str:
    """Which rule refused `error` to a sample of thread `tid`, and the remedy, in one line.

    Raises `ProcessNotFound` if the thread has ended.
    """
    caller = read_caller()
    reason = explain(error.errno or 0, caller)
    if reason is None and error.errno == errno.EACCES:
        denial = procfs.why_denied(tid, memory=False)
        reason = f"{denial.reason}; {denial.hint}"
    return "threads cannot be sampled: " + (reason or f"perf_event_open: {error.strerror}")


def explain(code: int, caller: Caller) -> str | None:
    """The rule behind error `code`, None if it is not one of perf_event_open's own.

    perf_event_open(2); the kernel itself answers EACCES, seccomp filters EPERM or ENOSYS, and a
    perf_event_paranoid above 2 is known to the kernels of some distributions only.
    """
    if caller.filtered and code in (errno.EPERM, errno.ENOSYS):
        return (
            "a seccomp filter forbids perf_event_open; start the container with the capability"
            " PERFMON (docker run --cap-add PERFMON) or without that filter"
        )
    if code == errno.ENOSYS:
        return "this kernel was built without perf events; use --stop"
    if code == errno.EPERM:
        return (
            "a buffer may not be locked into memory; run spyglass with sudo, or"
            " raise kernel.perf_event_mlock_kb"
        )
    if code == errno.EACCES and caller.privileged:
        return "a security module (SELinux, lockdown) forbids perf_event_open; see the audit log"
    if code == errno.EACCES and caller.paranoid is not None and caller.paranoid > 2:
        return (
            f"kernel.perf_event_paranoid is {caller.paranoid}; run spyglass with sudo, give it"
            " CAP_PERFMON, or run `sysctl kernel.perf_event_paranoid=2`"
        )
    return None


def read_caller() -> Caller:
    """What holds for this process."""
    status = read_status("self")
    capable = int(status["CapEff"], 16) & (_CAP_PERFMON | _CAP_SYS_ADMIN)
    return Caller(
        privileged=bool(capable) and _is_of_host(),
        filtered=status.get("Seccomp") == _SECCOMP_FILTER,
        paranoid=_paranoid(),
    )


def _is_of_host() -> bool:
    """Whether this is the first user namespace: the capabilities of another do not count here."""
    try:
        lines = read("/proc/self/uid_map", 1 << 16).splitlines()
    except FileNotFoundError:  # a kernel without user namespaces
        return True
    return len(lines) == 1 and tuple(map(int, lines[0].split())) == _ALL_USERS


def _paranoid() -> int | None:
    try:
        return int(text(read("/proc/sys/kernel/perf_event_paranoid", 16)))
    except (OSError, ValueError):
        return None
