"""Decode the runtime's ``g`` structures into columns of goroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import distinct, numbered
from spyglass.errors import BadDataError
from spyglass.model import NONE, STATUSES, Goroutines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = [
    "CALLING_BACK",
    "MAX_GOROUTINES",
    "SCAN",
    "alive",
    "columns_of",
    "decode",
    "fields_of",
    "g_pointers",
    "g_status",
    "last_known_ns",
    "plausible",
]

MAX_GOROUTINES = 1 << 24
#: A garbage collector that looks at a goroutine adds this to its status (``_Gscan``).
SCAN = 0x1000
COPYSTACK, DEAD, LEAKED, PREEMPTED, RUNNABLE, RUNNING, SYSCALL, WAITING = (
    STATUSES.index(word)
    for word in (
        "copystack", "dead", "leaked", "preempted", "runnable", "running", "syscall", "waiting",
    )
)  # fmt: skip
#: A century: no machine runs that long.
_MAX_CLOCK_NS = 1 << 62
#: ``_Gdeadextra``, since Go 1.26: dead, and kept for callbacks from C.
_DEAD_EXTRA = 11
#: Which numbers are statuses; 5 and 7 no longer are.
_EXIST = np.zeros(256, np.bool_)
_EXIST[[0, 1, 2, 3, 4, 6, 8, 9, 10]] = True

_FIELDS = (
    "stack", "m", "sched", "syscallsp", "syscallpc", "atomicstatus", "goid", "waitsince", "waitreason",
    "lockedm", "parentGoid", "trackingSeq", "gopc", "startpc",
)  # fmt: skip


def g_pointers(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses of all ``g`` structures ever made (``runtime.allgs``), shape (n,)."""
    address = runtime.address("allgs")
    pointer, length, capacity = (int(word) for word in runtime.memory.array(address, "<u8", 3))
    if length > capacity or capacity > MAX_GOROUTINES or pointer % 8 or (length and not pointer):
        raise BadDataError(f"implausible allgs: {length} of {capacity} at {pointer:#x}")
    found = runtime.memory.array(pointer, "<u8", length)
    pointers: NDArray[np.uint64] = found[(found != 0) & (found % 8 == 0)]
    if len(distinct(pointers)) < len(pointers):
        raise BadDataError(f"implausible allgs: some of its {length} pointers are equal")
    return pointers


def last_known_ns(runtime: Runtime, pointers: NDArray[np.uint64]) -> int | None:
    """A lower bound of the clock of a stopped process.

    The end of the collection before the last one, which is recorded in waiting goroutines (``mgcmark.go: markroot``
    sets ``waitsince``, and runtime goroutines run between any two collections); None if there was none.
    """
    kind = runtime.layouts["g"]
    assert kind.fields is not None
    offset = int(kind.fields["waitsince"][1])
    gathered = runtime.memory.gather(pointers + np.uint64(offset), 8)
    since = gathered.words(1)[gathered.ok, 0]
    known = since[since < _MAX_CLOCK_NS]
    return int(known.max()) or None if len(known) else None


def fields_of(dtype: np.dtype[Any], more: Sequence[str] = ()) -> np.dtype[Any]:
    """`dtype` without what is not used, cut off behind the last field that is; `more`: other fields
    that are."""
    return columns_of(dtype, [*_FIELDS, *more])


def columns_of(dtype: np.dtype[Any], wanted: Sequence[str]) -> np.dtype[Any]:
    """The `wanted` fields of `dtype`, where it has them, cut off behind the last."""
    assert dtype.fields is not None
    names = [name for name in dict.fromkeys(wanted) if name in dtype.fields]
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
    status = g_status(rows)
    own = (rows["sched"]["g"] == 0) | (rows["sched"]["g"] == pointers)
    low, high = rows["stack"]["lo"], rows["stack"]["hi"]
    stacked = (low < high) & (high - low <= 1 << 32) & (low % 8 == 0)
    exists = _EXIST[status]
    good: NDArray[np.bool_] = own & exists & (stacked | ~alive(rows)) & (rows["goid"] < 1 << 48)
    return good


def g_status(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The status of each, as an index into `STATUSES`; 255 for one that does not exist."""
    raw = rows["atomicstatus"].astype(np.uint32) & np.uint32(~SCAN & 0xFFFFFFFF)
    return np.where(raw == _DEAD_EXTRA, DEAD, np.minimum(raw, 255)).astype(np.uint8)


def alive(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which are goroutines, not what is left of one to be used again."""
    lives: NDArray[np.bool_] = (g_status(rows) != DEAD) & (rows["goid"] != 0)
    return lives


#: Started in package runtime, yet the program's own (``isSystemGoroutine``).
_NOT_SYSTEM = frozenset({"runtime.main", "runtime.corostart", "runtime.handleAsyncEvent"})
#: The runtime's, except while they call the program's finalizers and cleanups: ``mfinal.go`` (of the
#: first name up to Go 1.24) and, since Go 1.25, ``mcleanup.go``.
CALLING_BACK = frozenset({"runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups"})


def _waits(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    waits: NDArray[np.bool_] = (status == WAITING) | (status == LEAKED)
    return waits


def decode(
    code: Symbolizer,
    rows: NDArray[Any],
    found: Mapping[str, NDArray[Any]],
    has_stack: NDArray[np.bool_],
    now_ns: int | None,
) -> Goroutines:
    """The columns of `rows`; the addresses of their Ms are in column `m`, stacks and `waiting_ns` are
    not set.

    `found`: other columns, by their names; `where` is one of them. `has_stack`: whose stack is known.
    `now_ns`: the clock that ``waitsince`` was read from, None if it is not known.
    """
    status = g_status(rows)
    start, creator = _places(rows["startpc"], code), _places(rows["gopc"], code)
    creator[rows["goid"] == 1] = NONE
    has_parent = "parentGoid" in (rows.dtype.names or ())
    parent = rows["parentGoid"].astype(np.int64) if has_parent else np.zeros(len(rows), np.int64)
    reason = rows["waitreason"].astype(np.int16)
    return Goroutines.of(
        len(rows),
        id=rows["goid"].astype(np.uint64),
        status=status,
        wait_reason=np.where(_waits(status), reason, NONE).astype(np.int16),
        printed_ns=_printed_ns(rows, status, now_ns),
        start=start,
        creator=creator,
        creator_id=np.where((creator >= 0) & (parent > 0), parent, NONE),
        m=rows["m"].astype(np.int64),
        locked=rows["lockedm"] != 0,
        system=_system(code, start, (found["where"] >= 0) | ((status == RUNNING) & ~has_stack)),
        stack_bytes=(rows["stack"]["hi"] - rows["stack"]["lo"]).astype(np.int64),
        **_stops(rows),
        **found,
    )


def _stops(rows: NDArray[Any]) -> dict[str, NDArray[np.int16]]:
    """The column `stops`; empty for a version of Go that does not count them."""
    if "trackingSeq" not in (rows.dtype.names or ()):
        return {}
    return {"stops": rows["trackingSeq"].astype(np.int16)}


def _places(pcs: NDArray[np.uint64], code: Symbolizer) -> NDArray[np.int32]:
    unique, inverse = numbered(pcs)
    return np.array([code.place(pc) for pc in unique.tolist()], np.int32)[inverse]


def _system(
    code: Symbolizer, start: NDArray[np.int32], in_program: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """As ``isSystemGoroutine`` (``runtime/traceback.go``): started in package runtime, except those that
    run the program's code.

    A goroutine of finalizers or cleanups does while it calls one back. The runtime notes that in
    ``fingStatus`` and ``g.runningCleanups``; the stack says the same, so `in_program` is: it has a frame
    outside the runtime, or it runs and its stack is not known. ``runtime.NumGoroutine`` does not follow: it
    counts what a goroutine was at its creation (``newproc1``), when neither calls back yet.
    """
    unique, inverse = numbered(start)
    names = [code.frames[number].function if number >= 0 else "" for number in unique.tolist()]
    own = [name.startswith("runtime.") and name not in _NOT_SYSTEM for name in names]
    calling_back = np.array([name in CALLING_BACK for name in names], np.bool_)[inverse]
    system: NDArray[np.bool_] = np.array(own, np.bool_)[inverse] & ~(calling_back & in_program)
    return system


def _printed_ns(
    rows: NDArray[Any], status: NDArray[np.uint8], now_ns: int | None
) -> NDArray[np.int64]:
    since = rows["waitsince"].astype(np.int64)
    if now_ns is None:
        return np.full(len(rows), NONE, np.int64)
    known = ((status == WAITING) | (status == SYSCALL)) & (since > 0) & (since < now_ns)
    return np.where(known, now_ns - since, NONE)
