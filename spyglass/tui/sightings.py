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

#: The count of stops has 8 bits: a goroutine that runs has the same count again by chance at one tick in
#: 256. From this number of equal ticks on it is taken as seen waiting.
_MIN_REPEATS = 3
#: The mark of a goroutine that does not wait, which no wait has.
_NO_WAIT = np.uint64((1 << 64) - 1)
_WAITING = [STATUSES.index(status) for status in ("waiting", "leaked")]
_TRUSTED = [QUALITIES.index(quality) for quality in ("stable", "moved")]


class Sightings:
    """Since when each goroutine was seen in the same wait, at every tick.

    It is the same wait if id, wait reason, location and the count of stops are the same. A goroutine that
    stops running exactly 256 times between any two ticks would be taken for one that waits: so this is what
    was seen, and no lower bound of a wait. Versions of Go without the count (1.16 and older) have no
    sightings.
    """

    def __init__(self) -> None:
        self._ids = np.zeros(0, np.uint64)
        self._marks = np.zeros((2, 0), np.uint64)
        self._reasons: dict[str, int] = {}
        self._since_ns = np.zeros(0, np.int64)
        self._repeats = np.zeros(0, np.int32)

    def note(self, snapshot: Snapshot, began_ns: int, took_ns: int) -> NDArray[np.int64]:
        """Add a tick that was read from `began_ns` on (monotonic) for `took_ns`; returns for each goroutine
        how long it was seen waiting in ns, `NONE` where it was not."""
        ids, marks, waits = snapshot.goroutines.id, self._marks_of(snapshot), _is_wait(snapshot)
        marks[:, ~waits] = _NO_WAIT
        before = self._rows_before(ids)
        same = (before != NONE) & waits
        same[same] = (marks[:, same] == self._marks[:, before[same]]).all(axis=0)
        since_ns = np.full(len(ids), began_ns + took_ns, np.int64)
        since_ns[same] = self._since_ns[before[same]]
        repeats = np.zeros(len(ids), np.int32)
        repeats[same] = self._repeats[before[same]] + 1
        self._ids, self._marks = ids, marks
        self._since_ns, self._repeats = since_ns, repeats
        return np.where(repeats >= _MIN_REPEATS, began_ns - since_ns, np.int64(NONE))

    def _marks_of(self, snapshot: Snapshot) -> NDArray[np.uint64]:
        """Two numbers of each goroutine, shape (2, n), which are the same while it is in the same wait."""
        g, known = snapshot.goroutines, self._reasons
        pcs = np.array([*(frame.pc for frame in snapshot.frames), 0], np.uint64)
        reasons = [known.setdefault(each, len(known) + 1) for each in snapshot.wait_reasons]
        reason = np.array([*reasons, 0], np.uint64)[g.wait_reason]
        return np.stack([pcs[g.where], reason << np.uint64(16) | g.stops.astype(np.uint16)])

    def _rows_before(self, ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """The row that each goroutine had at the tick before, `NONE` if it had none."""
        if len(ids) == len(self._ids) and (ids == self._ids).all():
            return np.arange(len(ids))
        if not len(self._ids):
            return np.full(len(ids), NONE, np.intp)
        order = np.argsort(self._ids, kind="stable")
        at = np.minimum(np.searchsorted(self._ids, ids, sorter=order), len(order) - 1)
        return np.where(self._ids[order[at]] == ids, order[at], NONE)


def _is_wait(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Which goroutines wait, can be trusted, and have a count of stops."""
    g = snapshot.goroutines
    waits: NDArray[np.bool_] = np.isin(g.status, _WAITING) & np.isin(g.quality, _TRUSTED)
    waits &= g.stops != NONE
    return waits
