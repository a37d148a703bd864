"""The live view as a user runs it, on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spyglass.procfs import read_cpu
from tests.command import SPYGLASS
from tests.support import END_TIMEOUT_SECONDS

__all__ = ["ENTERS", "LEAVES", "Screen", "command_on_screen", "on_screen"]

#: What a terminal receives when the view begins, and when it ends and restores the screen.
ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Screen:
    """The view on a terminal of its own; `received` is all that this got."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self._ours = ours
        self.process = process
        self.received = b""
        os.set_blocking(ours, False)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def until(self, words: str, seconds: float = 20.0) -> None:
        """Read until `words` were written since the last time; spaces do not count, nor do colours."""
        wanted = words.replace(" ", "").encode()
        deadline = time.monotonic() + seconds
        begin = len(self.received)
        while wanted not in _ESCAPES.sub(b"", self.received[begin:]).replace(b" ", b""):
            assert time.monotonic() < deadline, (words, self.received[-4000:])
            self._read()

    def read_for(self, seconds: float) -> None:
        """Take all that is written meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._read()

    def cpu_seconds(self) -> float:
        """What it had of processors so far."""
        return read_cpu(self.process.pid).process_ns / 1e9

    def end(self, seconds: float = 10.0) -> int:
        """Its exit code, once it has ended."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.received[-2000:]
            self._read()
        self._read()
        return self.process.returncode

    def settings(self) -> list[object]:
        """How the terminal treats what is typed and written, as tcgetattr(3) has it."""
        return termios.tcgetattr(self._ours)

    def hang_up(self) -> None:
        os.close(self._ours)
        self._ours = -1

    def _read(self) -> None:
        time.sleep(0.02)
        try:
            while part := os.read(self._ours, 65536):
                self.received += part
        except OSError:
            pass


@contextmanager
def on_screen(
    *arguments: str, width: int = 120, height: int = 30, cwd: Path | None = None, **environment: str
) -> Iterator[Screen]:
    """``spyglass top`` on a terminal of its own."""
    command = [*SPYGLASS, "top", *arguments]
    with command_on_screen(command, width, height, cwd, **environment) as screen:
        yield screen


@contextmanager
def command_on_screen(
    command: Sequence[str], width: int, height: int, cwd: Path | None = None, **environment: str
) -> Iterator[Screen]:
    """`command` on a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=cwd,
        env={**clean, "TERM": "xterm-256color", **environment},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    screen = Screen(ours, process)
    try:
        yield screen
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(END_TIMEOUT_SECONDS)
        if screen._ours >= 0:
            screen.hang_up()
