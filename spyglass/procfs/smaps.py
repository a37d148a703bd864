"""Resident memory by mapping: /proc/PID/smaps (proc_pid_smaps(5)), and which pages: /proc/PID/pagemap."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError
from spyglass.procfs.access import refusals
from spyglass.procfs.files import read, text
from spyglass.procfs.memory_maps import Mapping, parse_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MappedMemory", "parse_smaps", "resident_before", "smaps", "tmpfs_devices"]

#: 350,000 mappings; the kernel allows 65,530 unless told otherwise (vm.max_map_count).
_MAX_BYTES = 1 << 28
_MAX_MOUNTS_BYTES = 1 << 24
_KIB = 1024
_FIELDS = {
    b"Rss": "resident_bytes", b"Shared_Clean": "shared_bytes", b"Shared_Dirty": "shared_bytes",
    b"LazyFree": "lazy_free_bytes", b"Swap": "swap_bytes", b"AnonHugePages": "huge_bytes",
    b"ShmemPmdMapped": "huge_bytes", b"FilePmdMapped": "huge_bytes",
    b"Shared_Hugetlb": "hugetlb_bytes", b"Private_Hugetlb": "hugetlb_bytes",
}  # fmt: skip

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Bits of an entry of pagemap (proc_pid_pagemap(5)): mapped by this process only, and present. The page of zeros that
#: is mapped where memory is read before it is written is present, but not exclusive: it is not resident memory.
_EXCLUSIVE, _PRESENT = np.uint64(56), np.uint64(63)
#: Pages that are looked at in one step, and in all: 256 GiB.
_STEP_PAGES, _MAX_PAGES = 1 << 18, 1 << 26


@dataclass(slots=True)
class MappedMemory:
    """A mapping, and how much of it is where. `shared_bytes`: resident, and mapped by another process too. `huge_bytes`:
    resident in huge pages; `hugetlb_bytes` are not counted as resident."""

    mapping: Mapping
    resident_bytes: int = 0
    shared_bytes: int = 0
    lazy_free_bytes: int = 0
    swap_bytes: int = 0
    huge_bytes: int = 0
    hugetlb_bytes: int = 0


def smaps(pid: int) -> list[MappedMemory]:
    """The mappings of process `pid` by address, with what is resident; empty when it has ended.

    Takes 10 ms for each GiB that is resident. Raises `PermissionDenied`, `ProcessNotFound`, `BadDataError`.
    """
    with refusals(pid):
        return parse_smaps(read(f"/proc/{pid}/smaps", _MAX_BYTES))


def parse_smaps(raw: bytes) -> list[MappedMemory]:
    """Decode the contents of a smaps file."""
    found: list[MappedMemory] = []
    try:
        for line in raw.split(b"\n"):
            key, _, value = line.partition(b":")
            if b" " in key:
                found.append(MappedMemory(parse_line(line)))
            elif name := _FIELDS.get(key):
                number = int(value.split()[0]) * _KIB
                setattr(found[-1], name, getattr(found[-1], name) + number)
    except (ValueError, IndexError, OverflowError):
        raise BadDataError("a line of /proc/PID/smaps is malformed") from None
    return found


def resident_before(
    pid: int, ranges: Iterable[tuple[int, int]], addresses: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """How many resident bytes of `ranges` (start, end; ascending, apart) are below each of `addresses` (ascending,
    multiples of the size of a page): those of pages that only this process has.

    Raises `PermissionDenied`, `ProcessNotFound`, or `BadDataError` if there is too much to look at.
    """
    found = np.zeros(len(addresses), np.int64)
    done = total = 0
    steps = _steps(ranges)
    with refusals(pid), open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for low, high in steps:
            before = _counted(pagemap.fileno(), low, high)
            first, last = np.searchsorted(addresses, np.array([low, high], np.uint64)).tolist()
            found[done:first] = total
            at = (addresses[first:last] - np.uint64(low)) // np.uint64(_PAGE_BYTES)
            found[first:last] = total + before[at.astype(np.int64)]
            done, total = last, total + int(before[-1])
    found[done:] = total
    return found * _PAGE_BYTES


def _steps(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`ranges` in parts that are looked at in one step."""
    step = _STEP_PAGES * _PAGE_BYTES
    steps, left = [], _MAX_PAGES * _PAGE_BYTES
    for start, end in ranges:
        left -= end - start
        if left < 0:
            raise BadDataError("more memory is mapped than is looked at")
        steps += [(low, min(low + step, end)) for low in range(start, end, step)]
    return steps


def _counted(pagemap: int, low: int, high: int) -> NDArray[np.int64]:
    """How many resident pages are before each page from `low` to `high`, and before its end."""
    pages = (high - low) // _PAGE_BYTES
    raw = os.pread(pagemap, 8 * pages, low // _PAGE_BYTES * 8)
    entries = np.frombuffer(raw, np.uint64, len(raw) // 8)
    resident = (entries >> _PRESENT) & (entries >> _EXCLUSIVE) & np.uint64(1)
    before = np.zeros(pages + 1, np.int64)
    np.cumsum(resident, out=before[1 : len(resident) + 1])
    before[len(resident) + 1 :] = before[len(resident)]
    return before


def tmpfs_devices(pid: int) -> frozenset[int]:
    """The devices (`os.makedev`) of the file systems in memory that process `pid` sees: their files are shared memory."""
    with refusals(pid):
        lines = text(read(f"/proc/{pid}/mountinfo", _MAX_MOUNTS_BYTES)).split("\n")
    found = set()
    for line in lines:
        mount, _, superblock = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) > 2 and superblock.startswith("tmpfs "):
            major, _, minor = fields[2].partition(":")
            with suppress(ValueError, OverflowError):
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)
