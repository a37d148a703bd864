"""When sleepers wake up, and when timers feed the channels that goroutines wait on.

Source: runtime/time.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import SpyglassError
from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.sudogs import index_of, pointers_to
from spyglass.wait_graph import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.waiting.population import Population

__all__ = ["REASON", "channel_dues", "find_sleeps", "timer_dues"]

REASON = "sleep"
#: ``timerWaiting``, ``timerModifiedEarlier``, ``timerModifiedLater``: the states, up to Go 1.22, of timers that will fire;
#: `nextwhen` says when for the last two.
_WAITING, _MODIFIED = 1, (7, 8)
_MAX_PROCESSORS = 1 << 16
_MAX_TIMERS = 1 << 22


def find_sleeps(population: Population, rows: NDArray[np.int64]) -> Found:
    """The timers of the goroutines `rows`, of those that sleep."""
    if "timer" not in (population.g.dtype.names or ()):
        return Found.joined([])
    timers = population.g["timer"][rows].astype(np.uint64)
    some = np.flatnonzero(timers)
    return Found.of_goroutines(
        rows[some], kind=kind("timer"), address=timers[some], operation=operation("sleep")
    )


def timer_dues(
    runtime: Runtime, addresses: NDArray[np.uint64], now_ns: int | None
) -> NDArray[np.int64]:
    """In how many ns the timers at `addresses` (0 for none) fire; `UNKNOWN` for one that is stopped."""
    if "timer" not in runtime.layouts:
        return np.full(len(addresses), UNKNOWN, np.int64)
    return _dues(*pointers_to(runtime, "timer", addresses), now_ns)


def channel_dues(
    runtime: Runtime,
    channels: NDArray[np.uint64],
    timers: NDArray[np.uint64],
    now_ns: int | None,
) -> NDArray[np.int64]:
    """In how many ns a timer sends to each of `channels`; `UNKNOWN` if none will.

    `timers`: those that the channels name (since Go 1.23), 0 for none: these are looked for in the heaps of the Ps
    (since Go 1.14).
    """
    dues = np.full(len(channels), UNKNOWN, np.int64)
    if "timer" not in runtime.layouts:
        return dues
    own = timers[timers != 0]
    every = own if len(own) == len(channels) else np.concatenate([own, _heaped_timers(runtime)])
    rows, ok = pointers_to(runtime, "timer", every)
    at = index_of(rows["arg"][:, 1].astype(np.uint64), channels)
    sends = ok & (at >= 0)
    sends &= _calls(runtime, rows["f"].astype(np.uint64), sends, "time.sendTime")
    until = _dues(rows, sends, now_ns)
    known = np.flatnonzero(until != UNKNOWN)
    dues[at[known]] = until[known]
    return dues


def _heaped_timers(runtime: Runtime) -> NDArray[np.uint64]:
    try:
        return _timers(runtime)
    except SpyglassError:
        return np.zeros(0, np.uint64)


def _dues(rows: NDArray[Any], ok: NDArray[np.bool_], now_ns: int | None) -> NDArray[np.int64]:
    """When the timers `rows` fire, of those that are `ok`."""
    when, names = rows["when"].astype(np.int64), rows.dtype.names or ()
    if "status" in names and "nextwhen" in names:
        modified = np.isin(rows["status"], _MODIFIED)
        when = np.where(modified, rows["nextwhen"], when)
        ok = ok & (modified | (rows["status"] == _WAITING))
    if "isFake" in names:
        ok = ok & (rows["isFake"] == 0)
    if now_ns is None:
        return np.full(len(rows), UNKNOWN, np.int64)
    return np.where(ok & (when > 0), when - now_ns, UNKNOWN)


def _timers(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses of the timers in the heaps of all Ps."""
    pointer, count = (int(word) for word in runtime.memory.array(runtime.address("allp"), "<u8", 2))
    if not runtime.layouts.has("p", "timers.heap"):
        return np.zeros(0, np.uint64)
    addresses = runtime.memory.array(pointer, "<u8", min(count, _MAX_PROCESSORS))
    rows, ok = pointers_to(runtime, "p", addresses)
    heaps = rows["timers"]["heap"].astype(np.uint64)
    at, entry_words = _entry(runtime)
    counts = np.where(ok & (heaps[:, 1] <= heaps[:, 2]), heaps[:, 1], np.uint64(0))
    counts = np.where(
        np.cumsum(np.minimum(counts, _MAX_TIMERS)) <= _MAX_TIMERS, counts, np.uint64(0)
    )
    some = np.flatnonzero(counts)
    gathered = runtime.memory.gather(heaps[some, 0], counts[some] * np.uint64(8 * entry_words))
    words = gathered.buffer.view(np.uint64)
    pieces = [
        words[begin + at : begin + size * entry_words : entry_words]
        for begin, size, good in zip(
            (gathered.offsets >> 3).tolist(),
            counts[some].tolist(),
            gathered.ok.tolist(),
            strict=True,
        )
        if good
    ]
    return np.concatenate([np.zeros(0, np.uint64), *pieces])


def _entry(runtime: Runtime) -> tuple[int, int]:
    """In an entry of a heap, which word is the address of the timer, and how many words there are."""
    if not runtime.layouts.has("timerWhen", "timer"):
        return 0, 1
    kind = runtime.layouts["timerWhen"]
    assert kind.fields is not None
    return int(kind.fields["timer"][1]) // 8, kind.itemsize // 8


def _calls(
    runtime: Runtime, functions: NDArray[np.uint64], wanted: NDArray[np.bool_], name: str
) -> NDArray[np.bool_]:
    """Which of the func values `functions` that are `wanted` call the function `name`."""
    calls = np.zeros(len(functions), np.bool_)
    some = np.flatnonzero(wanted & (functions != 0) & (functions % np.uint64(8) == 0))
    function = runtime.functions.named(name)
    if function is None:
        return calls
    gathered = runtime.memory.gather(functions[some], 8)
    calls[some] = gathered.ok & (gathered.words(1)[:, 0] == function.entry)
    return calls
