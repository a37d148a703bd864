"""Exit statuses, and the error message of a command that failed.

0    success
1    failure, or a filter that matched no goroutine; one line on stderr says why; ``doctor``: something is refused
2    wrong usage (click's)
3    ``--fail-on``: a limit was exceeded
130  interrupted
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable

import click

from spyglass.errors import AmbiguousName, SpyglassError
from spyglass.escape import visible
from spyglass.words.units import age

__all__ = ["FAILED", "INTERRUPTED", "LIMIT_EXCEEDED", "explained"]

#: No answer, or `spyglass doctor` found something that is refused.
FAILED = 1

#: Characters of a container's id that are shown.
_ID_WIDTH = 12

#: A limit that the user gave was exceeded; the command itself succeeded.
LIMIT_EXCEEDED = 3

#: As a shell reports a program that SIGINT ended.
INTERRUPTED = 130


def explained(error: Exception, *, debug: bool) -> int:
    """Print one line about `error` on stderr, with `debug` its traceback too; returns the exit status."""
    if isinstance(error, BrokenPipeError):
        return _closed_pipe()
    if debug:
        _print_lines("".join(traceback.format_exception(error)).splitlines())
    if isinstance(error, click.ClickException):
        _print_error(error.format_message(), _usage(error))
        return error.exit_code
    if isinstance(error, SpyglassError):
        _print_error(error.message, error.hint)
    elif isinstance(error, OSError):
        _print_error(error.strerror or str(error), error.filename)
    else:
        what = traceback.format_exception_only(error)[-1].rstrip("\n")
        _print_error(f"internal error: {what}", "please report what --debug shows")
    if isinstance(error, AmbiguousName):
        _print_processes(error.pids)
    return FAILED


def _usage(error: click.ClickException) -> str | None:
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return None
    return f"Try `{error.ctx.command_path} --help`"


def _print_error(message: str, hint: object) -> None:
    line = f"spyglass: {message.rstrip('.')}"
    if hint:
        line += f"{'' if line.endswith('?') else '.'} {str(hint).rstrip('.')}"
    _print_lines([line])


def _print_processes(pids: tuple[int, ...]) -> None:
    from spyglass.processes import go_processes

    for p in go_processes(pids).processes:
        where = p.container_name or (p.container or "")[:_ID_WIDTH]
        words = (f"{p.pid:>7}", p.user, f"up {age(p.age_seconds)}", where, " ".join(p.cmdline))
        _print_lines(["  " + "  ".join(filter(None, words))])


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(visible(line), file=sys.stderr)


def _closed_pipe() -> int:
    """The reader of stdout has ended (``| head``): print nothing more, at exit neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
