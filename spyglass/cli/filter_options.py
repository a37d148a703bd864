"""Options that filter goroutines, the same for all commands that show goroutines."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.errors import NoMatch

if TYPE_CHECKING:
    import numpy as np
    from click.shell_completion import CompletionItem
    from numpy.typing import NDArray

    from spyglass.analysis.filters import Filter
    from spyglass.model import Snapshot

__all__ = [
    "GoroutineFilter", "complete_labels", "complete_states", "filter_options", "goroutine_ids", "label_pairs",
    "regular_expression", "span_ns",
]  # fmt: skip

_MAX_NUMBER = (1 << 63) - 1

_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


@dataclass(frozen=True)
class GoroutineFilter:
    """The `criteria` of goroutines, whether `system` goroutines are included (None: not given), and the
    maximum number of goroutines, groups or rows."""

    criteria: Filter
    system: bool | None
    limit: int | None

    def includes_system(self, default: bool = False) -> bool:
        """Whether system goroutines are included; `default`: if the user did not say. One chosen by id is."""
        if self.system is None:
            return default or bool(self.criteria.ids)
        return self.system

    def rows(self, snapshot: Snapshot, *, system: bool) -> NDArray[np.int64]:
        """The matching goroutines (int64); `system`: include system goroutines by default."""
        from spyglass.analysis.filters import matching
        from spyglass.analysis.selection import selected

        rows = selected(snapshot.goroutines, system=self.includes_system(system))
        return matching(snapshot, rows, self.criteria)

    def require_match(self, snapshot: Snapshot, matched: int, *, system: bool) -> None:
        """Raise `NoMatch`, which says why, if there are criteria and `matched`, the number of `rows`, is 0."""
        if matched or not self.criteria:
            return
        from spyglass.analysis.filters import matching
        from spyglass.analysis.no_match import no_match
        from spyglass.analysis.selection import selected

        rows = selected(snapshot.goroutines, system=self.includes_system(system))
        every = selected(snapshot.goroutines, system=True)
        hidden = len(matching(snapshot, every, self.criteria))
        hint = (
            f"--system includes runtime goroutines, of which {hidden:,} match" if hidden else None
        )
        raise NoMatch(no_match(snapshot, rows, self.criteria), hint)

    def part(self, snapshot: Snapshot, *, system: bool, limit: int | None = None) -> Snapshot:
        """`snapshot` with only the first `limit` of `rows`; the same object if those are all."""
        from spyglass.analysis.subset import part

        return part(snapshot, self.rows(snapshot, system=system)[:limit])


def goroutine_ids(
    _context: click.Context, _option: click.Parameter, ids: tuple[int, ...]
) -> tuple[int, ...]:
    """Goroutine ids, all of which can be one."""
    for goid in ids:
        if not 0 < goid <= _MAX_NUMBER:
            raise click.BadParameter(f"{goid} is not a goroutine id")
    return ids


def span_ns(_context: click.Context, _option: click.Parameter, span: str | None) -> int | None:
    """A time span in ns, from Go's form (``time.ParseDuration``) with days added."""
    if span is None:
        return None
    parts = _SPAN.findall(span)
    if not parts or "".join(number + unit for number, unit in parts) != span:
        raise click.BadParameter(f"{span!r} is not a duration such as 90s, 5m or 1h30m")
    return int(min(sum(float(number) * _UNITS_NS[unit] for number, unit in parts), _MAX_NUMBER))


def regular_expression(
    _context: click.Context, _option: click.Parameter, regex: str | None
) -> re.Pattern[str] | None:
    """A regular expression."""
    if regex is None:
        return None
    try:
        return re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise click.BadParameter(f"{regex!r} is not a regular expression: {error}") from None


def label_pairs(
    _context: click.Context, _option: click.Parameter, labels: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Keys and values of labels, from KEY=VALUE."""
    for label in labels:
        if "=" not in label:
            raise click.BadParameter(f"{label!r} is not KEY=VALUE, such as tenant=blue")
    pairs = (label.partition("=") for label in labels)
    return tuple((key, value) for key, _, value in pairs)


def complete_states(
    context: click.Context, _option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The states of the goroutines of the target that the line names."""
    from spyglass.cli import completions

    return completions.states(context, incomplete)


def complete_labels(
    context: click.Context, _option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The labels of the goroutines of the target that the line names, as KEY=VALUE."""
    from spyglass.cli import completions

    return completions.labels(context, incomplete)


_OPTIONS = (
    click.option(
        "--goroutine", "ids", type=int, callback=goroutine_ids, multiple=True, metavar="ID",
        help="Only the goroutine with this id (repeatable).",
    ),
    click.option(
        "--state", "states", multiple=True, metavar="STATE", shell_complete=complete_states,
        help='Only goroutines with STATE in their status or wait reason: running, "chan receive", mutex (repeatable).',
    ),
    click.option(
        "--function", callback=regular_expression, metavar="REGEX",
        help="Only goroutines with a function matching REGEX on the stack.",
    ),
    click.option(
        "--creator", callback=regular_expression, metavar="REGEX",
        help="Only goroutines created by a function matching REGEX.",
    ),
    click.option(
        "--label", "labels", callback=label_pairs, multiple=True, metavar="KEY=VALUE",
        shell_complete=complete_labels,
        help="Only goroutines with this pprof label (repeatable; all must match).",
    ),
    click.option(
        "--min-wait", "min_wait_ns", callback=span_ns, metavar="DURATION",
        help="Only goroutines waiting at least DURATION: 90s, 5m, 1h30m.",
    ),
)  # fmt: skip


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the filter options: calls `command` with ``goroutine_filter``, a `GoroutineFilter`."""

    @click.option(
        "--system/--no-system", default=None, help="Include or exclude runtime goroutines."
    )
    @click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Show at most N goroutines (or groups).",
    )
    @functools.wraps(command)
    def wrapper(system: bool | None, limit: int | None, **options: Any) -> None:
        from spyglass.analysis.filters import Filter

        criteria = Filter(**{name: options.pop(name) for name in Filter.__slots__})
        command(goroutine_filter=GoroutineFilter(criteria, system, limit), **options)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
