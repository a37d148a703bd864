"""``--fail-on``: limits of the user's beyond which a command exits with status 3, for scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.exit_status import LIMIT_EXCEEDED
from spyglass.errors import SpyglassError

if TYPE_CHECKING:
    from spyglass.analysis.snapshot_diff import Difference
    from spyglass.memory_limits import MemoryLimits
    from spyglass.model import Snapshot

__all__ = [
    "Limit",
    "exit_beyond",
    "fail_on_option",
    "growth_beyond",
    "headroom_beyond",
    "waits_beyond",
]

_LIMIT = re.compile(
    r"(deadlock)|(growth|stuck)\s*>\s*(\d{1,12})|(headroom)\s*<\s*(\d{1,2})\s*%", re.ASCII
)
_FORMS = {
    "deadlock": "deadlock", "growth": "growth>N", "stuck": "stuck>N", "headroom": "headroom<N%",
}  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """A limit of `what`: at most `number` of "growth" (of a group) or "stuck" (goroutines that can never be woken), at
    least `number` percent of "headroom" (what is left of a limit of memory), or no "deadlock"."""

    what: str
    number: int = 0

    def __str__(self) -> str:
        return _FORMS[self.what].replace("N", str(self.number))


def fail_on_option(*kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --fail-on for limits of these `kinds`: calls the command with ``limits``, a tuple of `Limit`."""
    forms = [_FORMS[kind] for kind in kinds]

    def parsed(
        _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
    ) -> tuple[Limit, ...]:
        return tuple(_limit(text, kinds, forms) for text in texts)

    meanings = {
        "growth": "any group of goroutines grew by more than N",
        "stuck": "more than N goroutines can never be woken",
        "deadlock": "there is a deadlock",
        "headroom": "less than N percent of a limit of memory are left",
    }
    option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
        "--fail-on", "limits", multiple=True, callback=parsed, metavar="LIMIT",
        help="Exit with status 3 beyond a limit: "
        + "; ".join(f"'{form}': {meanings[kind]}" for form, kind in zip(forms, kinds, strict=True))
        + ". May be repeated.",
    )  # fmt: skip
    return option


def _limit(text: str, kinds: Iterable[str], forms: list[str]) -> Limit:
    found = _LIMIT.fullmatch(text.strip())
    what = str(found[1] or found[2] or found[4]) if found else ""
    if found is None or what not in kinds:
        raise click.BadParameter(f"{text!r} is not of the form {' or '.join(map(repr, forms))}")
    return Limit(what, int(found[3] or found[5] or 0))


def exit_beyond(exceeded: list[str]) -> None:
    """Print why a limit is exceeded on stderr and exit with status 3, if one is."""
    for each in exceeded:
        click.echo(each, err=True)
    if exceeded:
        click.get_current_context().exit(LIMIT_EXCEEDED)


def growth_beyond(found: Difference, limits: Iterable[Limit]) -> list[str]:
    """Which limits of growth `found` exceeds, each with the group that does."""
    return [
        f"{limit}: {group}"
        for limit in limits
        if limit.what == "growth" and (group := _grown(found, limit.number))
    ]


def _grown(found: Difference, most: int) -> str | None:
    """The first group that grew by more than `most`."""
    from spyglass.words.calls import call_text

    for what, growths in (("creator", found.by_creator), ("stack", found.by_stack)):
        largest = growths[0] if growths else None  # largest growth first
        if largest is None or largest.difference <= most:
            continue
        g = largest.snapshot.goroutines
        place = g.creator if what == "creator" else g.where
        frame = largest.snapshot.frame(int(place[largest.row]))
        name = call_text(frame) if frame else "?"
        return f"{what} {name} grew by {largest.difference:,} goroutines"
    return None


def headroom_beyond(known: MemoryLimits | None, limits: Iterable[Limit]) -> list[str]:
    """Which limits of headroom are not kept. Raises `SpyglassError` if it is not known how much of any limit is left."""
    from spyglass.words.memory_limits import limit_text
    from spyglass.words.units import size

    limits = [limit for limit in limits if limit.what == "headroom"]
    shares = {} if known is None else {row: row.headroom_share for row in known.ending}
    if limits and not any(share is not None for share in shares.values()):
        raise SpyglassError(f"--fail-on {limits[0]}: how much memory is left is not known")
    return [
        f"{limit}: {size(row.headroom_bytes)} ({100 * share:.1f} %) are left of {limit_text(known, row)}"
        for limit in limits
        for row, share in shares.items()
        if known is not None and share is not None and 100 * share < limit.number
    ]


def waits_beyond(snapshot: Snapshot, limits: Iterable[Limit]) -> list[str]:
    """Which limits of deadlocks and of goroutines that can never be woken `snapshot` exceeds.

    Raises `SpyglassError` for a limit that cannot be judged: what goroutines wait on, or the heap, was not
    read. A script must not take that for "none".
    """
    from spyglass.analysis.wait_verdicts import verdicts

    limits = [limit for limit in limits if limit.what in ("deadlock", "stuck")]
    known = verdicts(snapshot) if limits else None
    exceeded = []
    for limit in limits:
        if known is None:
            raise SpyglassError(f"--fail-on {limit}: what goroutines wait on was not read")
        if limit.what == "deadlock" and known.deadlocks:
            ids = ", ".join(map(str, known.deadlocks[0].goroutines[:8]))
            exceeded.append(f"{limit}: {len(known.deadlocks):,} found; goroutines {ids}")
        if limit.what == "stuck":
            exceeded += _stuck(known, limit)
    return exceeded


def _stuck(known: Any, limit: Limit) -> list[str]:
    looked_at = known.graph.looked_at
    number = int((known.stuck == 1).sum())
    if number > limit.number:
        return [f"{limit}: {number:,} goroutines can never be woken"]
    if not looked_at.marks:
        raise SpyglassError(f"--fail-on {limit}: the heap was not looked at")
    if not looked_at.heap_complete:
        raise SpyglassError(f"--fail-on {limit}: only a part of the heap was looked at")
    return []
