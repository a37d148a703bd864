"""What the objects that goroutines wait on are called in the program.

A package-level variable is called as its symbol says. A field of a struct is called by the type of the receiver
of a method that a waiter or a holder is in: the receiver is found in its frame, and the object in the receiver.
Nothing is guessed: an object that two goroutines know by different names has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.columns import among, combined, numbered
from spyglass.errors import SpyglassError
from spyglass.model import NONE
from spyglass.runtime.goroutines.fetcher import saved_cursors
from spyglass.runtime.waiting.frame_words import Roots, addresses_of
from spyglass.runtime.waiting.lock_frames import stacks_of
from spyglass.runtime.waiting.struct_types import Receiver, struct_types
from spyglass.wait_graph import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.lock_facts import Place
    from spyglass.binary.pclntab import Function
    from spyglass.runtime.waiting.objects import Resolved
    from spyglass.runtime.waiting.population import Population
    from spyglass.wait_graph import Holders, WaitObjects

__all__ = ["Method", "VariablesAt", "name_objects"]

#: A method on a stack: where its return address is in words from sp, the function, its receiver, and the pc.
Method = tuple[int, "Function", Receiver, int]

#: For addresses the variable that each is in, and how far behind its begin.
VariablesAt = Callable[["NDArray[np.uint64]"], "list[tuple[str, int] | None]"]

#: Objects that are named: those with most waiters. Frames of a goroutine that are examined, methods among them.
_MAX_OBJECTS = 1000
_MAX_FRAMES = 24
_MAX_NODES = 1 << 16
_MAX_METHODS = 4
_MAX_STRUCT_BYTES = 1 << 12
_NAMED = ("channel", "mutex", "rwmutex", "waitgroup", "once", "cond", "semaphore")
#: Instead of the number of a name: goroutines know the object by different ones.
_DISPUTED = -2


def name_objects(
    population: Population,
    resolved: Resolved,
    holders: Holders,
    variables_at: VariablesAt | None,
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The column `name` of `WaitObjects`, and the names with those that were found."""
    objects = resolved.objects
    wanted = _wanted(resolved)
    names: dict[str, int] = {}
    named = np.full(len(objects), NONE, np.int64)  # by the number of the name in `names`
    if variables_at is not None and len(wanted):
        for row, found in zip(wanted.tolist(), variables_at(objects.address[wanted]), strict=True):
            if found is not None and "." in found[0]:
                name = found[0] + (f"+{found[1]:#x}" if found[1] else "")
                named[row] = names.setdefault(name, len(names))
    # A struct in another one has two true names: that by which waiters know it is preferred.
    for asked in (_Asked.waiters, _Asked.holders):
        told = asked(population, resolved, holders, wanted[named[wanted] == NONE])
        for rows, name in _fields(population, objects, told):
            number = names.setdefault(name, len(names))
            agreed = (named[rows] == NONE) | (named[rows] == number)
            named[rows] = np.where(agreed, number, _DISPUTED)
    column, texts = objects.name.copy(), {text: at for at, text in enumerate(resolved.names)}
    for name, number in names.items():
        rows = np.flatnonzero(named == number)
        if len(rows):
            column[rows] = texts.setdefault(name, len(texts))
    return column, tuple(texts)


def _wanted(resolved: Resolved) -> NDArray[np.int64]:
    """The objects to name: those with an address that have most waiters."""
    objects = resolved.objects
    named = np.isin(objects.kind, [KINDS.index(kind) for kind in _NAMED])
    waiters = np.bincount(resolved.waits.object, minlength=len(objects))
    rows = np.flatnonzero(named & (objects.address != 0) & (objects.name == NONE))
    order = np.argsort(-waiters[rows], kind="stable")
    return rows[order[:_MAX_OBJECTS]]


class _Asked(NamedTuple):
    """Goroutines that may know the name of an object: row of `WaitObjects`, row of the population."""

    object: NDArray[np.int64]
    row: NDArray[np.int64]

    @classmethod
    def waiters(
        cls, population: Population, resolved: Resolved, holders: Holders, wanted: NDArray[np.int64]
    ) -> _Asked:
        """Of each object of `wanted` the first and the last waiter."""
        order = np.argsort(resolved.waits.object, kind="stable")
        of = resolved.waits.object[order]
        first = order[np.searchsorted(of, wanted)]
        last = order[np.searchsorted(of, wanted, side="right") - 1]
        rows = resolved.row[np.concatenate([first, last])]
        return cls(np.concatenate([wanted, wanted]), rows)._steady(population)

    @classmethod
    def holders(
        cls, population: Population, resolved: Resolved, holders: Holders, wanted: NDArray[np.int64]
    ) -> _Asked:
        """The holders of the objects `wanted`."""
        ids = population.goroutines.id
        by_id = np.argsort(ids, kind="stable")
        holds = np.flatnonzero(among(holders.object.astype(np.int64), wanted))
        at = np.searchsorted(ids[by_id], holders.goroutine[holds])
        return cls(holders.object[holds].astype(np.int64), by_id[at])._steady(population)

    def _steady(self, population: Population) -> _Asked:
        good = population.steady[self.row]
        return _Asked(self.object[good], self.row[good])


def _fields(
    population: Population, objects: WaitObjects, asked: _Asked
) -> Iterator[tuple[NDArray[np.int64], str]]:
    """Rows of `objects`, and the name of the field that they all are, as the goroutines `asked` tell."""
    if not len(asked.object):
        return
    finder = _FieldFinder(population, objects)
    nodes, which = numbered(population.nodes[asked.row])
    for number, node in enumerate(nodes.tolist()):
        some = np.flatnonzero(which == number)
        yield from finder.of_node(node, asked.object[some], asked.row[some])


class _FieldFinder:
    """Finds the fields that objects are, of receivers of methods on the stacks of their waiters."""

    def __init__(self, population: Population, objects: WaitObjects) -> None:
        self._population = population
        self._objects = objects
        self._memory = population.runtime.memory
        self._stacks = stacks_of(population)
        trees = population.tree.code.trees
        self._types = struct_types(population.runtime, trees.read)
        some, cursors = saved_cursors(population.g)
        self._sp = np.zeros(len(population.pointers), np.uint64)
        self._sp[some] = cursors.sp

    def of_node(
        self, node: int, objects: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], str]]:
        """Some of `objects`, and their name, as the goroutines `rows`, whose stacks end at `node`, know them."""
        sp = self._sp[rows]
        for slot, function, receiver, pc in self._known_methods(node):
            place = self._stacks.code.arguments(function, pc).get(0)
            if place is None:
                continue
            base = sp + np.uint64(8 * slot)
            pointer = addresses_of(self._memory, place, Roots.of(len(base), frame=base))
            is_live = self._is_live(function, pc, place)
            left = np.ones(len(objects), np.bool_)
            for at, name in self._in_receivers(receiver, pointer, objects, is_live):
                yield objects[at], name
                left[at] = False
            objects, sp = objects[left], sp[left]
            if not len(objects):
                return

    def _known_methods(self, node: int) -> tuple[Method, ...]:
        known = self._stacks.methods
        if node not in known:
            if len(known) >= _MAX_NODES:
                known.clear()
            known[node] = tuple(self._methods(node))
        return known[node]

    def _methods(self, node: int) -> Iterator[Method]:
        """The innermost methods of structs on the stack: where the return address is in words from sp, the
        function, its receiver, and the pc."""
        functions, slot, found = self._population.tree.code.functions, 0, 0
        for frame in self._population.tree.path_frames(node)[:_MAX_FRAMES]:
            slot += frame.words + self._stacks.faked_words(frame)
            try:
                function = functions.at(frame.pc)
            except SpyglassError:
                return
            if function is None:
                return
            is_lock = function.name.startswith(("sync.", "internal/sync."))
            receiver = None if is_lock else self._types.receiver(function.name)
            if receiver is not None:
                yield slot, function, receiver, frame.pc
                found += 1
            if found == _MAX_METHODS:
                return
            slot += 0 if self._stacks.link else 1

    def _is_live(self, function: Function, pc: int, place: Place) -> bool:
        """Whether what is at `place` is in use behind `pc`. Else its memory may be free by now, and have become something
        else; so if it is not known."""
        if place.root != "frame" or len(place.steps) != 2:
            return False
        frame = self._stacks.live_words(function, pc)
        return frame is not None and frame.size + place.steps[0] // 8 in frame.live

    def _in_receivers(
        self,
        receiver: Receiver,
        pointers: NDArray[np.uint64],
        objects: NDArray[np.int64],
        is_live: bool,
    ) -> Iterator[tuple[NDArray[np.int64], str]]:
        """Which of `objects` are in the structs at `pointers`, or if these are live, referred to by them, and their
        name. What goroutines wait on is live, and so is what it is in."""
        kinds, addresses = self._objects.kind[objects], self._objects.address[objects]
        size = receiver.type.size
        offsets = addresses - pointers
        inside = (pointers != 0) & (offsets < np.uint64(size))
        for rows, offset, kind in _alike(np.flatnonzero(inside), offsets, kinds):
            name = receiver.field_at(offset, self._types.of_kind(kind))
            if name is not None:
                yield rows, name
        others = np.flatnonzero((pointers != 0) & ~inside & (pointers & np.uint64(7) == 0))
        words = min(size, _MAX_STRUCT_BYTES) // 8
        if not is_live or not len(others) or not words:
            return
        gathered = self._memory.gather(pointers[others], 8 * words)
        same = (gathered.words(words) == addresses[others][:, None]) & gathered.ok[:, None]
        once = same.sum(axis=1) == 1
        offsets[others] = 8 * same.argmax(axis=1).astype(np.uint64)
        for rows, offset, kind in _alike(others[once], offsets, kinds):
            name = (
                receiver.channel_at(offset)
                if kind == "channel"
                else receiver.pointer_at(offset, self._types.of_kind(kind))
            )
            if name is not None:
                yield rows, name


def _alike(
    rows: NDArray[np.int64], offsets: NDArray[np.uint64], kinds: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.int64], int, str]]:
    """`rows` by their offsets and kinds, both of which are looked up by row: the rows, the offset, the kind."""
    different, which = numbered(combined(offsets[rows].astype(np.int64), kinds[rows]))
    for number in range(len(different)):
        alike = rows[which == number]
        yield alike, int(offsets[alike[0]]), KINDS[int(kinds[alike[0]])]
