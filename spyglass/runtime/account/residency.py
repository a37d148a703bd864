"""What the resident memory of a live process is of: the kernel's mappings and pages, and the runtime's spans.

Heap in use is not resident heap: a page that was never written takes no memory. So of Go's arenas the pages that are
resident are counted by span; everything else is told by mapping.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, get_args

import numpy as np

from spyglass.errors import MemoryFault, MissingInfo, PermissionDenied
from spyglass.memory_account import Part, ResidentMapping, ResidentPart
from spyglass.procfs.smaps import MappedMemory, resident_before, smaps, tmpfs_devices
from spyglass.runtime.heap.span_table import (
    HEAP,
    STACK,
    WORK,
    SpanTable,
    read_arenas,
    read_span_table,
)
from spyglass.runtime.scheduler.sched import read_ms
from spyglass.threads import blocked_registers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["Residency", "read_residency"]

T = TypeVar("T")
#: All parts, in the order in which they are shown.
PARTS: tuple[Part, ...] = get_args(Part)
_END = 1 << 64
#: Behind all that a process can map.
_LAST_ADDRESS = 1 << 57
#: Threads of C whose stacks are looked for.
_MAX_BLOCKED = 1000
#: Mappings that are listed, the largest.
_LISTED = 40
_PAGES = "pages of the heap (pagemap), by span"
_BY_MAPPING = "smaps"
#: Names that the kernel gives to shared memory that is no file (shmem, memfd_create(2), shmget(2)).
_SHARED_NAMES = ("/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:", "/dev/shm/")
#: The kernel's names of other mappings; those that are not here are its own.
_NAMED: Mapping[str, Part] = {"[heap]": "c", "[stack]": "thread_stacks"}
#: The name that the runtime gives to its mappings since Go 1.25, if the kernel keeps names (prctl(2), PR_SET_VMA).
_GO_NAME = "[anon: Go:"


@dataclass(frozen=True, slots=True)
class Residency:
    """Parts of resident memory, the largest mappings that are not Go's heap, and sums over all mappings."""

    parts: tuple[ResidentPart, ...]
    mappings: tuple[ResidentMapping, ...]
    swap_bytes: int
    huge_bytes: int
    hugetlb_bytes: int
    lazy_free_bytes: int

    @property
    def rss_bytes(self) -> int:
        """All that is resident."""
        return sum(part.bytes for part in self.parts)


@dataclass(slots=True)
class _Sum:
    """What is counted of a part."""

    bytes: int = 0
    doubtful: int = 0
    lazy_free: int = 0
    source: str = _BY_MAPPING


@dataclass(frozen=True, slots=True)
class _Known:
    """What tells whose a mapping is. Addresses are ascending: of Go's structures outside of its heap, and on stacks of
    threads. `ranges`: of the program in memory, whose `files` (device, inode) are mapped there; `devices`: of file systems in memory."""

    arenas: Sequence[tuple[int, int]]
    spans: SpanTable | None
    metadata: NDArray[np.uint64]
    stacks: NDArray[np.uint64]
    program: Sequence[tuple[int, int]]
    devices: frozenset[int]
    files: frozenset[tuple[int, int]]


def read_residency(target: Target, runtime: Runtime, system_bytes: int | None) -> Residency | None:
    """What is resident in live process `target`; None if the kernel does not say, of which a problem is made.

    `system_bytes`: what the runtime mapped for itself, None if not known.
    """
    pid = target.pid
    mapped = _known_or_problem(runtime, lambda: smaps(pid), "resident memory by mapping")
    if not mapped:
        return None
    known = _known(target, runtime, mapped)
    inside = [each for each in mapped if _overlaps(each, known.arenas)]
    heap = _known_or_problem(
        runtime, lambda: _heap_parts(pid, inside, known), "resident pages of the heap"
    )
    sums = heap if heap is not None else _undivided(inside)
    rows = [(_part_of(each, known), each) for each in mapped if not _overlaps(each, known.arenas)]
    are_named = any(each.mapping.path.startswith(_GO_NAME) for _, each in rows)
    if not _has_c(runtime) and not are_named:
        rows = _with_own(rows, system_bytes)
    for part, each in rows:
        _add(sums, part, each.resident_bytes, each.lazy_free_bytes)
    if not are_named:  # a mapping of others may be joined to each of them
        own = sum(each.resident_bytes for part, each in rows if part == "go_metadata")
        sums.setdefault("go_metadata", _Sum()).doubtful = own
    _keep_within(sums, system_bytes)
    return Residency(
        parts=tuple(_resident_part(part, sums[part]) for part in PARTS if part in sums),
        mappings=_listed(rows),
        swap_bytes=sum(each.swap_bytes for each in mapped),
        huge_bytes=sum(each.huge_bytes for each in mapped),
        hugetlb_bytes=sum(each.hugetlb_bytes for each in mapped),
        lazy_free_bytes=sum(each.lazy_free_bytes for each in mapped),
    )


def _known_or_problem(runtime: Runtime, read: Callable[[], T], what: str) -> T | None:
    """What `read` returns; None, and a problem about memory, if it cannot."""
    try:
        return runtime.part("memory", read, None, what)
    except PermissionDenied as error:
        runtime.problem("unreadable", "memory", f"{what}: {error.message}")
        return None


def _known(target: Target, runtime: Runtime, mapped: Sequence[MappedMemory]) -> _Known:
    spans = _known_or_problem(runtime, lambda: read_span_table(runtime), "spans")
    arenas = None
    if spans is not None:
        arenas = _known_or_problem(runtime, lambda: read_arenas(runtime, spans), "arenas")
    devices = _known_or_problem(runtime, lambda: tmpfs_devices(target.pid), "file systems")
    structs = [spans.structs, spans.bitmap] if spans is not None else []
    structs += [arenas.structs] if arenas is not None else []
    program = [
        (each.address + target.bias, each.address + target.bias + each.memory_size)
        for each in target.executable.segments
    ]
    return _Known(
        arenas=arenas.ranges if arenas is not None else [],
        spans=spans,
        metadata=np.sort(np.concatenate([np.zeros(0, np.uint64), *structs])),
        stacks=np.sort(_thread_stacks(target, runtime)),
        program=program,
        devices=devices or frozenset(),
        files=frozenset(
            (each.mapping.device, each.mapping.inode)
            for each in mapped
            if each.mapping.inode and _overlaps(each, program)
        ),
    )


def _thread_stacks(target: Target, runtime: Runtime) -> NDArray[np.uint64]:
    """Addresses on the stacks of threads: of those of the runtime, the ends of what they run the scheduler on; of those of
    C, where they are blocked in the kernel."""
    ms = read_ms(runtime.for_reading())
    found = [np.zeros(0, np.uint64)]
    if len(ms.rows):
        dtype = runtime.layouts["g"]
        gathered = runtime.memory.gather(ms.rows["g0"].astype(np.uint64), dtype.itemsize)
        ends = gathered.rows(dtype)[gathered.ok]["stack"]["hi"].astype(np.uint64)
        found.append(ends - np.uint64(8))
    others = {thread.tid for thread in target.process.threads()} - set(ms.rows["procid"].tolist())
    blocked = [blocked_registers(target.pid, tid) for tid in sorted(others)[:_MAX_BLOCKED]]
    found.append(np.array([each.sp for each in blocked if each is not None], np.uint64))
    return np.concatenate(found)


def _has_c(runtime: Runtime) -> bool:
    try:
        return runtime.memory.read(runtime.address("iscgo"), 1) != b"\0"
    except (MissingInfo, MemoryFault):
        return True


def _overlaps(each: MappedMemory, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether a mapping is in one of `ranges`, or has a part of it."""
    at = bisect_right(ranges, (each.mapping.end - 1, _END)) - 1
    return at >= 0 and ranges[at][1] > each.mapping.start


def _holds(each: MappedMemory, addresses: NDArray[np.uint64]) -> bool:
    """Whether one of `addresses` (ascending) is in a mapping."""
    first, last = np.searchsorted(
        addresses, np.array([each.mapping.start, each.mapping.end], np.uint64)
    )
    return bool(last > first)


def _part_of(each: MappedMemory, known: _Known) -> Part:
    """Whose a mapping is that is not in Go's arenas."""
    mapping = each.mapping
    if mapping.path.startswith(_SHARED_NAMES) or (
        mapping.inode and mapping.device in known.devices
    ):
        return "shared"
    if mapping.inode:
        return "binary" if (mapping.device, mapping.inode) in known.files else "files"
    if mapping.path.startswith("[") and not mapping.path.startswith("[anon:"):
        return _NAMED.get(mapping.path, "other")
    return _anonymous(each, known)


def _anonymous(each: MappedMemory, known: _Known) -> Part:
    if _overlaps(each, known.program):
        return "binary"
    if _holds(each, known.stacks):
        return "thread_stacks"
    is_go = each.mapping.path.startswith(_GO_NAME) or _holds(each, known.metadata)
    return "go_metadata" if is_go else "c"


def _add(sums: dict[Part, _Sum], part: Part, size: int, lazy_free: int = 0) -> None:
    each = sums.setdefault(part, _Sum())
    each.bytes += size
    each.lazy_free += lazy_free


def _undivided(inside: Sequence[MappedMemory]) -> dict[Part, _Sum]:
    """The arenas as one part, if it is not known which of their pages are resident."""
    sums: dict[Part, _Sum] = {}
    for each in inside:
        _add(sums, "go_arenas", each.resident_bytes, each.lazy_free_bytes)
    return sums


def _heap_parts(pid: int, inside: Sequence[MappedMemory], known: _Known) -> dict[Part, _Sum]:
    """The parts of what is resident in the arenas, by what the spans there are for."""
    spans = known.spans
    if spans is None:
        raise MissingInfo("the spans of the heap are not known")
    ranges = [(each.mapping.start, each.mapping.end) for each in inside if each.resident_bytes]
    borders = np.concatenate([spans.start, spans.end])
    order = np.argsort(borders, kind="stable")
    before = np.empty(len(borders), np.int64)
    last = np.array([_LAST_ADDRESS], np.uint64)
    counted = resident_before(pid, ranges, np.concatenate([borders[order], last]))
    before[order] = counted[:-1]
    resident = before[len(spans) :] - before[: len(spans)]
    sums = _of_spans(spans, resident)
    free = int(counted[-1] - resident.sum())
    lazy_free = sum(each.lazy_free_bytes for each in inside)
    sums["go_heap_free"] = _Sum(free, 0, min(lazy_free, free), _PAGES)
    # Pages that another process has too, after a fork, are not exclusive.
    shared = sum(each.shared_bytes for each in inside)
    if shared:
        sums["other"] = _Sum(
            shared, shared, 0, "smaps: pages of the heap shared with another process"
        )
    return sums


def _of_spans(spans: SpanTable, resident: NDArray[np.int64]) -> dict[Part, _Sum]:
    """What is `resident` in each of `spans` (bytes), by part.

    Which objects of a span are on its resident pages is not known: at most all that there are, at least what does
    not fit into its other slots.
    """
    heap = spans.kind == HEAP
    size = (spans.end - spans.start).astype(np.int64)
    most = np.minimum(spans.used, resident)[heap]
    least = np.maximum(resident - (size - spans.used), 0)[heap]
    least[spans.cached[heap]] = 0
    objects, in_heap = int(most.sum()), int(resident[heap].sum())
    doubtful = int((most - least).sum())
    work = int(resident[spans.kind == WORK].sum())
    return {
        "go_heap_objects": _Sum(objects, doubtful, 0, _PAGES),
        "go_heap_unused": _Sum(in_heap - objects, 0, 0, _PAGES),
        "go_stacks": _Sum(int(resident[spans.kind == STACK].sum()), 0, 0, _PAGES),
        "go_metadata": _Sum(work, 0, 0, f"{_BY_MAPPING}, {_PAGES}"),
    }


def _with_own(
    rows: list[tuple[Part, MappedMemory]], system_bytes: int | None
) -> list[tuple[Part, MappedMemory]]:
    """`rows` of a program without C, where other anonymous memory is the runtime's unless that has not mapped so much."""
    own = sum(each.resident_bytes for part, each in rows if part in ("go_metadata", "c"))
    if system_bytes is None or own > system_bytes:
        return rows
    return [("go_metadata" if part == "c" else part, each) for part, each in rows]


def _keep_within(sums: dict[Part, _Sum], system_bytes: int | None) -> None:
    """Let the runtime's own part be no more than what the runtime says it mapped.

    The kernel joins anonymous mappings that are neighbours: then what is more is not Go's.
    """
    own = sums.setdefault("go_metadata", _Sum())
    if system_bytes is None:
        own.doubtful = own.bytes
    elif own.bytes > system_bytes:
        excess = own.bytes - system_bytes
        _add(sums, "c", excess)
        own.bytes -= excess
        own.doubtful = own.bytes


def _resident_part(part: Part, each: _Sum) -> ResidentPart:
    return ResidentPart(part, each.bytes, each.source, each.doubtful, each.lazy_free)


def _listed(rows: Iterable[tuple[Part, MappedMemory]]) -> tuple[ResidentMapping, ...]:
    """The largest mappings; those of one file as one."""
    found: dict[tuple[Part, str, int], ResidentMapping] = {}
    for part, each in rows:
        if not each.resident_bytes and not each.swap_bytes:
            continue
        name, start = each.mapping.path, each.mapping.start
        key = (part, name, 0 if name else start)
        known = found.get(key) or ResidentMapping(part, name, start, 0, 0, 0, 0)
        found[key] = replace(
            known,
            size_bytes=known.size_bytes + each.mapping.end - start,
            resident_bytes=known.resident_bytes + each.resident_bytes,
            swap_bytes=known.swap_bytes + each.swap_bytes,
            count=known.count + 1,
        )
    largest = sorted(found.values(), key=lambda each: (-each.resident_bytes, each.address))
    return tuple(largest[:_LISTED])
