"""Files that have no name in any directory, for readers that want a path."""

from __future__ import annotations

import os

__all__ = ["MemoryFile"]


class MemoryFile:
    """A file in memory (memfd_create(2)) at `path`; its contents can be replaced."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("fuzzed")
        self.path = f"/proc/self/fd/{self._descriptor}"

    def hold(self, data: bytes) -> str:
        """Let it have these contents; its path."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        return self.path
