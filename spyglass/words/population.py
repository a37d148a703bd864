"""How many goroutines there are: the program's own, and beside them the runtime's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import STATUSES, Snapshot
from spyglass.words.units import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Population"]

_DEAD = STATUSES.index("dead")


@dataclass(frozen=True, slots=True)
class Population:
    """A number of `user` goroutines and of `system` goroutines (``isSystemGoroutine`` in
    ``runtime/traceback.go``). Every view counts goroutines so, by their rows, and writes it as `str` does:
    ``2,003 (+5 runtime)``. The scheduler's own counters are no second total: they are of another moment,
    and count goroutines that are kept for threads of C.
    """

    user: int
    system: int

    @classmethod
    def of(cls, snapshot: Snapshot, rows: NDArray[np.int64]) -> Population:
        """The population of `rows` (int64)."""
        system = int(np.count_nonzero(snapshot.goroutines.system[rows]))
        return cls(len(rows) - system, system)

    @classmethod
    def listed(cls, snapshot: Snapshot) -> Population:
        """The goroutines that `snapshot` has; dead ones are none."""
        return cls.of(snapshot, np.flatnonzero(snapshot.goroutines.status != _DEAD))

    @classmethod
    def whole(cls, snapshot: Snapshot) -> Population:
        """The goroutines that the program had, before filters."""
        if snapshot.matched_of is None:
            return cls.listed(snapshot)
        return cls(snapshot.matched_of - snapshot.matched_of_system, snapshot.matched_of_system)

    def __str__(self) -> str:
        return f"{count(self.user)} {self.beside}".rstrip()

    @property
    def beside(self) -> str:
        """``(+5 runtime)``; empty if there are none."""
        return f"(+{count(self.system)} runtime)" if self.system else ""

    def is_all(self, whole: Population) -> bool:
        """Whether these are all user goroutines of `whole`, and all or none of the runtime's."""
        return self.user == whole.user and self.system in (0, whole.system)

    def out_of(self, whole: Population) -> str:
        """``3 of 2,003 (+5 runtime)``; for all, `whole` alone."""
        return str(whole) if self.is_all(whole) else f"{self} of {whole}"
