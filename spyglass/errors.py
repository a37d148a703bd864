"""Every exception that spyglass raises on purpose.

    SpyglassError               no answer: one line says what is wrong, one what to do
    ├── TargetError             the process, core or file cannot be inspected
    │   ├── ProcessNotFound     no such pid, a zombie, a kernel thread
    │   ├── AmbiguousName       several processes have this name (``pids``)
    │   ├── ProcessChanged      it ended, executed another program, or its pid was reused
    │   ├── PermissionDenied    the kernel refused; the message says by which rule
    │   ├── WrongExecutable     a core was made of another file than the one given or found
    │   ├── NotGoProgram        no Go runtime in it (``go_children``: pids of children with one)
    │   └── UnsupportedProgram  32-bit, big-endian, an unknown processor or Go version
    │       └── UnsupportedGoVersion
    ├── NoMatch                 a filter that the user gave matches no goroutine
    ├── MemoryFault             bytes at an address that cannot be read
    ├── BadDataError            bytes that were read and are not valid
    └── MissingInfo             something is not in this program (a symbol, a section)

Messages and hints may quote what a target or a file says. They are one line without control characters,
of limited length (`spyglass.escape.one_line`): safe to print and to log.

Part of an answer that is missing or doubtful is not an exception but a `spyglass.model.Problem`.
"""

from __future__ import annotations

from spyglass.escape import one_line

__all__ = [
    "AmbiguousName",
    "BadDataError",
    "MemoryFault",
    "MissingInfo",
    "NoMatch",
    "NotGoProgram",
    "PermissionDenied",
    "ProcessChanged",
    "ProcessNotFound",
    "SpyglassError",
    "TargetError",
    "UnsupportedGoVersion",
    "UnsupportedProgram",
    "WrongExecutable",
]


class SpyglassError(Exception):
    """No answer: `message` says what is wrong, `hint` what to do about it; both are one safe line."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = one_line(message)
        self.hint = hint if hint is None else one_line(hint)
        super().__init__(self.message)


class TargetError(SpyglassError):
    """The process, core or file cannot be inspected."""


class ProcessNotFound(TargetError):
    """There is no process to inspect: no such pid, a zombie, or a kernel thread."""


class AmbiguousName(TargetError):
    """Several processes, `pids`, have the name given; none was chosen."""

    def __init__(self, message: str, hint: str | None = None, pids: tuple[int, ...] = ()) -> None:
        super().__init__(message, hint)
        self.pids = pids


class ProcessChanged(TargetError):
    """The process ended, executed another program, or its pid was reused."""


class PermissionDenied(TargetError):
    """The kernel does not allow this user to read that process."""


class NotGoProgram(TargetError):
    """There is no Go runtime in this program; `go_children` are pids of children that have one."""

    def __init__(
        self, message: str, hint: str | None = None, go_children: tuple[int, ...] = ()
    ) -> None:
        super().__init__(message, hint)
        self.go_children = go_children


class WrongExecutable(TargetError):
    """The executable that was given, or found at its path, is not the one that the core was made of."""


class UnsupportedProgram(TargetError):
    """A program that spyglass cannot read: 32-bit, big-endian, another processor."""


class UnsupportedGoVersion(UnsupportedProgram):
    """No known layout of the runtime's structures fits what is in this process."""


class NoMatch(SpyglassError):
    """A filter that the user gave matches no goroutine; the message says which condition failed."""


class MemoryFault(SpyglassError):
    """`size` bytes at `address` could not be read."""

    def __init__(self, address: int, size: int, detail: str = "") -> None:
        super().__init__(
            f"cannot read {size} bytes at {address:#x}" + (f": {detail}" if detail else "")
        )
        self.address = address
        self.size = size


class BadDataError(SpyglassError):
    """Bytes that were read and are not valid: an implausible count, a bad pointer, a broken file."""


class MissingInfo(SpyglassError):
    """Something that is not in this program: a symbol, a section, a type."""
