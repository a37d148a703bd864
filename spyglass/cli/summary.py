"""``spyglass summary``: what a process is doing, or was doing when it was saved, in one screen."""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, format_options, show_timings
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import Source, source_options

if TYPE_CHECKING:
    from spyglass.formats import Exporter

__all__ = ["summary"]


@click.command("summary", short_help="Show what a Go process is doing, in one screen.")
@source_options
@click.option(
    "--list", "listed", is_flag=True, help="A line for each goroutine, not for each group."
)
@click.option("--all", "everything", is_flag=True, help="All rows, not just as many as fit.")
@filter_options
@format_options("snapshot")
def summary(
    source: Source,
    choice: GoroutineFilter,
    listed: bool,
    everything: bool,
    exporter: Exporter | None,
) -> None:
    """Show what a Go process is doing: its scheduler, threads, memory and goroutines.

    FILE, instead of a process, is a snapshot that was saved, or a report.

    Goroutines that are in the same state at the same place, and were created by the same statement,
    are shown as one group, the largest first. With 20 goroutines or fewer each has a line.

    The process is not stopped. Waiting times are lower bounds: Go notes them when a garbage
    collection comes by. "?" is not known; "(start)" marks the function in which a goroutine began
    where the one that it is in is not known.
    """
    snapshot = source.snapshot("full" if choice.wanted.function else "top")
    began_ns = perf_counter_ns()
    if choice.wanted or exporter:
        limit = choice.limit if exporter else None
        snapshot = choice.part(snapshot, system=exporter is not None, limit=limit)
    if exporter:
        exporter.write(snapshot, sys.stdout.buffer)
    else:
        from spyglass.cli.terminal import Terminal
        from spyglass.render.summary_view import render

        terminal = Terminal()
        view = terminal.view(
            listed=listed,
            system=choice.includes_system(),
            everything=everything,
            debug=debugging(),
            limit=choice.limit,
        )
        terminal.show(render(snapshot, view))
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})
