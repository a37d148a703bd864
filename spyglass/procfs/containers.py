"""The container and the pod that a process is in, as the kernel knows them: control groups and mounts.

What they are called is known to those that made them: `spyglass.container_names`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from spyglass.procfs.access import refusals
from spyglass.procfs.cgroups import Mount, groups_of, mounts_of

__all__ = [
    "KubeletMount",
    "Membership",
    "container",
    "find_container",
    "find_kubelet_mount",
    "find_mounted_container",
    "find_pod",
    "kubelet_mount",
    "membership",
]

#: How the last part of a group's path that belongs to a container looks. conmon is Podman's and
#: CRI-O's guard of a container, outside of it.
_CONTAINER = (
    # docker, containerd, cri-o, podman, nerdctl; plain, or as a scope of systemd
    re.compile(r"(?<![0-9a-f])(?<!conmon-)([0-9a-f]{64})(?:\.scope)?(?=/|$)"),
    # Amazon ECS on Fargate
    re.compile(r"/ecs/[0-9a-f]{32}/([0-9a-f]{32}-[0-9]+)(?=/|$)"),
    # LXC, Incus, LXD
    re.compile(r"/(?:lxc/|lxc\.payload[./])([^/]+)"),
    # systemd-nspawn
    re.compile(r"/machine\.slice/(?:systemd-nspawn@([^/]+)\.service|machine-([^/]+)\.scope)"),
)
#: Runtimes put files of theirs over these, from a directory that the container's id names.
_RUNTIME_FILES = frozenset(
    ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv")
)
_RUNTIME_DIRECTORY = re.compile(
    r"/(?:containers|(?:overlay|vfs|btrfs|zfs)-containers)/([0-9a-f]{64})/"
)
#: The group of a pod below "kubepods" (``GetPodCgroupNameSuffix`` and ``escapeSystemdCgroupName``, pkg/kubelet/cm of
#: Kubernetes): "pod" and its UID, as a directory or in the name of a slice, where "_" is for "-". A static pod's UID has no hyphens.
_PODS = "kubepods"
_POD = re.compile(
    r"[/-]pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice)?(?=/|$)"
)
#: The file that kubelet makes for a container's last words: pods/UID/containers/NAME/RANDOM
#: (``GetPodContainerDir``, pkg/kubelet/kubelet_getters.go of Kubernetes).
_KUBELET_FILE = re.compile(r"/pods/([0-9a-f-]{32,36})/containers/([^/]{1,63})/[0-9a-f]+$")


class Membership(NamedTuple):
    """The id, or for LXC and nspawn the name, of the container that a process is in, and the UID of its pod; None: in none, or not
    known. `paths`: those of its control groups."""

    container: str | None
    pod_uid: str | None
    paths: tuple[str, ...]


class KubeletMount(NamedTuple):
    """What the mounts that kubelet makes for a container tell of it."""

    pod_uid: str
    container: str


def container(pid: int) -> str | None:
    """The container that process `pid` is in (see `membership`)."""
    return membership(pid).container


def membership(pid: int) -> Membership:
    """The container and the pod that process `pid` is in, if any.

    From the paths of its groups. If they say nothing, as inside of a container, and of one that has no group of its own, from the
    files that runtimes mount into containers.
    """
    with refusals(pid):
        paths = tuple(path for _, path in groups_of(pid))
        found = Membership(find_container(paths), find_pod(paths), paths)
        known = found.container is not None or found.pod_uid is not None
        if known or (any(path != "/" for path in paths) and _sees_our_mounts(pid)):
            return found
        mounts = mounts_of(pid)
        kubelet = find_kubelet_mount(mounts)
        return Membership(find_mounted_container(mounts), kubelet and kubelet.pod_uid, paths)


def _sees_our_mounts(pid: int) -> bool:
    """Whether process `pid` is in our mount namespace; also if that may not be known, for then its mounts may not be either."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except PermissionError:
        return True


def kubelet_mount(pid: int) -> KubeletMount | None:
    """What kubelet's mounts tell of the container of process `pid`; None: it has none."""
    with refusals(pid):
        return find_kubelet_mount(mounts_of(pid))


def find_container(paths: Iterable[str]) -> str | None:
    """The container that the paths of a process's groups name, the innermost one if nested."""
    for path in paths:
        for pattern in _CONTAINER:
            names = [match.group(match.lastindex or 0) for match in pattern.finditer(path)]
            if names:
                return names[-1]
    return None


def find_pod(paths: Iterable[str]) -> str | None:
    """The UID of the pod that the paths of a process's groups name, the innermost one if nested."""
    for path in paths:
        uids = _POD.findall(path) if _PODS in path else ()
        if uids:
            uid: str = uids[-1].replace("_", "-")
            return uid
    return None


def find_mounted_container(mounts: list[Mount]) -> str | None:
    """The container that a runtime's files among `mounts` are of."""
    for mount in mounts:
        match = _RUNTIME_DIRECTORY.search(mount.root) if mount.point in _RUNTIME_FILES else None
        if match:
            return match.group(1)
    return None


def find_kubelet_mount(mounts: list[Mount]) -> KubeletMount | None:
    """What those of `mounts` that kubelet made tell of the container that has them."""
    for mount in mounts:
        match = _KUBELET_FILE.search(mount.root)
        if match:
            return KubeletMount(*match.groups())
    return None
