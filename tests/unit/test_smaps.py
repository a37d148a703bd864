"""Resident memory by mapping and by page."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from spyglass.errors import BadDataError, ProcessNotFound
from spyglass.procfs.smaps import parse_smaps, resident_before, smaps, tmpfs_devices

PAGE = os.sysconf("SC_PAGE_SIZE")

#: Linux 6.6 with CONFIG_ANON_VMA_NAME, a program of Go 1.25; the lines that are not read are left out.
RECORDED = b"""\
c000000000-c000400000 rw-p 00000000 00:00 0                              [anon: Go: heap]
Size:               4096 kB
Rss:                1024 kB
Pss:                1024 kB
Shared_Clean:          4 kB
Shared_Dirty:          8 kB
Private_Dirty:      1012 kB
LazyFree:             16 kB
AnonHugePages:       512 kB
Swap:                 32 kB
THPeligible:    0
VmFlags: rd wr mr mw me ac sd
7f0000000000-7f0000200000 rw-p 00000000 00:0f 4242                       /a name: with\\012 Rss: 1 kB (deleted)
Rss:                   0 kB
Private_Hugetlb:    2048 kB
Shared_Hugetlb:        0 kB
VmFlags: rd wr
"""


def test_a_recorded_file() -> None:
    heap, huge = parse_smaps(RECORDED)
    assert (heap.mapping.path, heap.mapping.start) == ("[anon: Go: heap]", 0xC000000000)
    assert heap.resident_bytes == 1024 << 10
    assert (heap.shared_bytes, heap.lazy_free_bytes) == (12 << 10, 16 << 10)
    assert (heap.huge_bytes, heap.swap_bytes, heap.hugetlb_bytes) == (512 << 10, 32 << 10, 0)
    assert (huge.resident_bytes, huge.hugetlb_bytes) == (0, 2 << 20)
    assert huge.mapping.deleted
    assert huge.mapping.path.startswith("/a name: with")


@pytest.mark.parametrize(
    "raw",
    [b"Rss: 1 kB\n", b"c000-c001 rw-p 0 0:0 0\nRss: many kB\n", b"c000 rw-p\n", b"x y\nRss:\n"],
)
def test_a_malformed_file_is_refused(raw: bytes) -> None:
    with pytest.raises(BadDataError):
        parse_smaps(raw)


def test_no_process() -> None:
    for read in (smaps, tmpfs_devices):
        with pytest.raises(ProcessNotFound):
            read(1 << 22)
    with pytest.raises(ProcessNotFound):
        resident_before(1 << 22, [(0, PAGE)], np.zeros(1, np.uint64))


def test_pages_that_were_written_are_resident() -> None:
    """Those that were read only show the page of zeros, and those that were not touched nothing."""
    with mmap.mmap(-1, 64 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(15)  # MADV_NOHUGEPAGE
        for page in (3, 4, 40):
            area[page * PAGE] = 1
        assert not any(area[page * PAGE] for page in range(10, 20))
        start = np.frombuffer(area, np.uint8).ctypes.data
        pages = [0, 3, 4, 5, 30, 41, 64]
        addresses = np.array([start + page * PAGE for page in pages], np.uint64)
        found = resident_before(os.getpid(), [(start, start + 64 * PAGE)], addresses)
        assert (found // PAGE).tolist() == [0, 0, 1, 2, 2, 3, 3]
        parts = [(start, start + 4 * PAGE), (start + 40 * PAGE, start + 64 * PAGE)]
        found = resident_before(os.getpid(), parts, addresses)
        assert (found // PAGE).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_too_much_is_not_looked_at() -> None:
    with pytest.raises(BadDataError):
        resident_before(os.getpid(), [(0, 1 << 47)], np.zeros(1, np.uint64))


def test_file_systems_in_memory() -> None:
    folder = Path("/dev/shm")
    if not folder.is_mount():
        pytest.skip("nothing is mounted there")
    assert folder.stat().st_dev in tmpfs_devices(os.getpid())
    assert Path("/").stat().st_dev not in tmpfs_devices(os.getpid())
