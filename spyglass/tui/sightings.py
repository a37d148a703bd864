"""How long goroutines were seen waiting, where Go has no time for it.

Go timestamps a wait only when a garbage collection finds the goroutine waiting (``markroot`` in
``runtime/mgcmark.go``); an idle program has none for two minutes, and with GOGC=off there is none at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import NONE, QUALITIES, STATUSES, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sightings"]

#: The count of stops has 8 bits: a goroutine that runs has the same count again by chance at one tick in 256.
#: So it is taken as seen waiting from this number of equal ticks on, without the first and the last of them.
_MIN_REPEATS = 3
#: The mark of a goroutine that does not wait, which no wait has.
_NO_WAIT = np.uint64((1 << 64) - 1)
#: Which statuses are waits, and which qualities are trusted.
_WAITS = np.isin(STATUSES, ("waiting", "leaked"))
_TRUSTED = np.isin(QUALITIES, ("stable", "moved"))


class Sightings:
    """Since when each goroutine was seen in the same wait, at every tick.

    It is the same wait if id, wait reason, location and the count of stops are the same. The time is that from
    the second such tick to the last but one: what is wrong by chance at one tick does not count. But a goroutine
    that stops exactly 256 times from each tick to the next would be taken for one that waits: so this is what was
    seen, and no lower bound of a wait. Versions of Go without the count (1.16 and older) have no sightings, nor have
    coroutines that wait for their turn: switching to them counts nothing (``runtime/coro.go: coroswitch_m``).
    """

    def __init__(self) -> None:
        self._reasons: dict[str, int] = {}
        self._began_ns = 0
        self._forget()

    def _forget(self) -> None:
        """Know of one goroutine, which there never is: its id is 0."""
        self._ids = np.zeros(1, np.uint64)
        self._marks = np.full((2, 1), _NO_WAIT)
        self._since_ns, self._repeats = np.zeros(1, np.int64), np.zeros(1, np.int32)

    def note(self, snapshot: Snapshot, began_ns: int, took_ns: int) -> NDArray[np.int64]:
        """Add a tick that was read from `began_ns` on (monotonic) for `took_ns`; returns for each goroutine
        how long it was seen waiting in ns, `NONE` where it was not."""
        self._align(snapshot.goroutines.id)
        marks = self._marks_of(snapshot)
        is_same = (marks == self._marks).all(axis=0) & (marks[1] != _NO_WAIT)
        self._marks = marks
        self._repeats = np.where(is_same, self._repeats + np.int32(1), np.int32(0))
        self._since_ns = np.where(self._repeats > 1, self._since_ns, np.int64(began_ns + took_ns))
        until_ns, self._began_ns = self._began_ns, began_ns
        return np.where(self._repeats >= _MIN_REPEATS, until_ns - self._since_ns, np.int64(NONE))

    def _align(self, ids: NDArray[np.uint64]) -> None:
        """Bring what is known into the order of the goroutines `ids`; new ones are in no wait."""
        if len(ids) == len(self._ids) and (ids == self._ids).all():
            return
        if not len(self._ids):
            self._forget()
        before = self._rows_before(ids)
        is_new, self._ids = before == NONE, ids
        self._marks = np.where(is_new, _NO_WAIT, self._marks[:, before])
        self._since_ns, self._repeats = self._since_ns[before], self._repeats[before]

    def _marks_of(self, snapshot: Snapshot) -> NDArray[np.uint64]:
        """Two numbers of each goroutine, shape (2, n), which are the same while it is in the same wait."""
        g, known = snapshot.goroutines, self._reasons
        pcs = np.array([*(frame.pc for frame in snapshot.frames), 0], np.uint64)
        reasons = [known.setdefault(each, len(known) + 1) for each in snapshot.wait_reasons]
        reason = np.array([*reasons, 0], np.uint64)[g.wait_reason]
        turns = [each.removesuffix(" (durable)") == "coroutine" for each in snapshot.wait_reasons]
        in_turn = np.array([*turns, False], np.bool_)[g.wait_reason]
        waits = ~in_turn & _WAITS[g.status] & _TRUSTED[g.quality] & (g.stops != NONE)
        states = reason << np.uint64(16) | g.stops.astype(np.uint16)
        return np.stack([pcs[g.where], np.where(waits, states, _NO_WAIT)])

    def _rows_before(self, ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """The row that each goroutine had at the tick before, `NONE` if it had none."""
        order = np.argsort(self._ids, kind="stable")
        at = np.minimum(np.searchsorted(self._ids, ids, sorter=order), len(order) - 1)
        return np.where(self._ids[order[at]] == ids, order[at], NONE)
