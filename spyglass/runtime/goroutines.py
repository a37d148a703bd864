"""Goroutines: read every ``g`` and its stack, notice those that move, decode them into columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.errors import BadDataError, MissingInfo
from spyglass.model import NONE, STATUSES, Goroutines
from spyglass.runtime.unwind import (
    COMPLETE,
    CUT,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackTree,
    Unwinder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["MAX_GOROUTINES", "Rows", "g_pointers", "plausible", "read_goroutines"]

MAX_GOROUTINES = 1 << 26
#: Goroutines are read in batches, so that memory stays bounded and caches warm.
_BATCH = 1 << 14
_ATTEMPTS = 3
#: A garbage collector that looks at a goroutine adds this to its status (``_Gscan``).
_SCAN = np.uint32(0x1000)
_DEAD = STATUSES.index("dead")
_RUNNABLE, _SYSCALL, _WAITING = (
    STATUSES.index(word) for word in ("runnable", "syscall", "waiting")
)
_LEAKED, _PREEMPTED = STATUSES.index("leaked"), STATUSES.index("preempted")
#: ``_Gdeadextra``, since Go 1.26: dead, and kept for callbacks from C.
_DEAD_EXTRA = 11
_STABLE, _MOVED, _TORN, _UNREADABLE = range(4)

_FIELDS = (
    "stack", "m", "sched", "syscallsp", "syscallpc", "atomicstatus", "goid", "waitsince", "waitreason",
    "lockedm", "parentGoid", "gopc", "startpc",
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Decoded goroutines: their columns, the tree of their stacks, and what was wrong with some.

    `node` (int64) is each goroutine's place in `tree`.
    """

    columns: Goroutines
    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]


def g_pointers(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses of all ``g`` structures ever made (``runtime.allgs``), shape (n,)."""
    address = runtime.address("allgs")
    pointer, length, capacity = (int(word) for word in runtime.memory.array(address, "<u8", 3))
    if length > capacity or capacity > MAX_GOROUTINES or pointer % 8 or (length and not pointer):
        raise BadDataError(f"allgs makes no sense: {length} of {capacity} at {pointer:#x}")
    found = runtime.memory.array(pointer, "<u8", length)
    return found[(found != 0) & (found % 8 == 0)]


def fields_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` without what is not used, cut off behind the last field that is."""
    assert dtype.fields is not None
    names = [name for name in _FIELDS if name in dtype.fields]
    formats = [dtype.fields[name][0] for name in names]
    offsets = [int(dtype.fields[name][1]) for name in names]
    end = max(o + f.itemsize for o, f in zip(offsets, formats, strict=True))
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": -(-end // 8) * 8}
    )


def plausible(pointers: NDArray[np.uint64], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which `rows` (decoded with some layout) can be the ``g`` structures at `pointers`.

    ``sched.g`` is nil or the structure itself (``runtime/proc.go: newproc1, malg``), a stack has a
    beginning below its end, a status exists, an id is a small number.
    """
    status = _status(rows)
    alive = (status != _DEAD) & (rows["goid"] != 0)
    own = (rows["sched"]["g"] == 0) | (rows["sched"]["g"] == pointers)
    low, high = rows["stack"]["lo"], rows["stack"]["hi"]
    stacked = (low < high) & (high - low <= 1 << 32) & (low % 8 == 0)
    exists = np.isin(status, (0, 1, 2, 3, 4, 6, 8, 9, 10))
    good: NDArray[np.bool_] = own & exists & (stacked | ~alive) & (rows["goid"] < 1 << 48)
    return good


def _status(rows: NDArray[Any]) -> NDArray[np.uint8]:
    raw = rows["atomicstatus"].astype(np.uint32) & ~_SCAN
    return np.where(raw == _DEAD_EXTRA, _DEAD, np.minimum(raw, 255)).astype(np.uint8)


class Reader:
    """Reads goroutines of one process into columns; the tree of stacks grows over all batches."""

    def __init__(self, runtime: Runtime, tree: StackTree, now_ns: int | None) -> None:
        self.runtime = runtime
        self.tree = tree
        self.now_ns = now_ns
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._dtype = fields_of(runtime.layouts["g"])

    def read(self, pointers: NDArray[np.uint64], top_only: bool) -> Iterator[Rows]:
        """The goroutines at `pointers` in batches, the dead ones left out."""
        for begin in range(0, len(pointers), _BATCH):
            yield self._batch(pointers[begin : begin + _BATCH], top_only)

    def _fetch(self, pointers: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        gathered = self.runtime.memory.gather(pointers, self._dtype.itemsize)
        return gathered.rows(self._dtype), gathered.ok

    def _batch(self, pointers: NDArray[np.uint64], top_only: bool) -> Rows:
        rows, ok = self._fetch(pointers)
        alive = ok & (_status(rows) != _DEAD) & (rows["goid"] != 0)
        lost = int((~ok).sum())
        if lost:
            self.runtime.problem("unreadable", "goroutines", f"{lost} could not be read")
        pointers, rows = pointers[alive], rows[alive]
        good = plausible(pointers, rows)
        node, outcome, where = self._walk(rows, top_only)
        quality = np.where(good, _STABLE, _TORN).astype(np.uint8)
        pending = np.arange(len(pointers))
        for attempt in range(_ATTEMPTS + 1):
            again, ok = self._fetch(pointers[pending])
            moved = ~ok | (_signature(again) != _signature(rows[pending])).any(axis=1)
            again, pending = again[moved], pending[moved]
            if not len(pending):
                break
            if attempt == _ATTEMPTS:
                quality[pending] = _TORN
                break
            rows[pending] = again
            node[pending], outcome[pending], where[pending] = self._walk(again, top_only)
            quality[pending] = np.where(plausible(pointers[pending], again), _MOVED, _TORN)
        self._finish(rows, outcome, quality)
        kept = (_status(rows) != _DEAD) & (rows["goid"] != 0)
        columns = self._columns(rows[kept], node[kept], where[kept], quality[kept])
        return Rows(columns, node[kept], outcome[kept])

    def _walk(
        self, rows: NDArray[Any], top_only: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int32]]:
        """Walk the stacks of those whose registers are in memory; node, outcome and where of all."""
        status = _status(rows)
        in_call = (status == _SYSCALL) & (rows["syscallsp"] != 0)
        parked = np.isin(status, (_RUNNABLE, _WAITING, _PREEMPTED, _LEAKED))
        some = np.flatnonzero(parked | in_call)
        cursors = Cursors(
            np.where(in_call, rows["syscallpc"], rows["sched"]["pc"])[some].astype(np.uint64),
            np.where(in_call, rows["syscallsp"], rows["sched"]["sp"])[some].astype(np.uint64),
            rows["stack"]["hi"][some].astype(np.uint64),
        )
        cursors.sp[cursors.sp < rows["stack"]["lo"][some]] = 0
        walked = self._unwinder.walk(cursors, top_only)
        node, outcome = np.zeros(len(rows), np.int64), np.full(len(rows), COMPLETE, np.uint8)
        where = np.full(len(rows), NONE, np.int32)
        node[some], outcome[some], where[some] = walked.node, walked.outcome, walked.where
        return node, outcome, where

    def _finish(
        self, rows: NDArray[Any], outcome: NDArray[np.uint8], quality: NDArray[np.uint8]
    ) -> None:
        """Turn the ends of walks into qualities and problems."""
        quality[(outcome == UNREADABLE) & (quality != _TORN)] = _UNREADABLE
        quality[outcome == CUT] = _TORN
        for kind, which, detail in (
            ("unreadable", quality == _UNREADABLE, "its stack could not be read"),
            (
                "torn",
                (quality == _TORN) & (outcome != CUT),
                f"moved while it was read, {_ATTEMPTS} tries",
            ),
            ("implausible", outcome == CUT, "its stack does not end where stacks end; cut there"),
            ("truncated", outcome == TRUNCATED, "its stack is too deep to be kept whole: frames in its middle are left out"),
        ):
            self._report(kind, rows["goid"][which], detail)

    def _report(self, kind: str, goids: NDArray[np.uint64], detail: str) -> None:
        """One problem for each of the first few goroutines, one for the rest."""
        for goid in goids[:_ATTEMPTS].tolist():
            self.runtime.problem(kind, f"goroutine {goid}", detail)
        if len(goids) > _ATTEMPTS:
            self.runtime.problem(kind, f"{len(goids) - _ATTEMPTS} more goroutines", detail)

    def _columns(
        self,
        rows: NDArray[Any],
        node: NDArray[np.int64],
        where: NDArray[np.int32],
        quality: NDArray[np.uint8],
    ) -> Goroutines:
        status = _status(rows)
        start = self._places(rows["startpc"], self._start)
        has_parent = "parentGoid" in (rows.dtype.names or ())
        parent = rows["parentGoid"] if has_parent else np.zeros(len(rows))
        creator = self._places(rows["gopc"], self.tree.code.place)
        creator[rows["goid"] == 1] = NONE
        return Goroutines(
            id=rows["goid"].astype(np.uint64),
            status=status,
            wait_reason=np.where(_waits(status), rows["waitreason"].astype(np.int16), NONE).astype(
                np.int16
            ),
            waiting_ns=self._waiting(rows, status),
            stack=np.full(len(rows), NONE, np.int32),
            where=where,
            start=start,
            creator=creator,
            creator_id=np.where((creator >= 0) & (parent > 0), parent.astype(np.int64), NONE),
            m=rows["m"].astype(np.int64),
            locked=rows["lockedm"] != 0,
            system=self._system(start, where),
            labels=np.full(len(rows), NONE, np.int32),
            quality=quality,
        )

    def _start(self, pc: int) -> int:
        return self.tree.code.place(pc)

    def _places(self, pcs: NDArray[np.uint64], name: Any) -> NDArray[np.int32]:
        unique, inverse = np.unique(pcs, return_inverse=True)
        return np.array([name(pc) for pc in unique.tolist()], np.int32)[inverse]

    def _system(self, start: NDArray[np.int32], where: NDArray[np.int32]) -> NDArray[np.bool_]:
        """As ``runtime/traceback.go: isSystemGoroutine``: started in package runtime, but for those
        that run the program's code; finalizers and cleanups do while they have such a frame."""
        frames = self.tree.code.frames
        unique, inverse = np.unique(start, return_inverse=True)
        names = [frames[number].function if number >= 0 else "" for number in unique.tolist()]
        own = np.array(
            [name.startswith("runtime.") and name not in _NOT_SYSTEM for name in names], np.bool_
        )
        lends = np.array([name in _LENDING for name in names], np.bool_)
        return own[inverse] & ~(lends[inverse] & (where >= 0))

    def _waiting(self, rows: NDArray[Any], status: NDArray[np.uint8]) -> NDArray[np.int64]:
        since = rows["waitsince"].astype(np.int64)
        if self.now_ns is None:
            return np.full(len(rows), NONE, np.int64)
        known = ((status == _WAITING) | (status == _SYSCALL)) & (since > 0) & (since <= self.now_ns)
        return np.where(known, self.now_ns - since, NONE)


#: Started in package runtime, yet the program's own (``isSystemGoroutine``).
_NOT_SYSTEM = frozenset({"runtime.main", "runtime.corostart", "runtime.handleAsyncEvent"})
#: The runtime's, except while they call the program's finalizers and cleanups.
_LENDING = frozenset({"runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups"})


def _waits(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (status == _WAITING) | (status == _LEAKED)


def _signature(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """What changes when a goroutine moves, as a row of words for each."""
    parts = np.empty((len(rows), 8), np.uint64)
    for column, part in enumerate((
        rows["goid"], rows["atomicstatus"].astype(np.uint32) & ~_SCAN, rows["sched"]["pc"],
        rows["sched"]["sp"], rows["stack"]["lo"], rows["stack"]["hi"], rows["syscallsp"], rows["syscallpc"],
    )):  # fmt: skip
        parts[:, column] = part
    return parts


def concatenate(batches: list[Rows]) -> tuple[Goroutines, NDArray[np.int64]]:
    """All batches as one set of columns, and the node of each goroutine."""
    if not batches:
        raise MissingInfo("this program has no goroutines yet")
    columns = {
        name: np.concatenate([getattr(batch.columns, name) for batch in batches])
        for name in Goroutines.__slots__
    }
    return Goroutines(**columns), np.concatenate([batch.node for batch in batches])
