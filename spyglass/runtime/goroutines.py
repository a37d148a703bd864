"""Goroutines: read every ``g`` and its stack, notice those that move, decode them into columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.errors import BadDataError, MissingInfo
from spyglass.model import NONE, STATUSES, Goroutines
from spyglass.runtime.labels import LabelReader
from spyglass.runtime.unwind import (
    COMPLETE,
    CUT,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackTree,
    Unwinder,
    Walked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["MAX_GOROUTINES", "Rows", "g_pointers", "plausible", "Reader"]

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
    "lockedm", "parentGoid", "trackingSeq", "gopc", "startpc", "labels",
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
    alive = _alive(rows)
    own = (rows["sched"]["g"] == 0) | (rows["sched"]["g"] == pointers)
    low, high = rows["stack"]["lo"], rows["stack"]["hi"]
    stacked = (low < high) & (high - low <= 1 << 32) & (low % 8 == 0)
    exists = np.isin(status, (0, 1, 2, 3, 4, 6, 8, 9, 10))
    good: NDArray[np.bool_] = own & exists & (stacked | ~alive) & (rows["goid"] < 1 << 48)
    return good


def _status(rows: NDArray[Any]) -> NDArray[np.uint8]:
    raw = rows["atomicstatus"].astype(np.uint32) & ~_SCAN
    return np.where(raw == _DEAD_EXTRA, _DEAD, np.minimum(raw, 255)).astype(np.uint8)


def _alive(rows: NDArray[Any]) -> NDArray[np.bool_]:
    alive: NDArray[np.bool_] = (_status(rows) != _DEAD) & (rows["goid"] != 0)
    return alive


class _Fetched(NamedTuple):
    """``g`` structures that were read, whether each was, and what tells that one has moved."""

    rows: NDArray[Any]
    ok: NDArray[np.bool_]
    signatures: NDArray[np.uint64]


@dataclass(slots=True)
class _Batch:
    """Some goroutines while they are read: the newest of each, and what its stack was found to be."""

    pointers: NDArray[np.uint64]
    rows: NDArray[Any]
    signatures: NDArray[np.uint64]
    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    where: NDArray[np.int32]
    labels: NDArray[np.int32]
    quality: NDArray[np.uint8]

    @classmethod
    def of(cls, pointers: NDArray[np.uint64], fetched: _Fetched) -> _Batch:
        """Before any stack was walked."""
        count = len(pointers)
        return cls(
            pointers, fetched.rows, fetched.signatures, np.full(count, NONE, np.int64),
            np.full(count, COMPLETE, np.uint8), np.full(count, NONE, np.int32),
            np.full(count, NONE, np.int32), np.full(count, _STABLE, np.uint8),
        )  # fmt: skip

    def keep(self, at: NDArray[np.intp], walked: Walked) -> None:
        """Take over the stacks of the goroutines `at`."""
        self.node[at], self.outcome[at], self.where[at] = walked.node, walked.outcome, walked.where

    def move(
        self, at: NDArray[np.intp], rows: NDArray[Any], signatures: NDArray[np.uint64]
    ) -> None:
        """The goroutines `at` have moved, to where they were read again."""
        self.rows[at], self.signatures[at], self.quality[at] = rows, signatures, _MOVED


class Reader:
    """Reads goroutines of one process into columns; the tree of stacks grows over all batches."""

    def __init__(self, runtime: Runtime, tree: StackTree, now_ns: int | None) -> None:
        self.runtime = runtime
        self.tree = tree
        self.now_ns = now_ns
        self.labels = LabelReader(runtime)
        self._unwinder = Unwinder(runtime.memory, tree, runtime.arch == "arm64")
        self._dtype = fields_of(runtime.layouts["g"])

    def read(self, pointers: NDArray[np.uint64], top_only: bool) -> Iterator[Rows]:
        """The goroutines at `pointers` in batches, the dead ones left out."""
        for begin in range(0, len(pointers), _BATCH):
            yield self._batch(pointers[begin : begin + _BATCH], top_only)

    def _fetch(self, pointers: NDArray[np.uint64]) -> _Fetched:
        gathered = self.runtime.memory.gather(pointers, self._dtype.itemsize)
        rows = gathered.rows(self._dtype)
        return _Fetched(rows, gathered.ok, _signature(rows, self._ticks(rows)))

    def _ticks(self, rows: NDArray[Any]) -> NDArray[np.uint64]:
        """For goroutines in system calls, what their M counts them with; 0 for others.

        The goroutine's own count stands still between one system call and the next (since Go 1.26,
        ``casgstatus``), that of the M does not (``reentersyscall, exitsyscall``).
        """
        ticks = np.zeros(len(rows), np.uint64)
        some = np.flatnonzero((_status(rows) == _SYSCALL) & (rows["m"] != 0) & (rows["m"] % 8 == 0))
        fields = self.runtime.layouts["m"].fields
        if len(some) and fields is not None:
            offset = fields["syscalltick"][1]
            words = self.runtime.memory.gather(rows["m"][some] + np.uint64(offset & ~7), 8)
            shifted = words.words(1)[:, 0] >> np.uint64(8 * (offset & 7))
            ticks[some] = np.where(words.ok, shifted & np.uint64(0xFFFFFFFF), 0)
        return ticks

    def _batch(self, pointers: NDArray[np.uint64], top_only: bool) -> Rows:
        first = self._fetch(pointers)
        lost = int((~first.ok).sum())
        if lost:
            self.runtime.problem("unreadable", "goroutines", f"{lost} could not be read")
        alive = np.flatnonzero(first.ok & _alive(first.rows))
        batch = _Batch.of(pointers[alive], _Fetched(*(column[alive] for column in first)))
        self._settle(batch, top_only)
        self._finish(batch)
        kept = _alive(batch.rows)
        columns = self._columns(
            batch.rows[kept], batch.node[kept], batch.where[kept], batch.labels[kept],
            batch.quality[kept],
        )  # fmt: skip
        return Rows(columns, batch.node[kept], batch.outcome[kept])

    def _settle(self, batch: _Batch, top_only: bool) -> None:
        """Walk the stacks of `batch` until nothing moved meanwhile, a few times at the most.

        What was read of a goroutine belongs together if it did not run between the read of its
        registers before and the one after: then its count of stops is the same. Where the runtime has
        no such count (up to Go 1.16) the stack itself must be the same twice.
        """
        pending = new = np.arange(len(batch.pointers))
        twice = "trackingSeq" not in (self._dtype.names or ())
        for _ in range(_ATTEMPTS + twice):
            batch.labels[new] = self.labels.read(batch.rows["labels"][new])
            rows = batch.rows[pending]
            walked = self._walk(rows, top_only)
            seen_before = walked.node == batch.node[pending]
            batch.keep(pending, walked)
            again = self._fetch(batch.pointers[pending])
            moved = ~again.ok | (again.signatures != batch.signatures[pending]).any(axis=1)
            settled = ~moved & (walked.outcome != CUT) & plausible(batch.pointers[pending], rows)
            if twice:
                settled &= seen_before
            batch.move(pending[moved], again.rows[moved], again.signatures[moved])
            pending, new = pending[~settled], pending[moved]
            if not len(pending):
                return
        batch.quality[pending] = _TORN

    def _walk(self, rows: NDArray[Any], top_only: bool) -> Walked:
        """Walk the stacks of those whose registers are in memory; the others have no node."""
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
        return self._unwinder.walk(cursors, top_only).spread(some, len(rows))

    def _finish(self, batch: _Batch) -> None:
        """Turn the ends of walks into qualities and problems."""
        quality, outcome = batch.quality, batch.outcome
        quality[(outcome == UNREADABLE) & (quality != _TORN)] = _UNREADABLE
        for kind, which, detail in (
            ("unreadable", quality == _UNREADABLE, "its stack could not be read"),
            (
                "torn",
                (quality == _TORN) & (outcome != CUT),
                f"moved while it was read, {_ATTEMPTS} tries",
            ),
            ("implausible", outcome == CUT, "its stack does not end where stacks end; cut there"),
            (
                "truncated",
                outcome == TRUNCATED,
                "so deep that frames in the middle of its stack are left out",
            ),
        ):
            self._report(kind, batch.rows["goid"][which], detail)

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
        labels: NDArray[np.int32],
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
            labels=labels,
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


def _signature(rows: NDArray[Any], ticks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What changes when a goroutine runs, as a row of words for each."""
    sched, stack = rows["sched"], rows["stack"]
    parts = [
        rows["goid"], _status(rows), sched["pc"], sched["sp"], stack["lo"], stack["hi"],
        rows["syscallsp"], rows["syscallpc"], rows["labels"], ticks,
    ]  # fmt: skip
    if "trackingSeq" in (rows.dtype.names or ()):
        parts.append(rows["trackingSeq"])
    return np.stack([part.astype(np.uint64) for part in parts], axis=1)


def concatenate(batches: list[Rows]) -> tuple[Goroutines, NDArray[np.int64]]:
    """All batches as one set of columns, and the node of each goroutine."""
    if not batches:
        raise MissingInfo("this program has no goroutines yet")
    columns = {
        name: np.concatenate([getattr(batch.columns, name) for batch in batches])
        for name in Goroutines.__slots__
    }
    return Goroutines(**columns), np.concatenate([batch.node for batch in batches])
