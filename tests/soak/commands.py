"""Commands that the soak runs, and how they may end."""

from __future__ import annotations

import os
from typing import IO

from tests.fork_server import ForkServer

__all__ = ["COMMAND_SECONDS", "Command", "start", "text_of", "wrong_end"]

#: The words of a command line; in it PID is a process, and FILE what it may write, without an ending.
Command = tuple[str, ...]

COMMAND_SECONDS = 60.0


def start(
    server: ForkServer, command: Command, pid: int, file: object, files: tuple[IO[bytes], IO[bytes]]
) -> int:
    """Start `command` with `server`, on process `pid`; it prints into `files`, output and errors. Returns its own pid."""
    words = [str(pid) if word == "PID" else word.replace("FILE", str(file)) for word in command]
    with open(os.devnull, "rb") as nothing:
        numbers = [nothing.fileno(), *(each.fileno() for each in files)]
        return server.start(words, os.environ, numbers)


def wrong_end(code: int, errors: str) -> str | None:
    """What is wrong with how a command ended: neither with an answer, nor with one line that explains; None if nothing is."""
    lines = [line for line in errors.splitlines() if line.startswith("spyglass: ")]
    if code not in (0, 1) or "Traceback" in errors or "internal error" in errors:
        return f"status {code}: {errors[-1000:]}"
    if code == 1 and len(lines) != 1:
        return f"{len(lines)} lines explain: {errors[-1000:]}"
    return None


def text_of(file: IO[bytes]) -> str:
    """All that was written into `file`."""
    file.seek(0)
    return file.read().decode(errors="replace")
