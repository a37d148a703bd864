"""The shortest way from roots to objects of the heap, over references that were read before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import distinct, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.heap.references import References

__all__ = ["NO_PARENT", "ROOT", "Paths", "find_paths"]

#: No objects, but marks in `Paths.parent`: not reached; referred to by a root; not allocated. Numbers of objects are smaller.
NO_PARENT, ROOT, _FREE = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE), np.uint32(0xFFFFFFFD)
#: A frontier of fewer objects is followed one by one: numpy takes longer to begin than Python for them.
_FEW = 48
#: Objects of a frontier, or references of one object, that are examined at a time: bounds the memory of a large frontier.
_SLICE = 1 << 19


class Paths(NamedTuple):
    """`parent` (uint32): for each object the one that refers to it on a shortest way from a root, `ROOT` for one that a root
    refers to, larger numbers for those that were not reached. `complete`: the time was enough."""

    parent: NDArray[np.uint32]
    complete: bool

    def reached(self, objects: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of `objects` were reached."""
        above = self.parent[objects]
        reached: NDArray[np.bool_] = (above != NO_PARENT) & (above != _FREE)
        return reached

    def path(self, number: int) -> list[int]:
        """The objects from the first one, which a root refers to, to `number`, which was reached."""
        found = [number]
        while (above := int(self.parent[found[-1]])) != ROOT:
            found.append(above)
        return found[::-1]

    def heads(self, objects: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The first object on the way to each of `objects`, which were reached."""
        own = np.arange(len(self.parent), dtype=np.uint32)
        up = np.where(self.parent >= _FREE, own, self.parent)
        while True:
            further = up[up]
            if (further == up).all():
                heads: NDArray[np.uint32] = up[objects]
                return heads
            up = further


def find_paths(
    references: References,
    roots: NDArray[np.uint32],
    wanted: NDArray[np.uint32],
    until: float,
    free: NDArray[np.uint32] | None = None,
) -> Paths:
    """The ways from the objects `roots`, step by step, until all `wanted` ones are reached, or that moment of
    ``time.monotonic``. No way leads through the objects `free`, whose memory holds references of long ago."""
    parent = np.full(len(references.offsets) - 1, NO_PARENT)
    if free is not None:
        parent[free] = _FREE
    frontier = distinct(roots[parent[roots] == NO_PARENT])
    parent[frontier] = ROOT
    while len(frontier) and not (parent[wanted] != NO_PARENT).all():
        if time.monotonic() > until:
            return Paths(parent, False)
        if len(frontier) < _FEW:
            frontier = _follow(references, parent, frontier, until)
        else:
            frontier = _expand(references, parent, frontier)
    return Paths(parent, True)


def _expand(
    references: References, parent: NDArray[np.uint32], frontier: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """What `frontier` refers to and was not reached before."""
    found = [np.zeros(0, np.uint32)]
    for begin in range(0, len(frontier), _SLICE):
        part = frontier[begin : begin + _SLICE]
        first = references.offsets[part].astype(np.int64)
        count = references.offsets[part.astype(np.int64) + 1] - first
        ends = np.cumsum(count)
        low = done = 0
        while low < len(part):
            high = max(int(np.searchsorted(ends, done + _SLICE)), low + 1)
            rows = slice(low, high)
            targets = references.targets[ranges(first[rows], count[rows])]
            owners = np.repeat(part[rows], count[rows])
            new = parent[targets] == NO_PARENT
            parent[targets[new]] = owners[new]
            found.append(distinct(targets[new]))
            low, done = high, int(ends[high - 1])
    return distinct(np.concatenate(found))


def _follow(
    references: References, parent: NDArray[np.uint32], frontier: NDArray[np.uint32], until: float
) -> NDArray[np.uint32]:
    """As `_expand`, again and again while the frontier is short: long lists in little time. The number of steps is
    bounded, so that the caller sees what was reached, and the time."""
    offsets, targets, above = references.offsets.data, references.targets.data, parent.data
    none, work = int(NO_PARENT), frontier.tolist()
    for _ in range(_SLICE >> 4):
        following: list[int] = []
        for one in work:
            begin, end = offsets[one], offsets[one + 1]
            if end - begin > _SLICE >> 8:
                following += _expand(references, parent, np.array([one], np.uint32)).tolist()
                continue
            for target in targets[begin:end]:
                if above[target] == none:
                    above[target] = one
                    following.append(target)
        work = following
        if not 0 < len(work) < _FEW or time.monotonic() > until:
            break
    return np.array(work, np.uint32)
