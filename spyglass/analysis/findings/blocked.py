"""What goroutines wait for and will not get, or not soon: deadlocks, locks left locked, leaks, convoys, peers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.findings.finding import Findable, Finding, Severity
from spyglass.analysis.findings.thresholds import (
    LOCK_CRITICAL_NS,
    LOCK_WAIT_NS,
    LOCK_WAITERS,
    PEER_WAIT_NS,
    PEER_WAITERS,
)
from spyglass.analysis.findings.worth_reading import is_called
from spyglass.analysis.wait_reasons import held_up_by, object_name
from spyglass.analysis.wait_verdicts import STRONG, VERDICTS, WaitVerdicts
from spyglass.columns import distinct, numbered
from spyglass.model import NONE
from spyglass.wait_graph import KINDS, OPERATIONS
from spyglass.words.units import count, duration, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_verdicts import Deadlock

__all__ = ["blocked_findings", "explained_rows"]

#: Findings of one kind; more are counted in the last, or left to the findings about functions.
_SHOWN = 3
_NAMED = 4
_LOCKS = [KINDS.index(kind) for kind in ("mutex", "rwmutex", "once")]
_FD = KINDS.index("fd")
_READ_OR_WRITE = [OPERATIONS.index(name) for name in ("read", "write", "connect")]
_NEVER = VERDICTS.index("never")


def blocked_findings(findable: Findable) -> Iterator[Finding]:
    """Findings about what goroutines wait on; none if that was not read, or filters chose a part."""
    known = findable.verdicts
    if known is None or not findable.is_whole:
        return
    queues = _Queues(findable, known)
    yield from _deadlocks(queues)
    yield from _left_locked(queues)
    yield from _leaks(queues)
    yield from (_convoy(queues, number) for number in queues.convoys)
    yield from _peers(queues)


def explained_rows(findable: Findable) -> NDArray[np.int64]:
    """The rows of goroutines that wait for locks which `blocked_findings` speaks of."""
    known = findable.verdicts
    if known is None or not findable.is_whole:
        return np.zeros(0, np.int64)
    queues = _Queues(findable, known)
    circles = [number for circle in known.deadlocks for number in circle.objects]
    objects = [*circles, *queues.left_locked[:_SHOWN].tolist(), *queues.convoys]
    waits = known.graph.waits
    return queues.rows(waits.goroutine[np.isin(waits.object, objects)])


class _Queues:
    """Who waits for what in one snapshot."""

    def __init__(self, findable: Findable, known: WaitVerdicts) -> None:
        self.findable = findable
        self.known = known
        self.graph = known.graph
        ids = findable.snapshot.goroutines.id
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]

    def rows(self, goroutines: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of the snapshot of these goids, without those that it does not have."""
        at = np.searchsorted(self._ids, goroutines)
        there = at < len(self._ids)
        there[there] = self._ids[at[there]] == goroutines[there]
        rows: NDArray[np.int64] = self._order[at[there]]
        return rows

    def name(self, number: int) -> str:
        return object_name(self.graph, number)

    def waiters(self, number: int) -> NDArray[np.int64]:
        """The rows of the goroutines that wait for object `number`."""
        waits = self.graph.waits
        return self.rows(waits.goroutine[waits.object == number])

    def longest_ns(self, rows: NDArray[np.int64]) -> int:
        waiting_ns = self.findable.snapshot.goroutines.waiting_ns
        return int(waiting_ns[rows].max(initial=NONE))

    def oldest(self, rows: NDArray[np.int64]) -> str:
        """How long the one of `rows` waits that waits longest, in brackets; empty if it is not known."""
        longest = self.longest_ns(rows)
        return f" (oldest >= {duration(longest)})" if longest != NONE else ""

    def functions(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """The function where most of `rows` wait."""
        snapshot = self.findable.snapshot
        where = snapshot.goroutines.where[rows]
        where = where[where >= 0]
        if not len(where):
            return ()
        return (snapshot.frames[int(np.bincount(where).argmax())].function,)

    @property
    def left_locked(self) -> NDArray[np.intp]:
        """The locks that are locked and whose holder is not there, most waiters first."""
        objects, waits = self.graph.objects, self.graph.waits
        numbers = np.bincount(waits.object, minlength=len(objects))
        left = np.flatnonzero((objects.left_locked == 1) & (numbers > 0))
        return left[np.argsort(-numbers[left], kind="stable")]

    @property
    def convoys(self) -> list[int]:
        """The locks that many wait for, or long, with a holder that is named; most waiters first."""
        objects, waits, holders = self.graph.objects, self.graph.waits, self.graph.holders
        numbers = np.bincount(waits.object, minlength=len(objects))
        named = distinct(holders.object[(holders.grade >= 1) & (holders.grade <= STRONG)])
        circles = [number for circle in self.known.deadlocks for number in circle.objects]
        is_lock = np.isin(objects.kind, _LOCKS) & (numbers > 0)
        is_lock &= np.isin(np.arange(len(objects)), named)
        is_lock &= ~np.isin(np.arange(len(objects)), circles)
        candidates = np.flatnonzero(is_lock)
        candidates = candidates[np.argsort(-numbers[candidates], kind="stable")]
        found = []
        for number in candidates[: 10 * _SHOWN].tolist():
            long = self.longest_ns(self.waiters(number)) >= LOCK_WAIT_NS
            if numbers[number] >= LOCK_WAITERS or long:
                found.append(number)
        return found[:_SHOWN]


def _deadlocks(queues: _Queues) -> Iterator[Finding]:
    circles = queues.known.deadlocks
    for circle in circles[:_SHOWN]:
        behind = int(np.isin(queues.known.behind, np.array(circle.goroutines, np.int64)).sum()) - (
            len(circle.goroutines) if len(circle.goroutines) > 1 else 0
        )
        rows = queues.rows(np.array(circle.goroutines, np.uint64))
        yield Finding(
            kind="deadlock",
            severity="critical",
            title=_circle(queues, circle),
            detail=f"{plural(behind, 'more goroutine')} wait behind them" if behind > 0 else None,
            goroutines=len(circle.goroutines),
            examples=circle.goroutines[:_NAMED],
            functions=queues.functions(rows),
            next=queues.findable.command("waits", "--goroutine", str(circle.goroutines[0])),
            objects=circle.objects,
        )
    if len(circles) > _SHOWN:
        others = [each for circle in circles[_SHOWN:] for each in circle.goroutines]
        yield Finding(
            kind="deadlock",
            severity="critical",
            title=f"{plural(len(circles) - _SHOWN, 'more deadlock')} of {plural(len(others), 'goroutine')}",
            goroutines=len(others),
            examples=tuple(others[:_NAMED]),
            next=queues.findable.command("waits"),
        )


def _circle(queues: _Queues, circle: Deadlock) -> str:
    ids, names = circle.goroutines, [queues.name(number) for number in circle.objects]
    if len(ids) == 1:
        return f"goroutine {ids[0]} waits for {names[0]}, which it holds itself"
    if len(ids) == 2:
        return (
            f"goroutines {ids[0]} and {ids[1]} hold what the other wants: {names[1]} and {names[0]}"
        )
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    who = ", ".join(map(str, ids[:_NAMED]))
    return f"{len(ids)} goroutines wait for each other in a circle: {who}{more} ({names[0]}, ...)"


def _left_locked(queues: _Queues) -> Iterator[Finding]:
    for number in queues.left_locked[:_SHOWN].tolist():
        rows = queues.waiters(number)
        who = f"{plural(len(rows), 'goroutine')} {'waits' if len(rows) == 1 else 'wait'}"
        yield Finding(
            kind="left_locked",
            severity="warning",
            title=f"{queues.name(number)} is locked, and no goroutine that could unlock it was found: "
            f"{who} for it{queues.oldest(rows)}",
            goroutines=len(rows),
            examples=queues.findable.examples(rows),
            functions=queues.functions(rows),
            next=queues.findable.command("waits", "--object", _address(queues, number)),
            objects=(number,),
        )


def _leaks(queues: _Queues) -> Iterator[Finding]:
    """Goroutines that can never be woken, by the function where they wait."""
    known, snapshot = queues.known, queues.findable.snapshot
    rows = queues.rows(known.ids[known.verdict == _NEVER])
    rows = rows[~snapshot.goroutines.system[rows]]
    if not len(rows):
        return
    where = snapshot.goroutines.where[rows]
    names = [snapshot.frames[i].function if i >= 0 else "" for i in range(-1, int(where.max()) + 1)]
    texts = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of_frame = np.array([texts[name] for name in names])
    functions = of_frame[where + 1]
    known_functions, which = numbered(functions)
    sizes = np.bincount(which)
    order = np.argsort(-sizes, kind="stable").tolist()
    labels = list(texts)
    for group in order[:_SHOWN]:
        yield _leak(queues, rows[which == group], labels[int(known_functions[group])])
    if len(order) > _SHOWN:
        others = rows[~np.isin(which, order[:_SHOWN])]
        title = f"{plural(len(others), 'more goroutine')} in {plural(len(order) - _SHOWN, 'function')} can never be woken"
        yield Finding(
            kind="leak",
            severity="warning",
            title=title,
            goroutines=len(others),
            examples=queues.findable.examples(others),
            next=queues.findable.command("waits", "--stuck"),
        )


def _leak(queues: _Queues, rows: NDArray[np.int64], function: str) -> Finding:
    waits, ids = queues.graph.waits, queues.findable.snapshot.goroutines.id[rows]
    kinds = queues.graph.objects.kind[waits.object[np.isin(waits.goroutine, ids)]]
    names = {KINDS[int(kind)] for kind in distinct(kinds)}
    what = {"channel": "channels", "nothing": ""}.get(
        names.pop() if len(names) == 1 else "", "locks"
    )
    if len(distinct(kinds)) > 1:
        what = "channels and locks"
    reason = f"nothing else refers to their {what}" if what else "what they wait for cannot happen"
    if len(rows) == 1:
        reason = reason.replace("their", "its").replace("they wait", "it waits")
    at = f" at {function}" if function else ""
    return Finding(
        kind="leak",
        severity="warning",
        title=f"{plural(len(rows), 'goroutine')}{at} can never be woken: {reason}{queues.oldest(rows)}",
        goroutines=len(rows),
        examples=queues.findable.examples(rows),
        functions=(function,) if function else (),
        next=queues.findable.command("waits", "--stuck"),
    )


def _convoy(queues: _Queues, number: int) -> Finding:
    rows = queues.waiters(number)
    holders = queues.known.holders_of(number)
    holder = int(queues.graph.holders.goroutine[holders[0]])
    does = held_up_by(queues.known, holder).removeprefix("which ")
    holds = "holds it" if len(holders) == 1 else f"and {len(holders) - 1} more hold it"
    longest = queues.longest_ns(rows)
    severity: Severity = "critical" if longest >= LOCK_CRITICAL_NS else "warning"
    who = f"{plural(len(rows), 'goroutine')} {'waits' if len(rows) == 1 else 'wait'}"
    functions = queues.functions(rows)
    has_name = queues.graph.objects.name[number] >= 0
    at = "" if has_name or not functions else f" at {functions[0]}"
    return Finding(
        kind="lock_convoy",
        severity=severity,
        title=f"{who} for {queues.name(number)}{at}{queues.oldest(rows)}; goroutine {holder} {holds}, and {does}",
        goroutines=len(rows),
        examples=queues.findable.examples(rows),
        functions=functions,
        next=queues.findable.command("waits", "--object", _address(queues, number)),
        objects=(number,),
    )


def _peers(queues: _Queues) -> Iterator[Finding]:
    """Peers that several goroutines wait for, in code of the user's that did not begin there: what begins where
    it waits serves whoever comes."""
    graph, snapshot = queues.graph, queues.findable.snapshot
    g, objects, waits = snapshot.goroutines, graph.objects, graph.waits
    on_peer = (objects.kind[waits.object] == _FD) & np.isin(waits.operation, _READ_OR_WRITE)
    on_peer &= objects.connection[waits.object] >= 0
    by_peer: dict[str, list[int]] = {}
    for row in np.flatnonzero(on_peer).tolist():
        remote = graph.connections[int(objects.connection[waits.object[row]])].remote
        if remote is not None:
            by_peer.setdefault(remote, []).append(row)
    found = []
    for remote, at in by_peer.items():
        if len(at) < PEER_WAITERS:
            continue
        rows = queues.rows(waits.goroutine[at])
        rows = rows[is_called(g, snapshot.frames, rows)]
        if len(rows) >= PEER_WAITERS and int(g.waiting_ns[rows].max()) >= PEER_WAIT_NS:
            found.append((remote, rows, tuple(distinct(waits.object[at]).tolist())))
    for remote, rows, numbers in sorted(found, key=lambda each: -len(each[1]))[:_SHOWN]:
        functions = queues.functions(rows)
        at_function = f" at {functions[0]}" if functions else ""
        yield Finding(
            kind="stuck_peer",
            severity="warning",
            title=f"{count(len(rows))} goroutines wait for {remote}{at_function}{queues.oldest(rows)}",
            goroutines=len(rows),
            examples=queues.findable.examples(rows),
            functions=functions,
            next=queues.findable.command("waits"),
            objects=numbers,
        )


def _address(queues: _Queues, number: int) -> str:
    return hex(int(queues.graph.objects.address[number]))
