"""The memory of a live process, read without stopping it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError, MemoryFault, PermissionDenied, ProcessChanged
from spyglass.memory.allocator import new_buffer
from spyglass.memory.base import MAX_READ_BYTES, Gathered, Memory
from spyglass.memory.ranges import apart, merge, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["ProcessMemory"]

#: The most ranges that one call is given; the kernel takes 1,024 (``UIO_MAXIOV``,
#: process_vm_readv(2)), but groups of 3 or 4 that belong together must not be parted.
MAX_RANGES = 1020

#: Reads up to this size do without numpy, which takes longer than they do.
_FEW_BYTES = 1 << 15
#: Up to so many ranges neighbours are not joined.
_FEW_RANGES = 32
#: Up to so many ranges of one size are read apart first: the kernel takes less than a microsecond for each.
_MANY_RANGES = 128
_ONE_IOVEC = struct.Struct("<QQ")
_IOVEC = np.dtype([("base", "<u8"), ("len", "<u8")])


class _Few(threading.local):
    """Room for `_FEW_BYTES`, for each thread its own: new memory would be cleared, and cost a fault for each page."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_FEW_BYTES)
        self.address = ctypes.addressof(self._room)


class ProcessMemory(Memory):
    """The memory of process `pid`: process_vm_readv(2), or /proc/PID/mem where that is not allowed.

    Some sandboxes forbid the system call but not the file, so the file is tried before giving up.
    Raises `PermissionDenied` at once when neither can be read, `ProcessChanged` when it has ended.
    """

    takes_threads = True

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._readv = ctypes.CDLL(None, use_errno=True).process_vm_readv
        self._readv.restype = ctypes.c_ssize_t
        self._readv.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong,
            ctypes.c_ulong,
        ]  # fmt: skip
        self._file: int | None = None
        self._few = _Few()
        self._check_access()

    @property
    def by_file(self) -> bool:
        """Whether /proc/PID/mem is read, because the system call is not allowed."""
        return self._file is not None

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; `MemoryFault` if one of them cannot be read."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise BadDataError(f"implausible size {size} at {address:#x}")
        if not 0 <= address <= (1 << 64) - 1 - size:
            raise MemoryFault(address, size)
        if size <= _FEW_BYTES and self._file is None:
            few = self._few.address
            local, remote = _ONE_IOVEC.pack(few, size), _ONE_IOVEC.pack(address, size)
            if self._readv(self.pid, local, 1, remote, 1, 0) == size:
                return ctypes.string_at(few, size)
        buffer = np.empty(size, np.uint8)
        if self._transfer(buffer, np.array([(address, size)], _IOVEC)) != size:
            raise MemoryFault(address, size)
        return buffer.tobytes()

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        """Many ranges at once; neighbours are read together, what cannot be read is masked."""
        if isinstance(sizes, int) and 0 < len(addresses) <= _MANY_RANGES:
            found = self._gather_few(addresses, sizes)
            if found is not None:
                return found
        sizes = spread(sizes, len(addresses))
        merged = (apart if len(addresses) <= _FEW_RANGES else merge)(addresses, sizes)
        buffer, filled = self._read_ranges(merged.starts, merged.sizes)
        begins = merged.offsets_in_buffer()
        within = addresses.astype(np.int64) - merged.starts[merged.owner].astype(np.int64)
        ok = within + sizes.astype(np.int64) <= filled[merged.owner]
        offsets = begins[merged.owner] + within
        if not ok.all() and len(merged.starts) < len(addresses):
            return self._gather_again(Gathered(buffer, offsets, ok), addresses, sizes)
        return Gathered(buffer, offsets, ok)

    def _gather_few(self, addresses: NDArray[np.uint64], size: int) -> Gathered | None:
        """Some ranges of `size` bytes, if all can be read: what is computed for many takes longer than to read these.
        None if not all can be read."""
        total = size * len(addresses)
        if size & 7 or not 0 < total <= _FEW_BYTES or self._file is not None:
            return None
        few, count = self._few.address, len(addresses)
        iovec = _iovec(addresses, size)
        local = _ONE_IOVEC.pack(few, total)
        if self._readv(self.pid, local, 1, iovec.ctypes.data, count, 0) != total:
            return None
        buffer = np.frombuffer(ctypes.string_at(few, total), np.uint8)
        return Gathered(buffer, np.arange(0, total, size), np.ones(count, np.bool_))

    def gather_in_order(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> Gathered:
        """As `gather`, one range after the other: neighbours in the arguments are microseconds apart.

        Addresses and sizes must be multiples of 8.
        """
        buffer, filled = self._read_ranges(addresses, sizes)
        ends = np.cumsum(sizes).astype(np.int64)
        return Gathered(buffer, ends - sizes.astype(np.int64), filled == sizes.astype(np.int64))

    def reader(self, ranges: Sequence[tuple[int, int]]) -> Callable[[], bytes | None]:
        """As `Memory.reader`, with one system call."""
        one_by_one = super().reader(ranges)
        size = sum(size for _, size in ranges)
        if len(ranges) > MAX_RANGES or not 0 <= size <= MAX_READ_BYTES:
            return one_by_one
        remote = b"".join(_ONE_IOVEC.pack(*each) for each in ranges)

        def read() -> bytes | None:
            if self._file is None:
                buffer = ctypes.create_string_buffer(size)
                local = _ONE_IOVEC.pack(ctypes.addressof(buffer), size)
                if self._readv(self.pid, local, 1, remote, len(ranges), 0) == size:
                    return buffer.raw
            return one_by_one()

        return read

    def _gather_again(
        self, first: Gathered, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> Gathered:
        """Read the failed ranges one by one: a bad neighbour must not hide a good range."""
        failed = np.flatnonzero(~first.ok)
        padded = (sizes[failed] + np.uint64(7)) & ~np.uint64(7)
        if int(padded.sum()) > MAX_READ_BYTES:
            raise BadDataError(f"implausible size of {len(failed)} ranges")
        begins = np.concatenate([[0], np.cumsum(padded)[:-1]]).astype(np.int64)
        extra = np.zeros(int(padded.sum()), np.uint8)
        ok, offsets = first.ok.copy(), first.offsets.copy()
        for row, begin in zip(failed.tolist(), begins.tolist(), strict=True):
            size = int(sizes[row])
            part = extra[begin : begin + size]
            ok[row] = (
                self._transfer(part, _iovec(addresses[row : row + 1], sizes[row : row + 1])) == size
            )
        base = (len(first.buffer) + 7) & ~7
        buffer = np.zeros(base + len(extra), np.uint8)
        buffer[: len(first.buffer)] = first.buffer
        buffer[base:] = extra
        offsets[failed] = base + begins
        return Gathered(buffer, offsets, ok)

    def _read_ranges(
        self, starts: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The ranges one after the other in a buffer, and how many bytes of each were read."""
        total = int(sizes.sum())
        if total > MAX_READ_BYTES:
            raise BadDataError(f"implausible size {total} of {len(starts)} ranges")
        buffer = new_buffer((total + 7) & ~7)
        ends = np.cumsum(sizes).astype(np.int64)
        filled = np.zeros(len(starts), np.int64)
        iovec = _iovec(starts, sizes)
        i = 0
        while i < len(starts):
            j = min(i + MAX_RANGES, len(starts))
            begin = int(ends[i - 1]) if i else 0
            got = begin + max(self._transfer(buffer[begin : int(ends[j - 1])], iovec[i:j]), 0)
            stop = int(np.searchsorted(ends[i:j], got, side="right")) + i
            filled[i:stop] = sizes[i:stop]
            if stop < j:
                filled[stop] = got - (int(ends[stop - 1]) if stop else 0)
                stop += 1
            i = stop
        return buffer, filled

    def _transfer(self, into: NDArray[np.uint8], remote: NDArray[np.void]) -> int:
        """Read the ranges `remote` one after the other; the number of bytes, short at a bad one."""
        if self._file is not None:
            return self._transfer_file(into, remote)
        local = _ONE_IOVEC.pack(into.ctypes.data, len(into))
        got = self._readv(self.pid, local, 1, remote.ctypes.data, len(remote), 0)
        if got >= 0:
            return int(got)
        code = ctypes.get_errno()
        if code == errno.ESRCH:
            raise ProcessChanged(f"process {self.pid} has ended")
        if code in (errno.EPERM, errno.ENOSYS):
            self._open_file()
            return self._transfer_file(into, remote)
        return 0

    def _transfer_file(self, into: NDArray[np.uint8], remote: NDArray[np.void]) -> int:
        assert self._file is not None
        done = 0
        for base, size in remote.tolist():
            part = memoryview(into.data)[done : done + size]
            while len(part):
                try:
                    got = os.preadv(self._file, [part], base) if base < 1 << 63 else 0
                except OSError:
                    got = 0
                if got == 0:
                    return done
                done, base, part = done + got, base + got, part[got:]
        return done

    def _open_file(self) -> None:
        try:
            self._file = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessChanged(f"process {self.pid} has ended") from None
        except OSError as error:
            raise PermissionDenied(
                f"the memory of process {self.pid} may not be read: {error.strerror}"
            ) from None

    def _check_access(self) -> None:
        """Ask the kernel now: a read of nothing is refused like any other."""
        self._transfer(np.empty(1, np.uint8), np.array([(0, 1)], _IOVEC))


def _iovec(starts: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> NDArray[np.void]:
    iovec = np.empty(len(starts), _IOVEC)
    iovec["base"], iovec["len"] = starts, sizes
    return iovec
