"""What a user is told when nothing came of a command, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable

import click

from spyglass.errors import AmbiguousName, SpyglassError
from spyglass.words.escape import visible
from spyglass.words.units import age

__all__ = ["INTERRUPTED", "explained"]

#: What a shell says of a program that SIGINT ended.
INTERRUPTED = 130

_FAILED = 1


def explained(error: Exception, *, debug: bool) -> int:
    """Say on one line of stderr what is wrong, with `debug` where it happened; the exit code."""
    if isinstance(error, BrokenPipeError):
        return _reader_left()
    if debug:
        _say("".join(traceback.format_exception(error)).splitlines())
    if isinstance(error, click.ClickException):
        _tell(error.format_message(), _usage(error))
        return error.exit_code
    if isinstance(error, SpyglassError):
        _tell(error.message, error.hint)
    elif isinstance(error, OSError):
        _tell(error.strerror or str(error), error.filename)
    else:
        what = traceback.format_exception_only(error)[-1].rstrip("\n")
        _tell(f"internal error: {what}", "please report what --debug shows")
    if isinstance(error, AmbiguousName):
        _list(error.pids)
    return _FAILED


def _usage(error: click.ClickException) -> str | None:
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return None
    return f"`{error.ctx.command_path} --help` shows how it is used"


def _tell(message: str, hint: object) -> None:
    parts = [message, str(hint)] if hint else [message]
    _say(["spyglass: " + ". ".join(part.rstrip(".") for part in parts)])


def _list(pids: tuple[int, ...]) -> None:
    from spyglass.processes import go_processes

    for p in go_processes(pids).processes:
        _say([f"  {p.pid:>7}  {p.user}  up {age(p.age_seconds)}  {' '.join(p.cmdline)}"])


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(visible(line), file=sys.stderr)


def _reader_left() -> int:
    """Nobody reads our output any more (``| head``): end without a word, at exit too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _FAILED
