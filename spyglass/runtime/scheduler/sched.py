"""The scheduler: its counters, Ps, Ms, and the threads that the Ms run on.

Knowledge: src/runtime/runtime2.go (``schedt``, ``p``, ``m``), proc.go (``gcount``, ``procresize``,
``mexit``, ``schedtrace``), os_linux.go (``minit`` sets ``m.procid``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spyglass.columns import distinct
from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.model import NONE, Processor, Scheduler, Thread
from spyglass.runtime.goroutines.decode import alive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Goroutines
    from spyglass.runtime.context import Runtime
    from spyglass.targets import OsThread

__all__ = [
    "NO_MS",
    "P_RUNNING",
    "Ms",
    "checked_sched",
    "p_addresses",
    "read_ms",
    "read_processors",
    "read_ps",
    "read_scheduler",
    "read_threads",
    "without_moved",
]

#: ``_Pidle`` and following (runtime2.go); a P is never dead while it is in allp.
_P_STATUSES = ("idle", "running", "syscall", "gcstop", "dead")
P_RUNNING = _P_STATUSES.index("running")
_RUN_QUEUE_LENGTH = 256
#: The runtime has no limit of its own on Ps, and 10,000 on Ms (``debug.SetMaxThreads``).
_MAX_PS = 1 << 16
_MAX_PS_BYTES = 1 << 28
_MAX_MS = 1 << 15
_MAX_TRIES = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Ms:
    """The Ms in the order of ``runtime.allm``: `addresses` (uint64), `rows` (``layouts["m"]``)."""

    addresses: NDArray[np.uint64]
    rows: NDArray[Any]

    @cached_property
    def index(self) -> dict[int, int]:
        """Address of an M -> its row."""
        return {int(address): row for row, address in enumerate(self.addresses)}

    def number(self, address: int, field: str = "id") -> int | None:
        """Field `field` of the M at `address`; None if that is nil or none of them."""
        row = self.index.get(address)
        return int(self.rows[field][row]) if row is not None else None

    def with_outer_tids(self, outer_tids: Mapping[int, int]) -> Ms:
        """The same with thread ids of spyglass's pid namespace as ``procid``, 0 for a thread that ended.

        `outer_tids` maps the ids in the process's own pid namespace, which the runtime records, to these."""
        rows = self.rows.copy()
        rows["procid"] = [outer_tids.get(tid, 0) for tid in rows["procid"].tolist()]
        return Ms(self.addresses, rows)


#: The fields of an M that are read when the list of Ms is empty.
_M = np.dtype([(name, "<u8") for name in ("id", "procid", "curg", "lockedg", "p", "spinning")])
NO_MS = Ms(np.zeros(0, np.uint64), np.zeros(0, _M))


def read_scheduler(runtime: Runtime, ms: Ms | None = None) -> Scheduler:
    """The runtime's own counters; one that cannot be read is None, and a problem says why.

    The number of `ms` (read if None) is compared with the counters, to reject a wrong address.
    """
    gomaxprocs = _part(runtime, lambda: _gomaxprocs(runtime))
    row = _part(runtime, lambda: checked_sched(runtime, ms or read_ms(runtime)))
    if row is None:
        return Scheduler(gomaxprocs, *[None] * 8)
    return Scheduler(
        gomaxprocs=gomaxprocs,
        goroutines=_part(runtime, lambda: _count_goroutines(runtime, row)),
        system_goroutines=_part(runtime, lambda: _count(row, "ngsys")),
        run_queue=_part(runtime, lambda: _count(row, "runq", "size")),
        idle_ps=_part(runtime, lambda: _count(row, "npidle")),
        idle_ms=_part(runtime, lambda: _count(row, "nmidle")),
        spinning_ms=_part(runtime, lambda: _count(row, "nmspinning")),
        freed_ms=_part(runtime, lambda: _count(row, "nmfreed")),
        gc_waiting=_part(runtime, lambda: _gc_waiting(runtime, row)),
    )


def read_ms(runtime: Runtime) -> Ms:
    """Every M, following ``m.alllink`` from ``runtime.allm``; about 10 us each."""
    addresses: dict[int, None] = {}
    rows: list[NDArray[Any]] = []
    try:
        kind = runtime.layouts["m"]
        at = runtime.memory.u64(runtime.address("allm"))
        while at and at not in addresses and len(rows) < _MAX_MS:
            rows.append(runtime.memory.array(at, kind, 1))
            addresses[at] = None
            at = int(rows[-1]["alllink"][0])
        if at:
            runtime.problem("implausible", "threads", "the list of Ms has no end")
    except (MemoryFault, MissingInfo) as error:
        runtime.problem("truncated", "threads", f"the list of Ms: {error.message}")
    if not rows:
        return NO_MS
    return Ms(np.fromiter(addresses, np.uint64, len(addresses)), np.concatenate(rows))


def read_processors(runtime: Runtime, ms: Ms) -> list[Processor]:
    """The Ps of ``runtime.allp``, in order; a P with implausible fields is left out, with a problem."""
    processors = []
    for index, row in enumerate(runtime.part("processors", lambda: read_ps(runtime), ())):
        status, length = int(row["status"]), _queue_length(row)
        if row["id"] != index or status >= len(_P_STATUSES) or length > _RUN_QUEUE_LENGTH:
            runtime.problem("implausible", f"processor {index}", "implausible fields")
            continue
        processors.append(
            Processor(
                id=index,
                status=_P_STATUSES[status],
                schedtick=int(row["schedtick"]),
                syscalltick=int(row["syscalltick"]),
                run_queue=length + bool(row["runnext"]),
                m=ms.number(int(row["m"])),
                tid=ms.number(int(row["m"]), "procid") or None,
            )
        )
    return processors


def read_threads(runtime: Runtime, ms: Ms, os_threads: Sequence[OsThread]) -> list[Thread]:
    """The kernel's threads, each with the M that runs on it, if any."""
    owners = _owners(ms)
    ps = _p_ids(runtime)
    goids = _goids(runtime, np.concatenate((ms.rows["curg"], ms.rows["lockedg"])))
    threads = []
    for thread in os_threads:
        row = owners.get(thread.tid)
        m = ms.rows[row] if row is not None else None
        threads.append(
            Thread(
                tid=thread.tid,
                name=thread.name,
                os_state=thread.os_state,
                m=int(m["id"]) if m is not None else None,
                goroutine=goids.get(int(m["curg"])) if m is not None else None,
                p=ps.get(int(m["p"])) if m is not None else None,
                spinning=bool(m["spinning"]) if m is not None else False,
                locked_goroutine=goids.get(int(m["lockedg"])) if m is not None else None,
            )
        )
    return threads


def without_moved(threads: Sequence[Thread], goroutines: Goroutines) -> list[Thread]:
    """`threads` without the goroutines that were on another M when they were read themselves, which is later.

    ``m.curg`` and ``g.m`` point at each other (``runtime/proc.go: execute, dropg``); a goroutine is on one M at a time.
    """
    rows = np.flatnonzero(goroutines.m != NONE)
    on = dict(zip(goroutines.id[rows].tolist(), goroutines.m[rows].tolist(), strict=True))
    return [
        thread
        if on.get(thread.goroutine, thread.m) == thread.m
        else replace(thread, goroutine=None)
        for thread in threads
    ]


def _part(runtime: Runtime, read: Callable[[], T]) -> T | None:
    """What `read` returns; None, and a problem about the scheduler, if it cannot."""
    return runtime.part("scheduler", read, None)


def checked_sched(runtime: Runtime, ms: Ms) -> Any:
    """``runtime.sched``, if it counts as many Ms (``mcount``) as there are in the list of them.

    Its address may be a candidate only, in some versions its layout too. Ms begin and end during the read.
    """
    counted = 0
    for _ in range(_MAX_TRIES):
        row = runtime.memory.array(runtime.address("sched"), runtime.layouts["schedt"], 1)[0]
        counted = int(row["mnext"]) - int(row["nmfreed"])
        if abs(counted - len(ms.rows)) <= max(1, len(ms.rows) // 16):
            return row
        ms = read_ms(runtime)
    raise BadDataError(f"sched counts {counted} Ms, but allm has {len(ms.rows)}")


def _gomaxprocs(runtime: Runtime) -> int:
    """``gomaxprocs``; the length of ``allp`` is the same, except while ``procresize`` runs."""
    value = int(runtime.memory.array(runtime.address("gomaxprocs"), "<i4", 1)[0])
    for _ in range(_MAX_TRIES):
        if value == len(p_addresses(runtime)):
            return value
        value = int(runtime.memory.array(runtime.address("gomaxprocs"), "<i4", 1)[0])
    raise BadDataError(f"gomaxprocs is {value}, but allp has {len(p_addresses(runtime))} Ps")


def _count(row: Any, *path: str) -> int:
    """A counter of ``runtime.sched`` that is never negative."""
    for name in path:
        row = row[name]
    if row < 0:
        raise BadDataError(f"sched.{'.'.join(path)} is {int(row)}")
    return int(row)


def _gc_waiting(runtime: Runtime, sched: Any) -> bool:
    if not runtime.layouts.has("schedt", "gcwaiting"):
        raise MissingInfo("where this version keeps sched.gcwaiting is not known")
    return bool(sched["gcwaiting"])


def _count_goroutines(runtime: Runtime, sched: Any) -> int:
    """As ``gcount`` (proc.go): the length of allgs, less the free gs and the system goroutines."""
    made = runtime.memory.u64(runtime.address("allgs") + 8)
    free = int(read_ps(runtime)["gFree"]["size"].sum()) + _free_in_sched(runtime, sched)
    count = made - free - int(sched["ngsys"])
    if not 0 <= free <= made or count > made:
        raise BadDataError(f"implausible count of {free} free goroutines of {made}")
    return max(count, 1)


def _free_in_sched(runtime: Runtime, sched: Any) -> int:
    """Free gs in ``sched.gFree``: one count of both lists, or since Go 1.25 one count for each."""
    if runtime.layouts.has("schedt", "gFree.n"):
        return int(sched["gFree"]["n"])
    lists = ("gFree.stack.size", "gFree.noStack.size")
    if all(runtime.layouts.has("schedt", path) for path in lists):
        return int(sched["gFree"]["stack"]["size"]) + int(sched["gFree"]["noStack"]["size"])
    raise MissingInfo("where this version counts free goroutines is not known")


def p_addresses(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses in ``runtime.allp``, shape (gomaxprocs,)."""
    header = runtime.memory.array(runtime.address("allp"), "<u8", 2)
    at, length = int(header[0]), int(header[1])
    if not 0 < length <= _MAX_PS:
        raise BadDataError(f"implausible count of {length} Ps")
    addresses = runtime.memory.array(at, "<u8", length)
    if (addresses == 0).any() or (addresses % 8).any():
        raise BadDataError(f"allp of {length} Ps has invalid pointers")
    return addresses


def read_ps(runtime: Runtime) -> NDArray[Any]:
    """The Ps (``layouts["p"]``), in the order of ``runtime.allp``.

    ``procresize`` replaces them while the world is stopped, so a second read is enough.
    """
    kind = runtime.layouts["p"]
    for _ in range(_MAX_TRIES):
        addresses = p_addresses(runtime)
        if len(addresses) * kind.itemsize > _MAX_PS_BYTES:
            raise BadDataError(f"implausible count of {len(addresses)} Ps")
        gathered = runtime.memory.gather(addresses, kind.itemsize)
        if gathered.ok.all():
            return gathered.rows(kind)
    raise BadDataError("the Ps changed during every read")


def _queue_length(p: Any) -> int:
    return (int(p["runqtail"]) - int(p["runqhead"])) & 0xFFFFFFFF


def _p_ids(runtime: Runtime) -> dict[int, int]:
    """Address of a P -> its id. Empty if they cannot be read; a problem was added for that before."""
    try:
        return {int(address): index for index, address in enumerate(p_addresses(runtime))}
    except (BadDataError, MemoryFault, MissingInfo):
        return {}


def _owners(ms: Ms) -> dict[int, int]:
    """Thread id -> the row of its M.

    Up to Go 1.26 an extra M that C code returned keeps the id of its last thread: of several with
    one id, the one that runs a goroutine or has a P.
    """
    activity = (ms.rows["curg"] != 0).astype(np.int8) * 2 + (ms.rows["p"] != 0)
    order = np.argsort(activity, kind="stable")
    return {int(ms.rows["procid"][row]): int(row) for row in order if ms.rows["procid"][row]}


def _goids(runtime: Runtime, addresses: NDArray[np.uint64]) -> dict[int, int]:
    """Address of a g -> its goid, for gs that are not dead (that of an extra M is)."""
    wanted = distinct(addresses[addresses != 0])
    if not len(wanted):
        return {}
    gathered = runtime.memory.gather(wanted, runtime.layouts["g"].itemsize)
    rows = gathered.rows(runtime.layouts["g"])
    lives = gathered.ok & alive(rows)
    return dict(zip(wanted[lives].tolist(), rows["goid"][lives].tolist(), strict=True))
