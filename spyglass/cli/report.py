"""``spyglass report``: a snapshot as a self-contained HTML page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import debugging, redact_option, show_timings
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.report_memory import heap_sites
from spyglass.cli.report_profiles import (
    profile_option,
    recorded_profiles,
    require_profiles,
)
from spyglass.cli.source_options import (
    ReadOptions,
    saved_waits_options,
    source_options,
    stop_option,
    watch_option,
)
from spyglass.cli.sources import Source
from spyglass.formats import exporter

if TYPE_CHECKING:
    from spyglass.model import Snapshot
    from spyglass.profile import Profile

__all__ = ["report"]


@click.command("report", short_help="Write a self-contained HTML report.")
@source_options
@watch_option
@click.option(
    "-o", "--output", metavar="PATH",
    help="Output file, - for stdout (default: named by program, host, pid and time).",
)  # fmt: skip
@profile_option
@redact_option
@filter_options
@stop_option
@saved_waits_options
def report(
    source: Source,
    output: str | None,
    profile_ns: int | None,
    redact: bool,
    goroutine_filter: GoroutineFilter,
    read: ReadOptions,
) -> None:
    """Write a self-contained HTML report of a Go process, or of a saved snapshot.

    TARGET is a pid, the name of a Go process, a saved snapshot, or a core file.

    The page needs a browser, but no network and no spyglass. It shows findings first, then what
    goroutines wait on with a graph of the worst knots, then the largest groups of goroutines and a flame
    graph, with search and filters, then the program, its scheduler, threads and memory.
    Of a process it says what its resident memory is of, and with --heap which calls allocated what is in use.
    With --profile, where processor time and the time of goroutines go is recorded behind the snapshot.
    With --watch, findings are also about how goroutines came to run in that time.
    It contains the whole snapshot, including command line, paths and pprof labels (unless --redact
    is given): the page can save it, and all commands read it from the page.

    \b
      spyglass report 1234 -o incident.html
      spyglass report 1234 --profile 10s                with flame graphs of ten seconds
      spyglass report incident.json.gz -o incident.html
      spyglass report 1234 --label tenant=blue          only these goroutines
      spyglass summary incident.html                    read the page
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("refusing to write a page to a terminal; use -o FILE")
    require_profiles(source, goroutine_filter, profile_ns)
    whole = source.snapshot("full", stop=read.stop, waits=read.wait_options(), account=True)
    snapshot = goroutine_filter.part(whole, system=True, limit=goroutine_filter.limit)
    goroutine_filter.require_match(whole, len(snapshot.goroutines), system=True)
    began_ns = perf_counter_ns()
    if redact:
        from spyglass.analysis.redaction import redacted

        snapshot = redacted(snapshot)
    profiles: Sequence[Profile] = ()
    if profile_ns is not None:
        profiles = recorded_profiles(source, goroutine_filter, profile_ns, redact=redact)
    heap = heap_sites(source, redact=redact) if read.heap else None
    further = {"profiles": profiles, "heap": heap}
    if output == "-":
        exporter("snapshot", "html").write(snapshot, sys.stdout.buffer, **further)
        sys.stdout.flush()
    else:
        _save(snapshot, further, Path(output or "."))
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})


def _save(snapshot: Snapshot, further: Mapping[str, Any], path: Path) -> None:
    from spyglass.escape import visible
    from spyglass.export.snapshot_file import default_name, replacing

    if path.is_dir():
        path /= default_name(snapshot, ".html")
    with replacing(path) as stream:
        exporter("snapshot", "html").write(snapshot, stream, **further)
    click.echo(visible(str(path)))
