"""A target: bytes at addresses, and the executable that gives them meaning."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from spyglass import procfs
from spyglass.binary.executable import Executable
from spyglass.errors import (
    BadDataError,
    MemoryFault,
    NotGoProgram,
    PermissionDenied,
    SpyglassError,
    TargetError,
)
from spyglass.memory.base import Memory
from spyglass.memory.process import ProcessMemory

__all__ = ["Target"]

#: ``AT_ENTRY`` of getauxval(3): where the program begins, after the kernel placed it.
_AT_ENTRY = 9
_MAX_AUXV_BYTES = 1 << 12
_MAX_LIBRARIES = 4096
_PAGE_MASK = ~0xFFF


@dataclass(frozen=True)
class Target:
    """A process and the file in it that holds the Go runtime.

    `bias` is what must be added to addresses in `executable` to get those in the process. `library`
    is the path of that file when it is not the program itself but a library that it loaded.
    """

    pid: int
    memory: Memory
    executable: Executable
    bias: int
    identity: procfs.Identity
    library: str | None = None

    @classmethod
    def attach(cls, pid: int) -> Target:
        """Look into process `pid`, which goes on running.

        Raises a `TargetError` that says why it cannot be inspected.
        """
        identity = procfs.open_process(pid)
        try:
            executable, bias, library = _find_go(pid)
            return cls(pid, _open_memory(pid), executable, bias, identity, library)
        except BaseException:
            identity.close()
            raise

    def close(self) -> None:
        """Let go of the process."""
        if isinstance(self.memory, ProcessMemory):
            self.memory.close()
        self.executable.close()
        self.identity.close()

    def code(self, address: int, size: int) -> bytes:
        """`size` bytes of code at `address`, out of the file: it is not written to."""
        return self.executable.read(address - self.bias, size)

    def constant(self, address: int, size: int) -> bytes:
        """`size` bytes at `address` that never change, from the file if it has them."""
        try:
            return self.executable.read(address - self.bias, size)
        except BadDataError:
            return self.memory.read(address, size)


def _open_memory(pid: int) -> ProcessMemory:
    try:
        return ProcessMemory(pid)
    except PermissionDenied:
        raise procfs.explain_denied(pid) from None


def _find_go(pid: int) -> tuple[Executable, int, str | None]:
    """The file with the Go runtime in process `pid`, its load bias, and its path if a library."""
    try:
        executable = Executable.open(f"/proc/{pid}/exe")
    except PermissionError:
        raise procfs.explain_denied(pid) from None
    except OSError as error:
        raise TargetError(
            f"the executable of process {pid} cannot be opened: {error.strerror}"
        ) from None
    if executable.is_go:
        return executable, _entry(pid) - executable.entry, None
    executable.close()
    for library, bias, path in _libraries(pid):
        if library.is_go:
            return library, bias, path
        library.close()
    raise _not_go(pid)


def _entry(pid: int) -> int:
    """Where the program of process `pid` begins, from its auxiliary vector."""
    try:
        with open(f"/proc/{pid}/auxv", "rb") as stream:
            raw = stream.read(_MAX_AUXV_BYTES)
    except PermissionError:
        raise procfs.explain_denied(pid) from None
    except OSError:
        raise procfs_gone(pid) from None
    for kind, value in struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]):
        if kind == _AT_ENTRY:
            return int(value)
    raise procfs_gone(pid)


def procfs_gone(pid: int) -> SpyglassError:
    """The error for a process that ended under our hands."""
    from spyglass.errors import ProcessChanged

    return ProcessChanged(f"process {pid} ended while it was read", "run spyglass again")


def _libraries(pid: int) -> Iterator[tuple[Executable, int, str]]:
    """The shared libraries in process `pid` that can be opened, with their load biases."""
    seen: set[tuple[int, int]] = set()
    for mapping in procfs.maps(pid):
        key = (mapping.device, mapping.inode)
        if not mapping.inode or mapping.offset or key in seen or len(seen) >= _MAX_LIBRARIES:
            continue
        seen.add(key)
        library = _open_mapped(pid, mapping)
        if library is None or not library.segments:
            continue
        first = library.segments[0]
        yield library, mapping.start - ((first.address - first.offset) & _PAGE_MASK), mapping.path


def _open_mapped(pid: int, mapping: procfs.Mapping) -> Executable | None:
    """The file of `mapping`: the very one (which root may open), else by its path in the process."""
    for path in (
        f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
        f"/proc/{pid}/root{mapping.path}",
    ):
        try:
            return Executable.open(path)
        except (OSError, ValueError, BadDataError, TargetError):
            continue
    return None


def _not_go(pid: int) -> NotGoProgram:
    """The error for a program without Go in it; it names the children that have."""
    children = tuple(child for child in procfs.descendants(pid) if _is_go(child))
    hint = (
        f"its child is one: --pid {children[0]}"
        if children
        else "`spyglass ps` lists those that are"
    )
    if len(children) > 1:
        hint = "its children are: " + ", ".join(f"--pid {child}" for child in children)
    name = procfs.facts(pid).name
    return NotGoProgram(f"process {pid} ({name}) is not a Go program", hint, children)


def _is_go(pid: int) -> bool:
    try:
        with Executable.open(f"/proc/{pid}/exe") as executable:
            return executable.is_go
    except (OSError, BadDataError, TargetError, MemoryFault):
        return False
