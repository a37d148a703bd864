"""Leaks while they are watched: verdicts kept from one look through the heap to the next, and their growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from spyglass.analysis.findings import Finding
from spyglass.columns import among
from spyglass.wait_graph import LookedAt, Stuck, WaitGraph

__all__ = ["LeakRates", "LeakWatch"]

#: Time from one look through the heap to the next: at least so long, and so many times what one took.
_INTERVAL_NS = 10_000_000_000
_TIMES = 20
_MINUTE_S = 60


class LeakWatch:
    """When to look through the heap, and what was found when it was looked through last."""

    def __init__(self) -> None:
        self._stuck: Stuck = Stuck.of(0)
        self._looked_at = LookedAt()
        self._due_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether to look through the heap at `now_ns` (of time.monotonic_ns)."""
        return now_ns >= self._due_ns

    def note(self, graph: WaitGraph, now_ns: int, took_ns: int) -> WaitGraph:
        """`graph` as it was read until `now_ns` in `took_ns`; if the heap was not looked through for it, with the
        goroutines that nothing could wake the last time and that still wait: they do for ever."""
        if graph.looked_at.marks:
            self._stuck = graph.stuck.select(graph.stuck.stuck)
            self._looked_at = graph.looked_at
            self._due_ns = now_ns + max(_INTERVAL_NS, _TIMES * took_ns)
            return graph
        waiting = among(self._stuck.goroutine, graph.waits.goroutine)
        return replace(graph, stuck=self._stuck.select(waiting), looked_at=self._looked_at)


class LeakRates:
    """How fast goroutines that nothing can wake become more, by where they wait."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], tuple[int, datetime]] = {}
        self._last: dict[tuple[str, ...], tuple[int, datetime]] = {}

    def added(self, found: Sequence[Finding], at: datetime) -> Sequence[Finding]:
        """`found`, in a snapshot of the time `at`, with the growth since the first one in the titles of
        leaks."""
        return [self._with_rate(each, at) if each.kind == "leak" else each for each in found]

    def _with_rate(self, leak: Finding, at: datetime) -> Finding:
        number = leak.goroutines or 0
        before, since = self._first.setdefault(leak.functions, (number, at))
        if (
            self._last.get(leak.functions, (None,))[0] != number
        ):  # found when the heap was looked through
            self._last[leak.functions] = number, at
        seconds = (self._last[leak.functions][1] - since).total_seconds()
        rate = round((number - before) * _MINUTE_S / seconds) if seconds > 0 else 0
        if rate <= 0 or not leak.functions:
            return leak
        return replace(leak, title=f"{leak.title} (+{rate:,} a minute)")
