"""What speaks for and against goroutines that hold locks, as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["AHEAD", "CERTAIN", "DEFERRED", "EVERY_PATH", "LIKELY", "SOME_PATHS", "Evidence"]

#: Grades: indices into `spyglass.wait_graph.EVIDENCE`.
DEFERRED, EVERY_PATH, SOME_PATHS, AHEAD = 1, 2, 3, 4
CERTAIN, LIKELY = (DEFERRED, EVERY_PATH, SOME_PATHS), AHEAD


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Something about a goroutine and a lock, a row each.

    `row`: of the goroutine in the population. `object`: row of `WaitObjects`. `mode`: index into `MODES`.
    `grade`: 1 to 4; 0: its function has released the lock, or has not taken it, where a pending deferred call
    says that it will release it. `released`: it was released that a caller holds (grade 0). `depth`: which frame
    tells it, 0 the innermost. `frame`: row of `LockFrames`, or -1.
    """

    row: NDArray[np.int64]
    object: NDArray[np.int64]
    mode: NDArray[np.int64]
    grade: NDArray[np.int64]
    released: NDArray[np.bool_]
    depth: NDArray[np.int64]
    frame: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """All `parts`."""
        if not parts:
            nothing = np.zeros(0, np.int64)
            return cls(
                nothing, nothing, nothing, nothing, nothing.astype(np.bool_), nothing, nothing
            )
        return cls(
            **{
                each.name: np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(cls)
            }
        )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Evidence:
        """The rows `rows`."""
        return Evidence(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def __len__(self) -> int:
        return len(self.row)
