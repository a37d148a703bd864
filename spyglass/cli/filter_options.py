"""Options that filter goroutines, the same for all commands that show goroutines."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from spyglass.analysis.goroutine_filter import GoroutineFilter
from spyglass.words import spans

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "GoroutineFilter", "complete_labels", "complete_states", "filter_options", "goroutine_ids", "label_pairs",
    "regular_expression", "span_ns",
]  # fmt: skip

_MAX_NUMBER = (1 << 63) - 1


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
    try:
        return spans.span_ns(span)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


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
