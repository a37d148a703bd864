"""``spyglass diff``: what changed between snapshots."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import format_options
from spyglass.cli.fail_on import Limit, exit_beyond, fail_on_option, growth_beyond, waits_beyond
from spyglass.cli.profile_diff import are_profiles, show_profile_diff
from spyglass.cli.source_options import sources_options
from spyglass.cli.sources import Source
from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.analysis.snapshot_diff import Difference
    from spyglass.formats import Exporter
    from spyglass.model import Snapshot

__all__ = ["diff"]


@dataclass(frozen=True)
class _ShowOptions:
    """What to show: `system` goroutines too, unchanged groups too, at most `limit` groups of a kind; `output`: the
    page that two profiles are written to."""

    system: bool
    everything: bool
    limit: int | None
    output: str | None


def _show_options(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("--system", is_flag=True, help="Include runtime goroutines.")
    @click.option(
        "--all", "everything", is_flag=True, help="Show all groups, including unchanged ones."
    )
    @click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Show at most N creators and N stacks.",
    )
    @click.option(
        "-o", "--output", metavar="FILE",
        help="Write a flame graph of two profiles (.html), coloured by what changed, or the document (.json).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        system: bool, everything: bool, limit: int | None, output: str | None, **others: Any
    ) -> None:
        command(show=_ShowOptions(system, everything, limit, output), **others)

    return wrapper


@click.command("diff", short_help="Show what changed between snapshots.")
@sources_options
@_show_options
@click.option("--force", is_flag=True, help="Compare even if the programs differ.")
@click.option(
    "--no-heap", is_flag=True,
    help="Do not look through the heap of a process for goroutines that can never be woken.",
)  # fmt: skip
@fail_on_option("growth", "stuck", "deadlock")
@format_options("difference")
def diff(
    sources: list[Source],
    show: _ShowOptions,
    force: bool,
    no_heap: bool,
    limits: tuple[Limit, ...],
    exporter: Exporter | None,
) -> None:
    """Show what changed between snapshots of a program, for example to find leaked goroutines.

    Goroutines are matched by id: created, exited, or stuck (at the same stack in all snapshots).
    They are counted by creator and by stack, the largest growth first. With three or more snapshots
    each group has a sparkline. Of a process as it is now, and of snapshots saved with --heap, each group says how
    many can never be woken. TARGET is a saved snapshot or report, a core file, or a pid or the name of
    a Go process, which is compared as it is now.

    \b
      spyglass diff monday.json.gz tuesday.json.gz
      spyglass diff monday.json.gz 1234             a snapshot and the process now
      spyglass diff series/*                        a series of snapshot --every
      spyglass diff a.json.gz b.json.gz --fail-on 'growth>100'
      spyglass diff before.pb.gz after.json         two profiles, of time or of memory, Go's own too
      spyglass diff heap1.pb.gz heap2.pb.gz -o diff.html

    Exit status: 0 success; 1 failure; 2 wrong usage; 3 the limit of --fail-on was exceeded.
    """
    if len(sources) < 2:
        raise click.UsageError("two targets are needed, such as two files, or a file and a pid")
    if are_profiles(sources):
        if limits or show.system:
            raise click.UsageError("--fail-on and --system cannot be used with profiles")
        show_profile_diff(
            sources, everything=show.everything, limit=show.limit, force=force,
            as_json=exporter is not None, output=show.output,
        )  # fmt: skip
        return
    if show.output is not None:
        raise click.UsageError("--output requires two profiles")
    from spyglass.analysis.snapshot_diff import difference
    from spyglass.runtime.waiting.options import WaitOptions

    waits = WaitOptions(heap=not no_heap)
    snapshots = [source.snapshot("full", waits=waits) for source in sources]
    if not force:
        _check_same_program(snapshots)
    found = difference(snapshots, system=show.system)
    if exporter:
        exporter.write(found, sys.stdout.buffer)
    else:
        _show(found, show)
    sys.stdout.flush()
    exit_beyond([*growth_beyond(found, limits), *waits_beyond(found.last, limits)])


def _check_same_program(snapshots: list[Snapshot]) -> None:
    from spyglass.analysis.same_process import other_program

    for each in snapshots[1:]:
        if why := other_program(snapshots[0].process, each.process):
            raise SpyglassError(
                f"the snapshots are of different programs: {why}", "--force compares them anyway"
            )


def _show(found: Difference, show: _ShowOptions) -> None:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.diff_view import render

    terminal = Terminal()
    terminal.show(render(found, terminal.view(everything=show.everything, limit=show.limit)))
    for caveat in found.caveats:
        click.echo(f"note: {visible(caveat)}", err=True)
