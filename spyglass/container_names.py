"""What containers and pods are called, from the files of those that made them.

containerd, CRI-O, Docker and Podman keep a file for each container, which names it. Where these cannot be read, kubelet's mounts name
the container, and its directories of logs the pod. Everything here may be written by others: sizes are limited, and what is no name
is not known.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import msgspec

from spyglass.errors import SpyglassError
from spyglass.process_list import Names
from spyglass.procfs.containers import Membership, kubelet_mount
from spyglass.procfs.namespaces import user_namespace_owner

__all__ = ["ContainerNames"]

_T = TypeVar("_T")

_MAX_FILE_BYTES = 1 << 24
_MAX_ENTRIES = 1 << 14
#: No name of Kubernetes is longer (RFC 1123 subdomain), and Docker's are hostnames mostly.
_MAX_NAME = 253
_ID = re.compile(r"[0-9a-f]{64}")
#: The pid namespace of the host (``PROC_PID_INIT_INO``, include/linux/proc_ns.h): in it, process 1 sees the host's files.
_HOST_PIDS = "pid:[4026531836]"

#: containerd's tasks: NAMESPACE/ID/config.json in each (``runtime/v2`` of containerd; k3s has its own).
_TASKS = (
    "run/containerd/io.containerd.runtime.v2.task",
    "run/k3s/containerd/io.containerd.runtime.v2.task",
)
_DOCKER = "var/lib/docker/containers"
#: Below a storage of containers (containers-storage.conf(5)), by driver: what is in it, and each container's files.
_STORAGES = ("var/lib/containers/storage", "run/containers/storage")
_USER_STORAGE = ".local/share/containers/storage"
_DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
_STORED = ("containers.json", "volatile-containers.json")
_USER = re.compile(r"/user-([0-9]{1,10})\.slice/")
#: Kubelet's logs: NAMESPACE_POD_UID (``BuildPodLogsDirectory``, pkg/kubelet/kuberuntime of Kubernetes).
_POD_LOGS = "var/log/pods"

#: Annotations with a container's name, its pod's name, namespace and UID: of containerd's CRI plugin, of kubelet's labels, which CRI-O
#: takes over, and of nerdctl.
_ANNOTATIONS = (
    (
        "io.kubernetes.cri.container-name",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-uid",
    ),
    (
        "io.kubernetes.container.name",
        "io.kubernetes.pod.name",
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.uid",
    ),
    ("nerdctl/name", "", "", ""),
)
#: CRI-O's annotation with kubelet's labels, in JSON.
_CRIO_LABELS = "io.kubernetes.cri-o.Labels"


class _Spec(msgspec.Struct):
    """Of an OCI runtime specification (config.json)."""

    annotations: dict[str, str] = {}


class _DockerConfig(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


class _DockerContainer(msgspec.Struct):
    """Of Docker's config.v2.json (``daemon/container`` of Docker)."""

    name: str = msgspec.field(default="", name="Name")
    config: _DockerConfig | None = msgspec.field(default=None, name="Config")


class _Stored(msgspec.Struct):
    """Of containers.json (``Container``, containers.go of containers/storage)."""

    id: str
    names: list[str] | None = None


class ContainerNames:
    """Names of containers and pods, for one list of processes: what many containers share is read once."""

    def __init__(self, roots: tuple[str, ...] | None = None) -> None:
        self._roots = _roots() if roots is None else roots
        self._stored: dict[str, dict[str, str]] = {}
        self._listed: dict[str, list[str]] = {}
        self._pods: dict[str, tuple[str, str]] | None = None

    def of(self, pid: int, inside: Membership) -> Names:
        """The names of the container and the pod that process `pid` is `inside` of."""
        uid = inside.pod_uid
        found = self._of_runtime(pid, inside) or Names()
        if uid is not None and found.pod_uid not in (None, uid):
            found = Names()  # the kernel's word counts
        found = replace(found, pod_uid=uid or found.pod_uid)
        if found.container is None or (found.pod_uid is not None and found.pod is None):
            found = self._with_kubelet(pid, found)
        if inside.container is not None and not _ID.fullmatch(inside.container):
            found = replace(found, container=found.container or inside.container)
        return found

    def _of_runtime(self, pid: int, inside: Membership) -> Names | None:
        id_ = inside.container
        if id_ is None or not _ID.fullmatch(id_):
            return None
        for root in self._roots:
            found = self._of_task(root, id_) or _of_docker(root, id_) or self._of_storage(root, id_)
            if found:
                return found
        return self._of_user_storage(pid, inside)

    def _of_task(self, root: str, id_: str) -> Names | None:
        for tasks in _TASKS:
            for namespace in self._entries(f"{root}/{tasks}"):
                spec = _decoded(f"{root}/{tasks}/{namespace}/{id_}/config.json", _Spec)
                if spec is not None and (found := _annotated(spec.annotations)):
                    return found
        return None

    def _of_storage(self, root: str, id_: str) -> Names | None:
        for storage in _STORAGES:
            for driver in _DRIVERS:
                containers = f"{root}/{storage}/{driver}-containers"
                spec = _decoded(f"{containers}/{id_}/userdata/config.json", _Spec)
                if spec is not None and (found := _annotated(spec.annotations)):
                    return found
                if name := self._stored_in(containers).get(id_):
                    return Names(name)
        return None

    def _of_user_storage(self, pid: int, inside: Membership) -> Names | None:
        """Of a user's own Podman: its containers are below the user's slice, where there is systemd, and in a user
        namespace that the user has made."""
        users = {int(match[1]) for path in inside.paths for match in _USER.finditer(path)}
        owner = user_namespace_owner(pid)
        for user in users if owner is None else users | {owner}:
            try:
                home = pwd.getpwuid(user).pw_dir
            except (KeyError, OverflowError):
                continue
            for driver in _DRIVERS:
                stored = self._stored_in(f"{home}/{_USER_STORAGE}/{driver}-containers")
                if name := stored.get(inside.container or ""):
                    return Names(name)
        return None

    def _stored_in(self, containers: str) -> dict[str, str]:
        """The first names of the containers of a storage, by id."""
        if containers not in self._stored:
            files = (f"{containers}/{file}" for file in _STORED)
            entries = [each for file in files for each in _decoded(file, list[_Stored]) or ()]
            names = {each.id: _name(each.names[0]) for each in entries if each.names}
            self._stored[containers] = {id_: name for id_, name in names.items() if name}
        return self._stored[containers]

    def _with_kubelet(self, pid: int, found: Names) -> Names:
        """`found`, with what kubelet's mounts and logs say of a container in a pod."""
        try:
            mounted = kubelet_mount(pid)
        except SpyglassError:
            mounted = None
        uid = found.pod_uid or (mounted and mounted.pod_uid)
        if mounted is not None and mounted.pod_uid == uid:
            found = replace(found, container=found.container or _name(mounted.container))
        namespace, pod = self._logged().get(uid or "", (found.namespace, found.pod))
        return replace(found, pod=pod, namespace=namespace, pod_uid=uid)

    def _logged(self) -> dict[str, tuple[str, str]]:
        """The namespaces and names of the pods that have logs, by UID."""
        if self._pods is None:
            entries = [
                each for root in self._roots for each in self._entries(f"{root}/{_POD_LOGS}")
            ]
            parts = (each.split("_") for each in entries)
            self._pods = {part[2]: (part[0], part[1]) for part in parts if len(part) == 3}
        return self._pods

    def _entries(self, directory: str) -> list[str]:
        if directory not in self._listed:
            self._listed[directory] = _listed(directory)
        return self._listed[directory]


def _roots() -> tuple[str, ...]:
    """Where files of the host are: here, and, in a container that shares the host's pids, as process 1 sees them."""
    try:
        if os.readlink("/proc/self/ns/pid") == _HOST_PIDS and not os.path.samefile(
            "/proc/1/root", "/"
        ):
            return ("", "/proc/1/root")
    except OSError:
        pass
    return ("",)


def _of_docker(root: str, id_: str) -> Names | None:
    found = _decoded(f"{root}/{_DOCKER}/{id_}/config.v2.json", _DockerContainer)
    if found is None:
        return None
    labels = (found.config and found.config.labels) or {}
    return _annotated(labels) or Names(_name(found.name.removeprefix("/")))


def _annotated(annotations: dict[str, str]) -> Names | None:
    """The names in `annotations`, None if there are none."""
    if _CRIO_LABELS in annotations:
        annotations = annotations | _labels(annotations[_CRIO_LABELS])
    for keys in _ANNOTATIONS:
        found = Names(*(_name(annotations.get(key, "")) for key in keys))
        if found.container or found.pod:
            return found
    return None


def _labels(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _name(text: str) -> str | None:
    return text if 0 < len(text) <= _MAX_NAME else None


def _decoded(path: str, kind: type[_T]) -> _T | None:
    """The JSON file at `path` as a `kind`; None if it is not there, cannot be read, is too large, or is something else."""
    try:
        raw = _read(path)
        found: _T | None = None if raw is None else msgspec.json.decode(raw, type=kind)
        return found
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read(path: str) -> bytes | None:
    """A regular file of a limited size; a pipe that somebody put there is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        raw = stream.read(_MAX_FILE_BYTES + 1)
        return raw if len(raw) <= _MAX_FILE_BYTES else None


def _listed(directory: str) -> list[str]:
    def names() -> Iterator[str]:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number == _MAX_ENTRIES:
                    return
                yield entry.name

    try:
        return sorted(names())
    except OSError:
        return []
