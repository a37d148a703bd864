"""A snapshot, or a profile, without what says where, by whom and with which arguments a program is run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from spyglass.model import NONE, Frame, Problem, Process, Snapshot
from spyglass.profile import Profile
from spyglass.site_profile import SiteProfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory_account import MemoryAccount, ResidentMapping
    from spyglass.memory_limits import MemoryLimits
    from spyglass.wait_graph import WaitGraph

__all__ = ["redacted", "redacted_profile", "redacted_sites"]

#: How a directory of the module cache writes an upper case letter (``module.EscapePath``).
_CAPITAL = re.compile(r"!([a-z])")

#: How the import path begins of a package outside of any module and of GOPATH: by its directory.
_OUTSIDE = re.compile(r"(?<![\w/])_/(?:[^/\[\](),;*]+/)*")


def redacted(snapshot: Snapshot) -> Snapshot:
    """`snapshot` without command line, labels, host name, container, control groups, names of mapped files, addresses of
    connections, and directories above packages.

    A file is then called as ``go build -trimpath`` calls it: by the import path of its package, with
    the version of its module where that is known, and by its name alone in package main.
    """
    if snapshot.redacted:
        return snapshot
    none: NDArray[np.int32] = np.full(len(snapshot.goroutines), NONE, np.int32)
    process = _without_circumstances(snapshot.process)
    limits = snapshot.limits and _without_groups(snapshot.limits)
    return replace(
        snapshot,
        host=None,
        redacted=True,
        process=process,
        goroutines=replace(snapshot.goroutines, labels=none),
        label_sets=(),
        frames=tuple(map(_without_directories, snapshot.frames)),
        problems=tuple(map(_without_paths, snapshot.problems)),
        waits=snapshot.waits and _without_addresses(snapshot.waits),
        limits=limits,
        account=snapshot.account and _without_names(snapshot.account, process, limits),
    )


def redacted_profile(profile: Profile) -> Profile:
    """`profile` without command line, labels, host name, container, and directories above packages."""
    samples = profile.samples
    none: NDArray[np.int32] = np.full(len(samples), NONE, np.int32)
    return replace(
        profile,
        host=None,
        process=_without_circumstances(profile.process),
        samples=replace(samples, labels=none),
        label_sets=(),
        frames=tuple(map(_without_directories, profile.frames)),
        problems=tuple(map(_without_paths, profile.problems)),
    )


def redacted_sites(profile: SiteProfile) -> SiteProfile:
    """`profile` without command line, container, and directories above packages."""
    return replace(
        profile,
        process=_without_circumstances(profile.process),
        frames=tuple(map(_without_directories, profile.frames)),
        problems=tuple(map(_without_paths, profile.problems)),
    )


def _without_circumstances(process: Process) -> Process:
    return replace(
        process,
        cmdline=(),
        exe=_base(process.exe),
        library=_base(process.library),
        container=None,  # LXC and systemd-nspawn know it by the name that a person gave it
        container_name=None,
        pod=None,
        namespace=None,
        pod_uid=None,
    )


def _without_groups(limits: MemoryLimits) -> MemoryLimits:
    """Without the paths of control groups, which name containers and pods; they are numbered, the outermost is /1."""
    paths = dict.fromkeys(row.path for row in reversed(limits.rows) if row.path is not None)
    names = {path: f"/{number}" for number, path in enumerate(paths, 1)}
    return replace(
        limits,
        rows=tuple(replace(row, path=row.path and names[row.path]) for row in limits.rows),
        pressure=tuple(
            replace(each, path=each.path and names.get(each.path, "/")) for each in limits.pressure
        ),
        files=None,
    )


def _without_names(
    account: MemoryAccount, process: Process, limits: MemoryLimits | None
) -> MemoryAccount:
    return replace(
        account,
        process=process,
        limits=limits,
        mappings=tuple(map(_without_name, account.mappings)),
        problems=tuple(map(_without_paths, account.problems)),
    )


def _without_name(mapping: ResidentMapping) -> ResidentMapping:
    """Without the name of a file, and that which the program itself gave to memory (prctl(2), ``PR_SET_VMA``)."""
    name = mapping.name
    own = name.startswith("[anon") and not name.startswith("[anon: Go:")
    return replace(mapping, name="(left out)") if "/" in name or own else mapping


def _without_addresses(graph: WaitGraph) -> WaitGraph:
    return replace(
        graph,
        names=tuple(_OUTSIDE.sub("", name) for name in graph.names),
        frames=tuple(map(_without_directories, graph.frames)),
        connections=tuple(
            replace(each, local=None, remote=None, target=each.target.partition("/")[0])
            for each in graph.connections
        ),
    )


def _base(path: str | None) -> str | None:
    return path and path.rpartition("/")[2]


def _without_directories(frame: Frame) -> Frame:
    function, file = _OUTSIDE.sub("", frame.function), frame.file
    if file is not None and (file.startswith("/") or ".." in file):
        file = _in_package(file, _package(function))
    return replace(frame, function=function, file=file)


def _package(function: str) -> list[str]:
    """The elements of the import path of its package; none for main, and if it is in none."""
    path = function.partition("[")[0]
    directory, slash, name = path.rpartition("/")
    package, dot, _ = name.partition(".")
    if not dot or (directory, package) == ("", "main"):
        return []
    # The linker writes a dot behind the last slash so (`objabi.PathToPrefix`).
    return unquote(directory + slash + package).split("/")


def _in_package(file: str, package: list[str]) -> str:
    """`file` below the directory of its `package`, which keeps its name if that says no more."""
    *directories, name = file.split("/")
    last = directories[len(directories) - len(package) :]
    if [_CAPITAL.sub(_upper, each).partition("@")[0] for each in last] == package:
        package = last
    return "/".join([*package, name])


def _upper(letter: re.Match[str]) -> str:
    return letter[1].upper()


def _without_paths(problem: Problem) -> Problem:
    if "/" not in problem.subject + problem.detail:
        return problem
    return replace(problem, subject=_base(problem.subject) or "", detail="(left out)")
