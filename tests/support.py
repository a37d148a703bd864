"""Go toolchains, fixture programs and running Go processes for the tests.

SPYGLASS_GO says which Go versions the tests use: minors with commas between them, or "all"; the
newest one if it is not set. What cannot be had skips its tests with a reason; where CI is set, it
fails them.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

import pytest

import spyglass
from fixtures import build as _build
from fixtures import fetch as _fetch
from fixtures.build import Flavour
from spyglass.errors import NotGoProgram
from tests.traceback_text import TextGoroutine, goroutines_of_text

__all__ = [
    "ALL_MINORS",
    "ENDS",
    "MATRIX",
    "MILESTONES",
    "NEWEST",
    "Flavour",
    "GoProcess",
    "Truth",
    "build",
    "c_shared_host",
    "go_child",
    "had",
    "in_ends",
    "in_milestones",
    "in_namespaces",
    "many_seeds",
    "minor_after",
    "missing",
    "start",
    "start_with_pid",
    "toolchain",
]

#: Every minor version that there is a toolchain for, oldest first.
ALL_MINORS: list[str] = [each.minor for each in _fetch.toolchains()]

#: The newest of them.
NEWEST: str = ALL_MINORS[-1]


def _chosen_minors() -> list[str]:
    chosen = os.environ.get("SPYGLASS_GO", "") or NEWEST
    if chosen == "all":
        return ALL_MINORS
    minors = [minor.strip() for minor in chosen.split(",")]
    if unknown := set(minors) - set(ALL_MINORS):
        raise pytest.UsageError(f"SPYGLASS_GO: no toolchain for {', '.join(sorted(unknown))}")
    return minors


#: The minor versions that SPYGLASS_GO chooses.
MATRIX: list[str] = _chosen_minors()

#: Those of them where what is read differs most from the version before, and the newest: 1.19 has arguments in
#: registers and other tables of functions, 1.22 says otherwise where pointers are, 1.24 has other maps and mutexes.
MILESTONES: list[str] = [
    each for each in MATRIX if each in ("1.15", "1.19", "1.22", "1.24", NEWEST)
] or MATRIX

#: The oldest and the newest of them.
ENDS: list[str] = list(dict.fromkeys((MATRIX[0], MATRIX[-1])))

#: For tests with the fixture `minor` that take long: of how a program is read, where another test of the same reads
#: those of every version;
in_milestones = pytest.mark.parametrize("minor", MILESTONES, indirect=True)
#: and of what is done with that, where nothing depends on the version.
in_ends = pytest.mark.parametrize("minor", ENDS, indirect=True)

#: Of tests that try what comes by chance, one in so many seeds is tried by `make test`.
_SEEDS_OF_EACH_SHORT_ONE = 4


def many_seeds(count: int) -> pytest.MarkDecorator:
    """For tests of what comes by chance: `count` values of the argument `seed`; all but the first quarter are slow."""
    marks = [pytest.mark.slow]
    seeds = [
        pytest.param(seed, marks=marks * (seed >= count // _SEEDS_OF_EACH_SHORT_ONE))
        for seed in range(count)
    ]
    return pytest.mark.parametrize("seed", seeds)


READY_TIMEOUT_SECONDS = 60.0
END_TIMEOUT_SECONDS = 5.0
_PID_TRIES = 20


def minor_after(minor: str, steps: int = 1) -> str:
    """The minor version `steps` after `minor`: "1.28" after "1.27"."""
    major, _, number = minor.partition(".")
    return f"{major}.{int(number) + steps}"


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where CI is set: there everything must be present."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def toolchain(minor: str = MATRIX[-1]) -> Path:
    """The go command of a minor version; fetched if need be."""
    return had(f"Go {minor}", lambda: _fetch.fetch_toolchain(_fetch.find_toolchain(minor)))


def had(what: str, fetch: Callable[[], Path]) -> Path:
    """What `fetch` returns. If it cannot be had, that is tried once in a session only."""
    if what not in _failures:
        try:
            return fetch()
        except _fetch.FetchError as error:
            _failures[what] = str(error)
    missing(f"no {what}: {_failures[what]}")


_failures: dict[str, str] = {}


def build(program: str, minor: str = MATRIX[-1], flavour: Flavour = Flavour.EXE) -> Path:
    """The executable of fixtures/programs/PROGRAM.go; compiled once, and kept between runs."""
    if flavour is Flavour.MUSL and not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed (musl-tools)")
    toolchain(minor)
    return _build.build(program, _fetch.find_toolchain(minor), flavour)


@dataclass(frozen=True)
class Truth:
    """What a fixture program says of itself; nothing of it changes until its next command.

    Its main goroutine ran while it said so, and is in a system call (reading) between commands.
    """

    go_version: str
    stacks: str
    gomaxprocs: int
    gogc_percent: int
    memory_limit_bytes: int | None
    num_goroutine: int
    heap_inuse_bytes: int
    heap_idle_bytes: int
    heap_released_bytes: int
    stack_inuse_bytes: int
    next_gc_bytes: int
    num_gc: int
    pause_total_ns: int
    last_pause_ns: int
    last_gc_unix_ns: int

    @cached_property
    def goroutines(self) -> list[TextGoroutine]:
        """Its own goroutines: system goroutines are not among them."""
        return goroutines_of_text(self.stacks)


class GoProcess:
    """A program that runs while the context is entered, and is ended and reaped after it.

    With `ready` set, entering waits for a line on standard output that begins so.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: str | None = "ready",
    ) -> None:
        self.command = [str(part) for part in command]
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._ready = ready
        self._unread = b""

    def __enter__(self) -> Self:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=self._env,
            cwd=self._cwd,
            bufsize=0,
        )
        try:
            if self._ready is not None:
                self.ready_line = self.read_line(READY_TIMEOUT_SECONDS)
                assert self.ready_line.startswith(self._ready), self.ready_line
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, command: str) -> None:
        """Send a command line that is not answered."""
        self._stdin.write(f"{command}\n".encode())

    def kill(self) -> None:
        """End it at once; it is reaped when the context is left."""
        self._process.kill()

    def ask(self, command: str, timeout: float = READY_TIMEOUT_SECONDS) -> str:
        """Send a command line; the line that it answers."""
        self.tell(command)
        return self.read_line(timeout)

    def truth(self) -> Truth:
        """What the program says of itself now."""
        return Truth(**json.loads(self.ask("truth")))

    def read_line(self, timeout: float) -> str:
        """The next line of standard output, without its end."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            self._unread += self._read_some(deadline)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace")

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait(READY_TIMEOUT_SECONDS)

    def quit_traceback(self) -> list[TextGoroutine]:
        """End it with SIGQUIT; the goroutines of the traceback that the runtime prints then.

        Start it with GOTRACEBACK=system to see system goroutines and every frame.
        """
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(READY_TIMEOUT_SECONDS)
        return goroutines_of_text(self.stderr)

    def end(self) -> None:
        """End and reap the process, whatever its state. May be called again."""
        if self._process.stdin:
            self._process.stdin.close()
        if self.is_alive():
            self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._stderr.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    def _read_some(self, deadline: float) -> bytes:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"{self.command[0]} said nothing in time: {self.stderr[-2000:]}")
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise EOFError(f"{self.command[0]} has ended: {self.stderr[-2000:]}")
        return data


def start(
    program: str,
    minor: str = MATRIX[-1],
    flavour: Flavour = Flavour.EXE,
    *arguments: str,
    env: Mapping[str, str] | None = None,
) -> GoProcess:
    """A fixture program, built if need be; it starts when the context is entered."""
    return GoProcess([build(program, minor, flavour), *arguments], env=env)


def start_with_pid(pid: int, process: GoProcess, stack: ExitStack) -> GoProcess:
    """Start `process` in `stack`, with this pid if the kernel lets us choose and nobody takes it before (pid_namespaces(7))."""
    with suppress(OSError):
        for _ in range(_PID_TRIES):
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
            if stack.enter_context(process).pid == pid or Path(f"/proc/{pid}").exists():
                return process
            process.end()
    return stack.enter_context(process)


# A process that is not Go's own: Python, which loads a Go library and lets it start goroutines.
_C_SHARED_HOST = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.Truth.restype = ctypes.c_void_p
library.StartWork(int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() != "truth":
        break
    answer = library.Truth()
    print(ctypes.string_at(answer).decode(), flush=True)
    library.FreeText(ctypes.c_void_p(answer))
"""


def c_shared_host(
    minor: str = MATRIX[-1], goroutines: int = 20, library: Path | None = None
) -> GoProcess:
    """A Python process that has loaded fixtures/programs/shared.go: three times so many goroutines.

    The goroutine that answers for the truth is of the host's thread, and there only while it does.
    `library` may be a copy of what is built.
    """
    library = library or build("shared", minor, Flavour.C_SHARED)
    return GoProcess([sys.executable, "-c", _C_SHARED_HOST, library, str(goroutines)])


def in_namespaces(*command: str | Path) -> list[str | Path]:
    """`command`, a call of unshare(1), if that is permitted here; else the test is skipped."""
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        missing(f"{command[0]} is not permitted here: {tried.stderr.strip()}")
    return list(command)


def go_child(process: GoProcess) -> int:
    """The Go program that a process, which is none itself, has started."""
    with pytest.raises(NotGoProgram) as refused:
        spyglass.attach(process.pid)
    (child,) = refused.value.go_children
    return child
