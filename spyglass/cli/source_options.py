"""Where snapshots come from: a process that is looked into now, what is left of one in a core file, or a
file in which a snapshot was saved.

The one place that knows all of them: a command is told a source and asks it for a snapshot.
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

#: The kernel gives no process a higher one (proc(5), ``/proc/sys/kernel/pid_max``).
_PID_LIMIT = 1 << 22

_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Source(Protocol):
    """What a snapshot can be had of."""

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """One snapshot, as `spyglass.inspector.Inspector.snapshot` takes it."""
        ...


@dataclass(frozen=True)
class ProcessSource:
    """A process that runs."""

    pid: int

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """What it is doing now."""
        from spyglass import attach

        with attach(self.pid) as process:
            return process.snapshot(stacks, stop=stop, thread_stacks=thread_stacks)


@dataclass(frozen=True)
class CoreSource:
    """A core file, and the program that it is of, if that is not where it was."""

    path: str
    exe: str | None = None

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """What the process was doing when it was saved."""
        if stop:
            raise click.UsageError("--stop is for a process, and a core stands still")
        from spyglass import open_core

        try:
            with open_core(self.path, self.exe) as process:
                return process.snapshot(stacks, thread_stacks=thread_stacks)
        except FileNotFoundError:
            raise SpyglassError(f"there is no file {self.path}") from None


@dataclass(frozen=True)
class SavedSource:
    """A file that ``spyglass snapshot`` wrote, or a report; ``-`` is standard input."""

    path: str
    max_bytes: int | None = None

    def snapshot(
        self, stacks: Stacks = "full", *, stop: bool = False, thread_stacks: bool = False
    ) -> Snapshot:
        """The snapshot in it, with as much of the stacks as it was saved with."""
        if stop:
            raise click.UsageError("--stop is for a process, not for a saved snapshot")
        from spyglass.export.decompress import MAX_BYTES
        from spyglass.export.snapshot_reader import load

        limit = MAX_BYTES if self.max_bytes is None else self.max_bytes
        try:
            snapshot = load(sys.stdin.buffer if self.path == "-" else self.path, max_bytes=limit)
        except FileNotFoundError:
            hint = f"for a process: --pid {self.path}" if self.path.isdecimal() else None
            raise SpyglassError(f"there is no file {self.path}", hint) from None
        return _without_stacks(snapshot) if stacks == "full" else snapshot


def _without_stacks(snapshot: Snapshot) -> Snapshot:
    """`snapshot`, which says so if it was saved with the top of each stack only."""
    if len(snapshot.stack_frames) or not len(snapshot.goroutines):
        return snapshot
    from spyglass.model import Problem

    problem = Problem("unknown", "stacks", "only the top of each was saved")
    return replace(snapshot, problems=(*snapshot.problems, problem))


@dataclass(frozen=True)
class ReadOptions:
    """ReadOptions a process is to be read: stopped or not, with what its threads run or without."""

    stop: bool
    threads: bool


def read_options(command: Command) -> Command:
    """Let `command` be told `ReadOptions` to read a process; it is called with ``how``."""

    @click.option(
        "--stop", is_flag=True,
        help="Stop the process while it is read: all is of one moment. It says for how long.",
    )  # fmt: skip
    @click.option("--threads", is_flag=True, help="Show too what each thread runs, be it C.")
    @functools.wraps(command)
    def told(stop: bool, threads: bool, **others: Any) -> None:
        command(how=ReadOptions(stop, threads), **others)

    return told


def source_options(command: Command) -> Command:
    """Let `command` be told one `Source`; it is called with ``source``."""

    @functools.wraps(command)
    def told(source: Source | None, **others: Any) -> None:
        if source is None:
            raise click.UsageError("which process? Give --pid, --name, --core, or a saved FILE")
        command(source=source, **others)

    return optional_source_options(told)


def optional_source_options(command: Command) -> Command:
    """Let `command` be told one `Source` or none; it is called with ``source``, which may be None."""

    @click.argument("file", type=click.Path(), required=False, metavar="[FILE]")
    @_options
    @functools.wraps(command)
    def told(file: str | None, options: SourceOptions, **others: Any) -> None:
        if file is not None and options.is_given:
            raise click.UsageError("one process or FILE, not several")
        sources = options.sources(() if file is None else (file,))
        command(source=sources[0] if sources else None, **others)

    return told


def sources_options(command: Command) -> Command:
    """Let `command` be told several: it is called with ``sources``, files first, as they were given."""

    @click.argument("files", type=click.Path(), nargs=-1, metavar="FILE...")
    @_options
    @functools.wraps(command)
    def told(files: tuple[str, ...], options: SourceOptions, **others: Any) -> None:
        command(sources=options.sources(files), **others)

    return told


@dataclass(frozen=True)
class SourceOptions:
    """What was said by options of where snapshots come from."""

    pid: int | None
    name: str | None
    core: str | None
    exe: str | None
    max_size: int | None

    @property
    def is_given(self) -> bool:
        """Whether a process was given, or what is left of one."""
        return not (self.pid is None and self.name is None and self.core is None)

    def sources(self, files: tuple[str, ...]) -> list[Source]:
        """All that was given."""
        if (self.pid, self.name, self.core).count(None) < 2:
            raise click.UsageError("--pid, --name and --core exclude each other")
        if self.exe is not None and self.core is None:
            raise click.UsageError("--exe goes with --core: which core is of that program?")
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
    """A process id; a shell completes it with those of Go processes."""

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
    @click.option("-p", "--pid", type=_Pid(), metavar="PID", help="The process to look into.")
    @click.option(
        "--name", metavar="NAME", help="Instead of --pid: the one Go process that is called NAME."
    )
    @click.option(
        "--core",
        type=click.Path(),
        metavar="FILE",
        help="Instead of --pid: the core file of a process that has ended, or lives on.",
    )
    @click.option(
        "--exe",
        type=click.Path(),
        metavar="FILE",
        help="With --core: the program, if it is not any more where it was.",
    )
    @click.option(
        "--max-size", callback=_bytes, metavar="SIZE",
        help="The most that a FILE may be unpacked to; 2GiB if not given.",
    )  # fmt: skip
    @debug_option
    @functools.wraps(command)
    def told(
        pid: int | None,
        name: str | None,
        core: str | None,
        exe: str | None,
        max_size: int | None,
        **others: Any,
    ) -> None:
        command(options=SourceOptions(pid, name, core, exe, max_size), **others)

    return told
