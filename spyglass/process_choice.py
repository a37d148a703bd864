"""The one Go process that a name, a container or a pod tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spyglass.container_names import ContainerNames
from spyglass.errors import AmbiguousName, ProcessNotFound, SpyglassError
from spyglass.process_list import Names
from spyglass.processes import go_processes, names_of
from spyglass.procfs import explain_denied
from spyglass.procfs.containers import membership
from spyglass.procfs.host_processes import pids

__all__ = ["Wanted", "find"]

_LIST_HINT = "`spyglass ps --json` lists the Go processes with their containers and pods"
_UNNAMED_HINT = "some names cannot be read here: run spyglass as root on the node, or give {}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a process is told by; all that is given must fit.

    `name`: its comm, executable or first argument. `container`: its container's name, id, or the beginning of that. `pod`: the name of
    its pod, NAMESPACE/NAME, or the pod's UID.
    """

    name: str | None = None
    container: str | None = None
    pod: str | None = None

    def __str__(self) -> str:
        parts = (
            self.container and f"in container {self.container}",
            self.pod and f"in pod {self.pod}",
            self.name and f"called {self.name}",
        )
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class _Inside:
    """A process in a container: its pid, the container's id, and names."""

    pid: int
    container: str | None
    names: Names


def find(wanted: Wanted) -> int:
    """The pid of the one Go process that is `wanted`.

    Raises `AmbiguousName` if there are several, `ProcessNotFound` if there is none, `PermissionDenied` if there is one and it
    cannot be read whether it is a Go program.
    """
    inside = list(_contained(wanted.name))
    fitting = [each for each in inside if wanted.pod is None or _is_pod(each.names, wanted.pod)]
    if wanted.container is not None:
        fitting = _of_container(fitting, wanted.container)
    listing = go_processes(each.pid for each in fitting)
    found = tuple(process.pid for process in listing.processes)
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousName(
            f"there are {len(found)} Go processes {wanted}", "choose one with --pid", found
        )
    for process in listing.unreadable:
        raise explain_denied(process.pid, memory=False)
    raise ProcessNotFound(f"there is no Go process {wanted}", _hint(inside, wanted))


def _contained(name: str | None) -> Iterator[_Inside]:
    """The processes in containers, those called `name` if it is given."""
    known = ContainerNames()
    for pid in pids():
        try:
            inside = membership(pid)
        except SpyglassError:  # it has ended, or is hidden
            continue
        if inside.container is None and inside.pod_uid is None:
            continue
        if name is None or name in names_of(pid):
            yield _Inside(pid, inside.container, known.of(pid, inside))


def _is_pod(names: Names, wanted: str) -> bool:
    namespace, slash, name = wanted.rpartition("/")
    if wanted == names.pod_uid:
        return True
    return names.pod == name and (not slash or names.namespace == namespace)


def _of_container(inside: list[_Inside], wanted: str) -> list[_Inside]:
    """Those in the container that is called `wanted`, or else whose container's id begins so."""
    exact = [each for each in inside if wanted in (each.names.container, each.container)]
    return exact or [
        each for each in inside if wanted and (each.container or "").startswith(wanted)
    ]


def _hint(inside: list[_Inside], wanted: Wanted) -> str:
    """What to do about a process that was not found among those `inside` of containers."""
    if wanted.pod is not None and any(each.names.pod_uid and not each.names.pod for each in inside):
        return _UNNAMED_HINT.format("the UID of the pod")
    if wanted.container is not None and any(each.names.container is None for each in inside):
        return _UNNAMED_HINT.format("the id of the container")
    return _LIST_HINT
