"""Registers and stacks of running threads, without stopping them: one perf sample of each."""

from __future__ import annotations

import errno
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from spyglass.errors import ProcessNotFound, UnsupportedProgram
from spyglass.threads.architecture import Architecture, Registers, own_architecture
from spyglass.threads.perf import MAX_STACK_BYTES, Event, Sampling, sampling_period_ns
from spyglass.threads.permission import why_refused

__all__ = ["DEFAULT_WAIT_NS", "Sampled", "sample_threads"]

DEFAULT_WAIT_NS = 20_000_000
#: Threads sampled at the same time; each takes a file descriptor and a ring of `RING_BYTES`.
_BATCH = 256
#: Maximum of stack bytes of all samples together.
_MAX_TOTAL_BYTES = 1 << 26
#: Out of file descriptors, of memory, or of lockable memory (mmap(2) fails with EPERM then).
_TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Registers by thread id, of the threads that ran and whose sample was accepted.

    `denied` says why the kernel refused, and what to do about it; None if it did not.
    """

    registers: dict[int, Registers]
    denied: str | None


def sample_threads(
    tids: Sequence[int], accept: Callable[[Registers], bool], wait_ns: int = DEFAULT_WAIT_NS
) -> Sampled:
    """Registers and stacks of the running threads `tids`, each of one moment.

    Nothing is stopped. Pass running threads only: for one that sleeps the whole `wait_ns` passes. Of each
    thread the first sample for which `accept` holds is kept; a thread that does not run within `wait_ns`,
    is not accepted, or ends, is left out. Threads are sampled 256 at a time; the wait is for each such
    batch, and shorter when all were accepted. Where more threads run than there are processors,
    each waits for its time slice, some 4 ms apart. The first event that is opened after a second without any takes
    20 ms more in the kernel.

    `Registers.stack` holds up to 64 KB (less for more than 1,000 threads: 64 MB in all), and ends before
    the first page that is not resident: a sample cannot wait for a page fault.
    """
    try:
        sampling = _Sampling(own_architecture(), accept, wait_ns, _stack_bytes(len(tids)))
    except UnsupportedProgram as error:
        return Sampled({}, error.message)
    waiting = deque(tids)
    while waiting and sampling.denied is None:
        sampling.batch(waiting)
    return Sampled(sampling.registers, sampling.denied)


def _stack_bytes(threads: int) -> int:
    return min(MAX_STACK_BYTES, _MAX_TOTAL_BYTES // max(threads, 1)) // 8 * 8 or 8


@dataclass
class _Sampling:
    architecture: Architecture
    accept: Callable[[Registers], bool]
    wait_ns: int
    stack_bytes: int
    period_ns: int = field(default_factory=sampling_period_ns)
    #: Whether samples may be taken in kernel mode; tried first, because more threads give one then.
    kernel: bool = True
    registers: dict[int, Registers] = field(default_factory=dict)
    denied: str | None = None

    def batch(self, waiting: deque[int]) -> None:
        """Sample up to `_BATCH` threads of `waiting`, and remove them from it."""
        with ExitStack() as closing:
            events: list[Event] = []
            while waiting and len(events) < _BATCH:
                try:
                    event = self._open(waiting[0])
                except OSError as error:
                    if not self._goes_on(error, waiting, bool(events)):
                        break
                    continue
                closing.callback(event.close)
                events.append(event)
                waiting.popleft()
            self._collect({event.descriptor: event for event in events})

    def _open(self, tid: int) -> Event:
        """The event of thread `tid`, user mode only if the kernel's part is not allowed. Raises OSError."""
        if self.kernel:
            try:
                return self._event(tid, kernel=True)
            except PermissionError:
                event = self._event(tid, kernel=False)
                self.kernel = False
                return event
        return self._event(tid, kernel=False)

    def _event(self, tid: int, kernel: bool) -> Event:
        return Event(self.architecture, tid, Sampling(self.period_ns, self.stack_bytes, kernel))

    def _goes_on(self, error: OSError, waiting: deque[int], opened: bool) -> bool:
        """Whether to try the next thread after `error` for the first of `waiting`."""
        tid = waiting[0]
        if error.errno == errno.ESRCH:
            waiting.popleft()
            return True
        if opened and error.errno in _TOO_MANY:  # sample fewer threads at once
            return False
        try:
            self.denied = why_refused(tid, error)
        except ProcessNotFound:
            waiting.popleft()
            return True
        return False

    def _collect(self, events: dict[int, Event]) -> None:
        """Wait until each of `events` (by descriptor) gave an accepted sample, or `wait_ns` has passed."""
        poll = select.poll()
        for descriptor, event in events.items():
            poll.register(descriptor, select.POLLIN)
            event.start()
        deadline_ns = time.monotonic_ns() + self.wait_ns
        while events and (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            for descriptor, what in poll.poll(left_ns / 1e6):
                if self._take(events[descriptor]) or what & (select.POLLHUP | select.POLLERR):
                    poll.unregister(descriptor)
                    events.pop(descriptor).stop()

    def _take(self, event: Event) -> bool:
        """Keep the first accepted sample of `event`; whether there was one."""
        for sample in event.samples():
            if self.accept(sample):
                self.registers[event.tid] = sample
                return True
        return False
