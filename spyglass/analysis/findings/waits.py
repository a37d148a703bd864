"""Waits that are too long: for locks, and of requests."""

from __future__ import annotations

from collections.abc import Iterator

from spyglass.analysis.findings.finding import Findable, Finding, Place, Severity
from spyglass.analysis.findings.thresholds import (
    LOCK_CRITICAL_NS,
    LOCK_WAIT_NS,
    LOCK_WAITERS,
    REQUEST_WAIT_NS,
)
from spyglass.words.units import duration, plural

__all__ = ["is_lock", "wait_findings"]

#: Wait reasons of locks (``waitReasonStrings``, runtime2.go), since Go 1.20.
_LOCKS = frozenset(("sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock"))
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
    for place in findable.places:
        if is_lock(place):
            yield from _lock(findable, place)
    yield from _requests(findable)


def _lock(findable: Findable, place: Place) -> Iterator[Finding]:
    waited_ns, number = place.longest_wait_ns, len(place.rows)
    severity: Severity = "warning"
    if waited_ns is not None and waited_ns >= LOCK_CRITICAL_NS:
        severity = "critical"
    elif (waited_ns or 0) < LOCK_WAIT_NS and number < LOCK_WAITERS:
        return
    function = place.where.function if place.where is not None else None
    call = place.call.function if place.call is not None else place.state
    by = f" called by {function}" if function else ""
    verb = "waits" if number == 1 else "wait"
    yield Finding(
        kind="lock-wait",
        severity=severity,
        title=f"{plural(number, 'goroutine')} {verb} in {call}{by} ({place.waited})",
        goroutines=len(place.rows),
        examples=findable.examples(place.rows),
        functions=tuple(name for name in (function,) if name),
        next=findable.command("dump", "--group", "stack", "--state", place.state),
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
