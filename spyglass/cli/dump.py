"""``spyglass dump``: the stacks of all goroutines."""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.common_options import debugging, format_options, show_timings
from spyglass.cli.filter_options import GoroutineFilter, filter_options
from spyglass.cli.source_options import ReadOptions, read_options, source_options
from spyglass.cli.sources import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.formats import Exporter
    from spyglass.model import Snapshot

__all__ = ["dump"]


def _grouping(_context: click.Context, _option: click.Parameter, by: str | None) -> str | None:
    if by in (None, "stack", "function", "creator", "state"):
        return by
    if by.startswith("label:") and by != "label:":
        return by
    raise click.BadParameter(
        f"{by!r} is not stack, function, creator, state or label:KEY; give TARGET before --group"
    )


@click.command("dump", short_help="Print the stacks of all goroutines.")
@source_options
@click.option(
    "--group", "by", callback=_grouping, is_flag=False, flag_value="stack", metavar="[BY]",
    help="Group goroutines, the largest group first. BY: stack (default), function, creator, state or label:KEY.",
)  # fmt: skip
@filter_options
@read_options
@click.option(
    "--runtime-frames", is_flag=True, help="Include runtime frames that Go hides by default."
)
@format_options("snapshot")
def dump(
    source: Source,
    read: ReadOptions,
    goroutine_filter: GoroutineFilter,
    by: str | None,
    runtime_frames: bool,
    exporter: Exporter | None,
) -> None:
    """Print the stacks of all goroutines in the form of Go's own traceback.

    The form is that of a panic, of SIGQUIT and of /debug/pprof/goroutine?debug=2, so tools that parse
    these parse it; arguments are left out, because they can be secrets. TARGET is a pid, the name of
    a Go process, a saved snapshot or report, or a core file. The process is not stopped, unless
    --stop is given.

    Totals and consistency go to stderr. "stable": the goroutine did not run while it was read;
    "moved": it ran and was read again; "torn": it never stood still, its stack is doubtful;
    "unreadable": it could not be read.

    \b
      spyglass dump 1234 --group                where are goroutines blocked?
      spyglass dump etcd --group state --min-wait 5m
      spyglass dump 1234 --function 'net/http' --state 'IO wait'
      spyglass dump incident.json.gz --group    a saved snapshot

    Filters are ANDed; if no goroutine matches, the exit status is 1. Wait times are lower bounds: Go
    timestamps waits only at GC.
    """
    if exporter and by:
        raise click.UsageError(f"--{exporter.name} and --group are mutually exclusive")
    snapshot = source.snapshot("full", stop=read.stop, thread_stacks=read.threads)
    began_ns = perf_counter_ns()
    rows = goroutine_filter.rows(snapshot, system=exporter is not None)
    if not exporter:
        goroutine_filter.require_match(snapshot, len(rows), system=False)
    if exporter:
        part = goroutine_filter.part(snapshot, system=True, limit=goroutine_filter.limit)
        exporter.write(part, sys.stdout.buffer)
        remark = _first(len(part.goroutines), len(rows))
        goroutine_filter.require_match(snapshot, len(rows), system=True)
    elif by:
        remark = _show_groups(snapshot, rows, by, goroutine_filter.limit, runtime_frames)
    else:
        remark = _write_text(snapshot, rows, goroutine_filter.limit, runtime_frames)
    if read.threads and not exporter:
        from spyglass.render.traceback import thread_traceback

        sys.stdout.writelines(thread_traceback(snapshot))
    sys.stdout.flush()
    _account(snapshot, rows, remark)
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
    by: str,
    limit: int | None,
    runtime_frames: bool,
) -> str:
    from spyglass.analysis.group_by import groups_by
    from spyglass.cli.terminal import Terminal
    from spyglass.render.group_blocks import group_lines
    from spyglass.words.units import plural

    terminal = Terminal()
    found = groups_by(snapshot, rows, by, runtime_frames=runtime_frames)
    width = terminal.view().width
    shown = found[:limit]
    terminal.show(group_lines(snapshot, shown, by, width=width, runtime_frames=runtime_frames))
    return f" in {plural(len(found), 'group')}{_first(len(shown), len(found))}"


def _first(shown: int, number: int) -> str:
    """A remark if only the first `shown` of `number` are printed."""
    return "" if shown == number else f", the first {shown:,} shown"


def _account(snapshot: Snapshot, rows: NDArray[np.int64], remark: str) -> None:
    from spyglass.words.account import account

    if snapshot.problems:
        from spyglass.render.problems import problem_lines  # rich, which takes long to import
        from spyglass.render.view_options import View

        for line in problem_lines(snapshot.problems, View(debug=debugging())):
            click.echo(line.plain, err=True)
    click.echo(account(snapshot, rows, remark), err=True)
