"""What is in the heap, as plain data: its spans by size class, its objects by type, and what keeps some of them alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from spyglass.model import Problem, Process

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_CANDIDATES", "Certainty", "HeapSpans", "HeapTypes", "SizeClasses", "TypeRow"]

#: Objects that can be of more types than this are shown without a list of them.
MAX_CANDIDATES = 8

#: exact: the runtime keeps the type of these objects; only candidate: no other type that the program describes has
#: this size and pointers at these places, though one that it made at run time (package reflect) may; candidates: one of
#: several types; unknown: nothing tells.
Certainty = Literal["exact", "only candidate", "candidates", "unknown"]


@dataclass(frozen=True, slots=True)
class SizeClasses:
    """Spans that hold objects of one size, with or without pointers, are one row; ascending by size.

    =============  ======  ===========================================================
    column         dtype   meaning
    =============  ======  ===========================================================
    object_bytes   int64   the size of each object; 0: large objects, each of which has a span of its own
    pointers       bool    the objects may hold pointers
    spans          int64   how many spans
    span_bytes     int64   their size
    objects        int64   how many objects are allocated: not freed yet, garbage among them
    used_bytes     int64   the size of these objects
    =============  ======  ===========================================================

    What is left of `span_bytes` is free for objects of that size only, or too small for one.
    """

    object_bytes: NDArray[np.int64]
    pointers: NDArray[np.bool_]
    spans: NDArray[np.int64]
    span_bytes: NDArray[np.int64]
    objects: NDArray[np.int64]
    used_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.object_bytes)

    @property
    def unused_bytes(self) -> NDArray[np.int64]:
        """What is in the spans and not in objects (int64)."""
        return self.span_bytes - self.used_bytes


@dataclass(frozen=True, slots=True)
class HeapSpans:
    """The spans of the heap of a process in use, by size class."""

    process: Process
    taken_at: datetime
    classes: SizeClasses
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class TypeRow:
    """Objects of which the same is known.

    `type`: as Go prints it ("main.Big"; "[]main.Big" for the array behind a slice of several); None unless it is exact or
    the only candidate. `candidates`: names of the types that they can be, none if `candidate_count` is more than `MAX_CANDIDATES`.
    `object_bytes`: the size of each in the heap; None: of several sizes. `pointers`: they may hold pointers.
    """

    type: str | None
    certainty: Certainty
    objects: int
    bytes: int
    object_bytes: int | None = None
    pointers: bool = True
    candidates: tuple[str, ...] = ()
    candidate_count: int = 0


@dataclass(frozen=True, slots=True)
class HeapTypes:
    """The objects of the heap of a process by type, most bytes first.

    Objects that are not freed yet are counted, garbage among them. `total_bytes`: of all objects. `examined_bytes`: of
    those that were looked at before the time was up. `why_not`: why no object has a type, if none can have.
    """

    process: Process
    taken_at: datetime
    rows: tuple[TypeRow, ...]
    total_bytes: int
    examined_bytes: int
    why_not: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def covered_bytes(self) -> int:
        """Of objects whose type is exact, or the only candidate."""
        return sum(row.bytes for row in self.rows if row.type is not None)
