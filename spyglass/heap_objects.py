"""What is in the heap, as plain data: its spans by size class, its objects by type, and what keeps some of them alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from spyglass.model import Problem, Process

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_CANDIDATES", "Certainty", "Chain", "HeapSpans", "HeapTypes", "Link", "Retention", "Root", "RootKind", "SizeClasses",
    "TypeRow",
]  # fmt: skip

#: Objects that can be of more types than this are shown without a list of them.
MAX_CANDIDATES = 8

#: exact: the runtime keeps the type of these objects; only candidate: no other type that the program describes has
#: this size and pointers at these places, though one that it made at run time (package reflect) may; candidates: one of
#: several types; unknown: nothing tells.
Certainty = Literal["exact", "only candidate", "candidates", "unknown"]

#: What keeps objects alive by itself: a package-level variable; the stack of a goroutine; a record of a finalizer, a
#: cleanup or a weak pointer; the registers' neighbourhood of a thread that runs.
RootKind = Literal["variable", "goroutine", "finalizer", "thread"]


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


@dataclass(frozen=True, slots=True)
class Root:
    """Where a chain begins.

    `name`: of the variable, or of the function in whose frame the reference is; None: not known. `address`: of the variable
    (of the word that refers to the object). `goroutine`: its id.
    """

    kind: RootKind
    name: str | None = None
    address: int | None = None
    goroutine: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """An object of a chain.

    `type`: None unless it is exact or the only candidate; `candidates`: what it can be else, if these are few.
    `offset`: how far behind the begin of what comes before it in the chain the reference to it is, `field` what is there
    (".next", "[3].name"), both None if the reference comes from the root; `field` also if that is not known. `sure`: the
    reference is in a word that the type of what comes before says is a pointer; None: not known.
    """

    address: int
    object_bytes: int
    type: str | None
    certainty: Certainty
    candidates: tuple[str, ...] = ()
    offset: int | None = None
    field: str | None = None
    sure: bool | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What keeps `objects` of those that were asked for alive, `bytes` large: their shortest chains begin at this root, or
    at goroutines with the same stack. `links`: the chain of one of them, which is the last link; `left_out`: how many
    links in the middle are not among them.
    """

    root: Root
    links: tuple[Link, ...]
    objects: int
    bytes: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """What keeps objects alive, most bytes first.

    `wanted`: a type, or an address. `objects`, `bytes`: those that were asked for. `possible`: objects that may be of the type,
    but of others too; they are not among them. `reached`: those to which a chain was found. `exact`: nothing moved
    meanwhile. `complete`: all of the heap was looked at, so that the others are garbage, if nothing moved, and unless
    `calls_back`: finalizers or cleanups ran, and what those behind them refer to is not known.
    `chains`: of the largest groups; `chain_count`: of how many.
    """

    process: Process
    taken_at: datetime
    wanted: str
    objects: int
    bytes: int
    possible: int
    reached: int
    chains: tuple[Chain, ...]
    chain_count: int
    exact: bool
    complete: bool
    calls_back: bool = False
    problems: tuple[Problem, ...] = ()
