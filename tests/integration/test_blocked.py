"""What goroutines wait on: as the program that blocked them knows it."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

import spyglass
from spyglass.cores.small_core import save_core
from spyglass.model import NONE, Snapshot
from spyglass.runtime.waiting.options import WaitOptions
from spyglass.targets import Target
from spyglass.wait_graph import KINDS, OPERATIONS, UNKNOWN, UNRESOLVED, WaitGraph
from tests.cores import emulated
from tests.support import MATRIX, Flavour, GoProcess, in_milestones, start

pytestmark = [pytest.mark.live, pytest.mark.go, pytest.mark.matrix]

#: Not a library, which has no main; not arm64, which does not run here; musl is in test_podman.py.
_FLAVOURS = [
    each
    for each in Flavour
    if each not in (Flavour.C_SHARED, Flavour.ARM64, Flavour.STRIPPED_ARM64, Flavour.MUSL)
]
_OBJECTS = WaitOptions(holders=False, heap=False)
#: Between the program's look at its clock and ours.
_SLACK_NS = 10**9 * 60
_TRIES = 20
_READS = 100
_STATE = (
    "length", "capacity", "readers", "waiters_state", "counter", "locked",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A wait as the snapshot has it, in the words of the truth."""

    goroutine: int
    place: int
    values: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.values["kind"], self.values["operation"], self.values["address"]


def rows_of(graph: WaitGraph) -> dict[int, list[Row]]:
    """The waits by goroutine."""
    rows: dict[int, list[Row]] = defaultdict(list)
    places: dict[int, int] = defaultdict(int)
    objects, waits = graph.objects, graph.waits
    for goroutine, number, operation in zip(
        waits.goroutine.tolist(), waits.object.tolist(), waits.operation.tolist(), strict=True
    ):
        values = {name: getattr(objects, name)[number].item() for name in objects.columns()}
        values["kind"], values["operation"] = KINDS[values["kind"]], OPERATIONS[operation]
        values["address"] = f"{values['address']:#x}"
        for name in ("name", "type"):
            values[name] = graph.names[values[name]] if values[name] != NONE else None
        if values["connection"] != NONE:
            connection = graph.connections[values["connection"]]
            values |= asdict(connection)
        rows[goroutine].append(Row(goroutine, places[number], values))
        places[number] += 1
    return rows


def truth_of(process: GoProcess) -> dict[int, list[dict[str, Any]]]:
    """What the program says, by goroutine."""
    by_goroutine: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in json.loads(process.ask("truth")):
        by_goroutine[each["id"]].append(each)
    return by_goroutine


def key_of(said: dict[str, Any]) -> tuple[str, str, str]:
    return said["kind"], said["operation"], said["address"]


def differences(said: dict[str, Any], row: Row, now_ns: int) -> list[str]:
    """What the snapshot has of a wait that the program says otherwise."""
    wrong = [
        f"{name} {row.values.get(name)!r}, not {said[name]!r}"
        for name in (*_STATE, "type", "name", "target", "local", "remote", "state")
        if name in said and row.values.get(name) != said[name]
    ]
    if said.get("due_ns", 0) > 0 or "deadline_ns" in said:
        name = "due" if "due_ns" in said else "deadline"
        ours = now_ns + row.values[f"{name}_in_ns"]
        if abs(ours - said[f"{name}_ns"]) > _SLACK_NS:
            wrong.append(f"{name} {ours}, not {said[f'{name}_ns']}")
    elif said["kind"] in ("channel", "timer") and row.values["due_in_ns"] != UNKNOWN:
        wrong.append(f"due {row.values['due_in_ns']}")
    elif said["kind"] == "fd" and row.values["deadline_in_ns"] != UNKNOWN:
        wrong.append(f"deadline {row.values['deadline_in_ns']}")
    return wrong


def without_ends(truth: dict[int, list[dict[str, Any]]]) -> dict[int, list[dict[str, Any]]]:
    """`truth` without what only the kernel knows of file descriptors."""
    of_kernel = {"target", "local", "remote", "state"}
    return {
        goroutine: [{k: v for k, v in said.items() if k not in of_kernel} for said in waits]
        for goroutine, waits in truth.items()
    }


def all_differences(
    truth: dict[int, list[dict[str, Any]]], rows: dict[int, list[Row]], now_ns: int
) -> list[str]:
    wrong = []
    for goroutine, waits in truth.items():
        ours = rows[goroutine]
        expected = {key_of(said) for said in waits}
        if not waits[0]["address"]:  # which only the runtime knows
            expected = (
                {(kind, operation, ours[0].key[2]) for kind, operation, _ in expected}
                if ours
                else expected
            )
        if {row.key for row in ours} != expected or len(ours) != len(expected):
            wrong.append(f"{goroutine}: {[row.key for row in ours]}, not {expected}")
            continue
        for said in waits:
            row = next(
                row
                for row in ours
                if row.key[:2] == key_of(said)[:2] and said["address"] in ("", row.key[2])
            )
            wrong += [
                f"{goroutine} {said['kind']}: {text}" for text in differences(said, row, now_ns)
            ]
            if "order" in said and said["operation"] != "lock" and row.place != said["order"]:
                wrong.append(
                    f"{goroutine}: place {row.place} of a {said['kind']}, not {said['order']}"
                )
    return wrong


@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize("minor", MATRIX)
def test_every_wait_is_what_the_program_says(minor: str, flavour: Flavour) -> None:
    with start("blocked", minor, flavour) as process, spyglass.attach(process.pid) as inspector:
        truth = truth_of(process)
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        snapshot = inspector.snapshot(waits=_OBJECTS)
    graph = snapshot.waits
    assert graph is not None
    assert all_differences(truth, rows_of(graph), now_ns) == []
    assert_all_resolved(snapshot)


def assert_all_resolved(snapshot: Snapshot) -> None:
    """Each goroutine that waits has what it waits on, and only those. The runtime's own may have run."""
    graph = snapshot.waits
    assert graph is not None
    system = {goroutine.id for goroutine in snapshot if goroutine.system}
    unresolved = {
        goroutine: UNRESOLVED[why]
        for goroutine, why in zip(
            graph.unresolved.goroutine.tolist(), graph.unresolved.why.tolist(), strict=True
        )
        if goroutine not in system
    }
    assert unresolved == {}
    waiting = {goroutine.id for goroutine in snapshot if goroutine.status == "waiting"}
    assert set(graph.waits.goroutine.tolist()) - system == waiting - system


@pytest.mark.parametrize("minor", MATRIX)
def test_of_goroutines_that_move_nothing_false_is_said(minor: str) -> None:
    """Entries of queues are used again and again, by one goroutine for its next wait, and by others."""
    resolved = unresolved = 0
    with start("restless", minor, Flavour.STRIPPED) as process:
        truth = json.loads(process.ask("truth"))
        with spyglass.attach(process.pid) as inspector:
            for _ in range(_READS):
                graph = inspector.snapshot(waits=_OBJECTS).waits
                assert graph is not None
                assert false_rows(graph, truth) == []
                resolved += len(graph.waits)
                unresolved += len(graph.unresolved)
    assert resolved > _READS
    assert unresolved > 0


def false_rows(graph: WaitGraph, truth: dict[str, dict[str, list[str]]]) -> list[Row]:
    """Waits on what the goroutine never waits on."""
    return [
        row
        for rows in rows_of(graph).values()
        for row in rows
        if row.values["kind"] in ("channel", "mutex", "rwmutex", "cond", "waitgroup")
        and row.key[2]
        not in truth.get(str(row.goroutine), {}).get(row.values["kind"], [row.key[2]])
    ]


def test_a_small_core_has_what_goroutines_wait_on(minor: str, tmp_path: Path) -> None:
    with start("blocked", minor, Flavour.STRIPPED) as process:
        truth = truth_of(process)
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        save(process.pid, tmp_path / "core")
    with spyglass.open_core(str(tmp_path / "core")) as inspector:
        snapshot = inspector.snapshot(waits=_OBJECTS)
    assert snapshot.waits is not None
    assert all_differences(truth, rows_of(snapshot.waits), now_ns) == []
    assert_all_resolved(snapshot)


def test_a_small_core_says_what_moved_while_it_was_made(minor: str, tmp_path: Path) -> None:
    with start("churn", minor, Flavour.EXE, "-alive", "2000") as process:
        for _ in range(_TRIES):
            live = save(process.pid, tmp_path / "core").waits
            assert live is not None
            moved = set(live.unresolved.goroutine.tolist())
            if moved:
                break
        else:
            pytest.fail("nothing moved")  # although all of them move all the time
    with spyglass.open_core(str(tmp_path / "core")) as inspector:
        saved = inspector.snapshot(waits=_OBJECTS).waits
    assert saved is not None
    ours, theirs = rows_of(saved), rows_of(live)
    for goroutine, rows in ours.items():
        assert {row.key for row in rows} == {row.key for row in theirs[goroutine]}
    assert not moved & set(ours)


@in_milestones
def test_an_arm64_core_has_what_goroutines_wait_on(minor: str, tmp_path: Path) -> None:
    program = emulated("blocked", minor, tmp_path, ask=truth_of)
    now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    with spyglass.open_core(str(program.core)) as inspector:
        assert inspector.runtime.arch == "arm64"
        snapshot = inspector.snapshot(waits=_OBJECTS)
    shutil.rmtree(tmp_path)
    assert snapshot.waits is not None
    assert all_differences(without_ends(program.truth), rows_of(snapshot.waits), now_ns) == []
    assert_all_resolved(snapshot)


def save(pid: int, path: Path) -> Snapshot:
    target = Target.attach(pid)
    try:
        with path.open("w+b") as stream:
            return save_core(target, stream)
    finally:
        target.close()
