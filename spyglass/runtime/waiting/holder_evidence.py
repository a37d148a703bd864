"""What speaks for and against goroutines that hold locks, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.table import Table, column

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AHEAD",
    "CERTAIN",
    "DEFERRED",
    "EVERY_PATH",
    "LIKELY",
    "LOCKER_REACH",
    "SOME_PATHS",
    "Evidence",
]

#: Grades: indices into `spyglass.wait_graph.EVIDENCE`.
DEFERRED, EVERY_PATH, SOME_PATHS, AHEAD = 1, 2, 3, 4
CERTAIN, LIKELY = (DEFERRED, EVERY_PATH, SOME_PATHS), AHEAD
#: A value that is unlocked through an interface is taken to have its lock within so many bytes: a bound of
#: ours, not of the runtime.
LOCKER_REACH = 1 << 10


@dataclass(init=False, eq=False, repr=False)
class Evidence(Table):
    """Something about a goroutine and a lock, a row each.

    `row`: of the goroutine in the population. `object`: row of `WaitObjects`. `mode`: index into `MODES`.
    `grade`: 1 to 4; 0: its function has released the lock, or has not taken it, where a pending deferred call
    says that it will release it. `released`: it was released that a caller holds (grade 0). `depth`: which frame
    tells it, 0 the innermost. `frame`: row of `LockFrames`, or -1.
    """

    row: NDArray[np.int64] = column(np.int64)
    object: NDArray[np.int64] = column(np.int64)
    mode: NDArray[np.int64] = column(np.int64)
    grade: NDArray[np.int64] = column(np.int64)
    released: NDArray[np.bool_] = column(np.bool_)
    depth: NDArray[np.int64] = column(np.int64)
    frame: NDArray[np.int64] = column(np.int64)
