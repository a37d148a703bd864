"""spyglass killed with SIGKILL while it holds a process: does the process go on?"""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from spyglass.threads import ptrace, stopped
from tests.agreement import never
from tests.children import survives, wait_until
from tests.fork_server import ForkServer
from tests.soak.commands import COMMAND_SECONDS, Command, start
from tests.support import GoProcess

__all__ = ["COMMANDS", "Killed", "assert_goes_on", "kill_everywhere", "kill_often"]

#: Every command that stops a process with --stop. FILE is what they may write.
COMMANDS: tuple[Command, ...] = (
    ("dump", "PID", "--stop"),
    ("dump", "PID", "--stop", "--threads"),
    ("waits", "PID", "--heap", "--stop"),
    ("snapshot", "PID", "--stop", "--heap", "-o", "FILE.json"),
    ("snapshot", "PID", "--stop", "--every", "1s", "--count", "1", "-o", "FILE"),
    ("report", "PID", "--stop", "-o", "FILE.html"),
    ("core", "PID", "--stop", "-o", "FILE.core"),
    ("memory", "PID", "--retain", "main.held", "--stop"),
    ("var", "PID", "main.holds", "--stop"),
)
_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 100e-6
_SIGSTOP = 1 << (signal.SIGSTOP - 1)


@dataclass
class Killed:
    """How many commands were killed, and how many of them while they held the process."""

    commands: int = 0
    holding: int = 0


def assert_goes_on(process: GoProcess) -> None:
    """The program `pulse` is alive and beats, and no thread of it is stopped or traced, or is about to be stopped."""
    try:
        wait_until(lambda: not process.is_alive() or _why_not_free(process.pid) is None)
        before = int(process.ask("count", _PATIENCE_SECONDS))
        wait_until(lambda: int(process.ask("count", _PATIENCE_SECONDS)) > before)
    except (AssertionError, EOFError, OSError) as error:
        never(f"it does not go on: {error!r}, {_why_not_free(process.pid)}")
    never(_why_not_free(process.pid))


def _why_not_free(pid: int) -> str | None:
    """What holds a thread of process `pid`; None if nothing does, or it has ended."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            lines = (task / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
        if status["State"][0] in "tT" or status["TracerPid"] != "0" or pending & _SIGSTOP:
            return f"thread {task.name} has state {status['State']}, tracer {status['TracerPid']}, pending signals {pending:#x}"
    return None


def kill_everywhere(process: GoProcess) -> int:
    """Kill spyglass in each place of a stop: before each of its calls of ptrace(2) in turn, and after each interruption,
    when nobody has waited for the thread to stop. The process must go on each time. Returns the number of places."""
    for place in range(1 << 10):
        ended = survives(partial(_stop_and_die, process.pid, place))
        assert_goes_on(process)
        if ended:
            return place
    raise AssertionError("a stop did not end")


def _stop_and_die(pid: int, place: int) -> None:
    """Stop process `pid`, and be killed at a `place`, if there are so many."""
    real, places = ptrace._ptrace, iter(range(1 << 10))

    def die_if_it_is_here() -> None:
        if next(places) == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def call(request: int, *arguments: int) -> None:
        die_if_it_is_here()
        real(request, *arguments)
        if request == ptrace._INTERRUPT:
            die_if_it_is_here()

    with patch.object(ptrace, "_ptrace", call), stopped(pid):
        pass


def kill_often(
    process: GoProcess, folder: Path, count: int, commands: Sequence[Command] = COMMANDS
) -> Killed:
    """Start commands that stop the process, in turn, and kill `count` of them at moments while they hold it."""
    killed, chance = Killed(), random.Random(1)
    with closing(_Commands(process.pid, folder)) as starter:
        usual_s = {command: starter.held_seconds(command) for command in commands}
        for command in itertools.cycle(commands):
            if killed.holding >= count:
                return killed
            assert killed.commands < 4 * count + 20, f"too few were killed in time: {killed}"
            killed.commands += 1
            killed.holding += starter.kill(command, chance.uniform(0, usual_s[command]))
            assert_goes_on(process)
    raise AssertionError("no commands")


class _Commands:
    """Starts commands that stop process `pid`; files that they write are in `folder`."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self._folder = pid, folder
        self._server = ForkServer()
        #: A pidfd of the command that was started last.
        self._handle = os.pidfd_open(os.getpid())

    def held_seconds(self, command: Command) -> float:
        """How long `command` holds the process, if nothing happens to it."""
        self._start(command)
        assert self._until_held(), f"it did not stop the process: {command}"
        began = time.monotonic()
        while _is_held(self._pid):
            pass
        took = time.monotonic() - began
        assert self._server.wait(COMMAND_SECONDS) == 0, command
        return took

    def kill(self, command: Command, seconds: float) -> bool:
        """Kill `command` so many seconds after it began to stop the process; whether it held it then."""
        self._start(command)
        self._until_held()
        until = time.monotonic() + seconds
        while time.monotonic() < until:  # a sleep would be longer than most stops
            pass
        held = _is_held(self._pid)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        return self._server.wait(COMMAND_SECONDS) == -signal.SIGKILL and held

    def _start(self, command: Command) -> None:
        with open(os.devnull, "r+b") as nothing:
            file = self._folder / str(uuid4())
            pid = start(self._server, command, self._pid, file, (nothing, nothing))
        os.close(self._handle)
        self._handle = os.pidfd_open(pid)

    def _until_held(self) -> bool:
        """Wait until it holds the process; False if it ended before."""
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        while not _is_held(self._pid):
            if ended.poll(0):
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def close(self) -> None:
        """End the process that commands are forked from."""
        os.close(self._handle)
        self._server.end()


def _is_held(pid: int) -> bool:
    return "\nTracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
