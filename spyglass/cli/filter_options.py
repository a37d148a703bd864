"""Options that choose goroutines, the same for every command that shows some."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.analysis.filters import Filter
    from spyglass.model import Snapshot

__all__ = ["GoroutineFilter", "filter_options", "span_ns"]

_MAX_NUMBER = (1 << 63) - 1

_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


@dataclass(frozen=True)
class GoroutineFilter:
    """What was asked for: `wanted` of a goroutine, whether the runtime's own are included (None: not
    said), and at most how many goroutines, groups or rows."""

    wanted: Filter
    system: bool | None
    limit: int | None

    def includes_system(self, otherwise: bool = False) -> bool:
        """Whether system goroutines are wanted too; one that is named by its id is."""
        if self.system is None:
            return otherwise or bool(self.wanted.ids)
        return self.system

    def rows(self, snapshot: Snapshot, *, system: bool) -> tuple[NDArray[np.int64], int]:
        """The goroutines that are wanted, and among how many; `system`: unless told otherwise, the
        runtime's own too."""
        from spyglass.analysis.filters import matching
        from spyglass.analysis.selection import selected

        rows = selected(snapshot.goroutines, system=self.includes_system(system))
        return matching(snapshot, rows, self.wanted), len(rows)

    def part(self, snapshot: Snapshot, *, system: bool, limit: int | None = None) -> Snapshot:
        """`snapshot` with the first `limit` of those `rows` alone; itself if that is all of it."""
        from spyglass.analysis.subset import subset

        rows, matched_of = self.rows(snapshot, system=system)
        rows = rows[:limit]
        return (
            snapshot
            if len(rows) == len(snapshot.goroutines)
            else subset(snapshot, rows, matched_of)
        )


def _ids(
    _context: click.Context, _option: click.Parameter, ids: tuple[int, ...]
) -> tuple[int, ...]:
    for goid in ids:
        if not 0 < goid <= _MAX_NUMBER:
            raise click.BadParameter(f"{goid} is not the id of a goroutine")
    return ids


def span_ns(_context: click.Context, _option: click.Parameter, span: str | None) -> int | None:
    """A time span in Go's form (``time.ParseDuration``), and in days."""
    if span is None:
        return None
    parts = _SPAN.findall(span)
    if not parts or "".join(number + unit for number, unit in parts) != span:
        raise click.BadParameter(f"{span!r} is not a duration such as 90s, 5m or 1h30m")
    return int(min(sum(float(number) * _UNITS_NS[unit] for number, unit in parts), _MAX_NUMBER))


def _regex(
    _context: click.Context, _option: click.Parameter, regex: str | None
) -> re.Pattern[str] | None:
    if regex is None:
        return None
    try:
        return re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise click.BadParameter(f"{regex!r} is not a regular expression: {error}") from None


def _labels(
    _context: click.Context, _option: click.Parameter, labels: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    for label in labels:
        if "=" not in label:
            raise click.BadParameter(f"{label!r} is not a label and its value, as in tenant=blue")
    pairs = (label.partition("=") for label in labels)
    return tuple((key, value) for key, _, value in pairs)


_OPTIONS = (
    click.option(
        "--goroutine", "ids", type=int, callback=_ids, multiple=True, metavar="ID",
        help="Only this goroutine; may be given more than once.",
    ),
    click.option(
        "--state", "states", multiple=True, metavar="STATE",
        help='Only in this state: a status (waiting) or what it waits for ("chan receive"); may be given more than once.',
    ),
    click.option(
        "--function", callback=_regex, metavar="REGEX",
        help="Only with a function on the stack in whose name REGEX is found.",
    ),
    click.option(
        "--creator", callback=_regex, metavar="REGEX",
        help="Only created by a function in whose name REGEX is found.",
    ),
    click.option(
        "--label", "labels", callback=_labels, multiple=True, metavar="KEY=VALUE",
        help="Only with this pprof label; given more than once: with all of them.",
    ),
    click.option(
        "--min-wait", "min_wait_ns", callback=span_ns, metavar="DURATION",
        help="Only if known to wait for so long: 90s, 5m, 1h30m.",
    ),
)  # fmt: skip


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let `command` be told which goroutines to show; it is called with ``choice``, a `GoroutineFilter`."""

    @click.option(
        "--system/--no-system", default=None, help="With the runtime's own goroutines, or without."
    )
    @click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them.")
    @functools.wraps(command)
    def told(system: bool | None, limit: int | None, **options: Any) -> None:
        from spyglass.analysis.filters import Filter

        wanted = Filter(**{name: options.pop(name) for name in Filter.__slots__})
        command(choice=GoroutineFilter(wanted, system, limit), **options)

    for option in reversed(_OPTIONS):
        told = option(told)
    return told
