"""What was found of waits before the objects are numbered: columns, a row for each goroutine and object."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import NONE
from spyglass.wait_graph import KINDS, OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Found", "kind", "operation"]

#: What a column holds where nothing else is known, and its type.
_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "row": (np.int64, 0),
    "kind": (np.uint8, 0),
    "address": (np.uint64, 0),
    "operation": (np.uint8, 0),
    "sudog": (np.uint64, 0),
    "pointer": (np.uint64, 0),
    "slot": (np.uint64, 0),
    "order": (np.int64, 0),
    "reason": (np.int32, NONE),
}


def kind(name: str) -> int:
    """The index of a kind of object in `KINDS`."""
    return KINDS.index(name)


def operation(name: str) -> int:
    """The index of an operation in `OPERATIONS`."""
    return OPERATIONS.index(name)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Waits that were found, in any order.

    `row`: of the goroutine in the population. `kind`, `address`, `operation`: as in `WaitObjects` and
    `Waits`. `sudog`: address of the goroutine's entry in the queue, 0 for none. `pointer`: what that
    entry refers to, a channel or a semaphore. `slot`: address of the word
    of the stack that told it, 0 for none. `order`: rows of one object are sorted by it. `reason`: for an object
    without an address, the wait reason that it stands for.
    """

    row: NDArray[np.int64]
    kind: NDArray[np.uint8]
    address: NDArray[np.uint64]
    operation: NDArray[np.uint8]
    sudog: NDArray[np.uint64]
    pointer: NDArray[np.uint64]
    slot: NDArray[np.uint64]
    order: NDArray[np.int64]
    reason: NDArray[np.int32]

    @classmethod
    def of(cls, row: NDArray[np.int64], **known: NDArray[Any] | int) -> Found:
        """The waits of the goroutines `row`; columns that are not `known` have their defaults."""
        columns = {}
        for name, (dtype, default) in _COLUMNS.items():
            value = np.asarray(known.get(name, default) if name != "row" else row)
            columns[name] = np.broadcast_to(value, row.shape).astype(dtype, copy=False)
        return cls(**columns)

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """The rows of all `parts`."""
        parts = parts or [cls.of(np.zeros(0, np.int64))]
        return cls(
            **{
                each.name: np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(cls)
            }
        )

    def select(self, rows: NDArray[Any]) -> Found:
        """The rows `rows` (indices, or a bool for each)."""
        return Found(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def __len__(self) -> int:
        return len(self.row)
