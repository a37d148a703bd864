"""``spyglass core``: save of a process what spyglass looks at, as a core file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, show_timings
from spyglass.cli.source_options import CoreSource, ProcessSource, Source, source_options
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.model import Snapshot
    from spyglass.targets import Target

__all__ = ["core"]


@click.command("core", short_help="Save a small core file of a Go process.")
@source_options
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE",
    help="Where to; - is standard output. A name of program, host, pid and time if not given.",
)  # fmt: skip
@click.option(
    "--stop", is_flag=True,
    help="Stop the process while it is read: all is of one moment.",
)  # fmt: skip
def core(source: Source, output: str | None, stop: bool) -> None:
    """Save a core file with no more of a process's memory than spyglass looks at.

    It takes megabytes where other tools save gigabytes, and the process is not stopped, unless
    --stop is given. Every command reads it with --core, and so do gdb and Delve, as far as that
    memory goes; the program's own file is needed with it. Of a core that is there already it makes a
    small one.

    It has contents of memory, and so perhaps passwords, keys and what users sent: treat it as such.
    `spyglass snapshot` saves what can be seen without them. Only you may read it.

    \b
      spyglass core -p 1234
      spyglass core -p 1234 -o small.core; spyglass dump --core small.core
      spyglass core --core core.1234 -o small.core
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("a core is not for a terminal")
    target = _open(source)
    try:
        snapshot = _write_out(target, stop) if output == "-" else _save(target, output, stop)
    finally:
        target.close()
    _account(snapshot)
    if debugging():
        show_timings(snapshot.timings_ns)


def _open(source: Source) -> Target:
    from spyglass.targets import Target

    if isinstance(source, ProcessSource):
        return Target.attach(source.pid)
    if isinstance(source, CoreSource):
        return Target.open_core(source.path, source.exe)
    raise click.UsageError("a saved snapshot has no memory that a core could be made of")


def _save(target: Target, output: str | None, stop: bool) -> Snapshot:
    from spyglass.cores.small_core import save_core
    from spyglass.export.snapshot_file import file_name, replacing

    path = Path(output or ".")
    if path.is_dir():
        facts = target.process.facts()
        name = file_name(facts.exe, facts.host, target.pid, target.process.taken_at())
        path /= f"{name}.core"
    with replacing(path) as stream:
        snapshot = save_core(target, stream, stop=stop)
    click.echo(visible(str(path)))
    return snapshot


def _write_out(target: Target, stop: bool) -> Snapshot:
    """Save it to standard output, when all of it is there."""
    from spyglass.cores.small_core import save_core

    with tempfile.TemporaryFile() as stream:
        snapshot = save_core(target, stream, stop=stop)
        stream.seek(0)
        shutil.copyfileobj(stream, sys.stdout.buffer)
    sys.stdout.flush()
    return snapshot


def _account(snapshot: Snapshot) -> None:
    from spyglass.analysis.selection import selected
    from spyglass.words.account import account

    rows = selected(snapshot.goroutines, system=True)
    click.echo(account(snapshot, rows, len(rows)), err=True)
    click.echo("It holds memory of the process, and so perhaps its secrets.", err=True)
