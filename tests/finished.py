"""Finished Go programs of fixtures/versions.toml, started so that they stay up.

They are what spyglass is for: programs that nobody here wrote or compiled.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from fixtures import fetch as _fetch
from fixtures.fetch import Program
from tests.support import READY_TIMEOUT_SECONDS, GoProcess, had, start_with_pid

#: The names of all finished programs.
FINISHED: list[str] = [program.name for program in _fetch.programs()]


def finished_program(name: str) -> Path:
    """The executable of a finished program; fetched if need be."""
    return had(name, lambda: _fetch.fetch_program(_fetch.find_program(name)))


@contextmanager
def running(
    name: str, before: Sequence[str | Path] = (), pid: int | None = None
) -> Iterator[FinishedProcess]:
    """A finished program, up and at rest; its {port} is `.port` of what is yielded.

    `before`: the command that runs it in its own place. `pid`: the pid that it has, if that can be chosen.
    """
    program = _fetch.find_program(name)
    executable = finished_program(name)
    with ExitStack() as stack:
        places = _places(stack)
        arguments = [argument.format_map(places) for argument in program.arguments]
        process = FinishedProcess(
            [*before, executable, *arguments], cwd=Path(places["dir"]), port=int(places["port"])
        )
        if pid is None:
            stack.enter_context(process)
        else:
            start_with_pid(pid, process, stack)
        _wait_until_up(program, process)
        yield process


class FinishedProcess(GoProcess):
    """A finished program; prints whole tracebacks when it is asked to quit."""

    def __init__(self, command: list[str | Path], *, cwd: Path, port: int) -> None:
        super().__init__(
            command, env={"GOTRACEBACK": "system", "HOME": str(cwd)}, cwd=cwd, ready=None
        )
        self.port = port


def _places(stack: ExitStack) -> dict[str, str]:
    """What may stand in braces in versions.toml; all is removed when the stack is closed."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spyglass-")))
    (folder / "work").mkdir()
    os.mkfifo(folder / "fifo")
    writer = os.open(folder / "fifo", os.O_RDWR)
    stack.callback(os.close, writer)
    silent = stack.enter_context(socket.socket(socket.AF_UNIX))
    silent.bind(str(folder / "socket"))
    silent.listen()
    port, port2 = _free_ports()
    return {
        "dir": str(folder / "work"),
        "fifo": str(folder / "fifo"),
        "socket": str(folder / "socket"),
        "port": str(port),
        "port2": str(port2),
    }


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _wait_until_up(program: Program, process: FinishedProcess) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not (_answers(process.port, program.up) if program.up else _is_at_rest(process)):
        if not process.is_alive():
            raise EOFError(f"{program.name} has ended: {process.stderr[-2000:]}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{program.name} is not up: {process.stderr[-2000:]}")


def _answers(port: int, path: str) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            time.sleep(0.02)
            return False


def _is_at_rest(process: FinishedProcess) -> bool:
    """Whether it has all of a Go runtime's threads, and none ran between two looks."""
    before = _threads(process.pid)
    time.sleep(0.05)
    after = _threads(process.pid)
    asleep = all(state == "S" for state, _ in after.values())
    return len(after) > 2 and asleep and before == after


def _threads(pid: int) -> dict[str, tuple[str, str]]:
    """State and number of context switches of each thread (/proc/PID/task/TID/status, proc(5))."""
    threads = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            lines = (task / "status").read_text().splitlines()
        except OSError:
            continue
        status = dict(line.split(":", 1) for line in lines)
        threads[task.name] = (status["State"].split()[0], status["voluntary_ctxt_switches"])
    return threads
