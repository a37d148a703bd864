"""``spyglass core``: save the memory that spyglass reads of a process as a core file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, show_timings
from spyglass.cli.source_options import source_options
from spyglass.cli.sources import CoreSource, ProcessSource, Source
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.model import Snapshot
    from spyglass.targets import Target

__all__ = ["core"]


@click.command("core", short_help="Save a small core file of a Go process.")
@source_options
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE",
    help="Output file, - for stdout (default: named by program, host, pid and time).",
)  # fmt: skip
@click.option(
    "--stop", is_flag=True,
    help="Pause the process while reading, for a consistent core.",
)  # fmt: skip
def core(source: Source, output: str | None, stop: bool) -> None:
    """Save a core file with only the memory that spyglass reads.

    The file has megabytes where gcore writes gigabytes. The process is not stopped, unless --stop is
    given. All commands read the file; gdb and Delve read it too, but miss the rest of the
    memory. Keep the executable: it is needed to read a core. TARGET is a pid, the name of a Go
    process, or a large core file, which is reduced to a small one.

    The file contains process memory, possibly secrets; `spyglass snapshot` writes a file without
    memory contents. Only the file's owner may read it.

    \b
      spyglass core 1234
      spyglass core 1234 -o small.core
      spyglass dump small.core                 read it
      spyglass core core.1234 -o small.core    reduce a large core
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("refusing to write a core to a terminal; use -o FILE")
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
        from spyglass.memory.allocator import keep_freed_memory

        keep_freed_memory()
        return Target.attach(source.pid)
    if isinstance(source, CoreSource):
        return Target.open_core(source.path, source.exe)
    raise click.UsageError("a saved snapshot contains no memory to make a core of")


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
    """Write the core to stdout, after it is complete."""
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
    click.echo(account(snapshot, rows), err=True)
    click.echo("warning: the core contains process memory, possibly secrets", err=True)
