"""Options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from spyglass.render.text import visible

__all__ = ["Settings", "debug_option", "debugging", "show_timings", "target_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

#: The kernel gives no process a higher one (proc(5), ``/proc/sys/kernel/pid_max``).
_PID_LIMIT = 1 << 22


@dataclass
class Settings:
    """What was asked for on the command line that is not for one command alone."""

    debug: bool = False


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


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let `command` be told a process by ``--pid`` or ``--name``; it is called with ``pid``."""

    @click.option("-p", "--pid", type=_Pid(), metavar="PID", help="The process to look into.")
    @click.option(
        "--name", metavar="NAME", help="Instead of --pid: the one Go process that is called NAME."
    )
    @debug_option
    @functools.wraps(command)
    def told(pid: int | None, name: str | None, **options: Any) -> None:
        command(pid=_one_process(pid, name), **options)

    return told


def debug_option(command: Command) -> Command:
    """Let `command` take ``--debug``, which is noted in the `Settings`."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_note_debug,
        help="Show tracebacks, all problems, and how long each phase took.",
    )(command)


def debugging() -> bool:
    """Whether ``--debug`` was given, before the command's name or after it."""
    return click.get_current_context().ensure_object(Settings).debug


def show_timings(timings_ns: dict[str, int]) -> None:
    """Print how long each phase took, on stderr."""
    width = max(map(len, timings_ns))
    for phase, spent_ns in timings_ns.items():
        click.echo(f"{phase:<{width}} {spent_ns / 1e6:10.3f} ms", err=True)


def _note_debug(context: click.Context, _option: click.Parameter, given: bool) -> None:
    if given:
        context.ensure_object(Settings).debug = True


def _one_process(pid: int | None, name: str | None) -> int:
    if pid is not None and name is not None:
        raise click.UsageError("--pid and --name exclude each other")
    if pid is not None:
        return pid
    if name is None:
        raise click.UsageError("which process? Give --pid or --name")
    from spyglass.processes import find_by_name

    return find_by_name(name)
