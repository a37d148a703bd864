"""``spyglass snapshot``: save the state of a process, once or repeatedly."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, redact_option, show_timings
from spyglass.cli.filter_options import span_ns
from spyglass.cli.parquet import ParquetKeeper, ParquetOptions, parquet_options
from spyglass.cli.source_options import (
    ReadOptions,
    read_options,
    saved_waits_options,
    source_options,
)
from spyglass.cli.sources import ProcessSource, Source
from spyglass.escape import visible
from spyglass.formats import exporter, exporter_of_path

if TYPE_CHECKING:
    from spyglass.model import Snapshot

__all__ = ["snapshot"]


@click.command("snapshot", short_help="Save the state of a Go process in a file.")
@source_options
@click.option(
    "-o", "--output", metavar="PATH",
    help="Output file (.json.gz, .json.zst or .json), - for stdout; with --every, a directory.",
)  # fmt: skip
@redact_option
@parquet_options
@click.option("--every", "every_ns", callback=span_ns, metavar="DURATION",
    help="Take a snapshot every DURATION: 10s, 5m.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1, 999_999), metavar="N",
    help="Number of snapshots with --every (default: until interrupted).",
)  # fmt: skip
@read_options
@saved_waits_options
def snapshot(
    source: Source,
    output: str | None,
    redact: bool,
    read: ReadOptions,
    parquet: ParquetOptions | None,
    **series: int | None,
) -> None:
    """Save all stacks, what goroutines wait on, the scheduler, threads and where the memory of a Go process goes
    in a file.

    All commands read the file in place of a process. It contains no memory contents, no arguments of
    functions and no environment variables, but the command line, paths, pprof labels and addresses of
    connections, unless --redact is given. Only the file's owner may read it. The name of the file is printed; by default
    it is made of program, host, pid and time. TARGET is a pid, the name of a Go process, a core file,
    or a saved snapshot.

    \b
      spyglass snapshot 1234
      spyglass snapshot 1234 --redact -o incident.json.gz
      spyglass snapshot etcd --every 10s --count 30 -o series
      spyglass snapshot incident.json.gz --redact -o public.json.gz
      spyglass snapshot etcd --every 1m --batch 15 --parquet s3://snapshots
    """
    if parquet is not None and output is not None:
        raise click.UsageError("--output and --parquet are mutually exclusive")
    _check_format(output)
    every_ns, count = series["every_ns"], series["count"]
    if every_ns is None:
        if count is not None:
            raise click.UsageError("--count requires --every")
        keeper = None if parquet is None else parquet.keeper(series=False)
        taken = source.snapshot(
            "full", stop=read.stop, thread_stacks=read.threads, waits=read.wait_options(),
            account=True,
        )  # fmt: skip
        _save_one(taken, output, redact, keeper)
        return
    _take_series(source, _Wanted(output, parquet, redact, every_ns, count), read)


@dataclass(frozen=True)
class _Wanted:
    """A series as the user wants it."""

    output: str | None
    parquet: ParquetOptions | None
    redact: bool
    every_ns: int
    number: int | None


def _take_series(source: Source, wanted: _Wanted, read: ReadOptions) -> None:
    if not isinstance(source, ProcessSource):
        raise click.UsageError("--every requires a process")
    if wanted.every_ns == 0:
        raise click.UsageError("--every must be longer than 0s")
    if wanted.output == "-":
        raise click.UsageError("with --every, --output is a directory")
    from spyglass.cli.snapshot_series import Directory, Keeper, Series

    keeper: Keeper
    if wanted.parquet is not None:
        keeper = wanted.parquet.keeper(series=True)
    else:
        keeper = Directory(Path(wanted.output) if wanted.output else None, wanted.number)
    Series(wanted.every_ns, wanted.number, keeper, read, wanted.redact).take(source.pid)


def _check_format(output: str | None) -> None:
    """Raise `click.UsageError` if the extension of `output` is that of another command's format."""
    found = exporter_of_path("snapshot", output or "")
    if found == exporter("snapshot", "html"):
        raise click.UsageError("use `spyglass report` to write a page")
    if found is not None and found.only_stacks:
        raise click.UsageError(f"use `spyglass dump` to write the format {found.name}")


def _save_one(
    taken: Snapshot, output: str | None, redact: bool, keeper: ParquetKeeper | None
) -> None:
    from spyglass.analysis.redaction import redacted
    from spyglass.export.snapshot_file import default_name, save

    began_ns = perf_counter_ns()
    if redact:
        taken = redacted(taken)
    if keeper is not None:
        keeper.save(taken)
    elif output == "-":
        if sys.stdout.isatty():
            raise click.UsageError(
                "refusing to write a compressed file to a terminal; use -o FILE, or `dump --json`"
            )
        exporter("snapshot", "json.gz").write(taken, sys.stdout.buffer)
        sys.stdout.flush()
    else:
        path = Path(output or ".")
        if path.is_dir():
            path /= default_name(taken)
        save(taken, path)
        click.echo(visible(str(path)))
    _account(taken)
    if debugging():
        show_timings(taken.timings_ns | {"output": perf_counter_ns() - began_ns})


def _account(taken: Snapshot) -> None:
    from spyglass.analysis.selection import selected
    from spyglass.words.account import account

    rows = selected(taken.goroutines, system=True)
    problems = f", {len(taken.problems):,} problems" if taken.problems else ""
    click.echo(account(taken, rows, problems), err=True)
