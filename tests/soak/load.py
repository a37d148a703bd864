"""Requests to many servers at a steady rate, and how long each took, in a process of its own: ``python -m tests.soak.load``.

On standard input: "add KEY NAME PORT", "drop KEY", and "take", which is answered with a line of JSON: for each KEY the
milliseconds of its requests since the last "take", and how many failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from tests.server_load import requests_of

__all__ = ["Load", "loading"]

_PAUSE_S, _TIMEOUT_S = 0.2, 20.0


@dataclass
class Load:
    """Says to the process which servers there are, and takes what it measured."""

    said: IO[str]
    heard: IO[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, key: str, name: str, port: int) -> None:
        """Begin with requests to the finished server `name` at `port`."""
        self._say(f"add {key} {name} {port}")

    def drop(self, key: str) -> None:
        """Send no more to it."""
        self._say(f"drop {key}")

    def take(self) -> dict[str, tuple[list[float], int]]:
        """The milliseconds that requests took since the last call, and how many failed, by key."""
        with self.lock:
            print("take", file=self.said, flush=True)
            return {
                key: (times, failed)
                for key, (times, failed) in json.loads(self.heard.readline()).items()
            }

    def _say(self, line: str) -> None:
        with self.lock:
            print(line, file=self.said, flush=True)


@contextmanager
def loading() -> Iterator[Load]:
    """With a process that sends requests."""
    command = [sys.executable, "-m", "tests.soak.load"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Load(process.stdin, process.stdout)


class _Sender(threading.Thread):
    """Sends requests to one server until `dropped` is set."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(daemon=True)
        self._request_of = requests_of(name)
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        self.dropped = threading.Event()
        self.took_ms: list[float] = []
        self.failed = 0

    def run(self) -> None:
        number = 0
        while not self.dropped.wait(_PAUSE_S):
            began = time.monotonic()
            try:
                self._connection.request(*self._request_of(number))
                self._connection.getresponse().read()
                self.took_ms.append(1e3 * (time.monotonic() - began))
            except (OSError, HTTPException):
                self._connection.close()
                self.failed += 1
            number += 1

    def take(self) -> tuple[list[float], int]:
        """What it measured since the last call."""
        (times, self.took_ms), (failed, self.failed) = (self.took_ms, []), (self.failed, 0)
        return times, failed


def main() -> None:
    """Do what standard input says, until it ends."""
    senders: dict[str, _Sender] = {}
    for line in sys.stdin:
        match line.split():
            case ["add", key, name, port]:
                senders[key] = _Sender(name, int(port))
                senders[key].start()
            case ["drop", key]:
                senders.pop(key).dropped.set()
            case ["take"]:
                print(json.dumps({key: each.take() for key, each in senders.items()}), flush=True)


if __name__ == "__main__":
    main()
