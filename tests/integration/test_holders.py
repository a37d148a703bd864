"""Who holds locks: what is said against what the program says of itself."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import spyglass
from spyglass.analysis.findings import findings
from spyglass.analysis.wait_verdicts import VERDICTS, verdicts
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.wait_graph import KINDS, MODES, WaitGraph
from tests.agreement import never
from tests.cores import emulated
from tests.support import MATRIX, Flavour, GoProcess, in_ends, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

CERTAIN = (1, 2, 3)
LEAST_RECALL = 0.95
FLAVOURS = (Flavour.EXE, Flavour.STRIPPED, Flavour.STRIPPED_PIE)


@dataclass(frozen=True)
class Named:
    """A holder that spyglass names."""

    goroutine: int
    mode: str
    grade: int
    function: str | None


@dataclass(frozen=True)
class Said:
    """What spyglass says of the locks of a program: by address."""

    holders: dict[int, list[Named]]
    left_locked: dict[int, int]
    kinds: dict[int, str]

    @classmethod
    def of(cls, graph: WaitGraph) -> Said:
        addresses = graph.objects.address.tolist()
        holders: dict[int, list[Named]] = {address: [] for address in addresses}
        columns = graph.holders
        for number in range(len(columns)):
            frame = int(columns.frame[number])
            holders[addresses[columns.object[number]]].append(
                Named(
                    int(columns.goroutine[number]),
                    MODES[columns.mode[number]],
                    int(columns.grade[number]),
                    graph.frames[frame].function if frame >= 0 else None,
                )
            )
        kinds = [KINDS[kind] for kind in graph.objects.kind.tolist()]
        return cls(
            holders,
            dict(zip(addresses, graph.objects.left_locked.tolist(), strict=True)),
            dict(zip(addresses, kinds, strict=True)),
        )


def minor_number(minor: str) -> int:
    return int(minor.partition(".")[2])


def truth_of(process: GoProcess) -> list[dict[str, Any]]:
    """The locks of the program: see fixtures/programs/locks.go."""
    locks: list[dict[str, Any]] = json.loads(process.read_line(10))
    return [{**each, "Address": int(each["Address"], 16)} for each in locks]


def said_of(process: GoProcess, **options: Any) -> Said:
    with spyglass.attach(process.pid) as inspector:
        snapshot = inspector.snapshot(waits=WaitOptions(heap=False), **options)
    assert snapshot.waits is not None
    return Said.of(snapshot.waits)


def assert_true(truth: list[dict[str, Any]], said: Said) -> None:
    """No holder is named that is none, nothing is called left locked that somebody will release."""
    for lock in truth:
        name, address = lock["Case"], lock["Address"]
        assert address in said.kinds, name
        assert said.kinds[address] == lock["Kind"], name
        holders = set(lock["Holders"] or ())
        for named in said.holders[address]:
            assert named.goroutine in holders, (name, named)
            assert named.mode == lock["Mode"], (name, named)
        if holders:
            assert said.left_locked[address] != 1, name


def program_of(minor: str) -> str:
    """Methods that try to take locks are there since Go 1.18."""
    return "locks_new" if minor_number(minor) >= 18 else "locks"


def assert_all_known(truth: list[dict[str, Any]], said: Said) -> None:
    """Nobody is named who is none, and nearly all that hold a lock are."""
    assert_true(truth, said)
    known = wanted = 0
    missed = []
    for lock in truth:
        if lock["Weak"]:
            continue
        certain = {
            each.goroutine for each in said.holders[lock["Address"]] if each.grade in CERTAIN
        }
        wanted += len(lock["Holders"] or ())
        known += len(certain)
        missed += [lock["Case"]] if len(certain) < len(lock["Holders"] or ()) else []
    assert wanted > 40
    assert known >= LEAST_RECALL * wanted, missed


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("minor", MATRIX)
def test_holders_are_those_that_hold(minor: str, flavour: Flavour) -> None:
    with start(program_of(minor), minor, flavour) as process:
        truth = truth_of(process)
        said = said_of(process)
    assert_all_known(truth, said)


@in_milestones
def test_holders_in_an_arm64_core_are_those_that_hold(minor: str, tmp_path: Path) -> None:
    made = emulated(program_of(minor), minor, tmp_path, ask=truth_of)
    with spyglass.open_core(str(made.core)) as inspector:
        assert inspector.runtime.arch == "arm64"
        snapshot = inspector.snapshot(waits=WaitOptions(heap=False))
    shutil.rmtree(tmp_path)
    assert snapshot.waits is not None
    assert_all_known(made.truth, Said.of(snapshot.waits))


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@in_milestones
def test_holders_that_were_preempted_hold(minor: str, arch: str, tmp_path: Path) -> None:
    """A signal stopped them in the middle of a loop; on arm64 its handler left something on their stacks."""
    if arch == "arm64":
        made = emulated("preempted", minor, tmp_path, ask=truth_of)
        with spyglass.open_core(str(made.core)) as inspector:
            snapshot = inspector.snapshot(waits=WaitOptions(heap=False))
        shutil.rmtree(tmp_path)
        assert snapshot.waits is not None
        truth, said = made.truth, Said.of(snapshot.waits)
    else:
        with start("preempted", minor, Flavour.STRIPPED) as process:
            truth = truth_of(process)
            said = said_of(process, stop=True)
    assert_true(truth, said)
    named = [each["Case"] for each in truth if said.holders[each["Address"]]]
    assert len(named) >= len(truth) - 1  # one of them runs


@in_ends
def test_where_frames_are_not_as_expected_nothing_is_called_left_locked(
    minor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody is named who holds, and somebody may."""
    monkeypatch.setattr(
        "spyglass.runtime.waiting.holders.words_at", lambda memory, addresses: addresses * 0
    )
    with start("preempted", minor, Flavour.STRIPPED, "park") as process:
        truth = truth_of(process)
        said = said_of(process)
    assert_true(truth, said)
    assert [said.holders[each["Address"]] for each in truth] == [[]] * len(truth)


@pytest.mark.parametrize(("argument", "expected"), [((), 1), (("given",), -1)])
@pytest.mark.parametrize("minor", MATRIX)
def test_a_lock_that_nobody_will_release_is_left_locked(
    minor: str, argument: tuple[str, ...], expected: int
) -> None:
    with start("left", minor, Flavour.STRIPPED, *argument) as process:
        address = int(process.ready_line.split()[1], 16)
        process.read_line(10)
        said = said_of(process)
    assert said.holders[address] == []
    assert said.left_locked[address] == expected


DOUBTFUL = ("locker", "flag", "value", "literal", "group", "cond", "deep")


@pytest.mark.parametrize("case", DOUBTFUL)
@in_milestones
def test_nobody_is_called_stuck_whose_locks_are_in_doubt(minor: str, case: str) -> None:
    """A goroutine that sleeps, or waits for a Cond, holds the lock in truth."""
    with (
        start("doubtful", minor, Flavour.STRIPPED, case) as process,
        spyglass.attach(process.pid) as inspector,
    ):
        assert_nobody_stuck(inspector)


@pytest.mark.parametrize(
    "case", ["value", *(pytest.param(each, marks=pytest.mark.slow) for each in DOUBTFUL[:2])]
)
@in_milestones
def test_nobody_in_an_arm64_core_is_called_stuck_whose_locks_are_in_doubt(
    minor: str, case: str, tmp_path: Path
) -> None:
    made = emulated("doubtful", minor, tmp_path, case, ask=None)
    with spyglass.open_core(str(made.core)) as inspector:
        assert_nobody_stuck(inspector)
    shutil.rmtree(tmp_path)


def assert_nobody_stuck(inspector: spyglass.Inspector) -> None:
    snapshot = inspector.snapshot(waits=WaitOptions(heap=False))
    assert snapshot.waits is not None
    kinds = {KINDS[kind] for kind in snapshot.waits.objects.kind.tolist()}
    assert kinds & {"mutex", "waitgroup"}
    said = {each.kind for each in findings(snapshot)}
    assert {"deadlock", "left_locked"}.isdisjoint(said)
    known = verdicts(snapshot)
    assert known is not None
    stuck = {VERDICTS.index(name) for name in ("deadlock", "stuck_behind", "left_locked")}
    assert stuck.isdisjoint(known.verdict.tolist())


@dataclass(frozen=True)
class Slots:
    """The locks of fixtures/programs/busy.go: who holds each, as it says itself."""

    address: int
    count: int
    size: int

    @classmethod
    def of(cls, process: GoProcess) -> Slots:
        _, address, count, size = process.ready_line.split()
        return cls(int(address, 16), int(count), int(size))

    def read(self, inspector: spyglass.Inspector) -> dict[int, tuple[int, int]]:
        """By the address of each lock: the id of its holder (0 for none), and how often it was taken."""
        words = inspector.runtime.memory.array(self.address, "<u8", self.count * self.size // 8)
        rows = words.reshape(self.count, -1)[:, 1:3].tolist()
        return {self.address + self.size * at: (row[0], row[1]) for at, row in enumerate(rows)}


@pytest.mark.parametrize("stop", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("minor", MATRIX)
def test_no_holder_is_false_while_locks_change_hands(minor: str, stop: bool) -> None:
    """A lock that was not taken anew while it was read has the holder that is named."""
    reads = int(os.environ.get("SPYGLASS_READS", "40"))
    named = 0
    with start("busy", minor, Flavour.STRIPPED) as process:
        slots = Slots.of(process)
        with spyglass.attach(process.pid) as inspector:
            for _ in range(reads):
                before = slots.read(inspector)
                snapshot = inspector.snapshot(waits=WaitOptions(heap=False), stop=stop)
                after = slots.read(inspector)
                assert snapshot.waits is not None
                for address, holders in Said.of(snapshot.waits).holders.items():
                    if address not in before or before[address] != after[address]:
                        continue
                    owner, _ = before[address]
                    for each in holders:
                        never(each.goroutine != owner and (hex(address), each, owner))
                        named += 1
                said = Said.of(snapshot.waits)
                never([address for address in before if said.left_locked.get(address) == 1])
    assert named >= reads
