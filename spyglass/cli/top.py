"""``spyglass top``: a live view of a process."""

from __future__ import annotations

import functools
import os
import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import format_options
from spyglass.cli.filter_options import span_ns
from spyglass.cli.source_options import optional_source_options
from spyglass.cli.sources import ProcessSource, Source
from spyglass.errors import ProcessChanged

if TYPE_CHECKING:
    from spyglass.formats import Exporter
    from spyglass.tui.feed import Event, TickSource
    from spyglass.tui.query import Query
    from spyglass.tui.view_state import Model

__all__ = ["top"]


#: The names of columns that groups can be sorted by, and how `spyglass.tui.page_columns` calls them.
_SORTED = {
    "count": "count", "change": "change", "oldest": "wait", "median": "median", "cpu": "cpu",
}  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """Printed frames: their number (None: unlimited), groups in each, and their format (None: text)."""

    number: int | None
    limit: int
    exporter: Exporter | None

    @property
    def are_forced(self) -> bool:
        """Whether frames are printed even on a terminal."""
        return self.exporter is not None or self.number is not None


def _frame_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of printed frames: calls `command` with ``frames``, a `Frames`."""

    @click.option(
        "--count", type=click.IntRange(min=1), metavar="N", help="Print N frames and exit."
    )
    @click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        metavar="N",
        help="Print at most N groups per frame.",
    )
    @format_options("view")
    @functools.wraps(command)
    def wrapper(count: int | None, limit: int, exporter: Exporter | None, **others: Any) -> None:
        command(frames=Frames(count, limit, exporter), **others)

    return wrapper


@dataclass(frozen=True)
class View:
    """What to show: groups `by` something of the goroutines that match a filter, `text`, sorted by a column (None: the
    largest first); with their processor time if `cpu`."""

    by: str
    text: str
    column: str | None
    cpu: bool

    def model(self) -> Model:
        """The state of the view before the first tick."""
        from spyglass.tui.view_state import Model

        model = Model(_grouping(self.by), _query(self.text))
        if self.column is not None:
            model.sort["groups"] = self.column, True
        model.show_cpu(self.cpu)
        return model


def _view_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --group, --filter, --sort and --cpu: calls `command` with ``view``, a `View`."""

    @click.option(
        "--group", "by", default="function", show_default=True, metavar="BY",
        help="Group by function, stack, creator, state or label:KEY.",
    )  # fmt: skip
    @click.option(
        "--filter", "text", default="", metavar="QUERY",
        help="Filter, in the syntax of the / key: REGEX state:WORDS label:KEY=VALUE creator:REGEX.",
    )  # fmt: skip
    @click.option(
        "--cpu", is_flag=True,
        help="Sample processor time, and show it for each group (key C); needs perf events.",
    )  # fmt: skip
    @click.option(
        "--sort", type=click.Choice(list(_SORTED)), metavar="COLUMN",
        help="Sort groups by count (default), change, oldest, median or cpu (implies --cpu).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(by: str, text: str, cpu: bool, sort: str | None, **others: Any) -> None:
        column = None if sort is None else _SORTED[sort]
        command(view=View(by, text, column, cpu or sort == "cpu"), **others)

    return wrapper


@click.command("top", short_help="Watch what a Go process is doing, live.")
@optional_source_options
@click.option(
    "--interval", "interval_ns", callback=span_ns, default="1s", show_default=True, metavar="DURATION",
    help="Time between snapshots; grows if reading is slow.",
)  # fmt: skip
@click.option(
    "--follow-name", metavar="NAME",
    help="When the process ends, continue with the next one called NAME.",
)  # fmt: skip
@_view_options
@_frame_options
def top(
    source: Source | None,
    interval_ns: int,
    follow_name: str | None,
    view: View,
    frames: Frames,
) -> None:
    """Watch the goroutines of a Go process: groups, how they change, and single stacks.

    Press ? for the keys. TARGET is a pid, the name of a Go process, a saved snapshot or report, a core
    file, or a directory with a series of snapshots; the left and right arrows step through a series.
    The process is not stopped.

    Without a terminal, and with --count or --json, a frame is printed for each interval; with --cpu, the
    first one when processor time has been sampled for a second.

    \b
      spyglass top -p 1234
      spyglass top -p 1234 --follow-name etcd      survive restarts
      spyglass top -p 1234 --count 1               print one frame
      spyglass top -p 1234 --sort cpu --count 1    groups that use most processor time first
      spyglass top -p 1234 --json --interval 10s   JSON for a script
    """
    from spyglass.cli.top_feed import tick_source
    from spyglass.tui.feed import MIN_INTERVAL_NS

    if source is None and follow_name is None:
        raise click.UsageError(
            "no target given; give a pid, a process name, a file, or --follow-name"
        )
    if follow_name is not None and source is not None and not isinstance(source, ProcessSource):
        raise click.UsageError("--follow-name requires a process")
    if interval_ns < MIN_INTERVAL_NS:
        raise click.BadParameter("must be at least 100ms", param_hint="--interval")
    model, ticks = view.model(), tick_source(source, follow_name)
    if view.cpu and not ticks.is_live:
        raise click.UsageError("--cpu requires a process")
    if frames.are_forced or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print_frames(model, ticks, interval_ns, frames)
        return
    from spyglass.tui.app import TopApp

    TopApp(model, ticks, interval_ns, ascii_only=_is_ascii()).run()


def _grouping(by: str) -> str:
    from spyglass.tui.view_state import GROUPINGS

    if by in GROUPINGS or (by.startswith("label:") and by != "label:"):
        return by
    raise click.BadParameter(
        f"{by!r} is not one of {', '.join(GROUPINGS)}, label:KEY", param_hint="--group"
    )


def _query(text: str) -> Query:
    from spyglass.tui.query import BadQuery, Query

    try:
        return Query.parse(text)
    except BadQuery as error:
        raise click.BadParameter(str(error), param_hint="--filter") from None


def _is_ascii() -> bool:
    return "utf" not in (sys.stdout.encoding or "").lower() or os.environ.get("TERM") == "linux"


def _print_frames(model: Model, ticks: TickSource, interval_ns: int, frames: Frames) -> None:
    """Print a frame for each event of the feed, until there are enough or the process has ended."""
    from spyglass.tui.feed import Feed

    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    feed = Feed(ticks, interval_ns, events.put)
    number = frames.number if feed.is_live else 1
    model.compares, feed.cpu = number != 1, model.shows_cpu
    printed, write = 0, _writer(interval_ns, frames)
    feed.start()
    try:
        while number is None or printed < number:
            model.note(events.get())
            feed.full = model.needs_stacks
            if not _is_sampling_only(model):
                write(model)
                sys.stdout.flush()
                printed += 1
            if model.ended and not ticks.follows:
                raise ProcessChanged(model.ended)  # sets the exit status for scripts
    finally:
        feed.close()


def _is_sampling_only(model: Model) -> bool:
    """Whether processor time is wanted, and will be known soon."""
    sampled = model.sampled
    is_begun = sampled is not None and not sampled.parts and sampled.refused is None
    return is_begun and model.problem is None and model.ended is None


def _writer(interval_ns: int, frames: Frames) -> Callable[[Model], None]:
    """A function that writes a frame to standard output."""
    from spyglass.tui.layout import Style
    from spyglass.tui.plain import TextFrames

    if exporter := frames.exporter:
        return lambda model: exporter.write(model, sys.stdout.buffer, limit=frames.limit)
    text = TextFrames(Style(None, ascii_only=_is_ascii()), frames.limit, interval_ns)
    return lambda model: sys.stdout.writelines(f"{line}\n" for line in text.lines(model))
