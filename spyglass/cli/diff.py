"""``spyglass diff``: what changed from one snapshot to another."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import format_options
from spyglass.cli.source_options import Source, sources_options
from spyglass.errors import SpyglassError
from spyglass.words.escape import visible

if TYPE_CHECKING:
    from spyglass.analysis.snapshot_diff import Difference
    from spyglass.formats import Exporter
    from spyglass.model import Snapshot

__all__ = ["diff"]

_GROWTH = re.compile(r"growth\s*>\s*(\d{1,12})", re.ASCII)


def _most(_context: click.Context, _option: click.Parameter, bound: str | None) -> int | None:
    """ReadOptions much any group may grow."""
    if bound is None:
        return None
    found = _GROWTH.fullmatch(bound.strip())
    if found is None:
        raise click.BadParameter(f"{bound!r} is not like 'growth>100'")
    return int(found[1])


@dataclass(frozen=True)
class _Wanted:
    """What is to be shown: the runtime's own goroutines too, all groups, so many groups of a kind."""

    system: bool
    everything: bool
    limit: int | None


def _wanted_options(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("--system", is_flag=True, help="With the runtime's own goroutines.")
    @click.option(
        "--all", "everything", is_flag=True, help="All groups, also those that did not change."
    )
    @click.option(
        "--limit", type=click.IntRange(min=1), metavar="N", help="At most N groups of each kind."
    )
    @functools.wraps(command)
    def told(system: bool, everything: bool, limit: int | None, **others: Any) -> None:
        command(wanted=_Wanted(system, everything, limit), **others)

    return told


@click.command("diff", short_help="Show what changed from one snapshot to another.")
@sources_options
@_wanted_options
@click.option("--force", is_flag=True, help="Compare different programs too.")
@click.option(
    "--fail-on", "most", callback=_most, metavar="'growth>N'",
    help="End with code 1 if any group of goroutines grew by more than N.",
)  # fmt: skip
@format_options("difference")
def diff(
    sources: list[Source],
    wanted: _Wanted,
    force: bool,
    most: int | None,
    exporter: Exporter | None,
) -> None:
    """Show what changed between snapshots of a program: which goroutines are leaked, for instance.

    Goroutines are told apart by their ids: born, gone, or stuck, which are at the same stack still.
    They are counted by what created them, and by their stacks, the largest growth first. Three or
    more snapshots are a series; then each group has a curve.

    \b
      spyglass diff monday.json.gz tuesday.json.gz
      spyglass diff monday.json.gz -p 1234          a snapshot, and the process now
      spyglass diff series/*                        of snapshot --every
      spyglass diff a.json.gz b.json.gz --fail-on 'growth>100'
    """
    if len(sources) < 2:
        raise click.UsageError("compare what? Give two FILEs, or a FILE and --pid")
    from spyglass.analysis.snapshot_diff import difference

    snapshots = [source.snapshot("full") for source in sources]
    if not force:
        _check_same_program(snapshots)
    found = difference(snapshots, system=wanted.system)
    if exporter:
        exporter.write(found, sys.stdout.buffer)
    else:
        _show(found, wanted)
    sys.stdout.flush()
    if most is not None and _grew(found, most):
        click.get_current_context().exit(1)


def _check_same_program(snapshots: list[Snapshot]) -> None:
    from spyglass.analysis.same_process import other_program

    for each in snapshots[1:]:
        if why := other_program(snapshots[0].process, each.process):
            raise SpyglassError(
                f"these are of different programs: {why}", "--force compares them nevertheless"
            )


def _show(found: Difference, wanted: _Wanted) -> None:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.diff_view import render

    terminal = Terminal()
    terminal.show(render(found, terminal.view(everything=wanted.everything, limit=wanted.limit)))
    for caveat in found.caveats:
        click.echo(f"note: {visible(caveat)}", err=True)


def _grew(found: Difference, most: int) -> bool:
    """Whether a group did by more than `most`; says so."""
    from spyglass.words.calls import call_text

    for what, growths in (("creator", found.by_creator), ("stack", found.by_stack)):
        largest = growths[0] if growths else None  # largest growth first
        if largest is None or largest.difference <= most:
            continue
        g = largest.snapshot.goroutines
        place = g.creator if what == "creator" else g.where
        frame = largest.snapshot.frame(int(place[largest.row]))
        name = call_text(frame) if frame else "?"
        words = f"growth>{most}: goroutines of one {what}, {name}, grew by {largest.difference:,}"
        click.echo(words, err=True)
        return True
    return False
