"""The command line as a user runs it: a process of its own, in a pipe or in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

__all__ = ["ESCAPES", "SPYGLASS", "on_terminal", "piped"]

SPYGLASS = [sys.executable, "-m", "spyglass"]
#: What a terminal is told about colours.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def piped(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SPYGLASS, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


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


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed
        return b""
