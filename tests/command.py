"""The command line as a user runs it: a process of its own, in a pipe or in a terminal.

Of each command at least one test starts an interpreter, as a shell does. `piped` forks a process that has imported what
commands use (`tests.fork_server`): most of the processor time of a command is what its interpreter and imports take.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

from tests.fork_server import fork_server

__all__ = ["ESCAPES", "SPYGLASS", "on_terminal", "piped", "started"]

SPYGLASS = [sys.executable, "-m", "spyglass"]
#: What a terminal is told about colours.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
#: Emulated machines take longer (`tests.vm`).
_TIMEOUT_SECONDS = float(os.environ.get("SPYGLASS_TEST_SECONDS", "60"))


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command writes to pipes, run by a new interpreter."""
    return subprocess.run(
        [*SPYGLASS, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )


def piped(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a command writes to pipes; its standard input is empty."""
    server = fork_server()
    (out, into_out), (err, into_err) = os.pipe(), os.pipe()
    with open(os.devnull) as nothing, ThreadPoolExecutor(2) as readers:
        files = (nothing.fileno(), into_out, into_err)
        server.start(arguments, {**os.environ, **environment}, files)
        os.close(into_out)
        os.close(into_err)
        texts = [readers.submit(_all_of, end) for end in (out, err)]
        code = server.wait(_TIMEOUT_SECONDS)
        return subprocess.CompletedProcess(arguments, code, *(each.result() for each in texts))


def on_terminal(*arguments: str, width: int, height: int, **environment: str) -> str:
    """What a terminal of that size receives."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = {**clean, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(
        [*SPYGLASS, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        received = b"".join(iter(lambda: _read(ours), b""))
        assert process.wait(60) == 0, received
    os.close(ours)
    return received.decode().replace("\r\n", "\n")


def _all_of(end: int) -> str:
    with open(end) as pipe:
        return pipe.read()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed
        return b""
