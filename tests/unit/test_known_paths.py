"""Stacks that are recognised end where walking them ends, and what only looks like them is walked."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from spyglass.runtime.stacks.known_paths import KnownPaths
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.unwinder import Unwinder
from spyglass.runtime.stacks.walks import COMPLETE, Cursors, StackBytes, Walked
from tests.made_program import LOW, Program

#: Of one size each two, so that stacks of other calls are as large.
CALLS = ["main.worker", "main.recurse", "runtime.chanrecv1", "main.leaf", "runtime.gopark"]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """One whose stacks are recognised when they come for the second time."""
    monkeypatch.setattr("spyglass.runtime.stacks.unwinder._MANY", 1)
    monkeypatch.setattr("spyglass.runtime.stacks.known_paths._WORTH_KEEPING", 1)
    return Program("amd64")


def walk(program: Program, raws: Sequence[bytes], *, top: bool = False, read: int = 0) -> Walked:
    """Walk stacks of which all bytes were read, or as many as `read`."""
    program.memory.segments = {LOW: b"".join(raws)}
    sizes = np.array([len(raw) for raw in raws], np.uint64)
    ends = np.cumsum(sizes).astype(np.uint64) + np.uint64(LOW)
    begins = ends - sizes
    some = np.minimum(sizes, np.uint64(read)) if read else sizes
    stacks = StackBytes.of(program.memory.gather(begins, some), begins, begins + some)
    pc, lr = (np.full(len(raws), n, np.uint64) for n in (program.pc("runtime.gopark"), 0))
    unwinder = Unwinder(program.memory, program.tree, program.links)
    return unwinder.walk(Cursors(pc, begins, ends, lr), top, stacks=stacks)


def random_stacks(chance: random.Random, count: int) -> list[list[str]]:
    return [
        ["runtime.gopark", *chance.choices(CALLS, k=chance.randrange(9)), "runtime.goexit"]
        for _ in range(count)
    ]


def left_to_walk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many walks of each batch from now on are of stacks that are not known."""
    further: list[int] = []
    real = Unwinder._leave_known

    def leave(*arguments: Any) -> Any:
        left = real(*arguments)
        further.append(len(left[0].at))
        return left

    monkeypatch.setattr(Unwinder, "_leave_known", leave)
    return further


@pytest.mark.parametrize("top", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_stacks_end_where_walking_them_ends(
    program: Program, seed: int, top: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    stacks = random_stacks(chance, 300)
    raws = [program.stack_of(names) for names in stacks]
    walk(program, raws[:200], top=top)
    again = walk(program, raws, top=top)
    assert again.outcome.tolist() == [COMPLETE] * 300
    monkeypatch.setattr("spyglass.runtime.stacks.unwinder._MANY", 1 << 30)
    walked = walk(program, raws, top=top)
    assert again.node.tolist() == walked.node.tolist()
    assert again.where.tolist() == walked.where.tolist()
    if not top:
        for node, names in zip(again.node.tolist(), stacks, strict=True):
            frames, _ = program.tree.frames(node)
            assert [program.code.frames[number].function for number in frames] == names


def test_most_stacks_are_not_walked_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [program.stack_of(names) for names in random_stacks(random.Random(1), 20)] * 20
    steps: list[int] = []
    real = Unwinder._step

    def step(unwinder: Unwinder, state: Any, run: Any, words: Any) -> Any:
        steps.append(len(run.at))
        return real(unwinder, state, run, words)

    monkeypatch.setattr(Unwinder, "_step", step)
    walk(program, raws)
    first = sum(steps)
    steps.clear()
    walk(program, raws)
    assert sum(steps) < first * 3 / 4  # the first steps of all


def test_stacks_that_differ_in_their_outer_frames_alone_are_recognised(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = ["runtime.gopark", *["runtime.chanrecv1"] * 4, "main.leaf"]
    outer = ["main.worker", "main.recurse"]
    stacks = [
        [*inner, *[outer[number >> bit & 1] for bit in range(2)], "main.leaf", "runtime.goexit"]
        for number in range(4)
    ]
    sizes = {len(program.stack_of(names)) for names in stacks}
    raws = [program.stack_of(names) for names in stacks]
    for _ in stacks:  # one of those that look alike is learned at a time
        first = walk(program, raws)
    further = left_to_walk(monkeypatch)
    again = walk(program, raws)
    assert len(sizes) < len(stacks)
    assert further == [0]
    assert again.node.tolist() == first.node.tolist()
    assert len(set(again.node.tolist())) == len(stacks)


@pytest.mark.parametrize("seed", range(40))
def test_a_word_that_differs_is_seen(
    program: Program, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overwrite words of stacks that are known, return addresses and others."""
    chance = random.Random(seed)
    names = random_stacks(chance, 1)[0]
    raw = program.stack_of(names)
    walk(program, [raw])
    pcs = [program.pc(name, chance.choice([0x20, 0x30])) for name in CALLS]
    damaged = []
    for _ in range(50):
        at = chance.randrange(len(raw) // 8) * 8
        word = struct.pack("<Q", chance.choice([*pcs, 0, 1 << 63, chance.getrandbits(64)]))
        damaged.append(raw[:at] + word + raw[at + 8 :])
    found = walk(program, damaged)
    monkeypatch.setattr("spyglass.runtime.stacks.unwinder._MANY", 1 << 30)
    walked = walk(program, damaged)
    for name in ("node", "outcome", "where", "call", "beyond"):
        assert getattr(found, name).tolist() == getattr(walked, name).tolist()


def test_a_stack_that_was_not_read_to_its_end_is_read_further(program: Program) -> None:
    raw = program.stack_of(["runtime.gopark", "main.worker", "main.worker", "runtime.goexit"])
    known = walk(program, [raw])
    short = walk(program, [raw], read=120)
    assert short.node.tolist() == known.node.tolist()
    assert known.beyond.tolist() == [False]
    assert short.beyond.tolist() == [True]


def test_stacks_to_the_bottom_and_to_the_users_code_are_two(program: Program) -> None:
    raw = program.stack_of(["runtime.gopark", "main.worker", "main.worker", "runtime.goexit"])
    bottom, top = walk(program, [raw]), walk(program, [raw], top=True)
    assert bottom.node[0] != top.node[0]
    assert walk(program, [raw]).node[0] == bottom.node[0]
    assert walk(program, [raw], top=True).node[0] == top.node[0]


def test_only_a_bounded_number_of_paths_is_kept(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.runtime.stacks.known_paths._MAX_PATHS", 6)
    program.tree.known_paths = {False: KnownPaths(), True: KnownPaths()}
    stacks = [["runtime.gopark", *["main.recurse"] * n, "runtime.goexit"] for n in range(80)]
    raws = [program.stack_of(names) for names in stacks]
    first, again = walk(program, raws), walk(program, raws)
    assert first.node.tolist() == again.node.tolist()
    assert again.outcome.tolist() == [COMPLETE] * 80


def test_room_for_paths_grows_with_them(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.runtime.stacks.known_paths._FEW_PATHS", 2)
    program.tree.known_paths = {False: KnownPaths(), True: KnownPaths()}
    names = [["runtime.gopark", *["main.recurse"] * n, "runtime.goexit"] for n in range(10, 40)]
    raws = [program.stack_of(each) for each in names]
    first = walk(program, raws)
    left = left_to_walk(monkeypatch)
    assert walk(program, raws).node.tolist() == first.node.tolist()
    assert left == [0]


def test_a_new_tree_takes_little_memory(program: Program) -> None:
    tracemalloc.start()
    StackTree(program.tree.code, program.tree.text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_where_return_addresses_are_is_known_of_whole_stacks_only(program: Program) -> None:
    names = ["runtime.gopark", "main.worker", "main.leaf", "runtime.goexit"]
    node = int(walk(program, [program.stack_of(names)]).node[0])
    assert program.tree.return_slots(node) == [6, 6 + 1 + 12, 6 + 1 + 12 + 1]
    assert [frame.words for frame in program.tree.path_frames(node)][:3] == [6, 12, 0]
    deep = program.stack_of(["runtime.gopark", *["main.recurse"] * 5000, "runtime.goexit"])
    assert program.tree.return_slots(int(walk(program, [deep], read=4096).node[0])) == []
