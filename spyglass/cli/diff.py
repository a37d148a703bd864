"""``spyglass diff``: what changed between snapshots."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import format_options
from spyglass.cli.exit_status import LIMIT_EXCEEDED
from spyglass.cli.source_options import sources_options
from spyglass.cli.sources import Source
from spyglass.errors import SpyglassError
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.analysis.snapshot_diff import Difference
    from spyglass.formats import Exporter
    from spyglass.model import Snapshot

__all__ = ["diff"]

_GROWTH = re.compile(r"growth\s*>\s*(\d{1,12})", re.ASCII)


def _max_growth(_context: click.Context, _option: click.Parameter, bound: str | None) -> int | None:
    """The N of ``growth>N``."""
    if bound is None:
        return None
    found = _GROWTH.fullmatch(bound.strip())
    if found is None:
        raise click.BadParameter(f"{bound!r} is not of the form 'growth>100'")
    return int(found[1])


@dataclass(frozen=True)
class _ShowOptions:
    """What to show: `system` goroutines too, unchanged groups too, at most `limit` groups of a kind."""

    system: bool
    everything: bool
    limit: int | None


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
    @functools.wraps(command)
    def wrapper(system: bool, everything: bool, limit: int | None, **others: Any) -> None:
        command(show=_ShowOptions(system, everything, limit), **others)

    return wrapper


@click.command("diff", short_help="Show what changed between snapshots.")
@sources_options
@_show_options
@click.option("--force", is_flag=True, help="Compare even if the programs differ.")
@click.option(
    "--fail-on", "max_growth", callback=_max_growth, metavar="'growth>N'",
    help="Exit with status 3 if any group of goroutines grew by more than N.",
)  # fmt: skip
@format_options("difference")
def diff(
    sources: list[Source],
    show: _ShowOptions,
    force: bool,
    max_growth: int | None,
    exporter: Exporter | None,
) -> None:
    """Show what changed between snapshots of a program, for example to find leaked goroutines.

    Goroutines are matched by id: created, exited, or stuck (at the same stack in all snapshots).
    They are counted by creator and by stack, the largest growth first. With three or more snapshots
    each group has a sparkline. TARGET is a saved snapshot or report, a core file, or a pid or the name of
    a Go process, which is compared as it is now.

    \b
      spyglass diff monday.json.gz tuesday.json.gz
      spyglass diff monday.json.gz 1234             a snapshot and the process now
      spyglass diff series/*                        a series of snapshot --every
      spyglass diff a.json.gz b.json.gz --fail-on 'growth>100'

    Exit status: 0 success; 1 failure; 2 wrong usage; 3 the limit of --fail-on was exceeded.
    """
    if len(sources) < 2:
        raise click.UsageError("two targets are needed, such as two files, or a file and a pid")
    from spyglass.analysis.snapshot_diff import difference

    snapshots = [source.snapshot("full") for source in sources]
    if not force:
        _check_same_program(snapshots)
    found = difference(snapshots, system=show.system)
    if exporter:
        exporter.write(found, sys.stdout.buffer)
    else:
        _show(found, show)
    sys.stdout.flush()
    if max_growth is not None and _grew(found, max_growth):
        click.get_current_context().exit(LIMIT_EXCEEDED)


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


def _grew(found: Difference, max_growth: int) -> bool:
    """Whether a group grew by more than `max_growth`; prints the first such group on stderr."""
    from spyglass.words.calls import call_text

    for what, growths in (("creator", found.by_creator), ("stack", found.by_stack)):
        largest = growths[0] if growths else None  # largest growth first
        if largest is None or largest.difference <= max_growth:
            continue
        g = largest.snapshot.goroutines
        place = g.creator if what == "creator" else g.where
        frame = largest.snapshot.frame(int(place[largest.row]))
        name = call_text(frame) if frame else "?"
        message = f"growth>{max_growth}: {what} {name} grew by {largest.difference:,} goroutines"
        click.echo(message, err=True)
        return True
    return False
