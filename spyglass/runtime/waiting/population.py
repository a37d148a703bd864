"""The goroutines of a snapshot, read once more with what they wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.columns import among, distinct
from spyglass.model import NONE, STATUSES
from spyglass.runtime.goroutines.consistency import Quality
from spyglass.runtime.goroutines.decode import CALLING_BACK, alive, columns_of, g_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.memory.base import Gathered
    from spyglass.model import Goroutines
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.goroutines.consistency import Read
    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.runtime.waiting.options import Moment

__all__ = ["Population"]

#: What tells whether a goroutine has run, and what it waits for.
_COMPARED = (
    "goid", "syscallsp", "syscallpc", "waitreason", "trackingSeq", "waiting", "_defer", "timer",
)  # fmt: skip
_SCHED = ("sp", "pc", "lr")
_FIELDS = ("stack", "sched", "atomicstatus", *_COMPARED)
_BATCH = 1 << 14


class Population(NamedTuple):
    """All goroutines of a snapshot, a row for each, in the order of `goroutines`.

    `pointers` (uint64): the addresses of their ``g``. `nodes` (int64): their stacks in `tree`, 0 or less
    for none. `g`: their ``g`` structures, read after their stacks (those of
    `_FIELDS` that this version has).
    `steady` (bool): the ``g`` could be read, and the goroutine has not run since the snapshot read it: its
    stack and its ``g`` are of one moment. `reasons`: the wait reasons that `goroutines.wait_reason`
    are indices of. `kind`: what is read of a ``g``.
    """

    runtime: Runtime
    tree: StackTree
    goroutines: Goroutines
    reasons: tuple[str, ...]
    pointers: NDArray[np.uint64]
    nodes: NDArray[np.int64]
    g: NDArray[Any]
    steady: NDArray[np.bool_]
    moment: Moment
    kind: np.dtype[Any]

    @classmethod
    def read(
        cls,
        runtime: Runtime,
        tree: StackTree,
        read: Read,
        named: tuple[Goroutines, tuple[str, ...]],
        moment: Moment,
    ) -> Population:
        """The goroutines of `read`, which a snapshot was made of, read once more; `named`: as they are
        in the snapshot, and its wait reasons."""
        kind = columns_of(runtime.layouts["g"], _FIELDS)
        rows = np.zeros(len(read.pointers), _packed(kind))
        ok = np.zeros(len(rows), np.bool_)
        for part, batch, could in _batches(runtime, kind, read.pointers):
            ok[part] = could
            _copy(batch, rows[part])
        goroutines, reasons = named
        same = goroutines.quality <= Quality.MOVED
        if moment.moved:
            moved = np.fromiter(moment.moved, np.uint64, len(moment.moved))
            same &= ~among(goroutines.id, moved)
        same &= (
            (rows["goid"] == goroutines.id) & alive(rows) & (g_status(rows) == goroutines.status)
        )
        if "trackingSeq" in (kind.names or ()):
            known = goroutines.stops != NONE
            same &= ~known | (rows["trackingSeq"].astype(np.int16) == goroutines.stops)
        else:  # it may have waited for something else meanwhile
            known = goroutines.wait_reason != NONE
            same &= ~known | (rows["waitreason"].astype(np.int16) == goroutines.wait_reason)
        return cls(
            runtime, tree, goroutines, reasons, read.pointers, read.node, rows, ok & same,
            moment, kind,
        )  # fmt: skip

    def still(self, few: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which goroutines are steady, and have not run until now: all that was read of them since is
        of one moment with their ``g``. Read again, unless nothing can move. Of the rows `few` alone, if they are given; the
        others are not still."""
        if self.moment.exact:
            return self.steady
        if few is not None:
            still = np.zeros(len(self.pointers), np.bool_)
            for part, batch, ok in _batches(self.runtime, self.kind, self.pointers[few]):
                still[few[part]] = ok & _same(self.g[few[part]], batch)
            return still & self.steady
        still = self.steady.copy()
        for part, batch, ok in _batches(self.runtime, self.kind, self.pointers):
            still[part] &= ok & _same(self.g[part], batch)
        return still

    @property
    def g_bytes(self) -> int:
        """How much of a ``g`` must be read for `as_before`."""
        return self.kind.itemsize

    def as_before(self, rows: NDArray[np.int64], gathered: Gathered) -> NDArray[np.bool_]:
        """Which of the goroutines `rows`, whose ``g`` structures are `gathered`, have not run since."""
        return _same(self.g[rows], gathered.rows(self.kind))

    @property
    def calls_back(self) -> bool:
        """Whether finalizers or cleanups of the program run: what those that are queued refer to is alive, and is not in
        the heap (``runtime/mgcmark.go: markroot``, of ``allfin`` and ``gcCleanups.all``)."""
        goroutines, code = self.goroutines, self.tree.code
        starts = distinct(goroutines.start[~goroutines.system & (goroutines.start >= 0)])
        return any(code.frames[number].function in CALLING_BACK for number in starts.tolist())

    @property
    def waiting(self) -> NDArray[np.bool_]:
        """Which goroutines wait (status waiting, or leaked as Go's own leak profile marks them)."""
        status = self.goroutines.status
        waits: NDArray[np.bool_] = (status == STATUSES.index("waiting")) | (
            status == STATUSES.index("leaked")
        )
        return waits

    @property
    def takes_turns(self) -> NDArray[np.bool_]:
        """Which goroutines wait for their turn as coroutines while the program runs: they may have run since, however
        still they are. Nothing counts that (``runtime/coro.go: coroswitch_m``)."""
        if self.moment.exact:
            return np.zeros(len(self.pointers), np.bool_)
        return self.waits_for("coroutine")

    def waits_for(self, *reasons: str) -> NDArray[np.bool_]:
        """Which goroutines wait for one of these reasons, as Go's traceback names them; with or without
        " (durable)" (``synctest``)."""
        wanted = [
            text.removesuffix(" (durable)") in reasons and bool(text) for text in self.reasons
        ]
        mask = np.array([*wanted, False], np.bool_)  # the last for NONE
        chosen: NDArray[np.bool_] = mask[self.goroutines.wait_reason] & self.waiting
        return chosen


def _packed(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The fields of `kind`, and of ``sched`` those that are used, without the gaps between them: these would take most
    of the memory."""
    assert kind.fields is not None
    types = {name: kind.fields[name][0] for name in kind.names or ()}
    if "sched" in types:
        types["sched"] = _packed(columns_of(types["sched"], _SCHED))
    return np.dtype(list(types.items()), align=True)


def _copy(rows: NDArray[Any], into: NDArray[Any]) -> None:
    """Copy the fields that `into` has of `rows`."""
    for name in into.dtype.names or ():
        if into[name].dtype.names:
            _copy(rows[name], into[name])
        else:
            into[name] = rows[name]


def _batches(
    runtime: Runtime, kind: np.dtype[Any], pointers: NDArray[np.uint64]
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.bool_]]]:
    """Read the ``g`` structures at `pointers`: which part of them, the structures, and which could be read."""
    for begin in range(0, len(pointers), _BATCH):
        part = slice(begin, begin + _BATCH)
        gathered = runtime.memory.gather(pointers[part], kind.itemsize)
        yield part, gathered.rows(kind), gathered.ok


def _same(before: NDArray[Any], now: NDArray[Any]) -> NDArray[np.bool_]:
    """Which goroutines have not run between two reads of their ``g``.

    As `spyglass.runtime.goroutines.consistency.Signature` tells it, and the pointers to what they wait for are
    the same.
    """
    same: NDArray[np.bool_] = g_status(before) == g_status(now)
    for name in _COMPARED:
        if name in (now.dtype.names or ()):
            same &= before[name] == now[name]
    for outer, inner in (("sched", "pc"), ("sched", "sp"), ("stack", "lo"), ("stack", "hi")):
        same &= before[outer][inner] == now[outer][inner]
    return same
