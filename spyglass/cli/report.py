"""``spyglass report``: a snapshot as one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, redact_option, show_timings
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import Source, source_options
from spyglass.formats import exporter

if TYPE_CHECKING:
    from spyglass.model import Snapshot

__all__ = ["report"]


@click.command("report", short_help="Write one HTML page for an incident's ticket.")
@source_options
@click.option(
    "-o", "--output", metavar="PATH",
    help="The file; - is standard output. Named by program, host, pid and time if not given.",
)  # fmt: skip
@redact_option
@filter_options
@click.option("--stop", is_flag=True, help="Stop the process while it is read.")
def report(
    source: Source, output: str | None, redact: bool, choice: GoroutineFilter, stop: bool
) -> None:
    """Write what a Go process is doing, or a saved snapshot, as one self-contained HTML page.

    Whoever gets it needs a browser, no network and no spyglass: it shows the process, its scheduler,
    memory and threads, goroutines by state and in groups of one stack, and a flame graph of them all,
    and it can be searched and filtered. It holds the whole snapshot, which spyglass reads again and
    the reader can save: with the command line, paths and pprof labels, unless --redact is given.

    \b
      spyglass report -p 1234 -o incident.html
      spyglass report incident.json.gz -o incident.html
      spyglass report -p 1234 --label tenant=blue       only these goroutines
      spyglass summary incident.html                    read it again
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("a page is not for a terminal")
    snapshot = choice.part(source.snapshot("full", stop=stop), system=True, limit=choice.limit)
    began_ns = perf_counter_ns()
    if redact:
        from spyglass.analysis.redaction import redacted

        snapshot = redacted(snapshot)
    if output == "-":
        exporter("snapshot", "html").write(snapshot, sys.stdout.buffer)
        sys.stdout.flush()
    else:
        _save(snapshot, Path(output or "."))
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})


def _save(snapshot: Snapshot, path: Path) -> None:
    from spyglass.export.snapshot_file import default_name, replacing
    from spyglass.words.escape import visible

    if path.is_dir():
        path /= default_name(snapshot, ".html")
    with replacing(path) as stream:
        exporter("snapshot", "html").write(snapshot, stream)
    click.echo(visible(str(path)))
