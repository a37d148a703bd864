"""Samples of threads for as long as they are wanted: where a process spends its processor time."""

from __future__ import annotations

from collections.abc import Sequence

from spyglass.errors import UnsupportedProgram
from spyglass.threads.architecture import Architecture, Registers, own_architecture
from spyglass.threads.perf import Event, Sampling, sampling_period_ns

__all__ = ["MAX_THREADS", "CpuSampler"]

#: Threads that are sampled at a time: each has a ring of `_RING_BYTES` and a file descriptor.
MAX_THREADS = 16
#: CPU time between two samples of a thread: an interrupt of some microseconds each.
_PERIOD_NS = 1_000_000
#: Stack bytes in a sample: 30 samples fit into a ring, 30 ms of CPU time; the kernel drops later ones.
_STACK_BYTES = 1 << 13
_RING_BYTES = 1 << 18


class CpuSampler:
    """Samples the threads `tids`, the first `MAX_THREADS` of them, from now until `stop`.

    No thread is stopped. A thread that cannot be sampled, because it ended or because the kernel refuses, has no
    samples.
    """

    def __init__(self, tids: Sequence[int]) -> None:
        self._events: list[Event] = []
        #: The threads that are, or were, sampled.
        self.tids: list[int] = []
        try:
            architecture = own_architecture()
        except UnsupportedProgram:
            return
        period_ns = max(_PERIOD_NS, sampling_period_ns())
        for tid in tids[:MAX_THREADS]:
            event = _open(architecture, tid, period_ns)
            if event is not None:
                self._events.append(event)
                self.tids.append(tid)

    def __len__(self) -> int:
        """The number of threads that are sampled."""
        return len(self._events)

    def stop(self) -> list[Registers]:
        """The samples, with up to 8 KB of stack each. Closes the events."""
        try:
            for event in self._events:
                event.stop()
            return [sample for event in self._events for sample in event.samples()]
        finally:
            self.close()

    def close(self) -> None:
        """End the sampling."""
        while self._events:
            self._events.pop().close()


def _open(architecture: Architecture, tid: int, period_ns: int) -> Event | None:
    """A started event of thread `tid`, of user mode only if the kernel's part is not allowed."""
    for kernel in (True, False):
        try:
            sampling = Sampling(period_ns, _STACK_BYTES, kernel, _RING_BYTES)
            event = Event(architecture, tid, sampling)
        except PermissionError:
            continue
        except OSError:
            return None
        try:
            event.start()
        except OSError:
            event.close()
            return None
        return event
    return None
