"""Whether one process can be inspected: tried, without stopping it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from spyglass import procfs
from spyglass.containers import Containers
from spyglass.doctor import tries
from spyglass.doctor.remedies import with_containers
from spyglass.doctor.settings import capabilities, status_of
from spyglass.errors import BadDataError, ProcessNotFound, SpyglassError
from spyglass.host_report import Check, Fact, State, TargetReport
from spyglass.procfs.access_rules import Denial, read_attempt
from spyglass.procfs.files import read_stat

__all__ = ["examine_target"]

_NAMESPACES = ("user", "pid", "mnt", "net", "time")
_LACKS_ALL = "all commands"


def examine_target(pid: int) -> TargetReport:
    """Facts about process `pid`, and whether spyglass can find, read and sample it, and could stop it."""
    try:
        procfs.open_process(pid).close()
    except ProcessNotFound as error:
        return TargetReport(pid, (), (_refused("process", error),))
    except SpyglassError as error:
        checks: list[Check] = [_refused("process", error)]
    else:
        checks = [Check("process", "works")]
    denial, _ = tries.read_memory(pid)
    checks += [_check("memory", denial, _LACKS_ALL), _runtime(pid, checks[0].state, denial)]
    sampling = "stacks of running goroutines, record of processor time"
    checks += [_check("samples", tries.sample(pid, kernel=False), sampling), _stopping(pid, denial)]
    inside = procfs.container(os.getpid()) is not None
    return TargetReport(pid, _facts(pid), tuple(with_containers(each, inside) for each in checks))


def _refused(name: str, error: SpyglassError) -> Check:
    return Check(name, "refused", error.message, _LACKS_ALL, (error.hint,) if error.hint else ())


def _check(name: str, denial: Denial | None, affects: str) -> Check:
    if denial is None:
        return Check(name, "works")
    return Check(name, "refused", denial.reason, affects, (denial.hint,) if denial.hint else ())


def _runtime(pid: int, found: State, denial: Denial | None) -> Check:
    """Whether there is a Go runtime that spyglass understands."""
    from spyglass.inspector import attach

    if found == "refused" or denial is not None:
        return Check("Go runtime", "not tried", "the process cannot be read")
    try:
        attach(pid).close()
    except SpyglassError as error:
        return _refused("Go runtime", error)
    return Check("Go runtime", "works")


def _stopping(pid: int, denial: Denial | None) -> Check:
    """--stop is not tried: it would stop the process. It needs the right to read its memory, and no other tracer."""
    affects = "--stop of dump, snapshot, core and report"
    tracer = status_of(Path(f"/proc/{pid}/status")).get("TracerPid", "0")
    if tracer not in ("0", ""):
        why = f"process {tracer}{_named(tracer)} traces it, and a process has one tracer only"
        return Check("stopping", "refused", why, affects, ("end that debugger, or strace",))
    if denial is not None:
        return _check("stopping", denial, affects)
    return Check(
        "stopping",
        "not tried",
        "that would stop it; it needs the same rights as reading its memory",
    )


def _named(pid: str) -> str:
    try:
        return f" ({read_stat(int(pid)).name})"
    except (OSError, ValueError, BadDataError):
        return ""


def _facts(pid: int) -> tuple[Fact, ...]:
    """What decides about access, as far as it may be seen."""
    status = status_of(Path(f"/proc/{pid}/status"))
    facts = [
        Fact("name", status.get("Name", "?")),
        Fact("state", status.get("State", "?")),
        Fact("user", _user(pid)),
        Fact("capabilities", capabilities(status.get("CapPrm", ""))),
        Fact("dumpable", _dumpable(pid)),
        Fact("namespaces", _namespaces(pid)),
    ]
    with suppress(OSError):
        label = Path(f"/proc/{pid}/attr/current").read_text().strip("\0\n")
        facts.append(Fact("security label", label or "none"))
    with suppress(SpyglassError):
        facts += _container(pid)
    return tuple(facts)


def _container(pid: int) -> list[Fact]:
    id_, names = Containers().of(pid)
    words = dict.fromkeys(filter(None, (names.container, id_)))
    pod = names.pod and f"{names.namespace or '?'}/{names.pod}"
    facts = [Fact("container", ", ".join(words) or "none"), Fact("pod", pod or names.pod_uid or "")]
    return [each for each in facts if each.value]


def _user(pid: int) -> str:
    try:
        return procfs.owner(pid)
    except SpyglassError:
        return "?"


def _dumpable(pid: int) -> str:
    try:
        return (
            "yes"
            if read_attempt(pid, memory=True).dumpable
            else "no: it gained privileges, or asked for that"
        )
    except (OSError, KeyError, ValueError, BadDataError):
        return "?"


def _namespaces(pid: int) -> str:
    """Which of its namespaces are not ours."""
    try:
        others = [
            kind for kind in _NAMESPACES
            if os.path.exists(f"/proc/self/ns/{kind}")
            and os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        ]  # fmt: skip
    except OSError:
        return "?"
    return f"of its own: {' '.join(others)}" if others else "as spyglass"
