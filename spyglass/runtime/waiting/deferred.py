"""Deferred calls that are pending and will release a lock: open-coded ones, and records of the runtime.

Sources: runtime/panic.go ``deferproc``, ``runOpenDeferFrame``, ``nextDefer``; runtime2.go ``_defer``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.binary.lock_facts import LOCKER, UNLOCK, Place
from spyglass.columns import numbered
from spyglass.runtime.waiting.frame_words import Roots, addresses_of, words_at
from spyglass.runtime.waiting.holder_evidence import DEFERRED, SOME_PATHS, Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.binary.open_defers import OpenDefer
    from spyglass.memory.base import Memory
    from spyglass.runtime.waiting.contended import Contended
    from spyglass.runtime.waiting.lock_code import Release
    from spyglass.runtime.waiting.lock_frames import LockFrames, LockStacks
    from spyglass.runtime.waiting.population import Population

__all__ = ["find_deferred"]

#: The local variables of a frame end below its return address, or what is there, and a saved frame pointer
#: (``stkframe.varp``).
_VARP = -8
#: Records that are read, of one goroutine and of all.
_MAX_LINKS = 1 << 10
_MAX_RECORDS = 1 << 20


def find_deferred(
    population: Population, frames: LockFrames, stacks: LockStacks, contended: Contended
) -> tuple[Evidence, NDArray[np.bool_]]:
    """The pending deferred calls that release one of the locks `contended`; and which goroutines (of the population) may
    have others, which were not looked at."""
    finder = _Finder(population, stacks, contended)
    for number, rows in frames.by_call.items():
        if stacks.calls[number].defers:
            finder.open_coded(frames, rows, stacks.calls[number].defers)
    finder.records(frames)
    return Evidence.joined(finder.found), finder.doubtful


class _Finder:
    def __init__(self, population: Population, stacks: LockStacks, contended: Contended) -> None:
        self._population = population
        self._memory = population.runtime.memory
        self._code = stacks.code
        self._contended = contended
        self.found: list[Evidence] = []
        self.doubtful = np.zeros(len(population.pointers), np.bool_)

    def open_coded(
        self, frames: LockFrames, rows: NDArray[np.intp], defers: tuple[OpenDefer, ...]
    ) -> None:
        """Find the calls of the defer statements of one function that are pending in the frames `rows`."""
        at = frames.base[rows] + _word(_VARP + defers[0].bits)
        words = words_at(self._memory, at & ~np.uint64(7))
        bits = words >> ((at & np.uint64(7)) << np.uint64(3)) & np.uint64(0xFF)
        for each in defers if bits.any() else ():
            self._pending(frames, rows[(bits >> np.uint64(each.bit)) & np.uint64(1) != 0], each)

    def _pending(self, frames: LockFrames, rows: NDArray[np.intp], each: OpenDefer) -> None:
        """Find the calls of one defer statement that is pending in the frames `rows`."""
        if not len(rows):
            return
        base = frames.base[rows]
        closures = words_at(self._memory, base + _word(_VARP + each.closure))
        roots = Roots.of(len(rows), frame=base, context=closures)
        places = {where: offset for where, _, offset in each.arguments}
        self._called(
            roots,
            places,
            rows=frames.row[rows],
            depth=frames.depth[rows],
            frame=rows.astype(np.int64),
        )

    def records(self, frames: LockFrames) -> None:
        """Find the calls that records of the runtime hold."""
        population, layouts = self._population, self._population.runtime.layouts
        if "_defer" not in (population.g.dtype.names or ()) or "_defer" not in layouts.structs:
            return
        dtype = layouts["_defer"]
        rows = np.flatnonzero(population.steady & (population.g["_defer"] != 0))
        at, room = population.g["_defer"][rows].astype(np.uint64), _MAX_RECORDS
        for _ in range(_MAX_LINKS):
            good = (at & np.uint64(7)) == 0
            self.doubtful[rows[~good]] = True
            rows, at = rows[good], at[good]
            if not len(rows) or room < 0:
                break
            gathered = self._memory.gather(at, dtype.itemsize)
            self.doubtful[rows[~gathered.ok]] = True
            rows, at, records = (
                rows[gathered.ok],
                at[gathered.ok],
                gathered.rows(dtype)[gathered.ok],
            )
            self._records(frames, rows, at, records)
            room -= len(rows)
            more = records["link"] != 0
            rows, at = rows[more], records["link"][more].astype(np.uint64)
        self.doubtful[rows] = True

    def _records(
        self,
        frames: LockFrames,
        rows: NDArray[np.intp],
        at: NDArray[np.uint64],
        records: NDArray[np.void],
    ) -> None:
        names = records.dtype.names or ()
        plain = records["fn"] != 0
        if "openDefer" in names:
            plain &= records["openDefer"] == 0  # the frame has them
        rows, at, records = rows[plain], at[plain], records[plain]
        if not len(rows):
            return
        size = np.uint64(records.dtype.itemsize)
        roots = Roots.of(len(rows), context=records["fn"].astype(np.uint64), arguments=at + size)
        frame = _frame_at(frames, rows, records["sp"].astype(np.uint64))
        depth = (
            np.where(frame >= 0, frames.depth[np.maximum(frame, 0)], -1) if len(frames) else frame
        )
        self._called(roots, None, rows=rows.astype(np.int64), depth=depth, frame=frame)

    def _called(
        self, roots: Roots, places: dict[int, int] | None, **where: NDArray[np.int64]
    ) -> None:
        """Find what the functions of the closures `roots.context` release. `places`: where arguments are in the
        frame, in bytes from varp; None: in memory, one after the other."""
        entries = words_at(self._memory, roots.context)
        different, which = numbered(entries)
        for number, entry in enumerate(different.tolist()):
            releases = self._code.releases(entry) if entry else ()
            if releases is None:
                self.doubtful[where["rows"][which == number]] = True
            some = np.flatnonzero(which == number) if releases else which[:0]
            here = {name: each[some] for name, each in where.items()}
            for release in releases or ():
                self._released(release, roots.select(some), places, here)

    def _released(
        self,
        release: Release,
        roots: Roots,
        places: dict[int, int] | None,
        where: dict[str, NDArray[np.int64]],
    ) -> None:
        """Find what a function releases: a lock, or a Locker by its method."""
        place = _moved(release.place, places)
        if place is None:
            return
        address = addresses_of(self._memory, place, roots)
        if release.mode != LOCKER:
            self._note(release, address, where)
            return
        table = _moved(release.table, places) if release.table is not None else None
        if table is None:
            return
        for rows, method in methods_of(self._memory, addresses_of(self._memory, table, roots)):
            releases = self._code.releases(method)
            if releases is None:
                self.doubtful[where["rows"][rows]] = True
            for each in releases or ():
                if each.place.root == "argument" and each.place.steps[0] == 0:
                    there = addresses_of(
                        self._memory,
                        Place("context", each.place.steps[1:]),
                        Roots.of(len(rows), context=address[rows]),
                    )
                    self._note(each, there, {name: column[rows] for name, column in where.items()})

    def _note(
        self, release: Release, address: NDArray[np.uint64], where: dict[str, NDArray[np.int64]]
    ) -> None:
        held = self._contended.find(address, release.mode)
        hits = np.flatnonzero(held >= 0)
        if not len(hits):
            return
        grade = DEFERRED if release.always else SOME_PATHS
        self.found.append(
            Evidence(
                row=where["rows"][hits],
                object=held[hits],
                mode=np.full(len(hits), release.mode, np.int64),
                grade=np.full(len(hits), grade, np.int64),
                released=np.zeros(len(hits), np.bool_),
                depth=where["depth"][hits],
                frame=where["frame"][hits],
            )
        )


def _word(offset: int) -> np.uint64:
    return np.uint64(offset & (1 << 64) - 1)


def methods_of(memory: Memory, tables: NDArray[np.uint64]) -> list[tuple[NDArray[np.intp], int]]:
    """The different functions that ``Unlock`` is in `tables` of methods of Lockers, with their rows."""
    entries = words_at(memory, np.where(tables != 0, tables + np.uint64(UNLOCK), tables))
    different, which = numbered(entries)
    return [
        (np.flatnonzero(which == number), entry)
        for number, entry in enumerate(different.tolist())
        if entry
    ]


def _moved(place: Place, places: dict[int, int] | None) -> Place | None:
    """`place` with arguments where a frame has them."""
    if places is None or place.root != "argument":
        return place
    offset = places.get(place.steps[0])
    if offset is None:
        return None
    return place._replace(root="frame", steps=(_VARP + offset, *place.steps[1:]))


def _frame_at(
    frames: LockFrames, rows: NDArray[np.intp], sp: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The frame of each of the goroutines `rows` whose function had `sp` when it deferred a call; -1 if it is none
    that matters. Its base is above; that of what it calls may be `sp` itself, where there is a link register."""
    if not len(frames):
        return np.full(len(rows), -1, np.int64)
    # Frames are sorted by goroutine, and by address for each: a binary search in all at once.
    low, high = (np.searchsorted(frames.row, rows, side) for side in ("left", "right"))
    end = high.copy()
    while (low < high).any():
        middle = (low + high) >> 1
        is_less = frames.base[np.minimum(middle, len(frames) - 1)] <= sp
        open_ = low < high
        low = np.where(open_ & is_less, middle + 1, low)
        high = np.where(open_ & ~is_less, middle, high)
    return np.where(low < end, low, -1)
