"""Channels that goroutines wait on: ``g.waiting`` leads to an entry of a queue for each.

Source: runtime/chan.go (``chansend``, ``chanrecv``), runtime/select.go (``selectgo``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.waiting.found import Found, kind, operation
from spyglass.runtime.waiting.sudogs import Sudogs, index_of, pointers_to, ranked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.waiting.population import Population

__all__ = ["find_channels"]

RECEIVE, SEND, SELECT = "chan receive", "chan send", "select"
#: The most cases that ``reflect.Select`` takes, and the most entries of a snapshot beyond one for each
#: goroutine: a queue that leads in a circle has no end.
_MAX_CASES = 1 << 16
_MAX_MORE_ENTRIES = 1 << 22
_RECEIVE, _SEND = operation("receive"), operation("send")
_UNKNOWN_DIRECTION = 255


class _Entries(NamedTuple):
    """Entries of queues: of which goroutine each is (a row of the population), where it is, the next one
    in its queue, and its channel."""

    row: NDArray[np.int64]
    address: NDArray[np.uint64]
    next: NDArray[np.uint64]
    channel: NDArray[np.uint64]


def find_channels(population: Population, rows: NDArray[np.int64]) -> Found:
    """What the goroutines `rows` wait on, of those that wait to send, to receive, or in a ``select``."""
    if "waiting" not in (population.g.dtype.names or ()):
        return Found.joined([])
    selects = population.waits_for(SELECT)
    ours = np.zeros(len(population.pointers), np.bool_)
    ours[rows] = True
    # Those that were woken, but did not run yet, are still in the queues of the other cases.
    others = ~population.waiting & (population.g["waiting"] != 0)
    entries = _read_entries(population, np.flatnonzero(ours | others), selects | others)
    direction, order = _places(population, entries, selects)
    row = entries.row
    torn = row[direction == _UNKNOWN_DIRECTION]
    ours[torn] = False
    kept = np.flatnonzero(ours[row])
    return Found.of_goroutines(
        row[kept],
        kind=kind("channel"),
        address=entries.channel[kept],
        operation=direction[kept],
        sudog=entries.address[kept],
        pointer=entries.channel[kept],
        order=order[kept],
    )


def _read_entries(
    population: Population, rows: NDArray[np.int64], several: NDArray[np.bool_]
) -> _Entries:
    """The entries of the goroutines `rows`, all of those that may have `several`; none of a goroutine of
    which one is not as it must be.

    Cases are linked in the order of their channels' addresses (``selectgo``: lockorder).
    """
    pieces: list[_Entries] = []
    torn = np.zeros(len(population.pointers), np.bool_)
    pointers = population.g["waiting"][rows].astype(np.uint64)
    least = np.zeros(len(rows), np.uint64)
    room, marks = len(rows) + _MAX_MORE_ENTRIES, np.zeros(len(rows), np.uint64)
    for step in range(_MAX_CASES):
        room -= len(rows)
        if not len(rows) or room < 0:
            break
        sudogs = Sudogs(population.runtime, pointers)
        good = sudogs.ok & (sudogs.g == population.pointers[rows]) & (sudogs.c != 0)
        good &= (sudogs.c >= least) & (sudogs.c % np.uint64(8) == 0)
        torn[rows[~good]] = True
        pieces.append(_Entries(rows, pointers, sudogs.next, sudogs.c))
        more = np.flatnonzero(good & several[rows] & sudogs.is_select & (sudogs.waitlink != 0))
        # A circle comes back to where it was at a power of two of steps (Brent's algorithm).
        marks = pointers if step & (step - 1) == 0 else marks
        marks = marks[more]
        rows, pointers, least = rows[more], sudogs.waitlink[more], sudogs.c[more]
        circles = pointers == marks
        if circles.any():
            torn[rows[circles]] = True
            rows, pointers, least, marks = (
                each[~circles] for each in (rows, pointers, least, marks)
            )
    torn[rows] = True
    empty = np.zeros(0, np.uint64)
    pieces.append(_Entries(np.zeros(0, np.int64), empty, empty, empty))
    row = np.concatenate([piece.row for piece in pieces])
    kept = ~torn[row]
    address, following, channel = (
        np.concatenate(columns)[kept]
        for columns in zip(*(piece[1:] for piece in pieces), strict=True)
    )
    return _Entries(row[kept], address, following, channel)


def _places(
    population: Population, entries: _Entries, selects: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Whether each entry waits to send or to receive, `_UNKNOWN_DIRECTION` if that could not be found
    out, and numbers that order the entries of one queue."""
    channels, which = numbered(entries.channel)
    hchans, readable = pointers_to(population.runtime, "hchan", channels)
    firsts = {
        _RECEIVE: hchans["recvq"]["first"].astype(np.uint64),
        _SEND: hchans["sendq"]["first"].astype(np.uint64),
    }
    following = index_of(entries.next, entries.address)
    same = following >= 0
    same[same] = entries.channel[following[same]] == entries.channel[same]
    queue, position = ranked(np.where(same, following, -1))
    queue = np.where(queue >= 0, queue, np.arange(len(queue)))
    direction = np.full(len(queue), _UNKNOWN_DIRECTION, np.uint8)
    is_first = np.zeros(len(queue), np.bool_)  # the queue has the entry that the channel names
    for code, other in ((_RECEIVE, _SEND), (_SEND, _RECEIVE)):
        at = index_of(firsts[code], entries.address)
        heads = queue[at[(at >= 0) & (firsts[code] != 0)]]
        is_first[heads] = True
        direction[heads] = code
        # Most often nobody waits in the other queue.
        alone = readable & (firsts[code] != 0) & (firsts[other] == 0)
        direction[alone[which] & (queue == np.arange(len(queue)))] = code
    direction = direction[queue]
    for reason, code in ((RECEIVE, _RECEIVE), (SEND, _SEND)):
        direction[population.waits_for(reason)[entries.row]] = code
    rank = np.where(is_first, 0, 1 + np.arange(len(queue)))[queue]
    order = ((direction == _SEND).astype(np.int64) << 62) + (rank << 31) + position
    return direction, order
