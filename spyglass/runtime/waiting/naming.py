"""What the objects that goroutines wait on are called in the program.

A package-level variable is called as its symbol says. A field of a struct is called by the type of the receiver
of a method that a waiter is in: the receiver is found in its frame, and the object in the receiver. Nothing is
guessed: an object that two goroutines know by different names has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct, numbered
from spyglass.errors import SpyglassError
from spyglass.model import NONE
from spyglass.runtime.goroutines.fetcher import saved_cursors
from spyglass.runtime.waiting.frame_words import Roots, addresses_of
from spyglass.runtime.waiting.lock_frames import stacks_of
from spyglass.runtime.waiting.struct_types import Receiver, struct_types
from spyglass.wait_graph import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.pclntab import Function
    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population

__all__ = ["VariablesAt", "name_objects"]

#: For addresses the variable that each is in, and how far behind its begin.
VariablesAt = Callable[["NDArray[np.uint64]"], "list[tuple[str, int] | None]"]

#: Objects that are named: those with most waiters. Goroutines of each that are asked, frames of each that are
#: examined.
_MAX_OBJECTS = 1000
_ASKED = 2
_MAX_FRAMES = 24
_MAX_METHODS = 4
_MAX_STRUCT_BYTES = 1 << 12
#: Time in seconds for functions that are followed to find receivers.
_SECONDS = 0.3
#: Bytes of what is a field by itself, by its kind (package sync; the most of all versions).
_SIZES = {"mutex": 8, "rwmutex": 24, "waitgroup": 16, "once": 12, "cond": 56, "semaphore": 16}
_POINTED = ("channel", "cond", "mutex", "rwmutex", "waitgroup", "once")


def name_objects(
    population: Population, resolved: Resolved, variables_at: VariablesAt | None
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The column `name` of `WaitObjects`, and the names with those that were found."""
    stacks_of(population).code.allow_time()
    objects, texts = resolved.objects, {text: at for at, text in enumerate(resolved.names)}
    column = objects.name.copy()
    wanted = _wanted(resolved)
    names: dict[int, str | None] = {}
    if variables_at is not None and len(wanted):
        for row, found in zip(wanted.tolist(), variables_at(objects.address[wanted]), strict=True):
            if found is not None and "." in found[0]:
                names[row] = found[0] + (f"+{found[1]:#x}" if found[1] else "")
    left = wanted[[row not in names for row in wanted.tolist()]] if len(wanted) else wanted
    for row, name in _fields(population, resolved, left):
        names[row] = name if names.setdefault(row, name) == name else None
    for row, text in names.items():
        if text is not None:
            column[row] = texts.setdefault(text, len(texts))
    return column, tuple(texts)


def _wanted(resolved: Resolved) -> NDArray[np.int64]:
    """The objects to name: those with an address that have most waiters."""
    objects = resolved.objects
    named = np.isin(objects.kind, [KINDS.index(kind) for kind in (*_SIZES, "channel")])
    waiters = np.bincount(resolved.waits.object, minlength=len(objects))
    rows = np.flatnonzero(named & (objects.address != 0) & (objects.name == NONE))
    order = np.argsort(-waiters[rows], kind="stable")
    return rows[order[:_MAX_OBJECTS]]


def _fields(
    population: Population, resolved: Resolved, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    """Objects of `wanted` and names of fields that they are, as waiters tell."""
    if not len(wanted):
        return
    finder = _FieldFinder(population, resolved)
    asked = _asked(resolved, wanted)
    asked = asked[population.steady[resolved.row[asked]]]
    nodes, which = numbered(population.nodes[resolved.row[asked]])
    for number, node in enumerate(nodes.tolist()):
        yield from finder.of_node(node, asked[which == number])


def _asked(resolved: Resolved, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the waits of `wanted`: the first and the last of each."""
    order = np.argsort(resolved.waits.object, kind="stable")
    of = resolved.waits.object[order]
    first, last = np.searchsorted(of, wanted), np.searchsorted(of, wanted, side="right") - 1
    ends = [first, last][:_ASKED]
    asked: NDArray[np.int64] = order[distinct(np.concatenate(ends))]
    return asked


class _FieldFinder:
    """Finds the fields that objects are, of receivers of methods on the stacks of their waiters."""

    def __init__(self, population: Population, resolved: Resolved) -> None:
        self._population = population
        self._resolved = resolved
        self._memory = population.runtime.memory
        self._stacks = stacks_of(population)
        trees = population.tree.code.trees
        self._types = struct_types(population.runtime, trees.read)
        some, cursors = saved_cursors(population.g)
        self._sp = np.zeros(len(population.pointers), np.uint64)
        self._sp[some] = cursors.sp

    def of_node(self, node: int, waits: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """The names of what goroutines whose stacks end at `node` wait on: the rows `waits` of `Waits`."""
        objects, sp = self._resolved.waits.object[waits], self._sp[self._resolved.row[waits]]
        for slot, function, receiver, pc in self._methods(node):
            base = sp + np.uint64(8 * slot)
            pointer = self._receivers(function, pc, base)
            left = np.ones(len(waits), np.bool_)
            for at, name in self._in_receivers(receiver, pointer, objects):
                yield int(objects[at]), name
                left[at] = False
            waits, objects, sp = waits[left], objects[left], sp[left]
            if not len(waits):
                return

    def _methods(self, node: int) -> Iterator[tuple[int, Function, Receiver, int]]:
        """The innermost methods of structs on the stack: where the return address is in words from sp, the
        function, its receiver, and the pc."""
        functions, slot, found = self._population.tree.code.functions, 0, 0
        for frame in self._population.tree.path_frames(node)[:_MAX_FRAMES]:
            slot += frame.words
            try:
                function = functions.at(frame.pc)
            except SpyglassError:
                return
            if function is None:
                return
            receiver = self._types.receiver(function.name)
            if receiver is not None and not function.name.startswith(("sync.", "internal/sync.")):
                yield slot, function, receiver, frame.pc
                found += 1
            if found == _MAX_METHODS:
                return
            slot += 0 if self._stacks.link else 1

    def _receivers(
        self, function: Function, pc: int, base: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """The receivers in the frames of `function` at `base`; 0 where they are not found."""
        code = self._stacks.code
        place = code.arguments(function, pc).get(0) if code.time_left(_SECONDS) else None
        if place is None:
            return np.zeros(len(base), np.uint64)
        return addresses_of(self._memory, place, Roots.of(len(base), frame=base))

    def _in_receivers(
        self, receiver: Receiver, pointers: NDArray[np.uint64], objects: NDArray[np.int32]
    ) -> Iterator[tuple[int, str]]:
        """Which of `objects` are in, or referred to by, the structs at `pointers`, and their names."""
        known = self._resolved.objects
        kinds = [KINDS[kind] for kind in known.kind[objects].tolist()]
        addresses = known.address[objects]
        size = receiver.type.size
        inside = (pointers != 0) & (addresses - pointers < np.uint64(size))
        for at in np.flatnonzero(inside).tolist():
            offset = int(addresses[at] - pointers[at])
            name = (
                receiver.field_at(offset, _SIZES.get(kinds[at], 0))
                if kinds[at] != "channel"
                else None
            )
            if name is not None:
                yield at, name
        others = np.flatnonzero((pointers != 0) & ~inside & (pointers & np.uint64(7) == 0))
        words = min(size, _MAX_STRUCT_BYTES) // 8
        if not len(others) or not words:
            return
        gathered = self._memory.gather(pointers[others], 8 * words)
        same = (gathered.words(words) == addresses[others][:, None]) & gathered.ok[:, None]
        for row in np.flatnonzero(same.sum(axis=1) == 1).tolist():
            at = int(others[row])
            name = receiver.pointer_at(8 * int(same[row].argmax()))
            if name is not None and kinds[at] in _POINTED:
                yield at, name
