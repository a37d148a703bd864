"""``spyglass var``: values of package-level variables."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.source_options import source_and_words_options
from spyglass.cli.sources import CoreSource, ProcessSource, Source
from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.go_value import Limits
    from spyglass.inspector import Inspector

__all__ = ["var"]

_NOTE = "note: this is what the program has in its memory; --redact leaves out texts"


@dataclass(frozen=True)
class _Shown:
    """How to read and show variables: the process is stopped meanwhile; all rows of a list; as JSON."""

    stop: bool
    everything: bool
    as_json: bool


def _limits_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how much of a value is read, as one argument ``limits``."""

    @click.option(
        "--elements", type=click.IntRange(0, 10_000), default=32, show_default=True, metavar="N",
        help="Show N elements of each slice, array and map.",
    )  # fmt: skip
    @click.option(
        "--text", "text_bytes", type=click.IntRange(0, 1 << 20), default=256, show_default=True,
        metavar="BYTES", help="Show BYTES of each string.",
    )  # fmt: skip
    @click.option(
        "--depth", type=click.IntRange(0, 20), default=3, show_default=True, metavar="N",
        help="Follow N pointers.",
    )  # fmt: skip
    @click.option("--redact", is_flag=True, help="Leave out the contents of strings and of bytes.")
    @functools.wraps(command)
    def wrapper(elements: int, text_bytes: int, depth: int, redact: bool, **others: Any) -> None:
        from spyglass.go_value import Limits

        command(limits=Limits(elements, text_bytes, depth, redact), **others)

    return wrapper


def _shown_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how variables are shown, as one argument ``shown``."""

    @click.option("--stop", is_flag=True, help="Pause the process while it is read.")
    @click.option("--all", "everything", is_flag=True, help="With --list: show all rows.")
    @click.option("--json", "as_json", is_flag=True, help="A JSON document (spyglass.variables/1).")
    @functools.wraps(command)
    def wrapper(stop: bool, everything: bool, as_json: bool, **others: Any) -> None:
        command(shown=_Shown(stop, everything, as_json), **others)

    return wrapper


@click.command("var", short_help="Show the values of package-level variables.")
@source_and_words_options("VARIABLE...")
@click.option(
    "--type", "type_name", metavar="TYPE",
    help="The type, as Go prints it: int, []string, main.Config; needed without debug information.",
)  # fmt: skip
@click.option(
    "--list", "pattern", metavar="REGEX", help="List the variables whose names match, with types."
)
@_limits_options
@_shown_options
def var(
    source: Source,
    words: tuple[str, ...],
    type_name: str | None,
    pattern: str | None,
    limits: Limits,
    shown: _Shown,
) -> None:
    """Show the values of package-level variables, decoded by their types.

    It prints what the program has in its memory, such as passwords. Nothing of it goes into snapshots or reports.

    VARIABLE is the full name, such as main.counter or net/http.DefaultClient, or an address (0x...), which needs
    --type. Types are those of the debug information. A program without it has type descriptors: there --type says
    which one to use. Variables of a stripped program have no names: give addresses. What is shown of each value is
    limited. The process goes on meanwhile; with --stop it does not. TARGET is a pid, the name of a Go process, or a
    core file.

    \b
      spyglass var 1234 main.counter main.config
      spyglass var 1234 --list '^main\\.'
      spyglass var 1234 0xc000012000 --type main.Config
      spyglass var core.1234 main.cache --elements 1000 --json
    """
    if (pattern is None) == (not words):
        raise click.UsageError("name variables, or give --list REGEX")
    with _opened(source) as program:
        if pattern is not None:
            _list(program, _compiled(pattern), shown)
        else:
            _values(program, words, type_name, limits, shown)


def _opened(source: Source) -> Inspector:
    from spyglass import attach, open_core

    if isinstance(source, ProcessSource):
        return attach(source.pid)
    if isinstance(source, CoreSource):
        try:
            return open_core(source.path, source.exe)
        except FileNotFoundError:
            raise SpyglassError(f"no such file: {source.path}") from None
    raise click.UsageError("a saved snapshot has no values; give a process or a core")


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise click.BadParameter(
            f"not a regular expression: {error}", param_hint="--list"
        ) from None
    return pattern


def _list(program: Inspector, pattern: str, shown: _Shown) -> None:
    from spyglass.cli.terminal import Terminal

    names = program.variable_names(pattern)
    if not names:
        raise SpyglassError("no variable has a name that matches")
    if shown.as_json:
        from spyglass.export.value_document import write_names

        write_names(names, sys.stdout.buffer)
        return
    from spyglass.render.value_view import render_names

    terminal = Terminal()
    terminal.show(render_names(names, terminal.view(everything=shown.everything)))


def _values(
    program: Inspector,
    words: tuple[str, ...],
    type_name: str | None,
    limits: Limits,
    shown: _Shown,
) -> None:
    from spyglass.cli.terminal import Terminal

    found = program.variables(*words, type_name=type_name, limits=limits, stop=shown.stop)
    if shown.as_json:
        from spyglass.export.value_document import write_variables

        write_variables(found, sys.stdout.buffer)
    else:
        from spyglass.render.value_view import render_variables

        terminal = Terminal()
        terminal.show(render_variables(found.variables, terminal.view()))
    sys.stdout.flush()
    for problem in found.problems:
        click.echo(visible(f"{problem.kind}: {problem.subject}: {problem.detail}"), err=True)
    if not limits.redact:
        click.echo(_NOTE, err=True)
