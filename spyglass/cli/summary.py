"""``spyglass summary``: the state of a process, or of a saved snapshot, on one screen."""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import debugging, format_options, show_timings
from spyglass.cli.fail_on import Limit, exit_beyond, fail_on_option, headroom_beyond
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import source_options, watch_option
from spyglass.cli.sources import Source, Stacks

if TYPE_CHECKING:
    from spyglass.formats import Exporter

__all__ = ["summary"]


def _worth_reading(*columns: Any) -> bool:
    """As `spyglass.analysis.findings.worth_reading`, imported when it is called."""
    from spyglass.analysis.findings.worth_reading import worth_reading

    return worth_reading(*columns)


def _may_wait_for_peers(*columns: Any) -> Any:
    """The same."""
    from spyglass.analysis.findings.worth_reading import may_wait_for_peers

    return may_wait_for_peers(*columns)


@click.command("summary", short_help="Show what a Go process is doing, on one screen.")
@source_options
@watch_option
@click.option(
    "--list", "listed", is_flag=True, help="Show a line for each goroutine instead of each group."
)
@click.option(
    "--all", "everything", is_flag=True, help="Show all rows, not only as many as fit the terminal."
)
@click.option(
    "--verbose", is_flag=True,
    help="Show all facts: build, Ps, threads, scheduler, memory and GC.",
)  # fmt: skip
@filter_options
@format_options("snapshot")
@fail_on_option("headroom")
def summary(
    source: Source,
    goroutine_filter: GoroutineFilter,
    exporter: Exporter | None,
    limits: tuple[Limit, ...],
    **shown: bool,
) -> None:
    """Show what is unusual in a Go process or saved snapshot, its processor time, scheduler, memory and
    goroutines.

    Findings are the first lines, each with the next command to run. Goroutines with the same state,
    location and creator are shown as one group: first running and runnable ones, then waiting ones,
    the largest group first. Up to 20 goroutines are listed one by one. TARGET is a pid, the name of a
    Go process, a saved snapshot or report, or a core file. The process is not stopped.

    With --watch the scheduler is read twice, and looked at in between: how long goroutines wait for a P, what
    never yields, which threads are stuck in a call, what the garbage collector uses. Ctrl-C ends it early.

    With --fail-on the limits of the memory of the process are judged: `spyglass memory` lists them.

    Filters are ANDed; if no goroutine matches, the exit status is 1. Wait times are lower bounds: Go
    timestamps waits only at GC; of a group, the oldest and the median are shown. "2,003 (+5 runtime)"
    are goroutines of the program and of the runtime. "?" is an unknown value; "(start)" marks the
    start function of a goroutine whose location is not known.
    """
    from spyglass.runtime.waiting.options import WaitOptions

    depth: Stacks = "full" if goroutine_filter.criteria.function else "top"
    # The screen shows findings, documents have the waits.
    beside_locks = None if exporter else _may_wait_for_peers
    waits = WaitOptions.of_summary(when=_worth_reading, beside_locks=beside_locks)
    snapshot = source.snapshot(depth, waits=waits)
    began_ns = perf_counter_ns()
    whole, system = snapshot, exporter is not None
    if goroutine_filter.criteria or exporter:
        limit = goroutine_filter.limit if exporter else None
        snapshot = goroutine_filter.part(snapshot, system=system, limit=limit)
    if exporter:
        exporter.write(snapshot, sys.stdout.buffer)
    goroutine_filter.require_match(whole, len(snapshot.goroutines), system=system)
    if not exporter:
        from spyglass.cli.terminal import Terminal
        from spyglass.render.summary_view import render

        terminal = Terminal()
        view = terminal.view(
            system=goroutine_filter.includes_system(),
            debug=debugging(),
            limit=goroutine_filter.limit,
            **shown,
        )
        terminal.show(render(snapshot, view))
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})
    exit_beyond(headroom_beyond(whole.limits, limits))
