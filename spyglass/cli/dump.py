"""``spyglass dump``: every stack of every goroutine."""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, format_options, show_timings
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import ReadOptions, Source, read_options, source_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.formats import Exporter
    from spyglass.model import Snapshot

__all__ = ["dump"]


def _common(_context: click.Context, _option: click.Parameter, common: str | None) -> str | None:
    """What the goroutines of a group have in common."""
    if common in (None, "stack", "function", "creator", "state"):
        return common
    if common.startswith("label:") and common != "label:":
        return common
    raise click.BadParameter(
        f"{common!r} is not stack, function, creator, state or label:KEY; a FILE comes before it"
    )


@click.command("dump", short_help="Print every stack of a Go process.")
@source_options
@click.option(
    "--group", "common", callback=_common, is_flag=False, flag_value="stack", metavar="[BY]",
    help="A block for each group, the largest first: of one stack, or of one function, creator, state or label:KEY.",
)  # fmt: skip
@filter_options
@read_options
@click.option("--runtime-frames", is_flag=True, help="Show the frames too that Go hides.")
@format_options("snapshot")
def dump(
    source: Source,
    how: ReadOptions,
    choice: GoroutineFilter,
    common: str | None,
    runtime_frames: bool,
    exporter: Exporter | None,
) -> None:
    """Print every stack of a Go process, or of a saved snapshot, in the form of Go's own traceback.

    It is what a panic, SIGQUIT or /debug/pprof/goroutine?debug=2 prints, and what tools that read
    these take, but for the words of arguments, which can be secrets. The process is not stopped,
    unless --stop is given. What can be said of the whole, and how far it can be trusted, is on
    stderr: a goroutine that moved was read again until it stood still; one that never did is marked
    (torn).

    \b
      spyglass dump -p 1234 --group                    where is everybody?
      spyglass dump -p 1234 --group state --min-wait 5m
      spyglass dump -p 1234 --function 'net/http' --state 'IO wait'
      spyglass dump incident.json.gz --group           of a saved snapshot

    All that is asked for of a goroutine must hold. Waiting times are lower bounds: Go notes them when
    a garbage collection comes by.
    """
    if exporter and common:
        raise click.UsageError(f"--{exporter.name} and --group exclude each other")
    snapshot = source.snapshot("full", stop=how.stop, thread_stacks=how.threads)
    began_ns = perf_counter_ns()
    rows, total = choice.rows(snapshot, system=exporter is not None)
    if exporter:
        part = choice.part(snapshot, system=True, limit=choice.limit)
        exporter.write(part, sys.stdout.buffer)
        remark = _first(len(part.goroutines), len(rows))
    elif common:
        remark = _show_groups(snapshot, rows, common, choice.limit, runtime_frames)
    else:
        remark = _write_text(snapshot, rows, choice.limit, runtime_frames)
    if how.threads and not exporter:
        from spyglass.render.traceback import thread_traceback

        sys.stdout.writelines(thread_traceback(snapshot))
    sys.stdout.flush()
    _account(snapshot, rows, total, remark)
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})


def _write_text(
    snapshot: Snapshot, rows: NDArray[np.int64], limit: int | None, runtime_frames: bool
) -> str:
    from spyglass.render.traceback import traceback

    shown = rows[:limit]
    sys.stdout.writelines(traceback(snapshot, shown, runtime_frames=runtime_frames))
    return _first(len(shown), len(rows))


def _show_groups(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    common: str,
    limit: int | None,
    runtime_frames: bool,
) -> str:
    from spyglass.analysis.group_by import groups_by
    from spyglass.cli.terminal import Terminal
    from spyglass.render.group_blocks import group_lines

    terminal = Terminal()
    found = groups_by(snapshot, rows, common, runtime_frames=runtime_frames)
    width = terminal.view().width
    shown = found[:limit]
    terminal.show(group_lines(snapshot, shown, common, width=width, runtime_frames=runtime_frames))
    return f" in {len(found):,} group{'s' * (len(found) != 1)}{_first(len(shown), len(found))}"


def _first(shown: int, number: int) -> str:
    """What to say where only the first `shown` of `number` are."""
    return "" if shown == number else f", the first {shown:,} shown"


def _account(snapshot: Snapshot, rows: NDArray[np.int64], total: int, remark: str) -> None:
    from spyglass.words.account import account

    if snapshot.problems:
        from spyglass.render.problems import problem_lines  # rich, which takes long to import
        from spyglass.render.view_options import View

        for line in problem_lines(snapshot.problems, View(debug=debugging())):
            click.echo(line.plain, err=True)
    click.echo(account(snapshot, rows, total, remark), err=True)
