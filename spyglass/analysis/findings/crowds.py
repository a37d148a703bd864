"""Crowds: many goroutines of one state in one function."""

from __future__ import annotations

from collections.abc import Iterator

from spyglass.analysis.findings.finding import Findable, Finding, Place
from spyglass.analysis.findings.thresholds import CROWD_COUNT, CROWD_SHARE, IDLE_CROWD_SHARE
from spyglass.analysis.findings.waits import is_lock
from spyglass.words.units import count

__all__ = ["crowd_findings", "is_blocked"]

#: States in which a goroutine waits for another one of the program, as runtime2.go words them
#: (``waitReasonStrings``): there are many of these only if what they wait for does not keep up. In the other states
#: workers wait for work, connections for requests and tickers for their time, which is unusual only of a
#: goroutine that serves a request.
_BLOCKED = frozenset(
    (
        "chan send", "chan send (nil chan)", "chan receive (nil chan)", "select (no cases)",
        "semacquire", "sync.Cond.Wait", "sync.WaitGroup.Wait",
    )
)  # fmt: skip


def crowd_findings(findable: Findable) -> Iterator[Finding]:
    """The largest groups of goroutines that wait, other than idle workers and for locks."""
    total = len(findable.rows)
    if not findable.is_whole:
        return
    waiting = [place for place in findable.places if _waits(place)]
    for number, place in enumerate(waiting):
        share = CROWD_SHARE if _is_unusual(place) else IDLE_CROWD_SHARE
        if len(place.rows) >= max(CROWD_COUNT, share * total):
            yield _crowd(findable, place, total, waiting[number + 1 : number + 2])


def _waits(place: Place) -> bool:
    """Whether goroutines at `place` wait for something else than work or a lock."""
    if place.status != "waiting" or place.where is None or is_lock(place):
        return False
    return place.state in _BLOCKED or not place.is_idle


def is_blocked(place: Place) -> bool:
    """Whether goroutines at `place` wait for something else than work or a lock, where it is unusual that many do."""
    return _waits(place) and _is_unusual(place)


def _is_unusual(place: Place) -> bool:
    """Whether it is unusual that many wait at `place`."""
    return place.state in _BLOCKED or place.is_serving


def _crowd(findable: Findable, place: Place, total: int, others: list[Place]) -> Finding:
    """The finding for `place`; what the next largest group does may be what they wait for."""
    number, functions = len(place.rows), [_function(place)]
    who = f"{100 * number // total} % of" if number < total else "all"
    text = (
        f"{who} goroutines are in {place.state} at {functions[0]} ({count(number)}, {place.waited})"
    )
    for other in others:
        if len(other.rows) > 1:
            functions.append(_function(other))
            text += f"; {count(len(other.rows))} are in {other.state} at {functions[-1]}"
    return Finding(
        kind="crowd",
        severity="warning" if _is_unusual(place) else "info",
        title=text,
        goroutines=len(place.rows),
        examples=findable.examples(place.rows),
        functions=tuple(functions),
        next=findable.command("dump", "--group", "stack", "--state", place.state),
    )


def _function(place: Place) -> str:
    return place.where.function if place.where is not None else ""
