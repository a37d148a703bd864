"""``spyglass export``: Prometheus metrics of Go processes, once."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spyglass.cli.source_options import sources_options
from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from spyglass.containers import Containers
    from spyglass.export.metrics import Looked

__all__ = ["export"]

_PACKAGES = "pip install 'spyglass[metrics]' installs what it needs"


@click.command("export", short_help="Print Prometheus metrics of Go processes.")
@sources_options
@click.option(
    "--all", "everything", is_flag=True, help="All Go processes of this host that can be read."
)
@click.option(
    "--top-groups", type=click.IntRange(0, 1000), default=20, show_default=True, metavar="N",
    help="Largest groups of goroutines of each process.",
)  # fmt: skip
@click.option(
    "--heap", is_flag=True, help="Also read the heap to count goroutines that nothing can wake."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="Replace FILE as a whole, for the textfile collector of node_exporter.",
)  # fmt: skip
def export(
    sources: list[Source], everything: bool, top_groups: int, heap: bool, output: Path | None
) -> None:
    """Print what is known of Go processes as Prometheus metrics: those of client_golang's Go collector, for
    programs without an endpoint too, and spyglass's own.

    A TARGET is a pid or the name of a Go process. FILE is readable by everyone: it contains names of programs and functions.

    \b
      spyglass export 1234
      spyglass export --all -o /var/lib/prometheus/node-exporter/spyglass.prom
    """
    try:
        from spyglass.containers import Containers
        from spyglass.export.metrics import families, page
    except ImportError as error:
        raise SpyglassError(f"{error.name} is not installed", _PACKAGES) from None
    containers = Containers()
    looks = (_look(pid, containers, heap=heap) for pid in _pids(sources, everything))
    text = page([families(each, top_groups) for each in looks])
    if output is None:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return
    from spyglass.export.snapshot_file import replacing

    with replacing(output) as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), 0o644)


def _pids(sources: list[Source], everything: bool) -> list[int]:
    if everything == bool(sources):
        raise click.UsageError("give targets, or --all")
    if everything:
        from spyglass.processes import go_processes

        return [each.pid for each in go_processes().processes if each.pid != os.getpid()]
    pids = [each.pid for each in sources if isinstance(each, ProcessSource)]
    if len(pids) < len(sources):
        raise click.UsageError("only running processes have metrics")
    return list(dict.fromkeys(pids))


def _look(pid: int, containers: Containers, *, heap: bool) -> Looked:
    """What is read of process `pid`, or why it cannot be read: one process must not hide the others."""
    from spyglass import attach
    from spyglass.export.metrics import Looked, place_labels
    from spyglass.procfs import comm
    from spyglass.serve.look import look

    began, program, place = time.perf_counter(), "?", {}
    try:
        program, place = comm(pid), place_labels(*containers.of(pid))
        with attach(pid) as process:
            return replace(look(process, pid, program, began, heap=heap), place=place)
    except (SpyglassError, OSError) as error:
        if isinstance(error, SpyglassError):
            click.echo(f"spyglass: {pid}: {error.message}", err=True)
        return Looked(pid, program, time.perf_counter() - began, error=str(error), place=place)
