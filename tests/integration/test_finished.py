"""Programs that nobody here wrote or compiled, compared with what they say of themselves."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

import pytest
from elftools.elf.elffile import ELFFile

import spyglass
from fixtures.fetch import Program, find_program
from spyglass.model import Frame, Snapshot
from tests.agreement import disagreements
from tests.finished import FINISHED, finished_program, running
from tests.support import toolchain
from tests.traceback_text import TextFrame, TextGoroutine, goroutines_of_text

pytestmark = pytest.mark.live

#: For these there is neither a toolchain nor DWARF: what cannot be known of them is to be null.
WITHOUT_TABLE = ("esbuild-0.8.57", "esbuild-0.14.29")
SERVERS = ("prometheus-bookworm", "prometheus-trixie", "etcd-trixie", "node-exporter-sid")

ATTEMPTS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Looked:
    """What was seen of a program, and what it said when it was told to quit right after that."""

    program: Program
    snapshot: Snapshot
    said: list[TextGoroutine]

    @property
    def disagreements(self) -> list[str]:
        return disagreements(self.snapshot, self.said, whole=True)


@pytest.fixture(scope="module", params=FINISHED)
def looked(request: pytest.FixtureRequest) -> Looked:
    # A server does something now and then, between our look and its end: what is wrong is so each time.
    for _ in range(ATTEMPTS):
        looked = _look(request.param)
        if not looked.disagreements:
            break
    return looked


def _look(name: str) -> Looked:
    with running(name) as process:
        with spyglass.attach(process.pid) as program:
            snapshot = program.snapshot()
        return Looked(find_program(name), snapshot, process.quit_traceback())


def test_goroutines_are_what_the_program_says(looked: Looked) -> None:
    assert len(looked.said) >= 5
    assert looked.disagreements == []
    assert {goroutine.quality for goroutine in looked.snapshot} <= {"stable", "moved"}


def test_the_program_is_described(looked: Looked) -> None:
    process, state = looked.snapshot.process, looked.program.state
    assert re.match(rf"{re.escape('go' + looked.program.go)}(?![0-9])", process.go_version or "")
    assert process.stripped is ("symbols" not in state)
    assert process.pie is ("pie" in state)
    assert process.cgo is _needs_libraries(finished_program(looked.program.name))


def _needs_libraries(executable: Path) -> bool:
    with executable.open("rb") as file:
        found: Any = [*ELFFile(file).iter_segments("PT_DYNAMIC")]
        return any(tag.entry.d_tag == "DT_NEEDED" for each in found for tag in each.iter_tags())


def test_its_module_is_the_one_that_go_reads_from_the_file(looked: Looked) -> None:
    command: list[str | Path] = [
        toolchain(),
        "version",
        "-m",
        finished_program(looked.program.name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    recorded = dict(re.findall(r"^\t(path|mod)\t(\S+)", done.stdout, re.MULTILINE))
    assert done.returncode == 0 or "no build info" in looked.program.state
    assert looked.snapshot.process.module == recorded.get("mod", recorded.get("path"))


def test_its_goroutines_are_counted(looked: Looked) -> None:
    own = sum(not goroutine.system for goroutine in looked.snapshot)
    assert looked.snapshot.scheduler.goroutines == own
    assert len(looked.snapshot.processors) == looked.snapshot.scheduler.gomaxprocs
    assert {thread.m for thread in looked.snapshot.threads} != {None}


def test_nothing_is_missing_where_everything_can_be_known(looked: Looked) -> None:
    if looked.program.name not in WITHOUT_TABLE:
        assert looked.snapshot.problems == ()
        assert looked.snapshot.memory.heap_in_use_bytes


def test_what_cannot_be_known_is_null_and_explained(looked: Looked) -> None:
    if looked.program.name in WITHOUT_TABLE:
        memory = looked.snapshot.memory
        assert memory.heap_in_use_bytes is memory.gc_count is memory.heap_goal_bytes is None
        assert "memory" in {problem.subject for problem in looked.snapshot.problems}


class Server:
    """A program with pages about itself, and a look into it."""

    def __init__(self, connection: HTTPConnection, program: spyglass.Inspector) -> None:
        self.connection = connection
        self.program = program

    def goroutines(self) -> list[TextGoroutine]:
        """What its page of goroutines says, but for those that serve our connection."""
        said = goroutines_of_text(self._page("/debug/pprof/goroutine?debug=2"))
        return [replace(each, wait_minutes=0) for each in said if not _serves(each.frames)]

    def metrics(self) -> dict[str, float]:
        lines = (line.split() for line in self._page("/metrics").splitlines())
        return {parts[0]: float(parts[1]) for parts in lines if parts[0] in _METRICS}

    def _page(self, path: str) -> str:
        self.connection.request("GET", path)
        return self.connection.getresponse().read().decode()


_METRICS = [
    "go_gc_gogc_percent",
    "go_gc_duration_seconds_count",
    "go_gc_duration_seconds_sum",
    "go_memstats_last_gc_time_seconds",
    "go_memstats_next_gc_bytes",
]


def _serves(stack: Iterable[Frame | TextFrame]) -> bool:
    return any(frame.function.startswith("net/http.(*conn") for frame in stack)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with (
        running(request.param) as process,
        closing(HTTPConnection("127.0.0.1", process.port)) as connection,
        spyglass.attach(process.pid) as program,
    ):
        yield Server(connection, program)


def at_rest(server: Server, ask: Callable[[], T]) -> tuple[Snapshot, T]:
    """A snapshot, and what was answered to `ask` before it, and again after it."""
    for _ in range(100):
        before, snapshot = ask(), server.program.snapshot()
        if ask() == before:
            return snapshot, before
    pytest.fail("it does not come to rest")


def test_goroutines_are_those_of_the_page(server: Server) -> None:
    for _ in range(ATTEMPTS):
        snapshot, said = at_rest(server, server.goroutines)
        own = [each for each in snapshot if not _serves(each.stack or ())]
        found = disagreements(own, said)
        if not found:
            break
    assert len(said) > 1
    assert found == []


def test_collections_are_those_of_the_metrics(server: Server) -> None:
    if server.metrics().get("go_gc_gogc_percent") == 0:  # it collects all the time
        assert server.program.snapshot().memory.gogc_percent == 0
        return
    snapshot, said = at_rest(server, server.metrics)
    memory, last_gc_at = snapshot.memory, snapshot.memory.last_gc_at
    assert memory.heap_goal_bytes == said["go_memstats_next_gc_bytes"]
    assert memory.gogc_percent == said.get("go_gc_gogc_percent", 100)
    assert memory.gc_count == said["go_gc_duration_seconds_count"]
    assert memory.gc_pause_total_ns == pytest.approx(said["go_gc_duration_seconds_sum"] * 1e9)
    when = last_gc_at.timestamp() if last_gc_at else 0
    assert when == pytest.approx(said["go_memstats_last_gc_time_seconds"], abs=1e-3)
