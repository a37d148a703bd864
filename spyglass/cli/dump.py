"""``spyglass dump``: the stacks of all goroutines."""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, BinaryIO

import click

from spyglass.cli.account import show_account
from spyglass.cli.common_options import debugging, show_timings
from spyglass.cli.dump_output import Output, output_options
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
    "--waits", is_flag=True, help="Also say what each goroutine waits for, and who holds it."
)
@click.option(
    "--runtime-frames", is_flag=True, help="Include runtime frames that Go hides by default."
)
@output_options
def dump(
    source: Source,
    read: ReadOptions,
    goroutine_filter: GoroutineFilter,
    by: str | None,
    runtime_frames: bool,
    output: Output,
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
      spyglass dump 1234 -o x.pb.gz             then: go tool pprof x.pb.gz
      spyglass dump 1234 --format folded | flamegraph.pl > x.svg

    Formats: json is a snapshot that all commands read. pprof is a goroutine profile for go tool pprof,
    with pprof labels and the states of goroutines as tags. folded has one line for each different
    stack, for flame graphs; its last frame is the state.

    --waits adds to the brackets of each goroutine what it waits for and who holds it, in a form that
    parsers skip. json then has it too.

    Filters are ANDed; if no goroutine matches, the exit status is 1. Minutes in the brackets of a
    traceback are what Go prints, which may be too long: Go timestamps waits only at GC. Wait times
    elsewhere, and --min-wait, are lower bounds.
    """
    _check(output, read, by)
    from spyglass.render.traceback import thread_traceback, traceback

    snapshot = source.snapshot(
        "full", stop=read.stop, thread_stacks=read.threads, waits=read.wait_options()
    )
    if read.waits:
        from spyglass.cli.wait_options import require_waits

        require_waits(snapshot)
    began_ns = perf_counter_ns()
    rows = goroutine_filter.rows(snapshot, system=output.is_document)
    if not output.exporter:
        goroutine_filter.require_match(snapshot, len(rows), system=False)
    shown = output.of(snapshot)
    with output.opened() as stream:
        if output.exporter:
            limit = goroutine_filter.limit
            remark = _write_format(shown, rows, limit, output.exporter, runtime_frames, stream)
        elif by:
            remark = _show_groups(shown, rows, by, goroutine_filter.limit, runtime_frames)
        else:
            chosen = rows[: goroutine_filter.limit]
            text = traceback(shown, chosen, runtime_frames=runtime_frames, waits=read.waits)
            sys.stdout.writelines(text)
            remark = _first(len(chosen), len(rows))
        if read.threads and not output.exporter:
            sys.stdout.writelines(thread_traceback(shown))
    goroutine_filter.require_match(snapshot, len(rows), system=output.is_document)
    show_account(shown, rows, remark)
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})


def _check(output: Output, read: ReadOptions, by: str | None) -> None:
    if output.exporter and by:
        raise click.UsageError("--group requires the format text")
    if output.exporter and output.exporter.only_stacks and read.threads:
        raise click.UsageError("--threads requires the format text or json")
    if read.waits and (by or (output.exporter and output.exporter.only_stacks)):
        raise click.UsageError("--waits requires the format text without --group, or json")
    output.check()


def _write_format(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    limit: int | None,
    exporter: Exporter,
    runtime_frames: bool,
    stream: BinaryIO,
) -> str:
    from spyglass.analysis.subset import part

    shown = rows[:limit]
    options = {"runtime_frames": True} if runtime_frames and exporter.name == "folded" else {}
    exporter.write(part(snapshot, shown), stream, **options)
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
