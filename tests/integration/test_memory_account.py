"""Where the memory of a process goes: programs that put it into one place on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest
from jsonschema import Draft202012Validator

import spyglass
from spyglass.analysis.memory_view import MemoryView, memory_view
from spyglass.errors import PermissionDenied
from spyglass.export.snapshot_file import save
from spyglass.memory_account import CLASSES, MemoryAccount, Part
from spyglass.procfs.files import read_status
from spyglass.runtime.account import residency
from spyglass.runtime.discovery.layouts import Layouts
from tests.command import piped, started
from tests.cores import gcore
from tests.support import Flavour, GoProcess, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.matrix]

MIB = 1 << 20
SIZE = 80
SCHEMA = json.loads(files("spyglass.export").joinpath("memory.schema.json").read_text())
GO: tuple[Part, ...] = ("go_heap_objects", "go_heap_unused", "go_heap_free", "go_stacks")


def places(minor: str, *, c: bool = False, env: dict[str, str] | None = None) -> GoProcess:
    """The program; runtime/metrics came with Go 1.16."""
    return start("places_c" if c else metrics_of(minor), minor, Flavour.EXE, env=env)


def metrics_of(minor: str) -> str:
    return "places" if minor == "1.15" else "places_metrics"


def account_of(process: GoProcess) -> MemoryAccount:
    with spyglass.attach(process.pid) as program:
        return program.memory_account()


def view_of(process: GoProcess) -> MemoryView:
    with spyglass.attach(process.pid) as program:
        account = program.memory_account()
        return memory_view(program.snapshot("top"), account)


def causes(shown: MemoryView) -> list[str]:
    """The findings that say what resident memory is mostly of."""
    return [each.kind for each in shown.findings if each.kind in KINDS]


def sums_up(process: GoProcess, account: MemoryAccount) -> bool:
    """Whether the parts are what the kernel counts, within 1 %; the runtime works in the background."""
    rss = int(read_status(process.pid)["VmRSS"].split()[0]) * 1024
    return account.rss_bytes is not None and abs(account.rss_bytes - rss) <= rss / 100


def settled(process: GoProcess) -> MemoryAccount:
    """An account while which the kernel's own count did not change by more than 1 %."""
    for _ in range(20):
        account = account_of(process)
        if sums_up(process, account):
            return account
    raise AssertionError((account, read_status(process.pid)))


@pytest.fixture(scope="module")
def process(minor: str) -> Iterator[GoProcess]:
    """One with a little of everything; tests add to it."""
    with places(minor) as process:
        assert (
            process.ask("live 8") == process.ask("fragment 8") == process.ask("stacks 2") == "done"
        )
        yield process


def test_classes_are_those_of_the_program(process: GoProcess, minor: str) -> None:
    """Between two answers something may move in the background; then it is asked again."""
    for _ in range(30):
        theirs = json.loads(process.ask("classes"))
        assert process.read_line(60) == "said"
        ours = account_of(process).go.classes
        del theirs["of"]
        if all(ours[name] == value for name, value in theirs.items()):
            break
    assert {name: ours[name] for name in theirs} == theirs
    assert tuple(ours) == CLASSES
    unknown = {name for name, value in ours.items() if value is None}
    assert unknown == ({"heap/objects", "heap/unused"} if minor == "1.15" else set())
    assert set(theirs) == set(CLASSES) - unknown


def test_classes_sum_up_to_the_total(process: GoProcess, minor: str) -> None:
    classes = account_of(process).go.classes
    if minor == "1.15":
        pytest.skip("this version does not know what objects use")
    assert sum(classes[name] or 0 for name in CLASSES if name != "total") == classes["total"]


@in_milestones
def test_pauses_are_in_the_right_order(process: GoProcess) -> None:
    for collections in (3, 300):
        assert process.ask(f"collect {collections}") == "done"
        number, *pauses = (int(word) for word in process.ask("pauses").split())
        gc = account_of(process).go.gc
        assert (gc.cycles, list(gc.pauses_ns)) == (number, pauses)
        assert list(gc.pause_ends_ns) == sorted(gc.pause_ends_ns, reverse=True)


@in_milestones
def test_little_memory_that_is_not_gos_is_in_doubt_at_least(minor: str) -> None:
    """Without names of mappings the kernel does not say that 3 MiB are not the runtime's."""
    with places(minor) as process:
        process.ask("anon 3")
        account = account_of(process)
    own = next(each for each in account.resident if each.part == "go_metadata")
    assert own.doubtful_bytes + account.part("c") >= 3 * MIB


#: A command, the part that it fills, and the finding about it.
PLACES: list[tuple[str, Part, str]] = [
    (f"live {SIZE}", "go_heap_objects", "memory-live"),
    (f"garbage {SIZE}", "go_heap_objects", "memory-garbage"),
    (f"kept {SIZE}", "go_heap_free", "memory-kept"),
    (f"fragment {SIZE * 9 // 8}", "go_heap_unused", "memory-fragmented"),
    ("stacks 45", "go_stacks", "memory-stacks"),
    (f"anon {SIZE}", "c", "memory-c"),
    (f"huge {SIZE}", "c", "memory-c"),
    (f"c {SIZE}", "c", "memory-c"),
    (f"file {SIZE} FOLDER", "files", "memory-files"),
    (f"file {SIZE} /dev/shm", "shared", "memory-shared"),
]


KINDS = {kind for _, _, kind in PLACES} | {"memory-lazy-free"}


@pytest.mark.parametrize(("command", "part", "kind"), PLACES, ids=lambda each: each)
def test_the_right_place_is_named_and_only_that(
    minor: str, command: str, part: Part, kind: str, tmp_path: Path
) -> None:
    # Without a goal of the heap the background scavenger returns nothing: Go 1.19 returns 8 MiB at once, 80 in two seconds.
    env = {"GOGC": "off"} if kind == "memory-kept" else None
    with places(minor, c=command.startswith("c "), env=env) as process:
        answer = process.ask(command.replace("FOLDER", str(tmp_path)))
        assert answer.startswith("done")
        shown = view_of(process)
        account = settled(process)
        rss = account.rss_bytes
    assert rss is not None
    assert shown.account.part(part) > 0.6 * rss
    assert abs(account.part(part) - SIZE * MIB) < 0.15 * SIZE * MIB
    assert causes(shown) == [kind]
    assert account.problems == ()
    assert sum(each.doubtful_bytes for each in account.resident) < 0.1 * rss
    if command.startswith("huge"):
        assert (account.huge_bytes or 0) >= SIZE * MIB / 2
    if kind == "memory-stacks":
        (finding,) = (each for each in shown.findings if each.kind == kind)
        assert finding.functions == ("main.park",)
        assert "45,000 in chan receive at main.park" in finding.title


def test_memory_that_the_kernel_may_take_is_no_leak(minor: str) -> None:
    """Go 1.15 says so itself (MADV_FREE), later versions if they are told to; the others return it at once."""
    env = {"GODEBUG": "madvdontneed=0"}
    with places(minor, env=env) as process:
        assert process.ask(f"returned {SIZE}") == "done"
        shown = view_of(process)
        account = settled(process)
    assert (account.lazy_free_bytes or 0) > 0.9 * SIZE * MIB
    # The runtime returns pages in the background, between the reading of its heap and of the kernel's account.
    assert account.part("go_heap_free") >= (account.lazy_free_bytes or 0) - MIB
    assert causes(shown) == ["memory-lazy-free"]


@pytest.mark.slow
def test_a_hundred_thousand_stacks(minor: str) -> None:
    with places(minor) as process:
        assert process.ask("stacks 100") == "done"
        shown = view_of(process)
        account = settled(process)
    assert account.part("go_stacks") > 190 * MIB
    assert causes(shown) == ["memory-stacks"]


def test_a_limit_that_leaves_no_room_is_found(minor: str) -> None:
    if minor == "1.15":
        pytest.skip("GOMEMLIMIT came with Go 1.19")
    with places(minor, env={"GOMEMLIMIT": str(48 * MIB), "GOGC": "100"}) as process:
        assert process.ask("live 42") == "done"
        for _ in range(20):
            assert process.ask("churn 300") == "done"
            shown = view_of(process)
            kinds = {each.kind for each in shown.findings}
            if "limit-thrash" in kinds:
                break
        assert "limit-thrash" in kinds, shown.account.go
        assert "gc-frequent" not in kinds
        go = shown.account.go
        assert go.memory_limit_bytes == 48 * MIB
        assert go.gogc_goal_bytes is not None
        assert go.heap_goal_bytes is not None
        assert go.heap_goal_bytes < go.gogc_goal_bytes


def test_a_collector_that_is_off_is_found(minor: str) -> None:
    with places(minor, env={"GOGC": "off"}) as process:
        kinds = {each.kind for each in view_of(process).findings}
    assert "gogc-off" in kinds


def test_without_pages_the_heap_is_one_part(
    process: GoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> NoReturn:
        raise PermissionDenied("pagemap cannot be read")

    whole = settled(process)
    monkeypatch.setattr(residency, "resident_before", refused)
    account = account_of(process)
    in_go = sum(whole.part(part) for part in GO)
    assert abs(account.part("go_arenas") - in_go) < max(0.05 * in_go, MIB)
    assert not any(account.part(part) for part in GO)
    assert [each.kind for each in account.problems] == ["unreadable"]
    assert "pagemap cannot be read" in account.problems[0].detail


def test_without_smaps_nothing_is_said_of_it(
    process: GoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: int) -> NoReturn:
        raise PermissionDenied("smaps cannot be read")

    monkeypatch.setattr(residency, "smaps", refused)
    account = account_of(process)
    assert (account.rss_bytes, account.resident) == (None, ())
    assert account.go.classes["total"]
    assert "smaps cannot be read" in account.problems[0].detail


def test_without_spans_nothing_is_guessed(
    process: GoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = settled(process)
    original = Layouts.__getitem__

    def get(self: Layouts, name: str) -> Any:
        if name == "mspan":
            raise spyglass.errors.MissingInfo("no layout")
        return original(self, name)

    monkeypatch.setattr(Layouts, "__getitem__", get)
    account = account_of(process)
    assert account.problems
    assert not any(account.part(part) for part in GO)
    assert account.rss_bytes is not None
    assert whole.rss_bytes is not None
    assert abs(account.rss_bytes - whole.rss_bytes) < MIB


@pytest.mark.slow
def test_a_core_has_the_classes(process: GoProcess, tmp_path: Path) -> None:
    expected = account_of(process)
    core = gcore(process.pid, tmp_path)
    with spyglass.open_core(str(core)) as program:
        account = program.memory_account()
    moving = {"heap/free", "heap/released"}  # the scavenger works in the background
    assert {k: v for k, v in account.go.classes.items() if k not in moving} == {
        k: v for k, v in expected.go.classes.items() if k not in moving
    }
    assert account.go.heap_live_bytes == expected.go.heap_live_bytes
    assert account.go.gc.pauses_ns == expected.go.gc.pauses_ns
    assert (account.rss_bytes, account.resident, account.mappings) == (None, (), ())


def test_snapshots_keep_it(process: GoProcess, tmp_path: Path) -> None:
    """The program waits for a command, but the runtime works in the background: the account is of a moment of its own."""
    path = tmp_path / "one.json.gz"
    before = settled(process)
    assert piped("snapshot", str(process.pid), "-o", str(path)).returncode == 0
    snapshot = spyglass.load(path)
    saved = snapshot.account
    assert saved is not None
    assert before.rss_bytes is not None
    assert saved.rss_bytes == pytest.approx(before.rss_bytes, abs=MIB + before.rss_bytes / 20)
    assert saved.rss_bytes == sum(each.bytes for each in saved.resident)
    for part in GO:
        assert saved.part(part) == pytest.approx(before.part(part), abs=MIB + before.rss_bytes / 20)
    assert (saved.process, saved.limits) == (snapshot.process, snapshot.limits)
    assert (saved.go.gc.cycles or 0) >= (before.go.gc.cycles or 0)
    assert {each.name for each in saved.mappings} == {each.name for each in before.mappings}
    with spyglass.attach(process.pid) as program:
        taken = program.with_account(snapshot)
    save(taken, path)
    assert spyglass.load(path).account == taken.account


def test_the_command_says_it_in_text_and_json(process: GoProcess) -> None:
    pid = str(process.pid)
    shown = started("memory", pid)
    assert shown.returncode == 0
    assert "Go heap: live at the last collection" in shown.stdout
    assert "heap/objects" in shown.stdout or "heap/released" in shown.stdout
    written = piped("memory", pid, "--json", "--heap")
    document = json.loads(written.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert sum(each["bytes"] for each in document["resident"]) == document["rss_bytes"]
    assert document["process"]["pid"] == process.pid
    assert set(document) <= set(SCHEMA["properties"])
    assert document["profile"]["rate_bytes"] in (0, 512 << 10)
