"""Waits that are too long: for locks, and of requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from spyglass.analysis.findings.finding import Findable, Finding, Place, Severity
from spyglass.analysis.findings.thresholds import (
    LOCK_CRITICAL_NS,
    LOCK_WAIT_NS,
    LOCK_WAITERS,
    REQUEST_WAIT_NS,
)
from spyglass.model import NONE
from spyglass.words.units import count, duration, plural

__all__ = ["is_lock", "wait_findings"]

#: Wait reasons of locks (``waitReasonStrings``, runtime2.go), since Go 1.20.
_LOCKS = frozenset(("sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock"))
#: Functions of which each has a finding of its own.
_LOCKS_SHOWN = 3
#: Calls that wait for a lock; in older versions their goroutines are in the state "semacquire".
_LOCK_CALLS = frozenset(
    f"{package}.(*{kind}).{method}"
    for package in ("sync", "internal/sync")
    for kind, methods in (("Mutex", ("Lock", "lockSlow")), ("RWMutex", ("Lock", "RLock")))
    for method in methods
)


def is_lock(place: Place) -> bool:
    """Whether goroutines at `place` wait for a mutex."""
    if place.state in _LOCKS:
        return True
    return (
        place.state == "semacquire"
        and place.call is not None
        and place.call.function in _LOCK_CALLS
    )


def wait_findings(findable: Findable) -> Iterator[Finding]:
    """Lock waits of a second or more, or of several goroutines; requests that have waited for a minute."""
    if not findable.is_whole:
        return
    locks = list(_unexplained(findable, [place for place in findable.places if is_lock(place)]))
    long = [place for place in locks if _severity(place) is not None]
    yield from (_lock(findable, place) for place in long[:_LOCKS_SHOWN])
    others = [place for place in locks if _severity(place) is None] + long[_LOCKS_SHOWN:]
    if long[_LOCKS_SHOWN:] or sum(len(place.rows) for place in others) >= LOCK_WAITERS:
        yield _locks(findable, sorted(others, key=lambda place: -len(place.rows)))
    yield from _requests(findable)


def _unexplained(findable: Findable, places: Sequence[Place]) -> Iterator[Place]:
    """`places` without the goroutines that wait for a lock which has a finding of its own."""
    if findable.verdicts is None:
        yield from places
        return
    from spyglass.analysis.findings.blocked import explained_rows

    explained = explained_rows(findable)
    waiting_ns = findable.snapshot.goroutines.waiting_ns
    for place in places:
        rows = place.rows[~np.isin(place.rows, explained)]
        if len(rows):
            longest = int(waiting_ns[rows].max())
            longest_wait_ns = None if longest == NONE else longest
            yield replace(place, rows=rows, longest_wait_ns=longest_wait_ns)


def _severity(place: Place) -> Severity | None:
    """How unusual it is to wait for a lock so long or with so many; None: it is not."""
    waited_ns = place.longest_wait_ns or 0
    if waited_ns >= LOCK_CRITICAL_NS:
        return "critical"
    return "warning" if waited_ns >= LOCK_WAIT_NS or len(place.rows) >= LOCK_WAITERS else None


def _lock(findable: Findable, place: Place) -> Finding:
    number = len(place.rows)
    function = place.where.function if place.where is not None else None
    call = place.call.function if place.call is not None else place.state
    by = f" called by {function}" if function else ""
    verb = "waits" if number == 1 else "wait"
    return Finding(
        kind="lock-wait",
        severity=_severity(place) or "warning",
        title=f"{plural(number, 'goroutine')} {verb} in {call}{by} ({place.waited})",
        goroutines=number,
        examples=findable.examples(place.rows),
        functions=(function,) if function else (),
        next=findable.command("dump", "--group", "stack", "--state", place.state),
    )


def _locks(findable: Findable, places: Sequence[Place]) -> Finding:
    """The finding for goroutines that wait for locks in several functions, few in each."""
    rows = np.concatenate([place.rows for place in places])
    functions = [place.where.function for place in places if place.where is not None]
    who = f"{plural(len(rows), 'goroutine')} {'waits' if len(rows) == 1 else 'wait'}"
    if len(places) == 1:
        title = f"{who} for a lock" + (f" in {functions[0]}" if functions else "")
    else:
        most = f", {count(len(places[0].rows))} of them in {functions[0]}" if functions else ""
        title = f"{who} for locks in {plural(len(places), 'function')}{most}"
    return Finding(
        kind="lock-wait",
        severity="critical" if "critical" in map(_severity, places) else "warning",
        title=title,
        goroutines=len(rows),
        examples=findable.examples(rows),
        functions=tuple(functions[:1]),
        next=findable.command("dump", "--group", "function", "--state", places[0].state),
    )


def _requests(findable: Findable) -> Iterator[Finding]:
    """Requests of net/http that have waited long, of one function, the longest first."""
    g = findable.snapshot.goroutines
    for place in findable.places:
        if place.where is None or not place.is_serving or is_lock(place):
            continue
        rows = place.rows[g.waiting_ns[place.rows] >= REQUEST_WAIT_NS]
        if not len(rows):
            continue
        longest = duration(int(g.waiting_ns[rows].max()))
        verb = "waits" if len(rows) == 1 else "wait"
        yield Finding(
            kind="old-request",
            severity="warning",
            title=f"{plural(len(rows), 'request')} of net/http {verb} for over a minute in "
            f"{place.state} at {place.where.function} (oldest >= {longest})",
            goroutines=len(rows),
            examples=findable.examples(rows),
            functions=(place.where.function,),
            next=findable.command("dump", "--group", "stack", "--state", place.state),
        )
