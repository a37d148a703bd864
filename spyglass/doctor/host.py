"""`examine`: what this host allows, tried in turn, and what commands lack without it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

from spyglass import procfs
from spyglass.doctor import tries
from spyglass.doctor.packages import read_packages
from spyglass.doctor.remedies import for_root, with_containers
from spyglass.doctor.settings import read_facts
from spyglass.doctor.subjects import Subject, foreign_pid, subject
from spyglass.errors import SpyglassError
from spyglass.host_report import Check, HostReport
from spyglass.procfs.access_rules import Denial
from spyglass.procfs.cgroups import groups_of, having, mounts_of
from spyglass.procfs.files import read_head
from spyglass.threads.architecture import own_architecture
from spyglass.threads.permission import read_caller

__all__ = ["Tried", "checks_of", "examine", "try_everything"]

#: System calls that older kernels lack, the first Linux with it, and what is affected (the same numbers on all processors).
_CALLS = (
    (434, "pidfd_open", "5.3", "ps: processes that hidepid hides are not told from ended ones"),
    (438, "pidfd_getfd", "5.6", "memory: cached bytes of open files are not shown"),
    (451, "cachestat", "6.5", "memory: cached bytes of open files are not shown"),
)
#: The highest kernel.perf_event_paranoid with which users may sample the kernel (perf_event_open(2)).
_PARANOID_OF_KERNEL = 1
_UNSEEN = Denial(
    "/proc hides the processes of others (hidepid)",
    "run spyglass with sudo, or mount -o remount,hidepid=0 /proc",
)


@dataclass(slots=True)
class Tried:
    """What came of each trial: None where it works, else who refused; `others`: None also if there was none to try,
    see `others_tried`."""

    processor: str | None = None
    proc: str | None = None
    hidden: bool = False
    own: Denial | None = None
    by_file: bool = False
    others: Denial | None = None
    others_tried: bool = True
    samples: Denial | None = None
    kernel_samples: Denial | None = None
    paranoid: int | None = None
    stopping: Denial | None = None
    first: bool = True
    kernel_names: bool = True
    groups: bool = True
    pressure: bool = True
    calls: list[str] = field(default_factory=list)
    in_container: bool = False
    is_root: bool = False


def examine(pid: int | None = None) -> HostReport:
    """What this host allows; with `pid`, also whether that process can be inspected. Nothing is stopped, and nothing
    is written. It starts processes of its own for some milliseconds, to try things on them."""
    from spyglass.doctor.target import examine_target

    tried = try_everything()
    target = None if pid is None else examine_target(pid)
    return HostReport(read_facts(), checks_of(tried), read_packages(), target)


def try_everything() -> Tried:
    """Try all that spyglass needs."""
    tried = Tried(proc=_why_wrong_proc(), is_root=os.geteuid() == 0)
    try:
        own_architecture()
    except SpyglassError as error:
        tried.processor = error.message
    with ExitStack() as stack:
        ours = stack.enter_context(subject())
        nobody = stack.enter_context(subject(as_nobody=True)) if os.geteuid() == 0 else None
        if ours is not None:
            _try_on(ours, tried)
        _try_others(nobody, tried)
    tried.hidden = not os.path.exists("/proc/1")
    tried.first = tries.take_priority()
    tried.kernel_names = _kernel_names()
    tried.groups = bool(_memory_groups())
    tried.pressure = os.path.exists("/proc/pressure/memory")
    tried.calls = [
        f"{name} (Linux {since}): {affects}"
        for number, name, since, affects in _CALLS
        if not tries.has_call(number)
    ]
    tried.in_container = procfs.container(os.getpid()) is not None
    return tried


def _try_on(ours: Subject, tried: Tried) -> None:
    tried.own, tried.by_file = tries.read_memory(ours)
    tried.samples = tries.sample(ours.pid, kernel=False)
    tried.kernel_samples = tries.sample(ours.pid, kernel=True)
    tried.paranoid = read_caller().paranoid
    tried.stopping = tries.stop(ours)


def _try_others(nobody: Subject | None, tried: Tried) -> None:
    other = nobody or foreign_pid()
    tried.others_tried = other is not None
    if other is not None:
        tried.others = tries.read_memory(other)[0]


def checks_of(tried: Tried) -> tuple[Check, ...]:
    """What `tried` means for commands."""
    checks = [
        _problem("processor", tried.processor, "all commands but those that read files"),
        _problem("/proc", tried.proc, "all commands that take a process", ("mount -t proc proc /proc",)),
        _denied("memory of your processes", tried.own, "all commands that take a process"),
        _others(tried),
        _limited(
            "process_vm_readv", tried.by_file, "a sandbox forbids it; /proc/PID/mem is read instead",
            "reading takes longer",
        ),
        _denied(
            "samples of threads", tried.samples,
            "stacks of running goroutines, functions in the finding cpu, record of processor time, top's CPU view",
        ),
        _kernel_part(tried),
        _denied("stopping (ptrace)", tried.stopping, "--stop of dump, snapshot, core and report"),
        _limited(
            "/proc of others", tried.hidden, _UNSEEN.reason, "ps, and targets by name, for processes of other users",
            (_UNSEEN.hint,),
        ),
        *_details(tried),
    ]  # fmt: skip
    checks = [with_containers(each, tried.in_container) for each in checks]
    return tuple(map(for_root, checks) if tried.is_root else checks)


def _details(tried: Tried) -> list[Check]:
    """What is nice to have."""
    return [
        _limited(
            "kernel function names", not tried.kernel_names, "the kernel hides their addresses",
            "record --native: functions of the kernel have no names",
            ("run spyglass with sudo, or run `sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1`",),
        ),
        _limited(
            "real-time priority", not tried.first, "CAP_SYS_NICE, or time for it in the control group, is missing",
            "record: the goroutines of fewer samples are known where other programs use the processors",
            ("run spyglass with sudo",),
        ),
        _limited(
            "control group of memory", not tried.groups, "none with memory is mounted here",
            "memory, ps: limits of containers",
        ),
        _limited(
            "memory pressure", not tried.pressure, "this kernel was built or booted without PSI",
            "memory: pressure", ("boot with psi=1",),
        ),
        _limited("system calls", bool(tried.calls), "not to be had: " + "; ".join(tried.calls), None),
    ]  # fmt: skip


def _denied(name: str, denial: Denial | None, affects: str) -> Check:
    if denial is None:
        return Check(name, "works")
    return Check(name, "refused", denial.reason, affects, (denial.hint,) if denial.hint else ())


def _problem(name: str, why: str | None, affects: str, remedies: tuple[str, ...] = ()) -> Check:
    return Check(name, "works") if why is None else Check(name, "refused", why, affects, remedies)


def _limited(
    name: str, missing: bool, why: str, affects: str | None, remedies: tuple[str, ...] = ()
) -> Check:
    return Check(name, "limited", why, affects, remedies) if missing else Check(name, "works")


def _others(tried: Tried) -> Check:
    name = "memory of others' processes"
    if not tried.others_tried:
        return Check(name, "not tried", "no process of another user is seen here")
    return _denied(name, tried.others, "all commands, for processes of other users")


def _kernel_part(tried: Tried) -> Check:
    name, denial = "samples in system calls", tried.kernel_samples
    if denial is None or tried.samples is not None:
        return Check(name, "works") if denial is None else _denied(name, denial, "as above")
    remedy = "run spyglass with sudo, or run `sysctl kernel.perf_event_paranoid=1`"
    if tried.paranoid is not None and tried.paranoid > _PARANOID_OF_KERNEL:
        denial = Denial(f"kernel.perf_event_paranoid is {tried.paranoid}", "")
    return Check(
        name, "limited", denial.reason, "record: time in system calls is not sampled", (remedy,)
    )


def _why_wrong_proc() -> str | None:
    """As `spyglass.procfs.open_process` finds it."""
    try:
        if os.readlink("/proc/self") == str(os.getpid()):
            return None
    except OSError:
        pass
    return "/proc is not mounted, or shows another pid namespace than the one spyglass runs in"


def _kernel_names() -> bool:
    """Whether /proc/kallsyms has addresses (kernel/ksyms_common.c: kallsyms_show_value)."""
    try:
        lines = read_head("/proc/kallsyms", 1 << 12).splitlines()
    except OSError:
        return False
    return any(line and not line.startswith(b"0000000000000000") for line in lines)


def _memory_groups() -> list[object]:
    """The mounts that show limits of memory."""
    try:
        mounts, groups = mounts_of("self"), dict(groups_of(os.getpid()))
    except OSError:
        return []
    unified = having(mounts, "cgroup2") if "" in groups else []
    return [*having(mounts, "cgroup", "memory"), *unified]
