"""Whose thread is whose, where a core has other ids of them than the process had."""

from __future__ import annotations

import pytest

from spyglass.runtime.scheduler.sched import read_ms
from spyglass.runtime.scheduler.thread_ids import ids_by_stacks
from spyglass.threads import Registers
from tests.unit.test_sched import GS, World

STACK, STACK_BYTES = 0xC000000000, 0x2000


def registers(*sps: int, first_tid: int) -> dict[int, Registers]:
    tids = range(first_tid, first_tid + len(sps))
    return {tid: Registers(tid, 0, sp, 0, 0) for tid, sp in zip(tids, sps, strict=True)}


@pytest.fixture
def world() -> World:
    """Of each of three Ms a stack of its own: of its first goroutine, of its user's, of its signals'."""
    world = World()
    world.m["procid"], world.m["curg"], world.m["g0"], world.m["gsignal"] = [1, 5, 6], 0, 0, 0
    for name, row in (("g0", 0), ("curg", 1), ("gsignal", 2)):
        world.m[name][row] = GS + row * world.stride("g")
    # The stacks lie in another order than the Ms.
    world.g["stack"]["lo"] = [STACK + n * STACK_BYTES for n in (2, 0, 1)]
    world.g["stack"]["hi"] = world.g["stack"]["lo"] + STACK_BYTES
    return world


def sp(number: int, within: int = 0x100) -> int:
    return STACK + number * STACK_BYTES + within


def ids(world: World, threads: dict[int, Registers]) -> dict[int, int] | None:
    runtime = world.runtime()
    return ids_by_stacks(runtime, read_ms(runtime), threads)


def test_stack_pointers_tell_whose_thread_it_is(world: World) -> None:
    threads = registers(sp(1), sp(2), sp(0), first_tid=9001)
    assert ids(world, threads) == {6: 9001, 1: 9002, 5: 9003}


def test_ids_that_are_the_same_stay_as_they_are(world: World) -> None:
    threads = {tid: Registers(tid, 0, at, 0, 0) for tid, at in ((1, sp(2)), (5, sp(0)), (6, sp(1)))}
    assert ids(world, threads) is None


def test_of_a_thread_on_no_stack_of_gos_nothing_is_said(world: World) -> None:
    threads = registers(sp(0), sp(3), STACK - 8, 0, (1 << 64) - 8, sp(2), first_tid=9001)
    assert ids(world, threads) == {5: 9001, 1: 9006}


def test_goroutines_that_cannot_be_read_are_left_out(world: World) -> None:
    world.m["g0"][0], world.m["gsignal"][1], world.m["curg"][2] = 0x1234, 0xDEAD0000, 8
    threads = registers(sp(1), sp(2), sp(0), first_tid=9001)
    assert ids(world, threads) == {6: 9001, 5: 9003}
    assert ids(world, {}) is None
    world.m["g0"], world.m["gsignal"], world.m["curg"] = 0, 0xDEAD0000, 0x1234
    assert ids(world, threads) is None


def test_an_m_without_a_thread_has_none(world: World) -> None:
    world.m["procid"] = [1, 0, 0]
    assert ids(world, registers(sp(1), sp(2), sp(0), first_tid=9001)) == {1: 9002}
