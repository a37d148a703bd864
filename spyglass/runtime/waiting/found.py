"""What was found of waits before the objects are numbered: columns, a row for each goroutine and object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import NONE
from spyglass.table import Table, column
from spyglass.wait_graph import KINDS, OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Found", "kind", "operation"]


def kind(name: str) -> int:
    """The index of a kind of object in `KINDS`."""
    return KINDS.index(name)


def operation(name: str) -> int:
    """The index of an operation in `OPERATIONS`."""
    return OPERATIONS.index(name)


@dataclass(init=False, eq=False, repr=False)
class Found(Table):
    """Waits that were found, in any order.

    `row`: of the goroutine in the population. `kind`, `address`, `operation`: as in `WaitObjects` and
    `Waits`. `sudog`: address of the goroutine's entry in the queue, 0 for none. `pointer`: what that
    entry refers to, a channel or a semaphore. `slot`: address of the word
    of the stack that told it, 0 for none. `order`: rows of one object are sorted by it. `reason`: for an object
    without an address, the wait reason that it stands for.
    """

    row: NDArray[np.int64] = column(np.int64)
    kind: NDArray[np.uint8] = column(np.uint8)
    address: NDArray[np.uint64] = column(np.uint64)
    operation: NDArray[np.uint8] = column(np.uint8)
    sudog: NDArray[np.uint64] = column(np.uint64)
    pointer: NDArray[np.uint64] = column(np.uint64)
    slot: NDArray[np.uint64] = column(np.uint64)
    order: NDArray[np.int64] = column(np.int64)
    reason: NDArray[np.int32] = column(np.int32, NONE)

    @classmethod
    def of_goroutines(cls, row: NDArray[np.int64], **known: NDArray[Any] | int) -> Found:
        """The waits of the goroutines `row`; what is `known` of the other columns may be one value for all of them."""
        return cls(
            row=row,
            **{
                name: np.broadcast_to(known.get(name, each.default), row.shape).astype(
                    each.dtype, copy=False
                )
                for name, each in cls.columns().items()
                if name != "row"
            },
        )
