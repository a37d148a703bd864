"""What the Kubernetes API says of a pod (``core/v1`` Pod), and the ephemeral container that spyglass adds to one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spyglass.errors import SpyglassError

__all__ = ["PREFIX", "Pod", "Wanted", "ephemeral_container"]

#: Kubernetes's annotation with the container that commands are for.
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
#: How the names of our ephemeral containers begin.
PREFIX = "spyglass-"
#: Reasons of a container that waits, with which it does not start soon.
_FAILED = (
    "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull",
    "ImageInspectError", "ImagePullBackOff", "InvalidImageName", "RunContainerError",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """The ephemeral container that is wanted: its image, how long it lives (s), and the user that it runs as without any capability;
    None: as root with those that spyglass needs."""

    image: str
    keep_s: int
    user: int | None = None


class Pod:
    """A pod as the API server describes it. Raises `SpyglassError` for what is no pod."""

    def __init__(self, document: Any) -> None:
        try:
            self.document: dict[str, Any] = document
            metadata, spec = document["metadata"], document["spec"]
            self.name = str(metadata["name"])
            self.namespace = str(metadata["namespace"])
            self.uid = str(metadata["uid"])
            self.node: str | None = spec.get("nodeName")
            self._annotations = dict(metadata.get("annotations") or {})
            self.containers = [str(each["name"]) for each in spec["containers"]]
            self._spec, self._status = dict(spec), dict(document.get("status") or {})
        except (KeyError, TypeError, ValueError):
            raise SpyglassError("the answer of the API server is not a pod") from None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_running(self) -> bool:
        """Whether its node runs it."""
        return self._status.get("phase") == "Running"

    def container(self, wanted: str | None) -> str:
        """The container called `wanted`, or the pod's default or only one; raises if there are several."""
        if wanted is None and len(self.containers) == 1:
            return self.containers[0]
        chosen = wanted if wanted is not None else self._annotations.get(_DEFAULT_CONTAINER)
        if chosen in self.containers:
            return str(chosen)
        names = ", ".join(self.containers)
        if wanted is not None:
            raise SpyglassError(f"pod {self} has no container {wanted}", f"it has {names}")
        raise SpyglassError(f"pod {self} has several containers: {names}", "choose one with -c")

    def container_id(self, container: str) -> str | None:
        """The id of a container of it, as control groups name it; None: not known, as before it runs."""
        for each in self._statuses("containerStatuses"):
            if each.get("name") == container:
                _, _, id_ = str(each.get("containerID") or "").rpartition("//")
                return id_ or None
        return None

    def user(self, container: str) -> int | None:
        """The user that a container of it runs as, if the pod says so."""
        own = [each for each in self._spec["containers"] if each["name"] == container]
        for each in (*own, self._spec):
            user = (each.get("securityContext") or {}).get("runAsUser")
            if isinstance(user, int):
                return user
        return None

    def running_spyglass(self, container: str, wanted: Wanted) -> str | None:
        """The name of a running ephemeral container of ours beside `container`, as is wanted."""
        running = set(self._fresh(wanted.keep_s / 2))
        for each in self._spec.get("ephemeralContainers") or ():
            name = str(each.get("name"))
            made = ephemeral_container(name, container, wanted)
            fits = all(each.get(key) == value for key, value in made.items())
            if fits and name.startswith(PREFIX) and name in running:
                return name
        return None

    def _fresh(self, seconds: float) -> Iterator[str]:
        """The ephemeral containers that have run for at most so long."""
        for each in self._statuses("ephemeralContainerStatuses"):
            running = (each.get("state") or {}).get("running") or {}
            with suppress(ValueError):
                started = datetime.fromisoformat(str(running.get("startedAt")))
                if (datetime.now(UTC) - started).total_seconds() < seconds:
                    yield str(each.get("name"))

    def has_started(self, ephemeral: str) -> bool:
        """Whether an ephemeral container runs. Raises `SpyglassError` if it will not."""
        for each in self._statuses("ephemeralContainerStatuses"):
            if each.get("name") != ephemeral:
                continue
            state = each.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason") in _FAILED or ended is not None:
                told = ended or waiting
                words = ": ".join(filter(None, (told.get("reason"), told.get("message"))))
                raise SpyglassError(f"container {ephemeral} in pod {self} did not start: {words}")
            return "running" in state
        return False

    def with_ephemeral(self, container: dict[str, Any]) -> dict[str, Any]:
        """The document with one more ephemeral container."""
        others = list(self._spec.get("ephemeralContainers") or ())
        return self.document | {"spec": self._spec | {"ephemeralContainers": [*others, container]}}

    def _statuses(self, kind: str) -> Iterator[dict[str, Any]]:
        yield from self._status.get(kind) or ()


def ephemeral_container(name: str, target: str, wanted: Wanted) -> dict[str, Any]:
    """An ephemeral container in the pid namespace of container `target`, which waits for commands (``core/v1``
    EphemeralContainer)."""
    context: dict[str, Any]
    if wanted.user is None:
        context = {
            "capabilities": {"add": ["SYS_PTRACE", "PERFMON"]},
            "runAsUser": 0,
            "runAsNonRoot": False,
        }
    else:
        context = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": wanted.user,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    return {
        "name": name,
        "image": wanted.image,
        "command": ["sleep", str(wanted.keep_s)],
        "targetContainerName": target,
        "securityContext": context,
    }
