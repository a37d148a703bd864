"""Commands of spyglass without the time that Python takes to start and to import: each is a process of its own,
forked from one that has imported what commands use, and has run none of them.

Run as a program, with the number of an inherited socket, it is that process: it takes a request, forks, answers with
the pid and, when the command has ended, with its exit status, until the other end of the socket is closed.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from spyglass.__main__ import main

__all__ = ["fork_server"]

#: What the interpreter has read when it started.
_READ_AT_START = ("PYTHON", "LC_", "LANG")
_MAX_REQUEST_BYTES = 1 << 17
#: What most commands import, beside what these import themselves.
_PACKAGES = ("analysis", "binary", "export", "memory", "procfs", "render", "runtime", "words")
_MODULES = ("msgspec", "numpy", "rich", "rich.table", "spyglass.inspector")


class ForkServer:
    """The process to fork from. One command at a time: the next begins when the one before has ended."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[int]
    ) -> int:
        """Start a command with these `arguments`, this whole `environment`, and `files` as its standard input, output
        and error; returns its pid. Nothing in `environment` may be different that the interpreter reads when it starts."""
        for name in environment.keys() | os.environ.keys():
            if name.startswith(_READ_AT_START):
                assert environment.get(name) == os.environ.get(name), name
        request = [list(arguments), dict(environment), os.getcwd()]
        socket.send_fds(self._socket, [json.dumps(request).encode()], files)
        self._pid = int(self._socket.recv(16))
        return self._pid

    def wait(self, seconds: float) -> int:
        """The exit status, as of `subprocess.Popen`. After `seconds` it is killed."""
        self._socket.settimeout(seconds)
        try:
            return int(self._socket.recv(16))
        except TimeoutError:
            os.kill(self._pid, signal.SIGKILL)
            return self.wait(seconds)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def fork_server() -> ForkServer:
    """That of this process; it ends with it."""
    server = ForkServer()
    atexit.register(server.end)
    return server


def _serve(requests: socket.socket) -> int:
    """Fork for each of `requests`; in a child, run the command and return its exit status."""
    _import_all()
    while True:
        request, files, _, _ = socket.recv_fds(requests, _MAX_REQUEST_BYTES, 3)
        if not request:
            return 0
        pid = os.fork()
        if not pid:
            requests.close()
            return _command(json.loads(request), files)
        for each in files:
            os.close(each)
        requests.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


def _import_all() -> None:
    for name in _MODULES:
        import_module(name)
    for package in _PACKAGES:
        root = import_module(f"spyglass.{package}")
        for found in walk_packages(root.__path__, f"{root.__name__}."):
            import_module(found.name)
    gc.collect()
    gc.freeze()  # so that no child looks through what they have in common


def _command(request: tuple[list[str], dict[str, str], str], files: list[int]) -> int:
    arguments, environment, directory = request
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding=like.encoding, errors=like.errors, closefd=False)
        for number, mode, like in ((0, "r", sys.stdin), (1, "w", sys.stdout), (2, "w", sys.stderr))
    )
    assert isinstance(sys.stderr, io.TextIOWrapper)
    sys.stderr.reconfigure(line_buffering=True)
    sys.argv = ["spyglass", *arguments]
    return main()


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `spyglass.__main__.main`
    with socket.socket(fileno=int(sys.argv[1])) as _requests:
        _status = _serve(_requests)
    sys.exit(_status)
