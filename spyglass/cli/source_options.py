"""The options and arguments that name a target: a running process, a core file, or a saved snapshot."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from spyglass.cli.common_options import debug_option
from spyglass.cli.sources import CoreSource, ProcessSource, Source
from spyglass.cli.typed_targets import MAX_PID, typed_source

__all__ = [
    "ReadOptions",
    "optional_source_options",
    "read_options",
    "saved_waits_options",
    "size_bytes",
    "source_and_words_options",
    "source_options",
    "sources_options",
    "stop_option",
    "watch_option",
    "watch_seconds",
]

if TYPE_CHECKING:
    from spyglass.runtime.waiting.options import WaitOptions

Command = Callable[..., None]

_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_MIN_WATCH_NS, _MAX_WATCH_NS = 100_000_000, 3600 * 10**9
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class ReadOptions:
    """How to read a process: `stop` it meanwhile, read what its `threads` run, what goroutines wait on
    (`waits`), and the `heap`, which tells what nothing can wake."""

    stop: bool
    threads: bool
    waits: bool = False
    heap: bool = False

    def wait_options(self) -> WaitOptions | None:
        """The options of reading waits; None: they are not read."""
        if not (self.waits or self.heap):
            return None
        from spyglass.runtime.waiting.options import WaitOptions

        return WaitOptions(heap=self.heap)


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
    def wrapper(
        stop: bool, threads: bool, waits: bool = False, heap: bool = False, **others: Any
    ) -> None:
        command(read=ReadOptions(stop, threads, waits, heap), **others)

    return wrapper


def stop_option(command: Command) -> Command:
    """As `read_options`, without --threads."""

    @click.option(
        "--stop", is_flag=True, help="Pause the process while reading, for a consistent report."
    )
    @functools.wraps(command)
    def wrapper(stop: bool, waits: bool = False, heap: bool = False, **others: Any) -> None:
        command(read=ReadOptions(stop, threads=False, waits=waits, heap=heap), **others)

    return wrapper


def watch_option(command: Command) -> Command:
    """Add --watch, for a command with `source_options` before this: its ``source`` watches the scheduler first."""

    @click.option(
        "--watch", "watch_s", callback=watch_seconds, metavar="DURATION",
        help="Watch the scheduler for DURATION first, and show what hinders goroutines from running.",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(source: Source, watch_s: float | None, **others: Any) -> None:
        if watch_s is not None:
            if not isinstance(source, ProcessSource):
                raise click.UsageError("--watch needs a running process")
            source = replace(source, watch_s=watch_s)
        command(source=source, **others)

    return wrapper


def watch_seconds(
    context: click.Context, option: click.Parameter, span: str | None
) -> float | None:
    """A time span in seconds that something is watched for."""
    from spyglass.cli.filter_options import span_ns

    given_ns = span_ns(context, option, span)
    if given_ns is None:
        return None
    if not _MIN_WATCH_NS <= given_ns <= _MAX_WATCH_NS:
        raise click.BadParameter("must be between 100ms and 1h")
    return given_ns / 1e9


def saved_waits_options(command: Command) -> Command:
    """Add --waits and --heap, which `read_options`, the decorator before this one, takes too."""
    heap = click.option(
        "--heap", is_flag=True, help="Also read the heap to find goroutines that nothing can wake."
    )
    waits = click.option(
        "--waits/--no-waits", default=True,
        help="Save what goroutines wait on and who holds it (default), for `spyglass waits`.",
    )  # fmt: skip
    decorated: Command = waits(heap(command))
    return decorated


def source_options(command: Command) -> Command:
    """Add the options of a source: calls `command` with ``source``, a `Source`."""

    @functools.wraps(command)
    def wrapper(source: Source | None, **others: Any) -> None:
        if source is None:
            raise click.UsageError("no target given; give a pid, a process name, or a file")
        command(source=source, **others)

    return optional_source_options(wrapper)


def optional_source_options(command: Command) -> Command:
    """As `source_options`, but ``source`` may be None."""

    @click.argument("target", type=_Target(), required=False, metavar="[TARGET]")
    @_options
    @functools.wraps(command)
    def wrapper(target: str | None, options: SourceOptions, **others: Any) -> None:
        if target is not None and options.is_given:
            raise click.UsageError("give one target, not several")
        sources = options.sources(() if target is None else (target,))
        command(source=sources[0] if sources else None, **others)

    return wrapper


def sources_options(command: Command) -> Command:
    """Add the options of several sources: calls `command` with ``sources``, arguments first."""

    @click.argument("targets", type=_Target(), nargs=-1, metavar="TARGET...")
    @_options
    @functools.wraps(command)
    def wrapper(targets: tuple[str, ...], options: SourceOptions, **others: Any) -> None:
        command(sources=options.sources(targets), **others)

    return wrapper


def source_and_words_options(metavar: str) -> Callable[[Command], Command]:
    """As `source_options`, with further arguments, shown as `metavar`: calls `command` with ``words``, those behind the
    target, or all of them where an option names the target."""

    def decorated(command: Command) -> Command:
        @click.argument("words", type=_Target(), nargs=-1, metavar=f"[TARGET] {metavar}")
        @_options
        @functools.wraps(command)
        def wrapper(words: tuple[str, ...], options: SourceOptions, **others: Any) -> None:
            given = 0 if options.is_given else 1
            sources = options.sources(words[:given])
            if not sources:
                raise click.UsageError("no target given; give a pid, a process name, or a file")
            command(source=sources[0], words=words[given:], **others)

        return wrapper

    return decorated


@dataclass(frozen=True)
class SourceOptions:
    """The values of the options of a source."""

    pid: int | None
    name: str | None
    container: str | None
    pod: str | None
    core: str | None
    exe: str | None
    max_size: int | None

    @property
    def is_given(self) -> bool:
        """Whether a process or a core was given."""
        return any(each is not None for each in (self.pid, self.core, *self._names))

    @property
    def _names(self) -> tuple[str | None, ...]:
        return self.name, self.container, self.pod

    def sources(self, words: tuple[str, ...]) -> list[Source]:
        """All given sources; `words` are targets as typed (`spyglass.cli.typed_targets`)."""
        self._check()
        sources = [typed_source(word, self.exe, self.max_size) for word in words]
        if self.pid is not None:
            sources.append(ProcessSource(self.pid))
        if any(each is not None for each in self._names):
            sources.append(ProcessSource(_found(*self._names)))
        if self.core is not None:
            sources.append(CoreSource(self.core, self.exe))
        if self.exe is not None and not any(isinstance(each, CoreSource) for each in sources):
            raise click.UsageError("--exe requires a core file")
        return sources

    def _check(self) -> None:
        if (self.pid, self.name, self.core).count(None) < 2:
            raise click.UsageError("--pid, --name and --core are mutually exclusive")
        contained = self.container is not None or self.pod is not None
        if contained and not (self.pid is None and self.core is None):
            raise click.UsageError("--container and --pod cannot be used with --pid and --core")


def _found(name: str | None, container: str | None, pod: str | None) -> int:
    if container is None and pod is None and name is not None:
        from spyglass.processes import find_by_name

        return find_by_name(name)
    from spyglass.process_choice import Wanted, find

    return find(Wanted(name, container, pod))


class Pid(click.types.IntParamType):
    """A process id; completed with the pids of Go processes."""

    name = "pid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        pid: int = super().convert(value, param, ctx)
        if not 0 < pid <= MAX_PID:
            self.fail(f"{value!r} is not a process id", param, ctx)
        return pid

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.cli.completions import pids

        return pids(incomplete)


class _Name(click.types.StringParamType):
    """The name of a process; completed with the names of Go processes."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.cli.completions import names

        return names(incomplete)


class _Container(click.types.StringParamType):
    """The name of a container; completed with those that Go processes run in."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.cli.completions import containers

        return containers(incomplete)


class _Pod(click.types.StringParamType):
    """A pod; completed with those that Go processes run in."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.cli.completions import pods

        return pods(incomplete)


class _Target(click.types.StringParamType):
    """A target as typed; completed with pids, names of Go processes, and files."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from spyglass.cli.completions import targets

        return targets(incomplete)


def size_bytes(_context: click.Context, _option: click.Parameter, size: str | None) -> int | None:
    """A size in bytes, from a number with a unit."""
    if size is None:
        return None
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        raise click.BadParameter(f"{size!r} is not a size such as 500M or 4GiB")
    return int(found[1]) << _UNITS[found[2].upper()]


def _options(command: Command) -> Command:
    @click.option("-p", "--pid", type=Pid(), metavar="PID", help="Process to inspect.")
    @click.option(
        "--name", type=_Name(), metavar="NAME", help="Inspect the Go process called NAME."
    )
    @click.option(
        "--container",
        type=_Container(),
        metavar="NAME",
        help="Inspect the Go process in the container NAME (a name, or the beginning of an id).",
    )
    @click.option(
        "--pod", type=_Pod(), metavar="[NAMESPACE/]NAME", help="Inspect the Go process in this pod of Kubernetes."
    )  # fmt: skip
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
        help="Executable for a core file, if it has moved.",
    )
    @click.option(
        "--max-size", callback=size_bytes, metavar="SIZE",
        help="Maximum unpacked size of a saved snapshot (default: 2GiB).",
    )  # fmt: skip
    @debug_option
    @functools.wraps(command)
    def wrapper(
        pid: int | None,
        core: str | None,
        exe: str | None,
        max_size: int | None,
        **others: Any,
    ) -> None:
        names = {each: others.pop(each) for each in ("name", "container", "pod")}
        options = SourceOptions(pid=pid, core=core, exe=exe, max_size=max_size, **names)
        command(options=options, **others)

    return wrapper
