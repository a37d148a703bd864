"""Twenty finished servers under load: some stay, the others are killed, replaced with the same pid, and run by an exec."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

from tests.finished import FinishedProcess, running
from tests.soak.load import Load
from tests.support import NEWEST, Flavour, build

__all__ = ["SERVERS", "Crowd", "Server"]

#: Finished programs that answer requests, and how their processes are called.
SERVERS = {
    "prometheus-bookworm": "prometheus",
    "etcd-trixie": "etcd",
    "node-exporter-sid": "prometheus-node-exporter",
    "prometheus-trixie": "prometheus",
}
_STAYING, _PASSING = 8, 12
_SHORTEST_S, _LONGEST_S = 20.0, 120.0
_BEFORE_EXEC = "1s"
_PAUSE_S = 0.5


@dataclass
class Server:
    """A finished server that runs."""

    key: str
    name: str
    process: FinishedProcess
    until: float
    stack: ExitStack


class Crowd:
    """The servers; `keep` runs in a thread until `ended` is set."""

    def __init__(self, load: Load, stack: ExitStack) -> None:
        self._load, self._stack = load, stack
        self._random = random.Random(1)
        self._names = cycle(SERVERS)
        self._keys = 0
        self.passing: list[Server] = []
        self.ended = threading.Event()
        #: What happened to them.
        self.events: Counter[str] = Counter()
        self.staying = [self._start(float("inf")) for _ in range(_STAYING)]

    def keep(self) -> None:
        """Start servers, and end those whose time has come."""
        while not self.ended.wait(_PAUSE_S):
            now = time.monotonic()
            gone = next((each for each in self.passing if each.until <= now), None)
            pid = None
            if gone is not None:
                pid = self._end(gone)
            if len(self.passing) < _PASSING:
                self._add(pid)

    def _add(self, pid: int | None) -> None:
        until = time.monotonic() + self._random.uniform(_SHORTEST_S, _LONGEST_S)
        try:
            self.passing.append(self._start(until, pid))
        except (EOFError, TimeoutError):  # another took its port
            self.events["did not come up"] += 1

    def any(self) -> Server:
        """One of them, which may end at any time."""
        return self._random.choice([*self.staying, *self.passing])

    def _start(self, until: float, pid: int | None = None) -> Server:
        """Start the next server; with this `pid`, or by an exec, or neither."""
        name, stack = next(self._names), self._stack.enter_context(ExitStack())
        before: list[str] = []
        if pid is None and self._random.random() < 0.5:
            before = [str(build("pulse", NEWEST, Flavour.EXE)), "-then", _BEFORE_EXEC]
        process = stack.enter_context(running(name, before, pid))
        self.events["started"] += 1
        self.events["begun by an exec of another Go program"] += bool(before)
        self.events["given the pid of one that was ended"] += process.pid == pid
        self._keys += 1
        server = Server(str(self._keys), name, process, until, stack)
        self._load.add(server.key, name, process.port)
        return server

    def _end(self, server: Server) -> int:
        """End a server at once or after it has tidied up; its pid, which is free then."""
        self.passing.remove(server)
        kill = self._random.random() < 0.7
        pid = server.process.pid
        if kill:
            server.process.kill()
        self.events["killed" if kill else "ended with SIGTERM"] += 1
        server.stack.close()
        self._load.drop(server.key)
        return pid
