"""Every shape of Go program, asked what it does, and compared with what it says of itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import spyglass
from spyglass.model import Goroutine, Snapshot
from spyglass.runtime.discovery import layouts
from tests.agreement import disagreements
from tests.support import Flavour, GoProcess, Truth, build, start

pytestmark = pytest.mark.live

FLAVOURS = [
    each
    for each in Flavour
    if each not in (Flavour.C_SHARED, Flavour.ARM64, Flavour.STRIPPED_ARM64, Flavour.MUSL)
]
STRIPPED = {
    Flavour.STRIPPED,
    Flavour.STRIP,
    Flavour.NO_SECTIONS,
    Flavour.STRIPPED_PIE,
    Flavour.STRIPPED_EXTERNAL_PIE,
}
PIE = {
    Flavour.PIE,
    Flavour.STRIPPED_PIE,
    Flavour.EXTERNAL_PIE,
    Flavour.STRIPPED_EXTERNAL_PIE,
}
CGO = {Flavour.CGO, Flavour.STATIC, Flavour.EXTERNAL_PIE, Flavour.STRIPPED_EXTERNAL_PIE}

#: The goroutine that answers: it runs while it speaks, and waits for the next command when we look.
SPEAKER = 1


@dataclass(frozen=True)
class Looked:
    """What a process said of itself, and what was seen of it."""

    flavour: Flavour
    truth: Truth
    full: Snapshot
    top: Snapshot


def look(pid: int) -> Snapshot:
    with spyglass.attach(pid) as program:
        return program.snapshot()


@pytest.fixture(scope="module", params=FLAVOURS, ids=lambda flavour: flavour.value)
def looked(minor: str, request: pytest.FixtureRequest) -> Iterator[Looked]:
    with start("truth", minor, request.param) as process:
        truth = process.truth()
        with spyglass.attach(process.pid) as program:
            yield Looked(request.param, truth, program.snapshot("full"), program.snapshot("top"))


def test_goroutines_are_what_the_program_says(looked: Looked) -> None:
    assert len(looked.truth.goroutines) > 70
    assert disagreements(looked.full, looked.truth.goroutines, moving=[SPEAKER]) == []
    assert {goroutine.quality for goroutine in looked.full} <= {"stable", "moved"}
    assert looked.full.problems == ()


def test_the_one_who_speaks_waits_for_a_command(looked: Looked) -> None:
    speaker = goroutine(looked.full, SPEAKER)
    functions = [frame.function for frame in speaker.stack or ()]
    assert (speaker.status, speaker.wait_reason) in (("syscall", None), ("waiting", "IO wait"))
    assert functions[-3:] == ["main.main", "runtime.main", "runtime.goexit"]
    assert "main.serveCommands" in functions


def test_the_scheduler_counts_as_the_program_does(looked: Looked) -> None:
    scheduler = looked.full.scheduler
    system = sum(goroutine.system for goroutine in looked.full)
    assert scheduler.goroutines == looked.truth.num_goroutine
    assert scheduler.goroutines == len(looked.full.goroutines) - system
    assert scheduler.gomaxprocs == looked.truth.gomaxprocs == len(looked.full.processors)
    # A cgo program keeps a goroutine, dead but counted, for threads of C that call Go (oneNewExtraM).
    assert scheduler.system_goroutines == system + (looked.flavour in CGO)


def test_the_program_is_described(looked: Looked) -> None:
    process = looked.full.process
    assert process.go_version == looked.truth.go_version
    assert process.stripped is (looked.flavour in STRIPPED)
    assert process.pie is (looked.flavour in PIE)
    assert process.cgo is (looked.flavour in CGO)
    assert (process.arch, process.library) == ("amd64", None)


def test_a_quick_look_sees_where_goroutines_are_all_the_same(looked: Looked) -> None:
    # Their stacks are not walked to the end, so there are none.
    expected = [replace(each, stack=None) for each in at_rest(looked.full)]
    assert at_rest(looked.top) == expected
    assert looked.top.problems == ()


def goroutine(snapshot: Snapshot, goid: int) -> Goroutine:
    return next(each for each in snapshot if each.id == goid)


# Where layouts come from: every source is to lead to the same answer.


@pytest.fixture
def only_from(monkeypatch: pytest.MonkeyPatch) -> OnlyFrom:
    return OnlyFrom(monkeypatch)


@dataclass(frozen=True)
class OnlyFrom:
    """Leaves one source of layouts, of those that there are."""

    monkeypatch: pytest.MonkeyPatch

    def __call__(self, source: str) -> None:
        every = layouts.candidate_layouts

        def some(*arguments: object) -> Iterator[layouts.Layouts]:
            found = (each for each in every(*arguments) if each.source.startswith(source))  # type: ignore[arg-type]
            yield from found

        self.monkeypatch.setattr(layouts, "candidate_layouts", some)


@pytest.mark.parametrize(
    ("source", "flavour"),
    [
        ("table", Flavour.STRIPPED),
        ("DWARF", Flavour.EXE),
        ("DWARF", Flavour.EXTERNAL_PIE),
        ("type descriptors", Flavour.STRIPPED),
        ("type descriptors", Flavour.STRIPPED_PIE),
    ],
)
def test_every_source_of_layouts_gives_the_same_answer(
    minor: str, source: str, flavour: Flavour, only_from: OnlyFrom
) -> None:
    with start("truth", minor, flavour) as process:
        truth = process.truth()
        expected = look(process.pid)
        only_from(source)
        found = look(process.pid)
    assert disagreements(found, truth.goroutines, moving=[SPEAKER]) == []
    assert at_rest(found) == at_rest(expected)
    assert ms_of(expected) <= ms_of(found)
    assert_known_or_explained(found, truth)
    if source != "type descriptors":
        assert found.problems == ()


@pytest.fixture
def without_table(minor: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if there were no table for this version yet, only for others."""
    shutil.copytree(Path(layouts.__file__).parent / "tables", tmp_path / "tables")
    for table in tmp_path.glob(f"tables/go{minor}-*.json"):
        table.unlink()
    monkeypatch.setattr(layouts, "files", lambda package: tmp_path)


@pytest.mark.parametrize("flavour", [Flavour.EXE, Flavour.STRIPPED, Flavour.STRIPPED_EXTERNAL_PIE])
def test_a_version_without_a_table_is_read_nevertheless(
    minor: str, flavour: Flavour, without_table: None
) -> None:
    with start("truth", minor, flavour) as process:
        truth = process.truth()
        found = look(process.pid)
    assert disagreements(found, truth.goroutines, moving=[SPEAKER]) == []
    assert_known_or_explained(found, truth)


def assert_known_or_explained(snapshot: Snapshot, truth: Truth) -> None:
    """Nothing is wrong: a number is the program's own, or it is not there and a problem says so."""
    scheduler, memory = snapshot.scheduler, snapshot.memory
    numbers = {
        "scheduler": [
            (scheduler.goroutines, truth.num_goroutine),
            (scheduler.gomaxprocs, truth.gomaxprocs),
        ],
        "memory": [
            (memory.heap_goal_bytes, truth.next_gc_bytes),
            (memory.gc_count, truth.num_gc),
            (memory.gc_pause_total_ns, truth.pause_total_ns),
            (memory.last_gc_pause_ns, truth.last_pause_ns),
            (memory.gogc_percent, truth.gogc_percent),
        ],
    }
    explained = {problem.subject for problem in snapshot.problems}
    for subject, pairs in numbers.items():
        assert all(ours in (None, its) for ours, its in pairs), pairs
        assert subject in explained or all(ours is not None for ours, _ in pairs), pairs


def at_rest(snapshot: Snapshot) -> list[Goroutine]:
    """What stays as it is: the runtime's own goroutines may move, and the time that some have waited."""
    return [replace(each, waiting_ns=None, printed_ns=None) for each in snapshot if not each.system]


def ms_of(snapshot: Snapshot) -> set[tuple[int, int]]:
    """Thread ids with the Ms that they are; there may soon be more."""
    return {(each.tid, each.m) for each in snapshot.threads if each.m is not None}


# Programs that do not say what they are.

_BUILD_INFO = b"\xff Go buildinf:"
_BUILD_ID = b"Go\0\0"


def anonymous(executable: Path, folder: Path) -> Path:
    """A copy in which the build info and the note with the build id are overwritten, names and all."""
    image = executable.read_bytes()
    assert _BUILD_INFO in image
    for mark in (_BUILD_INFO, b".go.buildinfo\0", b".note.go.buildid\0"):
        image = image.replace(mark, b"\x01" * (len(mark) - 1) + mark[-1:])
    at = image.find(_BUILD_ID)
    assert at > 0
    image = image[:at] + b"\x01" * 4 + image[at + 4 :]
    copy = folder / executable.name
    copy.write_bytes(image)
    copy.chmod(0o755)
    return copy


@pytest.mark.parametrize("flavour", [Flavour.EXE, *sorted(STRIPPED, key=lambda each: each.value)])
def test_a_program_without_build_info_is_known_by_its_runtime(
    minor: str, flavour: Flavour, tmp_path: Path
) -> None:
    with GoProcess([anonymous(build("truth", minor, flavour), tmp_path)]) as process:
        truth = process.truth()
        found = look(process.pid)
    assert disagreements(found, truth.goroutines, moving=[SPEAKER]) == []
    assert found.process.go_version == truth.go_version
    assert found.process.module is None
    assert found.scheduler.goroutines == truth.num_goroutine
    assert found.problems == ()
