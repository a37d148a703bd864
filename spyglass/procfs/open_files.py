"""How much page cache the files hold that a process has open: cachestat(2), since Linux 6.5.

It counts the pages of a file whoever read or wrote them, and whichever control group they are charged to. mincore(2)
would need the file mapped, which one that is only written to cannot be.
"""

from __future__ import annotations

import ctypes
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from spyglass.memory_limits import OpenFile
from spyglass.procfs.files import read, read_head, text

__all__ = ["open_files"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MAX_DESCRIPTORS = 4096
_MAX_FILES = 64
#: Looking at a cached GiB takes about 2 ms; a file is looked at in pieces, as far as there is time.
_SECONDS = 0.1
_PIECE_BYTES = 4 << 30
#: System calls that the C library may not have yet; the numbers are the same on all processors but Alpha.
_PIDFD_GETFD, _CACHESTAT = 438, 451
_MAX_MOUNTS_BYTES = 1 << 24
_MAX_INFO_BYTES = 1 << 12
_IN_MEMORY = ("tmpfs", "ramfs", "hugetlbfs")
#: Shared memory without a mount that a process sees.
_ANONYMOUS = ("/memfd:", "/SYSV")
#: File systems that another host or a program of a user answers for.
_REMOTE = (
    "fuse",
    "nfs",
    "cifs",
    "smb",
    "9p",
    "ceph",
    "afs",
    "lustre",
    "gluster",
    "virtiofs",
    "autofs",
)
_DELETED = " (deleted)"


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _CacheStat(ctypes.Structure):
    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


class _Descriptor(NamedTuple):
    number: int
    path: str
    size_bytes: int
    in_memory: bool


def open_files(pid: int) -> tuple[OpenFile, ...]:
    """Regular files that process `pid` has open, the largest in memory first, 64 at most; empty if its descriptors
    cannot be listed. The largest files are looked at first, as far as a tenth of a second is enough. Files of network
    and user-space file systems are left out: to ask for their size can block."""
    until = time.monotonic() + _SECONDS
    largest = sorted(_regular(pid), key=lambda each: each.size_bytes, reverse=True)[:_MAX_FILES]
    found = []
    with _pidfd(pid) as process:
        for each in largest:
            cached, dirty = _cached(process, each, until) or (None, None)
            found.append(OpenFile(each.path, each.size_bytes, cached, dirty, each.in_memory))
    return tuple(sorted(found, key=lambda file: file.cached_bytes or 0, reverse=True))


def _regular(pid: int) -> Iterator[_Descriptor]:
    """One descriptor for each regular file of a local file system."""
    try:
        numbers = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))[:_MAX_DESCRIPTORS]
        filesystems = _filesystems(pid)
    except OSError:
        return
    seen = set()
    for number in numbers:
        try:
            path = text(os.readlink(f"/proc/{pid}/fd/{number}".encode())).removesuffix(_DELETED)
            filesystem = _filesystem(pid, number, path, filesystems)
            if filesystem is None or filesystem.startswith(_REMOTE):
                continue
            status = os.stat(f"/proc/{pid}/fd/{number}")
        except OSError:  # closed meanwhile
            continue
        key = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode) and status.st_size and key not in seen:
            seen.add(key)
            yield _Descriptor(number, path, status.st_size, filesystem in _IN_MEMORY)


def _filesystems(pid: int) -> dict[str, str]:
    """The type of the file system of each mount that process `pid` sees, by the mount's id."""
    lines = text(read(f"/proc/{pid}/mountinfo", _MAX_MOUNTS_BYTES)).split("\n")
    halves = (line.partition(" - ") for line in lines)
    return {mount.partition(" ")[0]: rest.partition(" ")[0] for mount, _, rest in halves}


def _filesystem(pid: int, number: int, path: str, filesystems: dict[str, str]) -> str | None:
    """The type of the file system of a descriptor's file (proc_pid_fdinfo(5)); None: not known."""
    if not path.startswith("/"):  # a pipe, a socket
        return None
    lines = text(read_head(f"/proc/{pid}/fdinfo/{number}", _MAX_INFO_BYTES)).split("\n")
    ids = [line.split()[1] for line in lines if line.startswith("mnt_id:\t")]
    found = filesystems.get(ids[0]) if ids else None
    return "tmpfs" if found is None and path.startswith(_ANONYMOUS) else found


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _cached(process: int | None, each: _Descriptor, until: float) -> tuple[int, int] | None:
    """Bytes of a file that are cached, and of these those not yet written; None if the kernel does not tell.

    It is asked by a copy of the process's own descriptor (pidfd_getfd(2)), so nothing is opened anew.
    """
    copy = -1 if process is None else _call(_PIDFD_GETFD, process, each.number, 0)
    if copy < 0:
        return None
    try:
        if not stat.S_ISREG(os.fstat(copy).st_mode):  # another file has that number now
            return None
        return _pieces(copy, each.size_bytes, until)
    finally:
        os.close(copy)


def _pieces(descriptor: int, size_bytes: int, until: float) -> tuple[int, int] | None:
    cached = dirty = 0
    for offset in range(0, size_bytes, _PIECE_BYTES):
        piece, result = _Range(offset, _PIECE_BYTES), _CacheStat()
        if time.monotonic() > until or _call(
            _CACHESTAT, descriptor, ctypes.byref(piece), ctypes.byref(result), 0
        ):
            return None
        cached += int(result.cached)
        dirty += int(result.dirty) + int(result.writeback)
    return cached * _PAGE_BYTES, dirty * _PAGE_BYTES


def _call(number: int, *arguments: object) -> int:
    """A system call by its number; negative if it fails."""
    return int(ctypes.CDLL(None).syscall(number, *arguments))
