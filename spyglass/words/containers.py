"""How the container and the pod of a process are called in one line; not escaped."""

from __future__ import annotations

from typing import Protocol

from spyglass.words.units import UNKNOWN

__all__ = ["container_text", "pod_text"]


class _Contained(Protocol):
    """What lists and snapshots know of where a process is."""

    @property
    def container(self) -> str | None: ...
    @property
    def container_name(self) -> str | None: ...
    @property
    def pod(self) -> str | None: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def pod_uid(self) -> str | None: ...


def container_text(process: _Contained) -> str | None:
    """The name of its container, or else the id; None: it is in none."""
    return process.container_name or process.container


def pod_text(process: _Contained) -> str | None:
    """NAMESPACE/NAME of its pod, or else the UID; None: it is in none."""
    if process.pod is None:
        return process.pod_uid
    return f"{process.namespace or UNKNOWN}/{process.pod}"
