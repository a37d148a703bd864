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
from dataclasses import dataclass, field
from typing import NamedTuple

from spyglass.procfs.files import read
from spyglass.threads.architecture import Architecture, Registers

__all__ = [
    "MAX_STACK_BYTES",
    "RING_BYTES",
    "Event",
    "Records",
    "Sample",
    "Sampling",
    "parse_recording",
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
_SAMPLE_TID, _SAMPLE_TIME, _SAMPLE_CALLCHAIN = 1 << 1, 1 << 2, 1 << 5
_SAMPLE_REGS_USER, _SAMPLE_STACK_USER = 1 << 12, 1 << 13
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV, _TASK = 1 << 0, 1 << 5, 1 << 6, 1 << 13
_EXCLUDE_CALLCHAIN_KERNEL, _USE_CLOCKID = 1 << 21, 1 << 25
_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE, _IOC_DISABLE, _IOC_PERIOD = 0x2400, 0x2401, 0x40082404
_RECORD_LOST, _RECORD_THROTTLE, _RECORD_FORK, _RECORD_SAMPLE = 2, 5, 7, 9
_REGS_ABI_64 = 2
#: Numbers in a call chain from here on are marks, such as "the user's part follows" (PERF_CONTEXT_MAX).
_FIRST_CONTEXT = (1 << 64) - 4095
_CONTEXT_KERNEL, _CONTEXT_USER = (1 << 64) - 128, (1 << 64) - 512
_CLOCK_MONOTONIC = 1
#: ``struct perf_event_attr`` up to sample_stack_user and clockid (PERF_ATTR_SIZE_VER3): type, size,
#: config, sample_period, sample_type, read_format, flags, wakeup_events, bp_type, config1, config2,
#: branch_sample_type, sample_regs_user, sample_stack_user, clockid.
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQQQIi")
#: ``data_head`` and ``data_tail`` in ``struct perf_event_mmap_page``.
_HEAD, _TAIL = 1024, 1032
_HEADER = struct.Struct("<IHH")
_SAMPLE = struct.Struct("<IIQ")
#: pid, tid, time, and the length of the call chain.
_RECORDED = struct.Struct("<IIQQ")
#: pid, parent's pid, tid, parent's tid.
_TASK_RECORD = struct.Struct("<IIII")
_LOST_RECORD = struct.Struct("<QQ")
_WORD = struct.Struct("<Q")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an event samples: one sample for every `period_ns` of CPU time, with up to `stack_bytes` of stack,
    into a ring of `ring_bytes`, a power of 2.

    With `kernel` a sample that falls into a system call counts too (its registers are those with which
    the thread entered the kernel); that needs a privilege. `recording`: samples have a time
    (CLOCK_MONOTONIC) and a call chain, and new threads are recorded (`Event.records`). `kernel_chain`:
    with the kernel's part of the chain.
    """

    period_ns: int
    stack_bytes: int
    kernel: bool
    ring_bytes: int = RING_BYTES
    recording: bool = False
    kernel_chain: bool = False

    @property
    def sample_type(self) -> int:
        """``perf_event_attr.sample_type``."""
        more = _SAMPLE_TIME | _SAMPLE_CALLCHAIN if self.recording else 0
        return _SAMPLE_TID | _SAMPLE_REGS_USER | _SAMPLE_STACK_USER | more

    @property
    def flags(self) -> int:
        """The bits of ``perf_event_attr`` from ``disabled`` on."""
        more = _TASK | _USE_CLOCKID if self.recording else 0
        if self.recording and not (self.kernel and self.kernel_chain):
            more |= _EXCLUDE_CALLCHAIN_KERNEL
        return _DISABLED | _EXCLUDE_HV | (0 if self.kernel else _EXCLUDE_KERNEL) | more


class Sample(NamedTuple):
    """A sample of a recording: of thread `registers.tid` of process `pid`, at `time_ns` (CLOCK_MONOTONIC).

    `chain`: the user's part of the call chain as the kernel follows frame pointers, the innermost pc first;
    `kernel_chain`: the kernel's part, if that was asked for and the sample fell into the kernel.
    """

    pid: int
    time_ns: int
    chain: tuple[int, ...]
    registers: Registers
    kernel_chain: tuple[int, ...] = ()


@dataclass(slots=True)
class Records:
    """What a ring held: samples, new threads (pid, tid), samples `lost`, and how often the kernel
    suspended sampling (`throttled`)."""

    samples: list[Sample] = field(default_factory=list)
    new_threads: list[tuple[int, int]] = field(default_factory=list)
    lost: int = 0
    throttled: int = 0


class Event:
    """A cpu-clock event, disabled at first, and its ring buffer: of thread `tid` on any processor, or with
    `tid` -1 of every thread on processor `cpu`, which needs a privilege. OSError says what was refused.
    """

    def __init__(
        self, architecture: Architecture, tid: int, sampling: Sampling, cpu: int = -1
    ) -> None:
        self.tid = tid
        self._ring_bytes = sampling.ring_bytes
        self._architecture = architecture
        self._tail = 0
        self.descriptor = _open(architecture, tid, cpu, sampling)
        try:
            self._ring = mmap.mmap(self.descriptor, mmap.PAGESIZE + self._ring_bytes)
        except BaseException:
            os.close(self.descriptor)
            raise

    def start(self) -> None:
        """Enable the event: one sample for every period of CPU time."""
        # Not PERF_EVENT_IOC_REFRESH, which ends after one: Linux 6.16 and 6.17 hang when it does.
        fcntl.ioctl(self.descriptor, _IOC_ENABLE, 0)

    def set_period(self, period_ns: int) -> None:
        """Take a sample for every `period_ns` of CPU time from now on."""
        fcntl.ioctl(self.descriptor, _IOC_PERIOD, _WORD.pack(period_ns))

    def stop(self) -> None:
        """Disable the event."""
        fcntl.ioctl(self.descriptor, _IOC_DISABLE, 0)

    def samples(self) -> Iterator[Registers]:
        """The samples of thread `tid` since the last call."""
        return parse_records(self._architecture, self.tid, self._drain())

    def records(self) -> Records | None:
        """What an event that is `Sampling.recording` has recorded since the last call; None: nothing."""
        drained = self._drain()
        return parse_recording(self._architecture, drained) if drained else None

    def _drain(self) -> bytes:
        """The records between data_tail and data_head; then the tail is advanced."""
        # The kernel writes the records before data_head, and poll(2) returned after that.
        ring, capacity = self._ring, self._ring_bytes
        head = _WORD.unpack_from(ring, _HEAD)[0]
        if head == self._tail:
            return b""
        size, begin = head - self._tail, mmap.PAGESIZE + self._tail % capacity
        end, limit = begin + size, mmap.PAGESIZE + capacity
        records = b""
        if 0 < size <= capacity:
            records = ring[begin : min(end, limit)]
            if end > limit:
                records += ring[mmap.PAGESIZE : end - capacity]
        self._tail = head
        _WORD.pack_into(ring, _TAIL, head)
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


def _open(architecture: Architecture, tid: int, cpu: int, sampling: Sampling) -> int:
    """The file descriptor of a new event. Raises OSError."""
    clock = _CLOCK_MONOTONIC if sampling.recording else 0
    attributes = ctypes.create_string_buffer(
        _ATTRIBUTES.pack(
            _TYPE_SOFTWARE, _ATTRIBUTES.size, _COUNT_SW_CPU_CLOCK, sampling.period_ns,
            sampling.sample_type, 0, sampling.flags,
            1, 0, 0, 0, 0, architecture.sample_mask, sampling.stack_bytes, clock,
        ),
        _ATTRIBUTES.size,
    )  # fmt: skip
    arguments = (tid, cpu, -1, _FLAG_FD_CLOEXEC)
    descriptor = _libc.syscall(
        ctypes.c_long(architecture.perf_event_open), attributes, *map(ctypes.c_long, arguments)
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


def parse_records(architecture: Architecture, tid: int, records: bytes) -> Iterator[Registers]:
    """The samples of thread `tid` in `records`; other and malformed records are skipped."""
    for kind, body in _bodies(records):
        if kind == _RECORD_SAMPLE:
            sample = _parse_sample(architecture, body)
            if sample is not None and sample.tid == tid:
                yield sample


def parse_recording(architecture: Architecture, records: bytes) -> Records:
    """The contents of `records`; malformed records are skipped."""
    found = Records()
    for kind, body in _bodies(records):
        if kind == _RECORD_SAMPLE:
            sample = _parse_recorded(architecture, body)
            if sample is not None:
                found.samples.append(sample)
        elif kind == _RECORD_FORK and len(body) >= _TASK_RECORD.size:
            pid, _, tid, _ = _TASK_RECORD.unpack_from(body)
            found.new_threads.append((pid, tid))
        elif kind == _RECORD_LOST and len(body) >= _LOST_RECORD.size:
            found.lost += _LOST_RECORD.unpack_from(body)[1]
        elif kind == _RECORD_THROTTLE:
            found.throttled += 1
    return found


def _bodies(records: bytes) -> Iterator[tuple[int, memoryview]]:
    """The type and the body of each of `records`, up to the first of an impossible size."""
    at, whole = 0, memoryview(records)
    while at + _HEADER.size <= len(records):
        kind, _, size = _HEADER.unpack_from(records, at)
        if not _HEADER.size <= size <= len(records) - at:
            return
        yield kind, whole[at + _HEADER.size : at + size]
        at += size


def _parse_sample(architecture: Architecture, body: memoryview) -> Registers | None:
    """A sample record: pid, tid, then `_parse_registers`."""
    if len(body) < _SAMPLE.size:
        return None
    return _parse_registers(architecture, _SAMPLE.unpack_from(body)[1], body, _SAMPLE.size - 8)


def _parse_recorded(architecture: Architecture, body: memoryview) -> Sample | None:
    """A sample record of a recording: pid, tid, time, call chain, then `_parse_registers`."""
    if len(body) < _RECORDED.size:
        return None
    pid, tid, time_ns, length = _RECORDED.unpack_from(body)
    at = _RECORDED.size + 8 * length
    if at > len(body):
        return None
    chain = struct.unpack_from(f"<{length}Q", body, _RECORDED.size)
    registers = _parse_registers(architecture, tid, body, at)
    if registers is None:
        return None
    kernel: tuple[int, ...] = ()
    if length and chain[0] == _CONTEXT_KERNEL:
        end = chain.index(_CONTEXT_USER) if _CONTEXT_USER in chain else length
        kernel, chain = _pcs(chain[:end]), chain[end:]
    return Sample(pid, time_ns, _pcs(chain), registers, kernel)


def _pcs(chain: tuple[int, ...]) -> tuple[int, ...]:
    """`chain` without marks."""
    return tuple([pc for pc in chain if pc < _FIRST_CONTEXT])


def _parse_registers(
    architecture: Architecture, tid: int, body: memoryview, at: int
) -> Registers | None:
    """From `at` on: ABI, registers, size of the stack dump, the dump, its valid size."""
    words = architecture.sampled_words
    first = at + _WORD.size
    stack = first + words.size + _WORD.size
    if len(body) < stack:
        return None
    # Another ABI: a thread without user space, or a 32-bit one.
    if _WORD.unpack_from(body, at)[0] != _REGS_ABI_64:
        return None
    size = _WORD.unpack_from(body, stack - _WORD.size)[0]
    if size > len(body) - stack - _WORD.size:
        size = 0
    true = min(_WORD.unpack_from(body, stack + size)[0], size) if size else 0
    return architecture.from_sample(
        tid, words.unpack_from(body, first), bytes(body[stack : stack + true])
    )
