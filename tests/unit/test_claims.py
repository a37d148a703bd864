"""Goroutines that have what another one has too: told, and marked as doubtful, unless they had it one after the other."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from spyglass.runtime.goroutines import goroutine_reader
from spyglass.runtime.goroutines.claims import Claims
from spyglass.runtime.goroutines.decode import DEAD
from tests.unit.test_goroutine_reader import STACK_BYTES, STATES, Seen, State, World, stack_at

SHARED = ("implausible", "goroutines", "2 have an id or a stack that another one has too")


def world_of(count: int) -> World:
    world = World(count=count)
    for i in range(count):
        world.park(i, STATES[i % len(STATES)])
    return world


def of_others(seen: Seen, *doubtful: int) -> list[str]:
    return [quality for i, quality in enumerate(seen.qualities) if i not in doubtful]


@pytest.mark.parametrize("shift", [0, 8, STACK_BYTES - 8, 8 - STACK_BYTES])
def test_a_goroutine_on_the_stack_of_another(shift: int) -> None:
    world = world_of(5)
    world.park(1, STATES[1], stack=(stack_at(3) + shift, stack_at(3) + shift + STACK_BYTES))
    seen = world.read()
    assert SHARED in seen.problems
    assert seen.qualities[1] == seen.qualities[3] == "torn"
    assert of_others(seen, 1, 3) == ["stable"] * 3


def test_stacks_side_by_side_are_no_doubt() -> None:
    world = world_of(3)
    world.park(1, STATES[1], stack=(stack_at(0) + STACK_BYTES, stack_at(0) + 2 * STACK_BYTES))
    assert SHARED not in world.read().problems


def test_two_goroutines_with_one_id() -> None:
    world = world_of(4)
    world.park(2, STATES[2], goid=1)
    seen = world.read()
    assert SHARED in seen.problems
    assert seen.qualities == ["torn", "stable", "torn", "stable"]


def test_a_stack_that_another_one_had_before_is_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goroutine 0 ends when it has been read; goroutine 1 has its stack then."""
    monkeypatch.setattr(goroutine_reader, "_BATCH", 1)
    world = world_of(2)
    own = (stack_at(0), stack_at(0) + STACK_BYTES)

    def end(address: int) -> None:
        if address == world.g_address(1):
            world.memory.script = lambda _: None
            raw = world.program.stack_of(STATES[1].calls)
            world.park(0, State(status=DEAD))
            world.memory.place(own[0], bytes(STACK_BYTES - len(raw)) + raw)
            sched = np.zeros(1, world.layouts["g"]["sched"])
            sched["sp"], sched["pc"] = own[1] - len(raw), world.program.pc(STATES[1].calls[0])
            world.park(1, STATES[1], stack=own, sched=sched[0])

    world.memory.script = end
    seen = world.read()
    assert seen.qualities == ["stable", "stable"]
    assert seen.stacks == [list(STATES[0].calls), list(STATES[1].calls)]
    assert seen.problems == []


@pytest.mark.parametrize("seed", range(20))
def test_all_that_overlap_are_found(seed: int) -> None:
    chance = random.Random(seed)
    spans = [(low, low + chance.randrange(1, 9)) for low in chance.sample(range(60), 12)]
    ids = chance.choices(range(60), k=12)
    columns = np.array([ids, *zip(*spans, strict=True)], np.uint64)
    expected = {
        row
        for pair in combinations(range(12), 2)
        for row in pair
        if ids[pair[0]] == ids[pair[1]]
        or (spans[pair[0]][0] < spans[pair[1]][1] and spans[pair[1]][0] < spans[pair[0]][1])
    }
    assert set(np.flatnonzero(Claims(*columns).contested()).tolist()) == expected


def test_none_have_nothing_in_common() -> None:
    assert Claims(*np.zeros((3, 0), np.uint64)).contested().tolist() == []
