"""Samples of one thread with perf_event_open(2), without stopping it.

The event is the software clock cpu-clock, which every kernel has, in virtual machines too: a timer
that runs only while the thread does, and interrupts it to note its registers and its stack.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator

from spyglass.procfs.files import read
from spyglass.threads.architecture import Architecture, Registers

__all__ = [
    "MAX_STACK_BYTES",
    "RING_BYTES",
    "ThreadEvent",
    "parse_records",
    "sampling_period_ns",
]

#: Size of the ring buffer of one thread, if no other is given. The kernel drops samples that do not fit.
RING_BYTES = 1 << 16
#: Maximum of stack bytes in one sample: a record's size is a 16-bit number, and the record must fit
#: into the ring beside one or two records of the kernel's own (lost, throttle).
MAX_STACK_BYTES = RING_BYTES - 256
#: CPU time of the thread between two samples: short compared to the scheduler's time slices.
_PERIOD_NS = 250_000

# linux/perf_event.h
_TYPE_SOFTWARE, _COUNT_SW_CPU_CLOCK = 1, 0
_SAMPLE_TID, _SAMPLE_REGS_USER, _SAMPLE_STACK_USER = 1 << 1, 1 << 12, 1 << 13
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 0, 1 << 5, 1 << 6
_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE, _IOC_DISABLE = 0x2400, 0x2401
_RECORD_SAMPLE = 9
_REGS_ABI_64 = 2
#: ``struct perf_event_attr`` up to sample_stack_user and clockid (PERF_ATTR_SIZE_VER3): type, size,
#: config, sample_period, sample_type, read_format, flags, wakeup_events, bp_type, config1, config2,
#: branch_sample_type, sample_regs_user, sample_stack_user, clockid.
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQQQIi")
#: ``data_head`` and ``data_tail`` in ``struct perf_event_mmap_page``.
_HEAD, _TAIL = slice(1024, 1032), slice(1032, 1040)
_HEADER = struct.Struct("<IHH")
_SAMPLE = struct.Struct("<IIQ")
_WORD = struct.Struct("<Q")

_libc = ctypes.CDLL(None, use_errno=True)


class ThreadEvent:
    """A cpu-clock event of thread `tid`, disabled at first, and its ring buffer of `ring_bytes`, a power of 2.

    `period_ns` of the thread's CPU time lie between two samples. With `kernel` a sample that falls
    into a system call counts too (its registers are those with which the thread entered the kernel);
    that needs a privilege. OSError says what was refused.
    """

    def __init__(
        self,
        architecture: Architecture,
        tid: int,
        period_ns: int,
        stack_bytes: int,
        kernel: bool,
        *,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.tid = tid
        self._ring_bytes = ring_bytes
        self._architecture = architecture
        self._tail = 0
        self.descriptor = _open(architecture, tid, period_ns, stack_bytes, kernel)
        try:
            self._ring = mmap.mmap(self.descriptor, mmap.PAGESIZE + ring_bytes)
        except BaseException:
            os.close(self.descriptor)
            raise

    def start(self) -> None:
        """Enable the event: one sample for every period of CPU time."""
        # Not PERF_EVENT_IOC_REFRESH, which ends after one: Linux 6.16 and 6.17 hang when it does.
        fcntl.ioctl(self.descriptor, _IOC_ENABLE, 0)

    def stop(self) -> None:
        """Disable the event."""
        fcntl.ioctl(self.descriptor, _IOC_DISABLE, 0)

    def samples(self) -> Iterator[Registers]:
        """The samples since the last call."""
        return parse_records(self._architecture, self.tid, self._drain())

    def _drain(self) -> bytes:
        """The records between data_tail and data_head; then the tail is advanced."""
        # The kernel writes the records before data_head, and poll(2) returned after that.
        head = _WORD.unpack(self._ring[_HEAD])[0]
        size, begin = head - self._tail, self._tail % self._ring_bytes
        records = b""
        if 0 < size <= self._ring_bytes:
            data = self._ring[mmap.PAGESIZE : mmap.PAGESIZE + self._ring_bytes]
            records = (data[begin:] + data[:begin])[:size]
        self._tail = head
        self._ring[_TAIL] = _WORD.pack(head)
        return records

    def close(self) -> None:
        """Close the event and unmap the ring."""
        self._ring.close()
        os.close(self.descriptor)


def sampling_period_ns() -> int:
    """The sampling period in ns: `_PERIOD_NS`, or the shortest that this host allows.

    Half as many as kernel.perf_event_max_sample_rate says, so that the kernel need never throttle:
    some kernels are fragile where they do.
    """
    try:
        a_second = int(read("/proc/sys/kernel/perf_event_max_sample_rate", 16))
    except (OSError, ValueError):
        return _PERIOD_NS
    return max(_PERIOD_NS, 2_000_000_000 // max(a_second, 1))


def _open(
    architecture: Architecture, tid: int, period_ns: int, stack_bytes: int, kernel: bool
) -> int:
    """The file descriptor of a new event. Raises OSError."""
    sample_type = _SAMPLE_TID | _SAMPLE_REGS_USER | _SAMPLE_STACK_USER
    flags = _DISABLED | _EXCLUDE_HV | (0 if kernel else _EXCLUDE_KERNEL)
    attributes = ctypes.create_string_buffer(
        _ATTRIBUTES.pack(
            _TYPE_SOFTWARE, _ATTRIBUTES.size, _COUNT_SW_CPU_CLOCK, period_ns, sample_type, 0, flags,
            1, 0, 0, 0, 0, architecture.sample_mask, stack_bytes, 0,
        ),
        _ATTRIBUTES.size,
    )  # fmt: skip
    arguments = (tid, -1, -1, _FLAG_FD_CLOEXEC)
    descriptor = _libc.syscall(
        ctypes.c_long(architecture.perf_event_open), attributes, *map(ctypes.c_long, arguments)
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


def parse_records(architecture: Architecture, tid: int, records: bytes) -> Iterator[Registers]:
    """The samples of thread `tid` in `records`; other and malformed records are skipped."""
    at = 0
    while at + _HEADER.size <= len(records):
        kind, _, size = _HEADER.unpack_from(records, at)
        if not _HEADER.size <= size <= len(records) - at:
            return
        if kind == _RECORD_SAMPLE:
            sample = _parse_sample(architecture, records[at + _HEADER.size : at + size])
            if sample is not None and sample.tid == tid:
                yield sample
        at += size


def _parse_sample(architecture: Architecture, body: bytes) -> Registers | None:
    """A sample record: pid, tid, ABI, registers, size of the stack dump, the dump, its valid size."""
    words = struct.Struct(f"<{len(architecture.sampled)}Q")
    stack = _SAMPLE.size + words.size + _WORD.size
    if len(body) < stack:
        return None
    _, tid, abi = _SAMPLE.unpack_from(body)
    if abi != _REGS_ABI_64:  # a thread without user space, or a 32-bit one
        return None
    size = _WORD.unpack_from(body, stack - _WORD.size)[0]
    if size > len(body) - stack - _WORD.size:
        size = 0
    true = min(_WORD.unpack_from(body, stack + size)[0], size) if size else 0
    return architecture.from_sample(
        tid, words.unpack_from(body, _SAMPLE.size), body[stack : stack + true]
    )
