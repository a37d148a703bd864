"""Goroutines while they are being read: what was read of them, and how a move is detected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.memory.base import Gathered
from spyglass.model import NONE, QUALITIES, Goroutines
from spyglass.runtime.goroutines.decode import SCAN, SYSCALL, alive, plausible
from spyglass.runtime.stacks.walks import COMPLETE, INCOMPLETE, StackBytes, Walked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "UNCOUNTED",
    "Batch",
    "Capture",
    "Fetched",
    "Quality",
    "Read",
    "Signature",
    "capture_range",
    "part_of",
]


class Quality(IntEnum):
    """How far a goroutine that was read can be trusted: the index into `QUALITIES`."""

    STABLE, MOVED, TORN, UNREADABLE = range(len(QUALITIES))


#: The last word of a signature where the M of a system call was not known when the goroutine was read.
UNCOUNTED = np.uint64(0xFFFFFFFFFFFFFFFF)
#: How much is read of the stack of a goroutine that moves.
_CAPTURE_BYTES = 1 << 14


@dataclass(slots=True)
class Read:
    """What was read of some goroutines: their columns, the nodes of their stacks, their addresses."""

    columns: Goroutines
    node: NDArray[np.int64]
    pointers: NDArray[np.uint64]

    @classmethod
    def all(cls, parts: list[Read]) -> Read:
        """The goroutines of all `parts`, in their order."""
        columns = {
            name: np.concatenate([getattr(part.columns, name) for part in parts])
            for name in Goroutines.columns()
        }
        return cls(
            Goroutines(**columns),
            np.concatenate([part.node for part in parts]),
            np.concatenate([part.pointers for part in parts]),
        )

    def replace(self, at: NDArray[np.intp], by: Read) -> None:
        """The goroutines `at` are as in `by`."""
        for name in Goroutines.columns():
            getattr(self.columns, name)[at] = getattr(by.columns, name)
        self.node[at] = by.node

    def without(self, at: NDArray[np.intp]) -> Read:
        """All but the goroutines `at`."""
        kept = np.delete(np.arange(len(self.node)), at)
        return Read(self.columns.select(kept), self.node[kept], self.pointers[kept])


class Fetched(NamedTuple):
    """``g`` structures that were read, whether each could be, and their signatures (`Signature`)."""

    rows: NDArray[Any]
    ok: NDArray[np.bool_]
    signatures: NDArray[np.uint64]

    def select(self, which: NDArray[np.bool_]) -> Fetched:
        """The goroutines `which`."""
        return Fetched(self.rows[which], self.ok[which], self.signatures[which])


@dataclass(frozen=True, slots=True)
class Capture:
    """Goroutines each read within microseconds: their ``g`` before and after, and between them their `stacks`,
    at the `bounds` that they had when they were last read."""

    before: Fetched
    after: Fetched
    stacks: tuple[StackBytes, ...]
    bounds: NDArray[Any]

    def steady(self) -> NDArray[np.bool_]:
        """Which did not move meanwhile, and had their stacks where these were read."""
        same = (self.before.signatures == self.after.signatures).all(axis=1)
        same &= self.before.signatures[:, -1] != UNCOUNTED
        there = (self.before.rows["stack"] == self.bounds) | ~alive(self.before.rows)
        steady: NDArray[np.bool_] = self.before.ok & self.after.ok & same & there
        return steady

    def select(self, which: NDArray[np.bool_]) -> Capture:
        """The goroutines `which`."""
        stacks = tuple(each.select(which) for each in self.stacks)
        return Capture(
            self.before.select(which), self.after.select(which), stacks, self.bounds[which]
        )


@dataclass(slots=True)
class Batch:
    """Some goroutines while they are read: the newest of each, and what its stack was found to be.

    `columns`: of `Goroutines`, by their names, what is read beside the ``g`` itself (`where`, `call`,
    `quality`, and what the side readers read).
    """

    pointers: NDArray[np.uint64]
    rows: NDArray[Any]
    signatures: NDArray[np.uint64]
    node: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    columns: dict[str, NDArray[Any]]

    @classmethod
    def of(
        cls, pointers: NDArray[np.uint64], fetched: Fetched, side_columns: Sequence[str]
    ) -> Batch:
        """Before any stack was walked, or any of `side_columns` read."""
        count, known = len(pointers), Goroutines.columns()
        columns = {
            name: np.full(count, known[name].default, known[name].dtype)
            for name in ("where", "call", "quality", *side_columns)
        }
        node, outcome = np.zeros(count, np.int64), np.full(count, COMPLETE, np.uint8)
        return cls(pointers, fetched.rows, fetched.signatures, node, outcome, columns)

    @property
    def quality(self) -> NDArray[np.uint8]:
        """How far each can be trusted."""
        return self.columns["quality"]

    def select(self, which: NDArray[np.bool_]) -> Batch:
        """The goroutines `which`, as a batch of their own."""
        if which.all():
            return self
        columns = {name: column[which] for name, column in self.columns.items()}
        return Batch(
            self.pointers[which], self.rows[which], self.signatures[which], self.node[which],
            self.outcome[which], columns,
        )  # fmt: skip

    def keep(self, at: NDArray[np.intp] | slice, walked: Walked) -> None:
        """Take over the stacks of the goroutines `at`."""
        self.node[at], self.outcome[at] = walked.node, walked.outcome
        self.columns["where"][at], self.columns["call"][at] = walked.where, walked.call

    def forget_stacks(self, at: NDArray[np.intp]) -> None:
        """Drop what was found of the stacks of the goroutines `at`."""
        self.node[at], self.outcome[at] = 0, COMPLETE
        self.columns["where"][at] = self.columns["call"][at] = NONE

    def move(self, at: NDArray[np.intp], fetched: Fetched) -> None:
        """The goroutines `at` are now as `fetched`; where that could not be read they stay as they were."""
        moved = fetched.ok & (fetched.signatures != self.signatures[at]).any(axis=1)
        at = at[moved]
        self.rows[at], self.signatures[at] = fetched.rows[moved], fetched.signatures[moved]
        self.quality[at] = Quality.MOVED

    def is_plausible(self, at: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.bool_]:
        """Which of the goroutines `at` can be goroutines, and have stacks that end as stacks do."""
        whole: NDArray[np.bool_] = self.outcome[at] != INCOMPLETE
        return plausible(self.pointers[at], self.rows[at]) & whole


def capture_range(
    rows: NDArray[Any],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Which part of each stack to read: all of a small one, else around where its top was last."""
    low, high = rows["stack"]["lo"] & ~np.uint64(7), rows["stack"]["hi"] & ~np.uint64(7)
    high = np.maximum(low, high)
    sp = np.where(rows["syscallsp"] != 0, rows["syscallsp"], rows["sched"]["sp"]) & ~np.uint64(7)
    size, half = np.uint64(_CAPTURE_BYTES), np.uint64(_CAPTURE_BYTES // 2)
    latest = np.where(high - low > size, high - size, low)
    below = np.where(sp > half, sp - half, np.uint64(0))
    begin = np.clip(below, low, latest)
    return begin, np.minimum(high, begin + size)


def part_of(gathered: Gathered, part: int, parts: int) -> Gathered:
    """Every `parts`-th range of `gathered`, from `part` on."""
    return type(gathered)(gathered.buffer, gathered.offsets[part::parts], gathered.ok[part::parts])


class Signature:
    """What changes when a goroutine runs, as a row of words for each: words of its ``g``, without the
    bits that do not tell, and last a word for what its M counts.

    ``g.trackingSeq`` (``casgstatus``, since Go 1.17) counts how often it stopped running, in 8 bits:
    256 stops, or a multiple, between two reads that end at the same pc and sp go unnoticed. The reads
    of a large batch are some 10 ms apart, so this needs 25,000 stops a second and happens to one such
    goroutine in 256; the reads of a small batch are microseconds apart. The runtime has no other
    count of a goroutine's stops. Without it what the goroutine waits for must be the same.

    `g`: the fields of a ``g``, as `spyglass.runtime.goroutines.decode.fields_of` gives them; `more`: the
    names of others that change.
    """

    def __init__(self, g: np.dtype[Any], more: Sequence[str] = ()) -> None:
        known = g.names or ()
        counts = "trackingSeq" if "trackingSeq" in known else "waitreason"
        bits = 0  # of the whole g: which ones are compared
        for path in (*_SIGNATURE, (counts,), *((name,) for name in more if name in known)):
            offset, size = _place(g, *path)
            bits |= (1 << 8 * size) - 1 << 8 * offset
        offset, _ = _place(g, "atomicstatus")
        bits &= ~(SCAN << 8 * offset)
        lanes = [lane for lane in range(g.itemsize // 8) if _lane(bits, lane)]
        self._status = lanes.index(offset // 8), np.uint64(offset % 8 * 8)
        self._lanes = np.array([*lanes, _place(g, "m")[0] // 8])
        self._masks = np.array([*(_lane(bits, lane) for lane in lanes), 0], np.uint64)

    def of(self, gathered: Gathered) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The signatures of the ``g`` structures `gathered`, their last word 0, and the addresses of the
        Ms of the goroutines that are in system calls, 0 for the others."""
        words = gathered.lanes(self._lanes)
        signatures = words & self._masks
        calls = self.status_of(signatures) == SYSCALL
        return signatures, np.where(calls, words[:, -1], np.uint64(0))

    def status_of(self, signatures: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The status of each goroutine with one of `signatures`."""
        column, shift = self._status
        status: NDArray[np.uint64] = signatures[:, column] >> shift & np.uint64(0xFFFFFFFF)
        return status


#: The fields of a ``g`` that change when it runs.
_SIGNATURE = (
    ("goid",), ("atomicstatus",), ("sched", "pc"), ("sched", "sp"), ("stack", "lo"), ("stack", "hi"),
    ("syscallsp",), ("syscallpc",),
)  # fmt: skip


def _lane(bits: int, number: int) -> int:
    """The 8-byte word `number` of `bits`."""
    return bits >> 64 * number & 0xFFFFFFFFFFFFFFFF


def _place(kind: np.dtype[Any], *path: str) -> tuple[int, int]:
    """Where a field begins, and how large it is, in bytes."""
    offset = 0
    for name in path:
        assert kind.fields is not None
        kind, begin = kind.fields[name][:2]
        offset += begin
    return offset, kind.itemsize
