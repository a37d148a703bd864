"""Recognise stacks that were walked before, by their return addresses alone.

Most goroutines of a large program share a few hundred stacks. Where a walk has found a return address
depends only on the pcs before it: a stack that has the same innermost frames, and the same return
addresses at the same distances further out, is the same stack. To compare takes a few numpy operations
for a frame, a step of a walk some thirty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.columns import numbered
from spyglass.runtime.stacks.key_index import KeyIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree

__all__ = ["STEPS_BEFORE", "KnownPaths", "Unknown"]

#: Steps that are walked before: their frames tell what a goroutine waits in, so that few stacks of one
#: size are left that could be meant.
STEPS_BEFORE = 5

#: Paths that are kept, and the return addresses of the longest one. There is room for few at first, doubled when it is used up.
_MAX_PATHS = 1 << 12
_MAX_FRAMES = 64
#: A path is kept if a batch has as many stacks that look like it.
_WORTH_KEEPING = 4
_FEW_PATHS = 64
_COLUMNS = ("_begins", "_nodes", "_pcs", "_slots", "_lengths")
#: How many paths may have the same first steps, and the same size: those of a few callers.
_MAX_ALTERNATIVES = 8
#: Odd numbers that spread the parts of a key over all of its bits.
_FACTORS = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)))


class Unknown(NamedTuple):
    """Walks that have made `STEPS_BEFORE` steps: their rows (`at`), their `keys`, the `nodes` and, as
    numbers of words, the `slots` that they have come to."""

    at: NDArray[np.intp]
    keys: NDArray[np.uint64]
    nodes: NDArray[np.int64]
    slots: NDArray[np.int64]

    def select(self, which: NDArray[Any]) -> Unknown:
        """The walks `which`."""
        return Unknown(*(column[which] for column in self))


def path_keys(
    nodes: NDArray[np.int64], pcs: NDArray[np.uint64], sizes: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Keys of walks: of the node that each has come to, the pc that is next, and how many bytes of stack
    are left. Different stacks may have one key."""
    keys: NDArray[np.uint64] = nodes.view(np.uint64) * _FACTORS[0]
    keys = keys ^ pcs * _FACTORS[1] ^ sizes * _FACTORS[2]
    return keys


class KnownPaths:
    """How complete walks went on after their first steps, a few paths for each of `path_keys`: the first is found
    by the key itself, each further one by another key made of it."""

    def __init__(self) -> None:
        self._index = KeyIndex(_FEW_PATHS)
        self._count = 1  # numbers in a KeyIndex begin with 1
        #: Of each path, the node after the first steps, and the one at its end.
        self._begins = np.zeros(_FEW_PATHS, np.int64)
        self._nodes = np.zeros(_FEW_PATHS, np.int64)
        # Of each path, its return addresses, and the words from where the walk had come to, a row for each
        # frame; behind the last they are repeated.
        self._pcs = np.zeros((_MAX_FRAMES, _FEW_PATHS), np.uint64)
        self._slots = np.zeros((_MAX_FRAMES, _FEW_PATHS), np.int64)
        self._lengths = np.zeros(_FEW_PATHS, np.int64)

    def find(
        self, walks: Unknown, limits: NDArray[np.int64], words: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """The node at which each of `walks` through `words` ends, 0 where it is not known: then its key
        in `walks` becomes the one by which its path would be found.

        `limits`: the numbers of the words where the bytes of each end.
        """
        nodes, rows = np.zeros(len(walks.at), np.int64), np.arange(len(walks.at))
        for alternative in range(_MAX_ALTERNATIVES):
            if alternative:
                walks.keys[rows] = walks.keys[rows] * _FACTORS[0] ^ _FACTORS[1]
            paths, _ = self._index.find(walks.keys[rows])
            some = np.flatnonzero(paths)
            rows, paths = rows[some], paths[some]
            same = self._same(walks, rows, paths, limits, words)
            nodes[rows[same]] = self._nodes[paths[same]]
            rows = np.delete(rows, same)
            if not len(rows):
                break
        return nodes

    def _same(
        self,
        walks: Unknown,
        rows: NDArray[np.intp],
        paths: NDArray[np.int64],
        limits: NDArray[np.int64],
        words: NDArray[np.uint64],
    ) -> NDArray[np.intp]:
        """Which of `rows` of `walks` go on as the one of `paths` for each, as indices of these."""
        inside = walks.slots[rows] + self._slots[-1][paths] < limits[rows]
        same = np.flatnonzero(inside & (self._begins[paths] == walks.nodes[rows]))
        paths, slots = paths[same], walks.slots[rows[same]]
        for frame in range(int(self._lengths[paths].max(initial=0))):
            equal = words[slots + self._slots[frame][paths]] == self._pcs[frame][paths]
            if not equal.all():
                same, paths, slots = same[equal], paths[equal], slots[equal]
        return same

    def learn(
        self,
        tree: StackTree,
        unknown: Unknown,
        words: NDArray[np.uint64],
        nodes: NDArray[np.int64],
    ) -> None:
        """Keep the paths of walks that ended at `nodes` of `tree`, one of each key that is new."""
        distinct, which = numbered(unknown.keys)
        examples = np.zeros(len(distinct), np.intp)
        examples[which] = np.arange(len(which))
        often = np.bincount(which, minlength=len(distinct)) >= _WORTH_KEEPING
        examples = examples[often]
        _, new = self._index.find(unknown.keys[examples])
        self._make_room(min(self._count + len(new), _MAX_PATHS))
        added: list[int] = []
        for row in examples[new].tolist():
            number = self._count + len(added)
            if number >= _MAX_PATHS:
                break
            places = tree.return_slots(int(nodes[row]))
            if STEPS_BEFORE <= len(places) < _MAX_FRAMES:
                here = places[STEPS_BEFORE - 1] + 1
                further = np.array(places[STEPS_BEFORE - 1 :]) - here
                self._set(number, further, unknown.slots[row], words)
                self._begins[number], self._nodes[number] = unknown.nodes[row], nodes[row]
                added.append(row)
        self._index.add(unknown.keys[added], self._count)
        self._count += len(added)

    def _make_room(self, count: int) -> None:
        """Make room for `count` paths."""
        while count > len(self._begins):
            for name in _COLUMNS:
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)], axis=-1))

    def _set(
        self, number: int, places: NDArray[np.int64], slot: np.int64, words: NDArray[np.uint64]
    ) -> None:
        length = len(places)
        self._lengths[number] = length
        self._slots[:length, number], self._slots[length:, number] = places, places[-1]
        pcs = words[slot + places]
        self._pcs[:length, number], self._pcs[length:, number] = pcs, pcs[-1]
