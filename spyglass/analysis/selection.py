"""Which goroutines a question is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.model import STATUSES, Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["selected"]

_DEAD = STATUSES.index("dead")


def selected(goroutines: Goroutines, *, system: bool = False) -> NDArray[np.int64]:
    """The rows of goroutines that are not dead, and with `system` the runtime's own too.

    A dead g is kept by the runtime to be used again (``runtime/proc.go``, ``gfput``): it is no goroutine.
    """
    wanted = goroutines.status != _DEAD
    if not system:
        wanted &= ~goroutines.system
    return np.flatnonzero(wanted)
