"""The sources of snapshots: a running process, a core file, or a saved snapshot.

Only this module knows the kinds; a command takes a `Source` and calls `Source.snapshot`.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click
from click.shell_completion import CompletionItem

from spyglass.cli.common_options import debug_option
from spyglass.errors import SpyglassError
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.model import Snapshot

__all__ = [
    "CoreSource",
    "ProcessSource",
    "ReadOptions",
    "SavedSource",
    "Source",
    "optional_source_options",
    "read_options",
    "source_options",
    "sources_options",
]

Stacks = Literal["top", "full"]
Command = Callable[..., None]

#: The kernel assigns no higher pid (proc(5), ``/proc/sys/kernel/pid_max``).
_PID_LIMIT = 1 << 22

_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Source(Protocol):
    """A source of snapshots."""

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """Take a snapshot; the parameters are those of `spyglass.inspector.Inspector.snapshot`."""
        ...


@dataclass(frozen=True)
class ProcessSource:
    """A running process."""

    pid: int

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """Its state now."""
        from spyglass import attach
        from spyglass.memory.allocator import keep_freed_memory

        keep_freed_memory()
        with attach(self.pid) as process:
            return process.snapshot(stacks, stop=stop, thread_stacks=thread_stacks)


@dataclass(frozen=True)
class CoreSource:
    """A core file, and its executable if that has moved."""

    path: str
    exe: str | None = None

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """The state of the process when the core was written."""
        if stop:
            raise click.UsageError("--stop cannot be used with --core")
        from spyglass import open_core

        try:
            with open_core(self.path, self.exe) as process:
                return process.snapshot(stacks, thread_stacks=thread_stacks)
        except FileNotFoundError:
            raise SpyglassError(f"no such file: {self.path}") from None


@dataclass(frozen=True)
class SavedSource:
    """A file that ``spyglass snapshot`` or ``spyglass report`` wrote; ``-`` is standard input."""

    path: str
    max_bytes: int | None = None

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """The snapshot in the file, with the stacks that were saved."""
        if stop:
            raise click.UsageError("--stop cannot be used with a saved snapshot")
        from spyglass.export.decompress import MAX_BYTES
        from spyglass.export.snapshot_reader import load

        limit = MAX_BYTES if self.max_bytes is None else self.max_bytes
        try:
            snapshot = load(sys.stdin.buffer if self.path == "-" else self.path, max_bytes=limit)
        except FileNotFoundError:
            hint = f"for a process: --pid {self.path}" if self.path.isdecimal() else None
            raise SpyglassError(f"no such file: {self.path}", hint) from None
        return _noting_missing_stacks(snapshot) if stacks == "full" else snapshot


def _noting_missing_stacks(snapshot: Snapshot) -> Snapshot:
    """`snapshot`, with a problem if it was saved without whole stacks."""
    if len(snapshot.stack_frames) or not len(snapshot.goroutines):
        return snapshot
    from spyglass.model import Problem

    problem = Problem("unknown", "stacks", "saved without whole stacks")
    return replace(snapshot, problems=(*snapshot.problems, problem))


@dataclass(frozen=True)
class ReadOptions:
    """How to read a process: `stop` it meanwhile, and read what its `threads` run."""

    stop: bool
    threads: bool


def read_options(command: Command) -> Command:
    """Add --stop and --threads: calls `command` with ``read``, a `ReadOptions`."""

    @click.option(
        "--stop", is_flag=True,
        help="Pause the process while reading, for a consistent snapshot; reports the pause.",
    )  # fmt: skip
    @click.option(
        "--threads", is_flag=True, help="Also show what each OS thread runs, including C."
    )
    @functools.wraps(command)
    def wrapper(stop: bool, threads: bool, **others: Any) -> None:
        command(read=ReadOptions(stop, threads), **others)

    return wrapper


def source_options(command: Command) -> Command:
    """Add the options of a source: calls `command` with ``source``, a `Source`."""

    @functools.wraps(command)
    def wrapper(source: Source | None, **others: Any) -> None:
        if source is None:
            raise click.UsageError("no process given; use --pid, --name, --core, or a saved FILE")
        command(source=source, **others)

    return optional_source_options(wrapper)


def optional_source_options(command: Command) -> Command:
    """As `source_options`, but ``source`` may be None."""

    @click.argument("file", type=click.Path(), required=False, metavar="[FILE]")
    @_options
    @functools.wraps(command)
    def wrapper(file: str | None, options: SourceOptions, **others: Any) -> None:
        if file is not None and options.is_given:
            raise click.UsageError("give one process or FILE, not several")
        sources = options.sources(() if file is None else (file,))
        command(source=sources[0] if sources else None, **others)

    return wrapper


def sources_options(command: Command) -> Command:
    """Add the options of several sources: calls `command` with ``sources``, files first."""

    @click.argument("files", type=click.Path(), nargs=-1, metavar="FILE...")
    @_options
    @functools.wraps(command)
    def wrapper(files: tuple[str, ...], options: SourceOptions, **others: Any) -> None:
        command(sources=options.sources(files), **others)

    return wrapper


@dataclass(frozen=True)
class SourceOptions:
    """The values of the options of a source."""

    pid: int | None
    name: str | None
    core: str | None
    exe: str | None
    max_size: int | None

    @property
    def is_given(self) -> bool:
        """Whether a process or a core was given."""
        return not (self.pid is None and self.name is None and self.core is None)

    def sources(self, files: tuple[str, ...]) -> list[Source]:
        """All given sources; `files` are saved snapshots."""
        if (self.pid, self.name, self.core).count(None) < 2:
            raise click.UsageError("--pid, --name and --core are mutually exclusive")
        if self.exe is not None and self.core is None:
            raise click.UsageError("--exe requires --core")
        sources: list[Source] = [SavedSource(file, self.max_size) for file in files]
        if self.pid is not None:
            sources.append(ProcessSource(self.pid))
        if self.name is not None:
            sources.append(ProcessSource(_named(self.name)))
        if self.core is not None:
            sources.append(CoreSource(self.core, self.exe))
        return sources


def _named(name: str) -> int:
    from spyglass.processes import find_by_name

    return find_by_name(name)


class _Pid(click.types.IntParamType):
    """A process id; completed with the pids of Go processes."""

    name = "pid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        pid: int = super().convert(value, param, ctx)
        if not 0 < pid <= _PID_LIMIT:
            self.fail(f"{value!r} is not a process id", param, ctx)
        return pid

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.processes import go_processes

        return [
            CompletionItem(str(process.pid), help=visible(" ".join(process.cmdline))[:60])
            for process in go_processes().processes
            if str(process.pid).startswith(incomplete)
        ]


def _bytes(_context: click.Context, _option: click.Parameter, size: str | None) -> int | None:
    if size is None:
        return None
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        raise click.BadParameter(f"{size!r} is not a size such as 500M or 4GiB")
    return int(found[1]) << _UNITS[found[2].upper()]


def _options(command: Command) -> Command:
    @click.option("-p", "--pid", type=_Pid(), metavar="PID", help="Process to inspect.")
    @click.option("--name", metavar="NAME", help="Inspect the Go process called NAME.")
    @click.option(
        "--core",
        type=click.Path(),
        metavar="FILE",
        help="Read a core file instead of a process.",
    )
    @click.option(
        "--exe",
        type=click.Path(),
        metavar="FILE",
        help="Executable for --core, if it has moved.",
    )
    @click.option(
        "--max-size", callback=_bytes, metavar="SIZE",
        help="Maximum unpacked size of FILE (default: 2GiB).",
    )  # fmt: skip
    @debug_option
    @functools.wraps(command)
    def wrapper(
        pid: int | None,
        name: str | None,
        core: str | None,
        exe: str | None,
        max_size: int | None,
        **others: Any,
    ) -> None:
        command(options=SourceOptions(pid, name, core, exe, max_size), **others)

    return wrapper
