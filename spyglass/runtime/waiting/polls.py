"""File descriptors that goroutines wait for: the runtime's ``pollDesc`` of each.

Source: runtime/netpoll.go. ``netpollblock`` keeps the address of the word of the pollDesc that holds the
goroutine, ``rg`` or ``wg``, on the stack while it is parked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import among
from spyglass.model import NONE
from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.inner_calls import told_by_calls
from spyglass.runtime.waiting.stack_words import find_words
from spyglass.runtime.waiting.sudogs import pointers_to
from spyglass.wait_graph import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["REASON", "deadlines_in_ns", "find_polls"]

REASON = "IO wait"
_READ, _WRITE = operation("read"), operation("write")
#: By the function that waits (internal/poll/fd_unix.go, net/fd_unix.go).
_OPERATIONS = {
    "internal/poll.(*FD).Accept": operation("accept"),
    "net.(*netFD).connect": operation("connect"),
}
#: ``pdReady``, ``pdWait``: values of ``rg`` and ``wg`` that are no goroutine; and more files than any process has open.
_PD_WAIT = 2
_MAX_FDS = 1 << 30


def find_polls(population: Population, rows: NDArray[np.int64]) -> Found:
    """Which pollDesc the goroutines `rows` wait on, of those that wait for IO."""
    if "pollDesc" not in population.runtime.layouts:
        return Found.joined([])

    def fits(some: NDArray[np.int64], words: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = _poll_descs(population, some, words)[0] != 0
        return found

    held = find_words(population, rows, fits)
    there = np.flatnonzero(held.words)
    address, wants = _poll_descs(population, rows[there], held.words[there])
    good = address != 0
    told, which = told_by_calls(population, rows[there][good], _operation)
    by_calls = np.array(told, np.int64)[which]
    return Found.of_goroutines(
        rows[there][good],
        kind=kind("fd"),
        address=address[good],
        operation=np.where(by_calls >= 0, by_calls, wants[good]),
        slot=held.slots[there][good],
    )


def _operation(functions: Iterator[str]) -> int:
    """What `functions` wait for, if it is more than to read or to write; else `NONE`."""
    return next((_OPERATIONS[each] for each in functions if each in _OPERATIONS), NONE)


def _poll_descs(
    population: Population, rows: NDArray[np.int64], words: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The pollDesc of which each of `words` is the address of ``rg`` or ``wg``, with the goroutine of `rows`
    in it: its address, 0 if there is none, and the operation."""
    address, wants = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint8)
    stack = population.g["stack"][rows]
    own = (words >= stack["lo"]) & (
        words < stack["hi"]
    )  # it is never there, where most pointers lead to
    some = np.flatnonzero((words != 0) & (words % np.uint64(8) == 0) & ~own)
    gathered = population.runtime.memory.gather(words[some], 8)
    some = some[gathered.ok & (gathered.words(1)[:, 0] == population.pointers[rows[some]])]
    ways = np.zeros(len(rows), np.uint8)
    fields = population.runtime.layouts["pollDesc"].fields
    assert fields is not None
    for name, code in (("rg", _READ), ("wg", _WRITE)):
        begin = words[some] - np.uint64(fields[name][1])
        fits = some[_is_poll_desc(population, begin)]
        address[fits] = words[fits] - np.uint64(fields[name][1])
        wants[fits] = code
        ways[fits] += 1
    address[ways > 1] = 0  # where a pollDesc does not have its own address (up to Go 1.14)
    return address, wants


def _is_poll_desc(population: Population, addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each of `addresses` can be that of a pollDesc that is in use."""
    rows, ok = pointers_to(population.runtime, "pollDesc", addresses)
    good: NDArray[np.bool_] = ok & (rows["fd"].astype(np.uint64) < _MAX_FDS)
    if "self" in (rows.dtype.names or ()):
        good &= rows["self"] == addresses
        return good
    for name in ("rg", "wg"):
        value = rows[name].astype(np.uint64)
        good &= (value <= _PD_WAIT) | among(value, population.pointers)
    return good


def deadlines_in_ns(rows: NDArray[Any], now_ns: int | None) -> NDArray[np.int64]:
    """When the waits for the pollDescs `rows` end by themselves: the earlier of two; `UNKNOWN` without one.

    A deadline that has passed is negative.
    """
    deadlines = np.full(len(rows), UNKNOWN, np.int64)
    for waiter, name in (("rg", "rd"), ("wg", "wd")):
        when = rows[name].astype(np.int64)
        until = when - now_ns if now_ns is not None else np.full(len(rows), UNKNOWN)
        until = np.where(when < 0, -1, until)
        some = (rows[waiter] > _PD_WAIT) & (when != 0) & (until != UNKNOWN)
        earlier = some & ((deadlines == UNKNOWN) | (until < deadlines))
        deadlines[earlier] = until[earlier]
    return deadlines
