"""Mark what can be reached: a forward mark over references that were read before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.heap.references import References

__all__ = ["Marking"]

_UNMARKED, _MARKED, _WATCHED = 0, 1, 2
#: A frontier of fewer objects, and objects with fewer references, are followed one by one: numpy takes
#: longer to begin than Python for them.
_FEW = 48
_MANY = 1 << 9
#: Objects, and references, that are examined at a time: bounds the memory of a large frontier.
_SLICE = 1 << 19


class Marking:
    """Marks objects of `references`, and all that can be reached from them.

    `watched` (object numbers): `mark` says which of them it marked.
    """

    def __init__(self, references: References, watched: NDArray[np.uint32]) -> None:
        self._offsets = references.offsets
        self._targets = references.targets
        self._state = np.zeros(len(references.offsets) - 1, np.uint8)
        self._state[watched] = _WATCHED

    def is_marked(self, objects: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of `objects` are marked."""
        marked: NDArray[np.bool_] = self._state[objects] == _MARKED
        return marked

    def mark(self, objects: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Mark `objects` and all that can be reached from them; the watched ones that were marked now."""
        seen: list[NDArray[np.uint32]] = []
        frontier = self._take(objects, seen)
        while len(frontier):
            if len(frontier) < _FEW:
                frontier = self._follow(frontier, seen)
            else:
                frontier = self._expand(frontier, seen)
        return np.concatenate(seen) if seen else np.zeros(0, np.uint32)

    def _take(
        self, objects: NDArray[np.uint32], seen: list[NDArray[np.uint32]]
    ) -> NDArray[np.uint32]:
        """Mark `objects`; those that were not marked before, each once."""
        new: NDArray[np.uint32] = objects[self._state.take(objects) != _MARKED]
        if len(new):
            new = distinct(new)
            watched = new[self._state.take(new) == _WATCHED]
            if len(watched):
                seen.append(watched)
            self._state[new] = _MARKED
        return new

    def _expand(
        self, frontier: NDArray[np.uint32], seen: list[NDArray[np.uint32]]
    ) -> NDArray[np.uint32]:
        """What `frontier` refers to and was not marked before."""
        found = []
        for begin in range(0, len(frontier), _SLICE):
            part = frontier[begin : begin + _SLICE].astype(np.int64)
            first = self._offsets.take(part).astype(np.int64)
            count = self._offsets.take(part + 1) - first
            found += self._expand_part(first, count, seen)
        return np.concatenate(found)

    def _expand_part(
        self, first: NDArray[np.int64], count: NDArray[np.int64], seen: list[NDArray[np.uint32]]
    ) -> list[NDArray[np.uint32]]:
        """As `_expand`, for objects with `count` references each, from `first` on."""
        found, ends = [], np.cumsum(count)
        begin = done = 0
        while begin < len(count):
            end = max(int(np.searchsorted(ends, done + _SLICE)), begin + 1)
            part = slice(begin, end)
            at = ranges(first[part], count[part])
            found.append(self._take(self._targets.take(at), seen))
            begin, done = end, int(ends[end - 1])
        return found

    def _follow(
        self, frontier: NDArray[np.uint32], seen: list[NDArray[np.uint32]]
    ) -> NDArray[np.uint32]:
        """As `_expand`, again and again while the frontier is short: long lists in little time."""
        offsets, targets, state = self._offsets.data, self._targets.data, self._state.data
        watched, work = [], frontier.tolist()
        while 0 < len(work) < _FEW:
            following = []
            for one in work:
                begin, end = offsets[one], offsets[one + 1]
                if end - begin > _MANY:
                    following += self._expand(np.array([one], np.uint32), seen).tolist()
                    continue
                for target in targets[begin:end]:
                    if state[target] != _MARKED:
                        if state[target] == _WATCHED:
                            watched.append(target)
                        state[target] = _MARKED
                        following.append(target)
            work = following
        if watched:
            seen.append(np.array(watched, np.uint32))
        return np.array(work, np.uint32)
