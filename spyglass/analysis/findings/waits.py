"""Waits that are too long: for locks, and of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.findings.finding import Findable, Finding, Place, Severity
from spyglass.analysis.findings.thresholds import (
    LOCK_CRITICAL_NS,
    LOCK_WAIT_NS,
    LOCK_WAITERS,
    REQUEST_WAIT_NS,
)
from spyglass.words.units import duration, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_lock", "is_serving", "wait_findings"]

#: Wait reasons of locks (``waitReasonStrings``, runtime2.go), since Go 1.20.
_LOCKS = frozenset(("sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock"))
#: Calls that wait for a lock; in older versions their goroutines are in the state "semacquire".
_LOCK_CALLS = frozenset(
    f"{package}.(*{kind}).{method}"
    for package in ("sync", "internal/sync")
    for kind, methods in (("Mutex", ("Lock", "lockSlow")), ("RWMutex", ("Lock", "RLock")))
    for method in methods
)
#: What goroutines begin with that serve requests of net/http: a connection, and a stream of HTTP/2.
_SERVERS = frozenset(("net/http.(*conn).serve", "net/http.(*http2serverConn).runHandler"))


def is_lock(place: Place) -> bool:
    """Whether goroutines at `place` wait for a mutex."""
    if place.state in _LOCKS:
        return True
    return (
        place.state == "semacquire"
        and place.call is not None
        and place.call.function in _LOCK_CALLS
    )


def is_serving(place: Place) -> bool:
    """Whether the first goroutine at `place` serves a request of net/http."""
    return place.start is not None and place.start.function in _SERVERS and not place.is_idle


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
        text=f"{plural(number, 'goroutine')} {verb} in {call}{by} ({place.waited})",
        goroutines=findable.examples(place.rows),
        functions=tuple(name for name in (function,) if name),
        command=findable.command("dump", "--group", "stack", "--state", place.state),
    )


def _requests(findable: Findable) -> Iterator[Finding]:
    """Requests of net/http that have waited long, of one function, the longest first."""
    g = findable.snapshot.goroutines
    for place in findable.places:
        if place.start is None or place.where is None or place.is_idle or is_lock(place):
            continue
        rows = place.rows[g.waiting_ns[place.rows] >= REQUEST_WAIT_NS]
        rows = rows[_is_served(findable, rows)]
        if not len(rows):
            continue
        longest = duration(int(g.waiting_ns[rows].max()))
        verb = "waits" if len(rows) == 1 else "wait"
        yield Finding(
            kind="old-request",
            severity="warning",
            text=f"{plural(len(rows), 'request')} of net/http {verb} for over a minute in "
            f"{place.state} at {place.where.function} (oldest >= {longest})",
            goroutines=findable.examples(rows),
            functions=(place.where.function,),
            command=findable.command("dump", "--group", "stack", "--state", place.state),
        )


def _is_served(findable: Findable, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `rows` began as a goroutine that serves requests of net/http."""
    snapshot = findable.snapshot
    starts = snapshot.goroutines.start[rows]
    servers = [
        index
        for index in np.unique(starts).tolist()
        if index >= 0 and snapshot.frames[index].function in _SERVERS
    ]
    return np.isin(starts, servers)
