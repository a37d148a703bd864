"""Whether ``spyglass serve`` stays as it is for an hour: memory and file descriptors, while processes come and go.

python -m tests.soak.serve [MINUTES [DOCUMENT]]. A server with an archive, read all the time by requests for everything; 20 Go processes at a
time, each of which lives for 5 to 60 seconds. At the end the slopes of resident memory, file descriptors and threads, with their standard
errors: those of a straight line through means of half minutes, of which the first fifth is left out (imports, caches).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.command import SPYGLASS
from tests.soak.slopes import Measured
from tests.support import NEWEST, Flavour, GoProcess, build, start

__all__ = ["PATHS", "ask", "server"]

_PROCESSES, _SHORTEST_S, _LONGEST_S = 20, 5.0, 60.0
_PAUSE_S = 0.2
_PROGRAMS = (
    ("park", "-n", "1000"),
    ("knots", "-deadlock", "-leak", "50"),
    ("allocs",),
    ("truth",),
)
PATHS = (
    "", "/goroutines?limit=1000", "/groups?by=stack", "/threads", "/waits?heap", "/snapshot", "/report", "/memory?heap",
    "/core", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap", "/debug/pprof/goroutineleak",
)  # fmt: skip


class _Crowd:
    """Programs that come and go."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._random = random.Random(1)
        self._programs = itertools.cycle(_PROGRAMS)
        self._living: list[tuple[float, GoProcess]] = []

    def renew(self) -> None:
        """End those whose time has come, and start others."""
        now = time.monotonic()
        for until, process in list(self._living):
            if until <= now:
                process.kill()
                process.wait()
                self._living.remove((until, process))
        if len(self._living) < _PROCESSES:
            name, *arguments = next(self._programs)
            process = self._stack.enter_context(start(name, NEWEST, Flavour.STRIPPED, *arguments))
            self._living.append((now + self._random.uniform(_SHORTEST_S, _LONGEST_S), process))

    def any(self) -> int:
        """The pid of one of them."""
        return self._random.choice(self._living)[1].pid


def main(minutes: float, document: str | None) -> None:
    """Run for `minutes`, and print what was measured."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        crowd, measured = _Crowd(stack), Measured()
        with server(
            Path(folder), [build(name, NEWEST, Flavour.STRIPPED).name for name, *_ in _PROGRAMS]
        ) as (process, client):
            began = time.monotonic()
            for number in itertools.count():
                seconds = time.monotonic() - began
                if seconds > 60 * minutes:
                    break
                crowd.renew()
                ask(client, crowd.any(), number, measured)
                measured.look(process.pid, seconds)
                time.sleep(_PAUSE_S)
    text = json.dumps(measured.document(), indent=1)
    print(text)
    if document is not None:
        Path(document).write_text(text + "\n")


@contextmanager
def server(
    folder: Path, names: Iterable[str]
) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """A server with an archive of processes with these `names`, in `folder`, and a client of it."""
    command = [*SPYGLASS, "serve", "--listen", "127.0.0.1:0", "--max-cpu", "60%"]
    command += ["--archive", str(folder / "archive"), "--every", "10s", "--batch", "3"]
    for name in names:  # not what else runs on this host
        command += ["--name", name]
    environment = os.environ | {"XDG_STATE_HOME": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = urlsplit(process.stdout.readline().strip())
        address = f"{said.scheme}://{said.netloc}"
        headers = {"authorization": f"Bearer {parse_qs(said.query)['token'][0]}"}
        try:
            with httpx2.Client(base_url=address, headers=headers, timeout=120) as client:
                yield process, client
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                raise SystemExit(f"the server ended with status {process.returncode}")


def ask(client: httpx2.Client, pid: int, number: int, measured: Measured) -> None:
    """One request, in turn for each path; a recording now and then."""
    if number % 50 == 49:
        answer = client.post(f"/v1/processes/{pid}/profiles?duration=1s")
    elif number % 20 == 19:
        answer = client.get("/v1/processes")
    else:
        answer = client.get(f"/v1/processes/{pid}{PATHS[number % len(PATHS)]}")
    measured.statuses[answer.status_code] = measured.statuses.get(answer.status_code, 0) + 1


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2] if len(sys.argv) > 2 else None
    )
