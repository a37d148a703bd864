"""An ELF executable or library with a Go runtime in it: what Go's linker recorded in the file."""

from __future__ import annotations

from functools import cached_property

from spyglass.binary.buildinfo import BuildInfo, find_build_info
from spyglass.binary.executable import Executable

__all__ = ["GoExecutable"]

#: Sections that only Go's linker writes.
_GO_SECTIONS = (
    ".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid", ".go.module",
)  # fmt: skip


class GoExecutable(Executable):
    """An `Executable` that may be a Go program: `is_go` tells."""

    @cached_property
    def build_info(self) -> BuildInfo:
        """What Go's linker recorded of the build; empty if it did not, or it was removed."""
        return find_build_info(self)

    @cached_property
    def go_version(self) -> str | None:
        """The Go version: of the build info, else of the runtime's own variable; None if it is in neither."""
        if self.build_info.go_version:
            return self.build_info.go_version
        from spyglass.binary.build_version import find_build_version

        return find_build_version(self)

    @cached_property
    def is_go(self) -> bool:
        """Whether Go's linker, or another linker given Go's objects, made this file."""
        if any(name in self.sections for name in _GO_SECTIONS) or self.build_info.go_version:
            return True
        from spyglass.binary.pclntab import find_pclntab

        return find_pclntab(self) is not None
