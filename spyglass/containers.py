"""The containers and pods that processes are in, with what they are called."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from spyglass.process_list import Names
from spyglass.procfs.containers import Membership, membership

if TYPE_CHECKING:
    from spyglass.container_names import ContainerNames

__all__ = ["Containers"]


class Containers:
    """The containers of several processes; what names them is imported where there is one."""

    def of(self, pid: int) -> tuple[str | None, Names]:
        """The id of the container that process `pid` is in, and names (`spyglass.container_names`).

        Raises `ProcessNotFound` and `PermissionDenied` as `membership`.
        """
        inside = membership(pid)
        return inside.container, self.names(pid, inside)

    def names(self, pid: int, inside: Membership) -> Names:
        """What the container and the pod are called that process `pid` is `inside` of."""
        if inside.container is None and inside.pod_uid is None:
            return Names()
        return self._known.of(pid, inside)

    @cached_property
    def _known(self) -> ContainerNames:
        from spyglass.container_names import ContainerNames

        return ContainerNames()
