"""Processes of the tests' own making, in states that are hard to come by."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

__all__ = [
    "NOBODY",
    "become",
    "become_with",
    "drop_capability",
    "forbid_calls",
    "forked",
    "in_child",
    "in_thread",
    "may_be_first",
    "needs_root",
    "prctl",
    "sleeping",
    "stopped",
    "survives",
    "wait_until",
]

T = TypeVar("T")

NOBODY = 65534
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
_PR_SET_KEEPCAPS = 8
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON = 19, 21, 38

_TIMEOUT_SECONDS = 20.0
_READY = b"ready"
_LIBC = ctypes.CDLL(None, use_errno=True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@contextmanager
def sleeping(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child that sleeps (or does `command`), once its program runs."""
    child = subprocess.Popen(command or ("sleep", "600"), **options)
    try:
        # Popen returns while the kernel still replaces the program.
        wait_until(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes())
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()


@contextmanager
def forked(prepare: Callable[[], object]) -> Iterator[int]:
    """The pid of a child without an exec, that has called `prepare` and does nothing more."""
    ready, says = os.pipe()
    pid = _fork()
    if pid == 0:

        def prepare_and_wait() -> None:
            prepare()
            os.write(says, _READY)
            signal.pause()

        _run_and_exit(says, prepare_and_wait)
    os.close(says)
    try:
        answer = os.read(ready, len(_READY))
        assert answer == _READY, "the child failed to prepare itself"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def in_child(function: Callable[[], T]) -> T:
    """What `function` returns, or raises, in a child, which it may change as it likes."""
    reads, writes = os.pipe()
    pid = _fork()
    if pid == 0:
        _run_and_exit(writes, lambda: os.write(writes, pickle.dumps((function(), None))))
    os.close(writes)
    with os.fdopen(reads, "rb") as stream:
        result, error = pickle.loads(stream.read())
    os.waitpid(pid, 0)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def survives(function: Callable[[], object]) -> bool:
    """Whether a child that calls `function` gets to its end, and is not killed before. Raises if it fails."""
    pid = _fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0 or os.WIFSIGNALED(status), f"the child failed: {status:#x}"
    return status == 0


def _run_and_exit(pipe: int, function: Callable[[], object]) -> NoReturn:
    try:
        function()
    except BaseException as error:
        os.write(pipe, pickle.dumps((None, error)))
    finally:
        os._exit(0)


def _fork() -> int:
    import pwd  # noqa: F401  (another user may not be allowed to read the standard library)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of numpy
        return os.fork()


def become(uid: int = NOBODY, *, dumpable: bool = True) -> None:
    """Be another user, if that may be; look like an ordinary process of that user or a protected one."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    prctl(PR_SET_DUMPABLE, int(dumpable))


def become_with(*capabilities: int) -> None:
    """Be another user who has these capabilities, as a service that a supervisor starts; needs root."""
    prctl(_PR_SET_KEEPCAPS, 1)
    become()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low halves, then high ones
    for number in capabilities:
        for kind in (0, 1):
            sets[number // 32 * 3 + kind] |= 1 << number % 32
    _checked(_LIBC.capset(header, sets))


def prctl(option: int, argument: int | bytes) -> None:
    """prctl(2) with one argument."""
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    _checked(_LIBC.prctl(option, value, 0, 0, 0))


def drop_capability(number: int) -> None:
    """Take a capability out of the effective and permitted sets of this process (capset(2))."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low halves, then high ones
    _checked(_LIBC.capget(header, sets))
    for kind in (0, 1):
        sets[number // 32 * 3 + kind] &= ~(1 << number % 32)
    _checked(_LIBC.capset(header, sets))


def forbid_calls(*numbers: int) -> None:
    """Let these system calls fail with EPERM in this process, as containers do (seccomp(2))."""
    load_number, is_equal, give = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050001
    tests = [(is_equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    program = [(load_number, 0, 0, 0), *tests, (give, 0, 0, allow), (give, 0, 0, fail)]
    space = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    kept = ctypes.create_string_buffer(space, len(space))
    filters = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(kept))
    set_no_new_privs, set_seccomp, filter_mode = 38, 22, 2
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    _checked(_LIBC.prctl(set_no_new_privs, one, zero, zero, zero))
    _checked(_LIBC.prctl(set_seccomp, ctypes.c_ulong(filter_mode), filters, zero, zero))


def unshare_mounts_and_hide_processes() -> None:
    """See a /proc that shows a user's own processes alone (hidepid, proc(5))."""
    clone_newns, ms_rec_private = 0x00020000, 0x4000 | 0x40000
    _checked(_LIBC.unshare(clone_newns))
    _checked(_LIBC.mount(b"none", b"/", None, ms_rec_private, None))
    _checked(_LIBC.mount(b"proc", b"/proc", b"proc", 0, b"hidepid=2"))


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def wait_until(holds: Callable[[], object], timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
    """Return when `holds()` is true."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """With all threads of process `pid` stopped by a signal: even a Go program at rest sweeps its heap now and then."""

    def states() -> set[str]:
        files = Path(f"/proc/{pid}/task").glob("*/stat")
        return {file.read_text().rpartition(")")[2].split()[0] for file in files}

    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: states() == {"T"})
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_thread(act: Callable[[], T]) -> T:
    """What `act` gives in a thread of its own. Raises `IndexError` if it raises OSError."""
    found: list[T] = []

    def run() -> None:
        with suppress(OSError):
            found.append(act())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def may_be_first() -> bool:
    """Whether this process may use real-time priorities: with CAP_SYS_NICE, and time for them in its control group."""
    try:
        in_thread(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
    except IndexError:
        return False
    return True
