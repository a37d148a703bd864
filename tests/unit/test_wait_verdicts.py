"""What is said of goroutines that wait for each other, against graphs whose answer is known."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from spyglass.analysis import wait_reasons
from spyglass.analysis.wait_reasons import object_name
from spyglass.analysis.wait_verdicts import WaitVerdicts, verdicts
from spyglass.wait_graph import WaitGraph
from tests.snapshots import make_snapshot
from tests.wait_graphs import graph


def judge(*arguments: object, **named: object) -> WaitVerdicts:
    found = verdicts(make_snapshot(waits=graph(*arguments, **named)))  # type: ignore[arg-type]
    assert found is not None
    return found


def said(found: WaitVerdicts) -> dict[int, tuple[str, bool | None, int | None]]:
    every = ((goid, found.of(goid)) for goid in found.ids.tolist())
    return {goid: each[:3] for goid, each in every if each is not None}


def test_two_that_hold_what_the_other_wants() -> None:
    found = judge([(41, 0), (57, 1), (60, 0)], [(57, 0, 1), (41, 1, 2)])
    assert [tuple(each) for each in found.deadlocks] == [((41, 57), (0, 1))]
    assert said(found) == {
        41: ("deadlock", True, 57),
        57: ("deadlock", True, 41),
        60: ("stuck_behind", True, 57),
    }
    assert [link.goroutine for link in found.chain(60)] == [60, 57, 41]
    assert "waits in turn for what this one holds" in found.of(41).because  # type: ignore[union-attr]


def test_a_lock_that_is_locked_twice() -> None:
    found = judge([(7, 0)], [(7, 0, 2)])
    assert said(found) == {7: ("deadlock", True, None)}
    assert found.of(7).because == "it waits for mutex 0x1000, which it holds itself"  # type: ignore[union-attr]


def test_the_same_reason_of_many_is_put_into_words_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judge(
        [(41, 0), (57, 1), *((goid, 0) for goid in range(100, 200))], [(57, 0, 1), (41, 1, 2)]
    )
    expected = [found.of(goid).because for goid in found.ids.tolist()]  # type: ignore[union-attr]
    named: list[int] = []

    def counted(graph: WaitGraph, row: int) -> str:
        named.append(row)
        return object_name(graph, row)

    monkeypatch.setattr(wait_reasons, "object_name", counted)
    assert list(wait_reasons.reasons(found, np.arange(len(found.ids)))) == expected
    assert expected[5] == "mutex 0x1000 is held up by goroutine 57, which is in a deadlock"
    assert len(named) == 3


@pytest.mark.parametrize("grade", [4, 5])
def test_weak_evidence_makes_no_deadlock(grade: int) -> None:
    found = judge([(41, 0), (57, 1)], [(57, 0, grade), (41, 1, 1)])
    assert found.deadlocks == ()
    assert "deadlock" not in [each[0] for each in said(found).values()]


def test_a_reader_that_waits_behind_a_writer_for_what_it_reads() -> None:
    """goroutine 1 reads, 2 wants to write, 1 wants to read again."""
    found = judge([(1, 0), (2, 0)], [(1, 0, 1), (3, 0, 1)], {0: "rwmutex"})
    assert [each.goroutines for each in found.deadlocks] == [(1,)]
    assert said(found)[2] == ("stuck_behind", True, 1)


def test_a_writer_that_waits_for_many_readers_finds_the_one_in_a_circle() -> None:
    holds = [(reader, 0, 1) for reader in range(10, 20)] + [(1, 1, 1)]
    found = judge([(1, 0), (17, 1)], holds, {0: "rwmutex"})
    assert [each.goroutines for each in found.deadlocks] == [(1, 17)]


def test_a_convoy_behind_a_peer() -> None:
    waits = [*((goid, 0) for goid in range(100, 188)), (77, 1)]
    found = judge(waits, [(77, 0, 1)], {1: "fd"})
    assert said(found)[77] == ("waits", False, None)
    assert {said(found)[goid] for goid in range(100, 188)} == {("stuck_behind", False, 77)}
    assert found.of(100).because == (  # type: ignore[union-attr]
        "mutex 0x1000 is held up by goroutine 77, which waits for 10.0.3.7:5432"
    )


@pytest.mark.parametrize(("number", "name"), [(12, "fd 12"), (-1, "a file descriptor")])
def test_a_file_descriptor_without_a_peer_is_not_named_by_an_address(
    number: int, name: str
) -> None:
    """As in a core, which has no connections."""
    waits = graph([(7, 0)], kinds={0: "fd"})
    objects = replace(waits.objects, connection=np.array([-1]), fd=np.array([number]))
    assert object_name(replace(waits, objects=objects), 0) == name


def test_a_lock_whose_holder_runs() -> None:
    found = judge([(1, 0)], [(2, 0, 1)])
    assert said(found) == {1: ("waits", False, 2), 2: ("waits", False, None)}


def test_a_lock_that_was_left_locked() -> None:
    assert said(judge([(1, 0)], left=[0])) == {1: ("left_locked", None, None)}


def test_what_the_mark_said_of_channels() -> None:
    found = judge(
        [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)],
        [(1, 4, 1)],
        {0: "channel", 1: "channel", 2: "channel", 3: "nothing"},
        stuck={1: True, 2: False},
    )
    assert said(found) == {
        1: ("never", True, None),
        2: ("could", False, None),
        3: ("unknown", None, None),
        4: ("never", True, None),
        5: ("stuck_behind", True, 1),
    }


def test_a_chain_and_a_convoy_are_long() -> None:
    """No quadratic step: 10,000 in a row, and 300,000 behind the first."""
    chain = [(goid, goid) for goid in range(1, 10_000)]
    crowd = [(goid, 1) for goid in range(1_000_000, 1_300_000)]
    found = judge([*chain, *crowd], [(goid + 1, goid, 1) for goid, _ in chain])
    assert found.deadlocks == ()
    assert set(found.behind[found.ids != 10_000].tolist()) == {10_000}
    assert len(found.chain(1)) == 10_000


def reaches(edges: Mapping[int, Sequence[int]], start: int) -> set[int]:
    seen: set[int] = set()
    left = list(edges.get(start, ()))
    while left:
        here = left.pop()
        if here not in seen:
            seen.add(here)
            left += edges.get(here, ())
    return seen


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs_of_locks_against_reachability(seed: int) -> None:
    chance = random.Random(seed)
    people, locks = chance.randint(1, 12), chance.randint(1, 8)
    waits = [
        (goid, chance.randrange(locks)) for goid in range(1, people + 1) if chance.random() < 0.8
    ]
    holds = [
        (goid, lock, 1)
        for lock in range(locks)
        for goid in range(1, people + 1)
        if chance.random() < 0.12
    ]
    found = judge(waits, holds)
    wants = dict(waits)
    edges = {goid: [holder for holder, held, _ in holds if held == lock] for goid, lock in waits}
    on_circle = {goid for goid in edges if goid in reaches(edges, goid)}
    assert bool(found.deadlocks) == bool(on_circle)
    for circle in found.deadlocks:
        assert set(circle.goroutines) <= on_circle
        for goid, lock, holder in zip(
            circle.goroutines,
            circle.objects,
            [*circle.goroutines[1:], circle.goroutines[0]],
            strict=True,
        ):
            assert wants[goid] == lock
            assert holder in edges[goid]
    for goid in edges:
        verdict = found.of(goid)
        assert verdict is not None
        assert (verdict.verdict == "deadlock") == any(goid in c.goroutines for c in found.deadlocks)


def test_a_snapshot_without_waits_has_no_verdicts() -> None:
    assert verdicts(make_snapshot()) is None
