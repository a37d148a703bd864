"""Stop a process with ptrace(2), read the registers of its threads, and resume it. Only for ``--stop``.

One thread of spyglass does all of it: the kernel ties tracing to the thread that seized, and detaches
when that thread ends. However spyglass ends, the target is resumed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from spyglass import procfs
from spyglass.errors import TargetError, UnsupportedProgram
from spyglass.procfs.files import read_status
from spyglass.threads import ptrace
from spyglass.threads.architecture import Registers, own_architecture

__all__ = ["Stop", "stopped"]

_POLL_SECONDS = 50e-6
#: How long to wait for threads in uninterruptible sleep while no other thread stops.
_QUIET_NS = 20_000_000
#: How long to wait for any other thread.
_PATIENCE_NS = 1_000_000_000
_ENDED = "ZX"


class Stop:
    """A stopped process: registers of its threads, and how long it has been, or was, stopped."""

    def __init__(self, holder: _Holder) -> None:
        self._holder = holder
        #: Registers by thread id; without stack bytes, which are read from memory.
        self.registers: dict[int, Registers] = holder.registers
        #: Ids of threads in uninterruptible sleep: they stop when that ends, and run no code of the
        #: program until then.
        self.left_out: tuple[int, ...] = tuple(sorted(holder.left_out))

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds from before the first thread was stopped until now, or until the last one resumed."""
        return (self._holder.ended_ns or time.monotonic_ns()) - self._holder.began_ns


@contextmanager
def stopped(pid: int) -> Iterator[Stop]:
    """Stop every thread of process `pid` while the context is entered.

    Signals sent to the process are delivered after it resumes, a process that job control stopped
    stays stopped, and its parent is not notified. As with every debugger, a few system calls that
    a signal would interrupt fail with EINTR (epoll_wait(2) and others, signal(7)); Go's runtime
    repeats them.

    Inside the context, do not wait for the target and do not write to a pipe that it reads. Raises `TargetError`
    if another tracer has it already, `PermissionDenied`, `ProcessNotFound` or `ProcessChanged`.
    """
    if pid == os.getpid():
        raise TargetError("spyglass cannot stop itself")
    holder = _Holder(pid)
    with _without_suspension():
        try:
            holder.start()
            holder.ready.wait()
            if holder.error is not None:
                raise holder.error
            yield Stop(holder)
        finally:
            holder.release.set()
            if holder.is_alive():
                holder.join()


@contextmanager
def _without_suspension() -> Iterator[None]:
    """Ignore Ctrl-Z: while spyglass is suspended the target would stay stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL if before is None else before)


class _Holder(threading.Thread):
    """The thread that stops process `pid`, sets `ready`, waits for `release`, and resumes the process."""

    def __init__(self, pid: int) -> None:
        super().__init__(name=f"holds {pid}")
        self.pid = pid
        self.ready = threading.Event()
        self.release = threading.Event()
        self.error: BaseException | None = None
        self.registers: dict[int, Registers] = {}
        self.left_out: set[int] = set()
        self.began_ns = time.monotonic_ns()
        self.ended_ns: int | None = None
        self._architecture = own_architecture()
        self._seen: set[int] = set()
        self._pending: set[int] = set()
        #: Stopped threads by id, and the signal to deliver to each when it resumes, or 0.
        self._held: dict[int, int] = {}

    def run(self) -> None:
        try:
            self._stop_all()
            self.ready.set()
            self.release.wait()
        except BaseException as error:  # raised again in the thread that waits for this one
            self.error = error
        finally:
            try:
                self._resume_all()
            finally:
                self.ended_ns = time.monotonic_ns()
                self.ready.set()

    def _stop_all(self) -> None:
        with procfs.open_process(self.pid) as identity:
            self.began_ns = time.monotonic_ns()
            # A running thread may start another; once all known threads are stopped, none can.
            while self._seize_new() and not self.release.is_set():
                self._await_stops()
            identity.check()

    def _seize_new(self) -> bool:
        """Interrupt the threads that began since the last call; returns whether there were any."""
        new = [tid for tid in _tids(self.pid) if tid not in self._seen]
        for tid in new:
            self._seen.add(tid)
            if self._seize(tid):
                self._pending.add(tid)
        return bool(new)

    def _seize(self, tid: int) -> bool:
        """Seize and interrupt thread `tid`; False if it has ended."""
        try:
            ptrace.seize(tid)
            ptrace.interrupt(tid)
        except ProcessLookupError:
            return False
        except PermissionError:
            status = _status(tid)
            if status["State"][:1] in _ENDED:
                return False
            raise _refusal(self.pid, int(status.get("TracerPid", 0))) from None
        except OSError as error:
            raise TargetError(f"process {self.pid} cannot be stopped: {error.strerror}") from None
        return True

    def _await_stops(self) -> None:
        """Wait until all interrupted threads have stopped, or the rest is in uninterruptible sleep."""
        changed_ns = time.monotonic_ns()
        while self._pending and not self.release.is_set():
            if self._note_stops():
                changed_ns = time.monotonic_ns()
            elif self._hopeless(time.monotonic_ns() - changed_ns):
                self.left_out |= self._pending
                self._pending.clear()
            else:
                time.sleep(_POLL_SECONDS)

    def _note_stops(self) -> bool:
        """Read the registers of threads that have stopped since the last call; whether there were any."""
        before = len(self._pending)
        for tid in tuple(self._pending):
            held_signal = ptrace.has_stopped(tid)
            if held_signal is not None:
                self._pending.discard(tid)
                self._held[tid] = held_signal
                self._read(tid)
        return len(self._pending) < before

    def _read(self, tid: int) -> None:
        try:
            registers = ptrace.registers(self._architecture, tid)
        except ProcessLookupError:  # it ended: SIGKILL ends stopped threads too
            return
        if registers is None:
            raise UnsupportedProgram(
                f"thread {tid} runs 32-bit code; spyglass reads 64-bit code only"
            )
        self.registers[tid] = registers

    def _hopeless(self, quiet_ns: int) -> bool:
        """Whether to wait no longer for the threads that have not stopped."""
        if quiet_ns < _QUIET_NS:
            return False
        return quiet_ns > _PATIENCE_NS or all(map(_is_uninterruptible, self._pending))

    def _resume_all(self) -> None:
        """Resume all stopped threads, and deliver the signals that were held.

        The kernel detaches from threads that have not stopped when this thread ends.
        """
        for tid, held_signal in self._held.items():
            with suppress(ProcessLookupError):
                ptrace.detach(tid, held_signal)


def _tids(pid: int) -> list[int]:
    """The threads of process `pid`; none if it has ended."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _status(tid: int) -> dict[str, str]:
    """/proc/TID/status; of a thread that does not exist, state X (dead)."""
    try:
        return read_status(tid)
    except (FileNotFoundError, ProcessLookupError):
        return {"State": "X"}


def _is_uninterruptible(tid: int) -> bool:
    return _status(tid)["State"].startswith("D")


def _refusal(pid: int, tracer: int) -> TargetError:
    """The error for a thread of process `pid` that cannot be seized; `tracer` is its TracerPid, 0: none."""
    if tracer == 0:
        return procfs.explain_denied(pid)
    status = _status(tracer)
    owner, name = status.get("Tgid", tracer), status.get("Name", "ended")
    return TargetError(
        f"process {pid} is already traced by process {owner} ({name})",
        "detach that debugger, or run without --stop",
    )
