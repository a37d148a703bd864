"""Stop a process, read where its threads are, and let it go on: the exception, asked for by name.

All is done by a thread of our own. The kernel ties tracing to the thread that seized, and undoes it
when that thread ends: however spyglass ends, the target goes on.
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
#: Threads that wait uninterruptibly in the kernel are given up when nothing happened for so long.
_QUIET_NS = 20_000_000
#: Any others that do not stop although nothing keeps them from it.
_PATIENCE_NS = 1_000_000_000
_ENDED = "ZX"


class Stop:
    """A process while it is stopped, and afterwards for how long it was."""

    def __init__(self, holder: _Holder) -> None:
        self._holder = holder
        #: Where each thread was stopped, by its id; without stacks, which memory holds now.
        self.registers: dict[int, Registers] = holder.registers
        #: The threads that wait uninterruptibly in the kernel, and stop only when that ends. They
        #: run nothing of the program meanwhile.
        self.left_out: tuple[int, ...] = tuple(sorted(holder.left_out))

    @property
    def elapsed_ns(self) -> int:
        """From before the first thread was stopped until now, or until the last one was let go."""
        return (self._holder.ended_ns or time.monotonic_ns()) - self._holder.began_ns


@contextmanager
def stopped(pid: int) -> Iterator[Stop]:
    """Stop every thread of process `pid` while the context is entered.

    Signals that the process gets meanwhile reach it afterwards, a process that job control stopped
    stays stopped, and its parent notices nothing. As with every debugger, a few system calls that
    a signal would interrupt fail with EINTR (epoll_wait(2) and others, signal(7)); Go's runtime
    repeats them.

    Do not wait for the target inside, and write to nothing that it may read. Raises `TargetError`
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
    """Ignore Ctrl-Z: the target would stay stopped for as long as spyglass does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so
        return
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL if before is None else before)


class _Holder(threading.Thread):
    """The thread that stops process `pid`, says when it is `ready`, and waits for its `release`."""

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
        #: The threads that are stopped, and the signal that each was about to get, or 0.
        self._held: dict[int, int] = {}

    def run(self) -> None:
        try:
            self._stop_all()
            self.ready.set()
            self.release.wait()
        except BaseException as error:  # raised anew in the thread that waits for this one
            self.error = error
        finally:
            try:
                self._let_go()
            finally:
                self.ended_ns = time.monotonic_ns()
                self.ready.set()

    def _stop_all(self) -> None:
        with procfs.open_process(self.pid) as identity:
            self.began_ns = time.monotonic_ns()
            # A thread that still runs may start another; when all known ones stand still, none can.
            while self._seize_new() and not self.release.is_set():
                self._await_stops()
            identity.check()

    def _seize_new(self) -> bool:
        """Ask the threads that were not there before to stop; whether there were any."""
        new = [tid for tid in _tids(self.pid) if tid not in self._seen]
        for tid in new:
            self._seen.add(tid)
            if self._seize(tid):
                self._pending.add(tid)
        return bool(new)

    def _seize(self, tid: int) -> bool:
        """Ask thread `tid` to stop; False if it has ended."""
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
        """Wait until all stand still that were asked to, or only those remain that cannot."""
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
        """Take down the registers of those that stand still now; whether there were any."""
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
        except ProcessLookupError:  # it has ended, or was killed, which no stop prevents
            return
        if registers is None:
            raise UnsupportedProgram(f"thread {tid} runs 32-bit code; spyglass reads 64-bit ones")
        self.registers[tid] = registers

    def _hopeless(self, quiet_ns: int) -> bool:
        """Whether nothing is to be expected of those that do not stand still yet."""
        if quiet_ns < _QUIET_NS:
            return False
        return quiet_ns > _PATIENCE_NS or all(map(_is_uninterruptible, self._pending))

    def _let_go(self) -> None:
        """Let all go on, with the signals that they were about to get.

        Those that do not stand still even now are let go by the kernel when this thread ends.
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
    """/proc/TID/status; as of a dead one if there is no such thread."""
    try:
        return read_status(tid)
    except (FileNotFoundError, ProcessLookupError):
        return {"State": "X"}


def _is_uninterruptible(tid: int) -> bool:
    return _status(tid)["State"].startswith("D")


def _refusal(pid: int, tracer: int) -> TargetError:
    """Why a thread of process `pid` may not be seized, if `tracer` (0: nobody) traces it."""
    if tracer == 0:
        return procfs.explain_denied(pid)
    status = _status(tracer)
    owner, name = status.get("Tgid", tracer), status.get("Name", "which has just ended")
    return TargetError(
        f"process {pid} is already traced by process {owner} ({name})",
        "end that debugger, or go without stopping the process",
    )
