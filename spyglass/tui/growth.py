"""Groups of goroutines that keep growing, which are possible leaks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import Goroutines, Snapshot
from spyglass.tui.past import Past

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Counts", "Growth", "Recent"]

#: The number of ticks that growth is judged by, and the number of rises that it takes.
_WINDOW = 10
_MIN_RISES = 3
#: The memory that recent snapshots may take.
_MAX_BYTES = 64 << 20
#: The columns that groups and filters depend on.
_COUNTED = frozenset(
    ("status", "wait_reason", "stack", "where", "call", "start", "creator", "system", "labels")
)

Counts = Mapping[Hashable, int]


class Growth:
    """Finds the groups that keep growing."""

    def __init__(self) -> None:
        self._counts: Past[Counts] = Past(_WINDOW)

    def note(self, position: int, counts: Counts) -> None:
        """Add the number of goroutines of each group at the tick at `position`."""
        self._counts.note(position, counts)

    def is_growing(self, key: Hashable) -> bool:
        """Whether the group never shrank in the window, and grew at half of the ticks or more."""
        counted = self._counts.shown
        if not counted or counted[-1].get(key, 0) <= counted[0].get(key, 0):
            return False  # a shortcut that holds for most groups
        counts = [each.get(key, 0) for each in counted]
        rises = [after - before for before, after in pairwise(counts)]
        grown = sum(rise > 0 for rise in rises)
        return grown >= max(_MIN_RISES, (len(rises) + 1) // 2) and min(rises) >= 0


class Recent:
    """The last snapshots, to count their goroutines again when the user asks another question.

    They are kept without what no question is about. Of programs with more than about 200,000 goroutines
    fewer are kept than growth is judged by: it is then known some ticks later.
    """

    def __init__(self) -> None:
        self._snapshots: Past[tuple[int, Snapshot]] = Past(_WINDOW)

    def note(self, position: int, snapshot: Snapshot) -> None:
        """Add the snapshot of the tick at `position`."""
        self._snapshots.kept = min(max(_MAX_BYTES // max(_size(snapshot), 1), 1), _WINDOW)
        self._snapshots.note(position, (position, _countable(snapshot)))

    @property
    def shown(self) -> list[tuple[int, Snapshot]]:
        """The last snapshots and their positions, the current one last."""
        return list(self._snapshots.shown)


def _countable(snapshot: Snapshot) -> Snapshot:
    """`snapshot` with only what groups and filters depend on; other columns have their defaults."""
    g = snapshot.goroutines
    columns = {
        name: getattr(g, name)
        if name in _COUNTED
        else np.broadcast_to(column.dtype(column.default), len(g))
        for name, column in Goroutines.columns().items()
    }
    return replace(
        snapshot, goroutines=Goroutines(**columns), threads=(), processors=(), problems=()
    )


def _size(snapshot: Snapshot) -> int:
    """The bytes that the columns of `_countable` and the stacks take."""
    columns = [getattr(snapshot.goroutines, name) for name in _COUNTED]
    arrays: list[NDArray[Any]] = [*columns, snapshot.stack_offsets, snapshot.stack_frames]
    return sum(each.nbytes for each in arrays)
