"""Which processes of this host are Go programs, by their executables alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spyglass.containers import Containers
from spyglass.errors import AmbiguousName, ProcessNotFound, SpyglassError
from spyglass.process_list import GoProcess, ProcessList, UnreadableProcess
from spyglass.procfs import (
    comm,
    command_line,
    cpu_quota,
    executable,
    explain_denied,
    memory_limit_bytes,
    owner,
    rss_bytes,
    started_at,
    thread_count,
    uptime_seconds,
    why_denied,
)
from spyglass.procfs.cpu_times import ProcessTime, process_times
from spyglass.procfs.files import read_stat
from spyglass.procfs.host_processes import pids

__all__ = ["find_by_name", "go_processes", "named", "names_of", "only_one"]

#: In a shorter time than this, what a process uses says nothing.
_MIN_WINDOW_NS = 20_000_000
_LIST_HINT = "`spyglass ps` lists the Go processes"

#: Device, inode, time of the last change in ns, size: the same file, unchanged.
_FileKey = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _GoProgram:
    """What the executable of a Go program says of itself."""

    go_version: str | None
    package: str | None
    module: str | None
    module_version: str | None
    stripped: bool


class _Programs:
    """The programs that processes run; each file is read once, however many processes run it."""

    def __init__(self) -> None:
        self._known: dict[_FileKey, _GoProgram | None] = {}

    def of(self, pid: int) -> _GoProgram | None:
        """The Go program that process `pid` runs, None if it runs another or none.

        Raises OSError, `UnsupportedProgram` or `BadDataError` when that cannot be known.
        """
        path = f"/proc/{pid}/exe"
        try:
            key = _file_key(path)
        except (FileNotFoundError, ProcessLookupError):  # a kernel thread, a zombie, or gone
            return None
        if key in self._known:
            return self._known[key]
        program = _identify(path)
        if _file_key(path) == key:  # else another program was started meanwhile
            self._known[key] = program
        return program


def go_processes(
    among: Iterable[int] | None = None, before: Mapping[int, ProcessTime] | None = None
) -> ProcessList:
    """The Go processes of this host, or of the pids `among`.

    Memory is not read, so a Go library in another program is not noticed. `before`: an earlier reading
    of processes' times (`process_times`), from which on their use of processors is measured.
    """
    programs, containers = _Programs(), Containers()
    found: list[GoProcess] = []
    unreadable: list[UnreadableProcess] = []
    for pid in pids() if among is None else among:
        process = _examine(pid, programs, containers)
        if isinstance(process, GoProcess):
            found.append(process)
        elif process is not None:
            unreadable.append(process)
    return ProcessList(datetime.now(UTC), tuple(_with_cpu(found, before or {})), tuple(unreadable))


def _with_cpu(processes: list[GoProcess], before: Mapping[int, ProcessTime]) -> Iterator[GoProcess]:
    """`processes` with what they used of the processors until now, and since `before`."""
    times = process_times(process.pid for process in processes)
    for process in processes:
        now, then = times.get(process.pid), before.get(process.pid)
        if now is None:
            yield process
            continue
        cores = None
        if then is not None and now.at_ns - then.at_ns >= _MIN_WINDOW_NS:
            cores = max(now.used_ns - then.used_ns, 0) / (now.at_ns - then.at_ns)
        yield replace(process, cpu_seconds=now.used_ns / 1e9, cpu_cores=cores)


def named(name: str) -> ProcessList:
    """The Go processes whose comm, executable or first argument is called `name`; directories do not
    count. `unreadable` are those of which it is not known whether they are Go processes."""
    return go_processes(pid for pid in pids() if name in names_of(pid))


def find_by_name(name: str) -> int:
    """The pid of the one Go process that is called `name`; raises as `only_one`."""
    return only_one(named(name), name)


def only_one(listing: ProcessList, name: str) -> int:
    """The pid of the one process of `listing`, the Go processes called `name`.

    Raises `AmbiguousName` if there are several, `ProcessNotFound` if there is none,
    `PermissionDenied` if there is one and it cannot be read whether it is a Go program.
    """
    found = [process.pid for process in listing.processes]
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousName(
            f"{len(found)} Go processes are called {name}", "choose one with --pid", tuple(found)
        )
    for process in listing.unreadable:
        raise explain_denied(process.pid, memory=False)
    raise ProcessNotFound(f"no Go process is called {name}", _LIST_HINT)


def _examine(
    pid: int, programs: _Programs, containers: Containers
) -> GoProcess | UnreadableProcess | None:
    """Process `pid` if it is a Go process or cannot be read; None if it is another, or has ended."""
    try:
        program = programs.of(pid)
        return _go_process(pid, program, containers) if program else None
    except ProcessNotFound:
        return None
    except (OSError, SpyglassError) as error:
        return _unreadable(pid, error)


def _go_process(pid: int, program: _GoProgram, containers: Containers) -> GoProcess:
    exe, exe_deleted = executable(pid)
    quota = cpu_quota(pid)
    container, names = containers.of(pid)
    return GoProcess(
        pid=pid,
        user=owner(pid),
        go_version=program.go_version,
        package=program.package,
        module=program.module,
        module_version=program.module_version,
        started_at=started_at(pid),
        age_seconds=uptime_seconds(pid),
        rss_bytes=rss_bytes(pid),
        threads=thread_count(pid),
        cmdline=command_line(pid),
        exe=exe,
        exe_deleted=exe_deleted,
        stripped=program.stripped,
        container=container,
        cpu_limit_cores=quota.cores if quota else None,
        memory_limit_bytes=memory_limit_bytes(pid),
        container_name=names.container,
        pod=names.pod,
        namespace=names.namespace,
        pod_uid=names.pod_uid,
    )


def _unreadable(pid: int, error: OSError | SpyglassError) -> UnreadableProcess | None:
    """Process `pid`, whose executable cannot be read; None if it has none, or has ended."""
    try:
        stat = read_stat(pid)
        if stat.kernel_thread or stat.ended:
            return None
        return UnreadableProcess(pid, stat.name, _why(pid, error))
    except PermissionError:  # hidepid: not even the name
        return UnreadableProcess(pid, "?", why_denied(pid, memory=False).reason)
    except (OSError, ProcessNotFound):
        return None


def _why(pid: int, error: OSError | SpyglassError) -> str:
    if isinstance(error, SpyglassError):
        return error.message
    try:
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return why_denied(pid, memory=False).reason
    # It may be looked at, and yet its file refuses: FUSE, a file system that has gone away.
    return f"its executable cannot be opened: {error.strerror}"


def names_of(pid: int) -> Iterator[str]:
    """What process `pid` may be called: its comm, the names of its executable and first argument."""
    try:
        name, (exe, _), arguments = comm(pid), executable(pid), command_line(pid)
    except SpyglassError:
        return
    yield name
    yield from (os.path.basename(path) for path in (exe, *arguments[:1]) if path)


def _file_key(path: str) -> _FileKey:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _identify(path: str) -> _GoProgram | None:
    """The Go program at `path`, None if another language's linker made it."""
    from spyglass.binary.go_executable import GoExecutable

    with GoExecutable.open(path) as executable:
        if not executable.is_go:
            return None
        build = executable.build_info
        return _GoProgram(
            executable.go_version,
            build.path,
            build.module,
            build.module_version,
            executable.stripped,
        )
