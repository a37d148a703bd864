"""A live process: the executable with its Go runtime, and what /proc tells of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spyglass import procfs
from spyglass.binary.corenotes import MappedFile, parse_auxv
from spyglass.binary.go_executable import GoExecutable
from spyglass.containers import Containers
from spyglass.errors import (
    BadDataError,
    MemoryFault,
    NotGoProgram,
    PermissionDenied,
    ProcessChanged,
    SpyglassError,
    TargetError,
)
from spyglass.memory.process import ProcessMemory
from spyglass.model import Problem
from spyglass.process_list import Names
from spyglass.procfs.containers import Membership, membership
from spyglass.procfs.memory_limits import memory_limits
from spyglass.targets.live_cpu import LiveCpu
from spyglass.targets.target_process import AT_ENTRY, Facts, OsThread, Program, TargetProcess

if TYPE_CHECKING:
    from spyglass.memory.base import Memory
    from spyglass.memory_limits import MemoryLimits
    from spyglass.targets.target_process import StoppedThreads
    from spyglass.threads import Registers
    from spyglass.wait_graph import Connection

__all__ = ["LiveProcess", "find_program", "open_memory"]

_MAX_AUXV_BYTES = 1 << 12
_MAX_LIBRARIES = 4096
_PAGE_MASK = ~0xFFF
#: Fields of `Facts`, and what reads them.
_FACTS: Mapping[str, Callable[[int], object]] = {
    "exe": lambda pid: procfs.executable(pid)[0],
    "cmdline": procfs.command_line,
    "started_at": procfs.started_at,
    "uptime_seconds": procfs.uptime_seconds,
    "rss_bytes": procfs.rss_bytes,
    "memory_limit_bytes": procfs.memory_limit_bytes,
    "limits": memory_limits,
}


class LiveProcess(TargetProcess):
    """Process `pid`, which may end or become another at any time."""

    kind = "process"
    stopped = False

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._identity = procfs.open_process(pid)
        self.cpu = LiveCpu(pid)
        self._named: tuple[Membership, Names] | None = None

    def facts(self) -> Facts:
        """The facts, as they are now; what cannot be read is a problem.

        Raises `ProcessChanged` if that is because the process ended, or is another.
        """
        known: dict[str, Any] = {}
        problems = []
        for name, read in (*_FACTS.items(), ("container", self._contained)):
            try:
                known[name] = read(self.pid)
            except SpyglassError as error:
                self.check()
                problems.append(Problem("unreadable", name, error.message))
        container, names = known.pop("container", (None, Names()))
        return Facts(
            host=os.uname().nodename, container=container, names=names, problems=tuple(problems), **known
        )  # fmt: skip

    def _contained(self, pid: int) -> tuple[str | None, Names]:
        """The container that it is in, and names: files are read once, for snapshots may follow each other fast."""
        inside = membership(pid)
        if self._named is None or self._named[0] != inside:
            self._named = inside, Containers().names(pid, inside)
        return inside.container, self._named[1]

    def threads(self) -> Sequence[OsThread]:
        """The threads, by id."""
        return procfs.threads(self.pid)

    def memory_limits(self, *, files: bool = False) -> MemoryLimits:
        """The limits of its control groups, its resource limits, and the host's memory."""
        return memory_limits(self.pid, files=files)

    def outer_tids(self) -> dict[int, int] | None:
        """The ids of the threads by those that the process sees in a pid namespace of its own."""
        return procfs.outer_tids(self.pid)

    def stop(self) -> AbstractContextManager[StoppedThreads]:
        """Stop every thread while the context is entered."""
        from spyglass.threads.stop import stopped

        return stopped(self.pid)

    def saved_registers(self) -> None:
        """None: its threads keep running."""

    def registers(self, tids: Sequence[int]) -> dict[int, Registers]:
        """From /proc for threads that wait in the kernel; the others are sampled."""
        from spyglass.threads import blocked_registers, sample_threads

        blocked = {tid: blocked_registers(self.pid, tid) for tid in tids}
        found = {tid: registers for tid, registers in blocked.items() if registers is not None}
        running = [tid for tid in tids if tid not in found]
        if running:
            found |= sample_threads(running, lambda _: True).registers
        return found

    def native_names(self, memory: Memory) -> Callable[[int], str]:
        """Names from the symbols of the files that are mapped."""
        from spyglass.threads.native_symbols import Symbols

        return Symbols(self.pid, procfs.maps(self.pid), memory).describe

    def taken_at(self) -> datetime:
        """Now."""
        return datetime.now(UTC)

    def now_ns(self) -> int | None:
        """The clock that the runtime's nanotime reads, in the process's own time namespace."""
        offset_ns = procfs.monotonic_offset_ns(self.pid)
        return (
            None if offset_ns is None else time.clock_gettime_ns(time.CLOCK_MONOTONIC) + offset_ns
        )

    def auxv(self) -> dict[int, int]:
        """The auxiliary vector: types of getauxval(3) and their values."""
        return _auxv(self.pid)

    def files(self) -> Sequence[MappedFile]:
        """The files that are mapped."""
        return [
            MappedFile(mapping.start, mapping.end, mapping.offset, mapping.path)
            for mapping in procfs.maps(self.pid)
            if mapping.inode
        ]

    def connections(self, fds: Iterable[int]) -> Mapping[int, Connection]:
        """What the file descriptors `fds` are of now; without those that cannot be looked at."""
        from spyglass.procfs.sockets import read_connections

        return read_connections(self.pid, fds)

    def check(self) -> None:
        """Raise `ProcessChanged` if the process ended, or runs another program."""
        self._identity.check()

    def close(self) -> None:
        """Close its pidfd."""
        self._identity.close()


def open_memory(pid: int) -> ProcessMemory:
    """The memory of process `pid`; `PermissionDenied` says which rule forbids to read it."""
    try:
        return ProcessMemory(pid)
    except PermissionDenied:
        raise procfs.explain_denied(pid) from None


def find_program(pid: int) -> Program:
    """The file with the Go runtime in process `pid`."""
    try:
        executable = GoExecutable.open(f"/proc/{pid}/exe")
    except PermissionError:  # not the process, whose mappings could be read, but the file
        raise PermissionDenied(
            f"process {pid} runs a file that this user may not read", "run spyglass with sudo"
        ) from None
    except OSError as error:
        raise TargetError(
            f"the executable of process {pid} cannot be opened: {error.strerror}"
        ) from None
    if executable.is_go:
        return Program(executable, _bias(pid, executable))
    executable.close()
    for library in _libraries(pid):
        if library.executable.is_go:
            return library
        library.executable.close()
    raise _not_go(pid)


def _bias(pid: int, executable: GoExecutable) -> int:
    """By how much addresses in process `pid` are above those in its `executable`."""
    entry = _auxv(pid).get(AT_ENTRY)
    if entry is not None:
        return entry - executable.entry
    exe = os.stat(f"/proc/{pid}/exe")
    for mapping in procfs.maps(pid):
        if not mapping.offset and (mapping.device, mapping.inode) == (exe.st_dev, exe.st_ino):
            return _bias_of(executable, mapping)
    raise _gone(pid)


def _auxv(pid: int) -> dict[int, int]:
    """The auxiliary vector; empty if this user may not open it: it is a file of the process's user, and CAP_SYS_PTRACE
    does not open files of others."""
    try:
        with open(f"/proc/{pid}/auxv", "rb") as stream:
            return parse_auxv(stream.read(_MAX_AUXV_BYTES))
    except PermissionError:
        return {}
    except OSError:
        raise _gone(pid) from None


def _gone(pid: int) -> ProcessChanged:
    """The error for a process that ended while it was read."""
    return ProcessChanged(f"process {pid} ended while it was read", "run spyglass again")


def _libraries(pid: int) -> Iterator[Program]:
    """The shared libraries in process `pid` that can be opened."""
    seen: set[tuple[int, int]] = set()
    for mapping in procfs.maps(pid):
        key = (mapping.device, mapping.inode)
        if not mapping.inode or mapping.offset or key in seen or len(seen) >= _MAX_LIBRARIES:
            continue
        seen.add(key)
        library = _open_mapped(pid, mapping)
        if library is None or not library.segments:
            continue
        yield Program(library, _bias_of(library, mapping), mapping.path)


def _bias_of(file: GoExecutable, first: procfs.Mapping) -> int:
    """The same, given where the beginning of the `file` is mapped."""
    segment = file.segments[0]
    return first.start - ((segment.address - segment.offset) & _PAGE_MASK)


def _open_mapped(pid: int, mapping: procfs.Mapping) -> GoExecutable | None:
    """The file of `mapping`: the very one, which root may open, else by its path in the process if it is still there:
    after an upgrade there is another one, whose function table is not that of the process."""
    for path in (
        f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
        f"/proc/{pid}/root{mapping.path}",
    ):
        try:
            found = GoExecutable.open(path)
            # Asked after it was opened: whatever has this name now had it, or came later.
            if os.stat(path).st_ino == mapping.inode:
                return found
            found.close()
        except (OSError, ValueError, BadDataError, TargetError):
            continue
    return None


def _not_go(pid: int) -> NotGoProgram:
    """The error for a program without Go in it; it names the children that have."""
    from spyglass.procfs.host_processes import descendants

    children = tuple(child for child in descendants(pid) if _is_go(child))
    hint = (
        f"its child is one: --pid {children[0]}"
        if children
        else "`spyglass ps` lists the Go processes"
    )
    if len(children) > 1:
        hint = "its children are: " + ", ".join(f"--pid {child}" for child in children)
    return NotGoProgram(f"process {pid} ({procfs.comm(pid)}) is not a Go program", hint, children)


def _is_go(pid: int) -> bool:
    try:
        with GoExecutable.open(f"/proc/{pid}/exe") as executable:
            return executable.is_go
    except (OSError, BadDataError, TargetError, MemoryFault):
        return False
