"""Options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from spyglass.formats import Takes, exporter, text_exporters

__all__ = [
    "Settings", "debug_option", "debugging", "format_options", "redact_option", "show_timings",
]  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])


#: Adds ``--redact``: calls the command with ``redact``.
redact_option = click.option(
    "--redact",
    is_flag=True,
    help="Remove command line, labels, host name, container, addresses of connections, and directories above packages.",
)


def format_options(takes: Takes) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a flag for each text format (``--json``): calls the command with ``exporter``, which may be None.

    The flags are those of the text formats of `takes` in `spyglass.formats`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(format_name: str | None, **others: Any) -> None:
            chosen = exporter(takes, format_name) if format_name else None
            command(exporter=chosen, **others)

        decorated: Callable[..., None] = wrapper
        for each in text_exporters(takes):
            flag = click.option(
                f"--{each.name}", "format_name", flag_value=each.name, help=each.description
            )
            decorated = flag(decorated)
        return decorated

    return decorate


@dataclass
class Settings:
    """Settings that are common to all commands."""

    debug: bool = False


def debug_option(command: Command) -> Command:
    """Add ``--debug``, which is stored in the `Settings`."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_store_debug,
        help="Show all problems, the time of each phase, and tracebacks of errors.",
    )(command)


def debugging() -> bool:
    """Whether ``--debug`` was given, before or after the command's name."""
    return click.get_current_context().ensure_object(Settings).debug


def show_timings(timings_ns: dict[str, int]) -> None:
    """Print the time of each phase (ns) on stderr."""
    width = max(map(len, timings_ns))
    for phase, spent_ns in timings_ns.items():
        click.echo(f"{phase:<{width}} {spent_ns / 1e6:10.3f} ms", err=True)


def _store_debug(context: click.Context, _option: click.Parameter, given: bool) -> None:
    if given:
        context.ensure_object(Settings).debug = True
