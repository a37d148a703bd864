"""Where spyglass runs for a pod: in an ephemeral container of it, or in the DaemonSet's pod on its node."""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import dataclass
from typing import Any

from spyglass.errors import SpyglassError
from spyglass.kubectl.client import Kubectl, Place
from spyglass.kubectl.pods import PREFIX, Pod, Wanted, ephemeral_container

__all__ = ["Access", "process_in", "through_daemonset", "through_ephemeral_container"]

_START_SECONDS = 120.0
_POLL_SECONDS = 0.5
#: The label of the pods of the DaemonSet, and the container in them (docs/kubernetes).
_LABEL = "app.kubernetes.io/name=spyglass"
_DAEMON_CONTAINER = "spyglass"


@dataclass(frozen=True, slots=True)
class Access:
    """Where spyglass runs, and the options that tell the process there."""

    place: Place
    target: tuple[str, ...]


def through_daemonset(kubectl: Kubectl, pod: Pod, container: str | None, namespace: str) -> Access:
    """Access by the DaemonSet in `namespace`, whose pods see all processes of their node."""
    listed = kubectl.get(
        "pods", "--namespace", namespace, "--selector", _LABEL, "--field-selector", f"spec.nodeName={pod.node}"
    )  # fmt: skip
    found = [each for each in map(Pod, listed.get("items") or ()) if each.is_running]
    if not found:
        raise SpyglassError(
            f"no pod of the DaemonSet spyglass runs on node {pod.node} in namespace {namespace}",
            "docs/kubernetes.md says how to install it; --daemonset-namespace names another",
        )
    target = ["--pod", pod.uid]
    name = pod.container(container) if container else None
    if name is not None and (id_ := pod.container_id(name)):
        target += ["--container", id_]
    return Access(Place(found[0].namespace, found[0].name, _DAEMON_CONTAINER), tuple(target))


def through_ephemeral_container(
    kubectl: Kubectl, pod: Pod, container: str, wanted: Wanted
) -> Place:
    """A running ephemeral container beside `container`: one that is there already, or a new one."""
    name = pod.running_spyglass(container, wanted)
    if name is None:
        name = _started(kubectl, pod, container, wanted)
    return Place(pod.namespace, pod.name, name)


def _started(kubectl: Kubectl, pod: Pod, container: str, wanted: Wanted) -> str:
    name = PREFIX + secrets.token_hex(4)
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/ephemeralcontainers"
    kubectl.replace(path, pod.with_ephemeral(ephemeral_container(name, container, wanted)))
    print(f"started container {name} in pod {pod}; it ends in {wanted.keep_s} s", file=sys.stderr)
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if Pod(kubectl.get("pod", pod.name, "--namespace", pod.namespace)).has_started(name):
            return name
        time.sleep(_POLL_SECONDS)
    raise SpyglassError(
        f"container {name} in pod {pod} has not started within {_START_SECONDS:.0f} s",
        f"`kubectl describe pod {pod.name} -n {pod.namespace}` says why",
    )


def process_in(kubectl: Kubectl, place: Place, container_id: str | None) -> int:
    """The pid of the one Go process that `place` sees in the container with this id."""
    listed = _listing(kubectl.output_of(place, "spyglass", "ps", "--json"))
    # In the pid namespace of one container there is nothing else; control groups may not tell which it is.
    own = [each for each in listed["processes"] if each.get("container") in (container_id, None)]
    if len(own) == 1:
        return int(own[0]["pid"])
    if own:
        pids = ", ".join(f"{each['pid']} ({(each.get('cmdline') or '?')[0]})" for each in own)
        raise SpyglassError(f"there are {len(own)} Go processes: {pids}", "choose one with --pid")
    for each in listed["unreadable"]:
        raise SpyglassError(f"process {each['pid']} cannot be read: {each['why']}")
    raise SpyglassError("no Go process runs in this container", "choose another with -c")


def _listing(raw: bytes) -> Any:
    try:
        listed = json.loads(raw)
        if isinstance(listed["processes"], list) and isinstance(listed["unreadable"], list):
            return listed
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise SpyglassError("the list of processes from the container cannot be read")
