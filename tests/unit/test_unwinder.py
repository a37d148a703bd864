"""Stacks made by hand, walked as Go's own traceback would: of amd64, and of arm64 with its link register."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from spyglass.binary.pclntab import TOP_FRAME
from spyglass.memory.base import Gathered
from spyglass.memory.ranges import spread
from spyglass.runtime.stacks import unwinder
from spyglass.runtime.stacks.unwinder import KEPT_FRAMES, Unwinder
from spyglass.runtime.stacks.walks import (
    COMPLETE,
    INCOMPLETE,
    TRUNCATED,
    UNREADABLE,
    Cursors,
    StackBytes,
)
from spyglass.threads import Registers
from tests.image import ImageMemory
from tests.made_program import FUNCTIONS, LOW, SIZE, Program, function
from tests.pclntab_writer import FunctionSpec, pc_table
from tests.support import many_seeds


@pytest.fixture(params=["amd64", "arm64"])
def program(request: pytest.FixtureRequest) -> Program:
    return Program(request.param)


@pytest.fixture(params=["roomy", "crowded"])
def crowded_program(
    program: Program, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Program:
    """One whose tree has few places for its nodes, so that many are not at their first one."""
    if request.param == "crowded":
        monkeypatch.setattr("spyglass.runtime.stacks.stack_tree._FEW_NODES", 2)
        monkeypatch.setattr("spyglass.runtime.stacks.key_index._PLACES_PER_KEY", 1)
    return Program("arm64" if program.links else "amd64")


PARKED = ["runtime.gopark", "runtime.chanrecv1", "main.worker", "runtime.goexit"]


def test_a_parked_stack_is_walked_to_its_bottom(program: Program) -> None:
    walked = program.walk(program.pc("runtime.gopark"), program.stack_of(PARKED))
    assert program.names(walked) == PARKED
    assert (walked.outcome[0], walked.beyond[0]) == (COMPLETE, False)
    assert program.code.frames[walked.where[0]].function == "main.worker"


def test_only_the_top_is_walked_if_that_is_enough(program: Program) -> None:
    walked = program.walk(program.pc("runtime.gopark"), program.stack_of(PARKED), top=True)
    assert program.names(walked) == PARKED[:3]
    assert walked.outcome[0] == COMPLETE


def test_equal_stacks_end_at_the_same_node(program: Program) -> None:
    first = program.walk(program.pc("runtime.gopark"), program.stack_of(PARKED))
    again = program.walk(program.pc("runtime.gopark"), program.stack_of(PARKED), low=LOW + 0x8000)
    other = program.walk(program.pc("runtime.gopark", 0x30), program.stack_of(PARKED))
    assert first.node[0] == again.node[0] != other.node[0]


def test_frames_may_be_larger_than_what_is_read_at_once(program: Program) -> None:
    names = ["runtime.gopark", "main.large", "main.worker", "main.large", "runtime.goexit"]
    walked = program.walk(program.pc("runtime.gopark"), program.stack_of(names))
    assert program.names(walked) == names
    assert walked.outcome[0] == COMPLETE


@pytest.mark.parametrize("depth", [10, KEPT_FRAMES - 2, KEPT_FRAMES + 1, 5000])
def test_of_deep_stacks_both_ends_are_kept(program: Program, depth: int) -> None:
    names = ["runtime.gopark", *["main.recurse"] * depth, "main.worker", "runtime.goexit"]
    walked = program.walk(program.pc("runtime.gopark"), program.stack_of(names))
    frames, gap = program.tree.frames(int(walked.node[0]))
    shown = [program.code.frames[number].function for number in frames]
    assert shown[:2] == names[:2]
    assert shown[-3:] == names[-3:]
    assert len(shown) + (gap[1] if gap else 0) == len(names)
    assert len(shown) <= 2 * KEPT_FRAMES
    assert walked.outcome[0] == (TRUNCATED if gap else COMPLETE)


def test_many_different_stacks_are_walked_at_once(crowded_program: Program) -> None:
    program = crowded_program
    chance = random.Random(1)
    calls = ["main.worker", "main.recurse", "runtime.chanrecv1"]
    stacks = [
        ["runtime.gopark", *chance.choices(calls, k=chance.randrange(60)), "runtime.goexit"]
        for _ in range(1000)
    ]
    raws = [program.stack_of(names) for names in stacks]
    ends = np.cumsum([len(raw) for raw in raws]).astype(np.uint64) + np.uint64(LOW)
    sizes = np.array([len(raw) for raw in raws], np.uint64)
    program.memory.segments = {LOW: b"".join(raws)}
    pc, lr = (np.full(len(stacks), n, np.uint64) for n in (program.pc("runtime.gopark"), 0))
    walked = program.unwinder.walk(Cursors(pc, ends - sizes, ends, lr), False)
    assert set(walked.outcome.tolist()) == {COMPLETE}
    for node, names in zip(walked.node.tolist(), stacks, strict=True):
        frames, gap = program.tree.frames(node)
        assert [program.code.frames[number].function for number in frames] == names
        assert gap is None
    assert len(set(walked.node.tolist())) == len(set(map(tuple, stacks)))
    paths = program.tree.paths(walked.node)
    for number, names in enumerate(stacks):
        frames = paths.frames[paths.offsets[number] : paths.offsets[number + 1]].tolist()
        assert [program.code.frames[frame].function for frame in frames] == names


def test_of_many_stacks_those_without_their_middle_are_known(program: Program) -> None:
    stacks = [
        ["runtime.gopark", *["main.recurse"] * depth, "main.worker", "runtime.goexit"]
        for depth in (3, KEPT_FRAMES + 600, 7, KEPT_FRAMES + 700)
    ]
    raws = [program.stack_of(names) for names in stacks]
    walks = [program.walk(program.pc("runtime.gopark"), raw) for raw in raws]
    paths = program.tree.paths(np.concatenate([walked.node for walked in walks]))
    assert list(paths.elided) == [1, 3]
    counts = np.diff(paths.offsets)
    for number, names in enumerate(stacks):
        behind, omitted = paths.elided.get(number, (0, 0))
        assert counts[number] + omitted == len(names)
        assert behind in (0, KEPT_FRAMES)


class CountingMemory(ImageMemory):
    """Image memory that knows how much was gathered at once at most."""

    largest = 0

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        self.largest = max(self.largest, int(spread(sizes, len(addresses)).sum()))
        return super().gather(addresses, sizes)


def test_of_many_large_stacks_some_are_held_at_a_time(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16,384 windows of 64 KiB would be all that can be read at once, 1 GiB."""
    assert (1 << 26) == unwinder._MAX_GATHER_BYTES
    monkeypatch.setattr(unwinder, "_MAX_GATHER_BYTES", 1 << 18)
    names = ["runtime.gopark", *["main.large", "main.worker"] * 4, "runtime.goexit"]
    names[2:2] = ["main.recurse"] * 400
    raw, count = program.stack_of(names), 40
    memory = CountingMemory({LOW: raw * count})
    lows = np.arange(count, dtype=np.uint64) * np.uint64(len(raw)) + np.uint64(LOW)
    pc, lr = (np.full(count, n, np.uint64) for n in (program.pc("runtime.gopark"), 0))
    cursors = Cursors(pc, lows, lows + np.uint64(len(raw)), lr)
    walked = Unwinder(memory, program.tree, program.links).walk(cursors, False)
    assert set(walked.outcome.tolist()) == {COMPLETE}
    assert len(set(walked.node.tolist())) == 1
    assert program.names(walked) == names
    assert 1 << 17 < memory.largest <= (1 << 18) + (1 << 16)


@pytest.mark.parametrize("depth", [0, KEPT_FRAMES + 5])
def test_a_frame_of_half_a_word_is_none(depth: int) -> None:
    odd = Program("amd64", [*FUNCTIONS, function("main.odd", 12)])
    above = ["runtime.gopark", *["main.recurse"] * depth]
    walked = odd.walk(
        odd.pc("runtime.gopark"), odd.stack_of([*above, "main.odd", "runtime.goexit"])
    )
    assert (walked.outcome[0], odd.names(walked)) == (INCOMPLETE, above)


def test_a_deep_stack_does_not_change_how_others_are_read(program: Program) -> None:
    """Of the second there is only what is read of it when it is walked alone: windows that grow."""
    deep = program.stack_of(["runtime.gopark", *["main.recurse"] * 1200, "runtime.goexit"])
    calls = [*["main.worker"] * 38, *["main.recurse"] * 450]
    other = program.stack_of(["runtime.gopark", *calls, "runtime.goexit"])
    other_at = LOW + (1 << 20)
    program.memory.segments = {LOW: deep, other_at: other + bytes((24 << 10) - len(other))}
    cursors = Cursors(
        np.full(2, program.pc("runtime.gopark"), np.uint64),
        np.array([LOW, other_at], np.uint64),
        np.array([LOW + len(deep), other_at + (64 << 10)], np.uint64),
        np.zeros(2, np.uint64),
    )
    walked = program.unwinder.walk(cursors, False)
    assert walked.outcome.tolist() == [TRUNCATED, COMPLETE]


def test_a_full_tree_is_not_laid_out_again_and_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.runtime.stacks.stack_tree.MAX_NODES", 600)
    monkeypatch.setattr("spyglass.runtime.stacks.stack_tree._FEW_NODES", 2)
    program = Program("arm64" if program.links else "amd64")
    for depth in (2000, 2300):  # what is left out of a stack is a node even then
        deep = ["runtime.gopark", *["main.recurse"] * depth, "runtime.goexit"]
        program.walk(program.pc("runtime.gopark"), program.stack_of(deep))
        assert program.tree.is_full
    places = program.tree._index._places
    walked = program.walk(program.pc("main.worker"), program.stack_of(["main.worker", *deep]))
    assert walked.outcome[0] == INCOMPLETE
    assert program.tree._index._places is places


@pytest.mark.parametrize("room", [700, 701])
def test_a_deep_stack_does_not_go_on_as_another_when_the_tree_is_full(
    program: Program, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    program.walk(program.pc("main.worker"), program.stack_of(["main.worker", "runtime.goexit"]))
    program.walk(program.pc("main.recurse"), program.stack_of(["main.recurse", "runtime.goexit"]))
    monkeypatch.setattr("spyglass.runtime.stacks.stack_tree.MAX_NODES", room)
    deep = ["runtime.gopark", *["main.recurse"] * 2000, "main.worker", "runtime.goexit"]
    walked = program.walk(program.pc("runtime.gopark"), program.stack_of(deep))
    assert (walked.outcome[0], program.names(walked)) == (INCOMPLETE, [])


# Bytes that came with registers.


@pytest.mark.parametrize("size", [None, 0, 8, 47, 48, 100])
def test_a_sample_may_have_a_part_of_the_stack(program: Program, size: int | None) -> None:
    raw = program.stack_of(PARKED)
    program.memory.segments = {LOW: raw}
    registers = Registers(1, program.pc("runtime.gopark"), LOW, 0, 0, 0, raw[:size])
    cursors = Cursors.sampled([registers], np.array([LOW + len(raw)], np.uint64))
    walked = program.unwinder.walk(cursors, False, 1, StackBytes.sampled([registers]))
    assert program.names(walked) == PARKED
    assert (walked.outcome[0], walked.beyond[0]) == (COMPLETE, size is not None)


def test_what_a_sample_has_behind_the_stack_is_not_of_it(program: Program) -> None:
    another = program.stack_of(["main.recurse", *PARKED])
    torn = ["main.worker", "main.recurse"]  # the last returns to nowhere
    raw = program.stack_of(torn)[:-32]
    program.memory.segments = {LOW: raw + another}
    registers = Registers(1, program.pc("main.worker"), LOW, 0, 0, 0, raw + another)
    cursors = Cursors.sampled([registers], np.array([LOW + len(raw)], np.uint64))
    walked = program.unwinder.walk(cursors, False, 1, StackBytes.sampled([registers]))
    assert walked.outcome[0] == INCOMPLETE
    assert program.names(walked) == ["main.worker"]


# The link register.


def test_a_leaf_returns_through_the_link_register() -> None:
    program = Program("arm64")
    names = ["main.worker", "runtime.goexit"]
    walked = program.walk(
        program.pc("main.leaf"), program.stack_of(names), lr=program.pc("main.worker")
    )
    assert program.names(walked) == ["main.leaf", *names]
    assert walked.outcome[0] == COMPLETE


def test_a_leaf_whose_link_register_is_not_known_ends_the_walk() -> None:
    program = Program("arm64")
    walked = program.walk(
        program.pc("main.leaf"), program.stack_of(["main.worker", "runtime.goexit"])
    )
    assert program.names(walked) == ["main.leaf"]
    assert walked.outcome[0] == INCOMPLETE


def test_a_function_with_a_frame_does_not_return_through_the_link_register() -> None:
    program = Program("arm64")
    raw = program.stack_of(["main.worker", "runtime.goexit"])
    walked = program.walk(program.pc("main.worker"), raw, lr=program.pc("main.recurse"))
    assert program.names(walked) == ["main.worker", "runtime.goexit"]


def test_what_a_signal_interrupted_is_found(program: Program) -> None:
    """On arm64 the handler leaves the link register on the stack, and makes the leaf seem to call asyncPreempt."""
    names = ["runtime.asyncPreempt", "main.leaf", "main.worker", "runtime.goexit"]
    walked = program.walk(program.pc("runtime.asyncPreempt"), program.stack_of(names))
    assert program.names(walked) == names
    assert walked.outcome[0] == COMPLETE


# Stacks that lie.


def test_a_stack_that_leads_nowhere_is_cut_there(program: Program) -> None:
    raw = bytearray(program.stack_of(PARKED))
    back = 0 if program.links else 48
    raw[back : back + 8] = struct.pack("<Q", 0x1234)
    walked = program.walk(program.pc("runtime.gopark"), bytes(raw))
    assert program.names(walked) == ["runtime.gopark"]
    assert walked.outcome[0] == INCOMPLETE


def test_a_stack_that_cannot_be_read(program: Program) -> None:
    pc = program.pc("runtime.gopark")
    program.memory.segments = {}
    cursors = Cursors(*(np.array([n], np.uint64) for n in (pc, LOW, LOW + 4096, 0)))
    walked = program.unwinder.walk(cursors, False)
    assert walked.outcome[0] == UNREADABLE


@pytest.mark.parametrize(
    ("sp", "high"),
    [(LOW, LOW), (LOW + 8, LOW), (LOW + 4, LOW + 4096), (LOW, LOW + 4), (0, 0), ((1 << 64) - 8, 0)],
)
def test_places_that_are_no_stack(program: Program, sp: int, high: int) -> None:
    pc = program.pc("runtime.gopark")
    cursors = Cursors(*(np.array([n], np.uint64) for n in (pc, sp, high, 0)))
    walked = program.unwinder.walk(cursors, False)
    assert walked.outcome[0] in (INCOMPLETE, UNREADABLE)


@pytest.mark.parametrize("name", ["main.leaf", "main.recurse", "runtime.asyncPreempt"])
def test_a_stack_of_nothing_but_one_address_ends(program: Program, name: str) -> None:
    raw = struct.pack("<Q", program.pc(name)) * (1 << 17)
    walked = program.walk(program.pc(name), raw, lr=program.pc(name))
    assert walked.outcome[0] in (INCOMPLETE, TRUNCATED)
    assert len(program.names(walked)) <= 2 * KEPT_FRAMES


@many_seeds(20)
def test_stacks_of_noise_end(crowded_program: Program, seed: int) -> None:
    program = crowded_program
    chance = random.Random(seed)
    pcs = [program.pc(each.name, chance.randrange(SIZE)) for each in FUNCTIONS]
    words = [chance.choice([*pcs, chance.getrandbits(64), LOW]) for _ in range(1 << 12)]
    raw = struct.pack(f"<{len(words)}Q", *words)
    count = 64
    program.memory.segments = {LOW: raw}
    cursors = Cursors(
        np.array([chance.choice(pcs) for _ in range(count)], np.uint64),
        np.array([LOW + 8 * chance.randrange(len(words)) for _ in range(count)], np.uint64),
        np.full(count, LOW + len(raw), np.uint64),
        np.array([chance.choice([0, *pcs]) for _ in range(count)], np.uint64),
    )
    alone = [
        Cursors(cursors.pc[i : i + 1].copy(), cursors.sp[i : i + 1].copy(), cursors.high[:1],
                cursors.lr[i : i + 1].copy())
        for i in range(count)
    ]  # fmt: skip
    walked = program.unwinder.walk(cursors, False)
    assert set(walked.outcome.tolist()) <= {COMPLETE, INCOMPLETE, TRUNCATED, UNREADABLE}
    assert len(walked.node) == count
    for row, cursor in enumerate(alone):
        own = program.unwinder.walk(cursor, False)
        assert own.node[0] == walked.node[row]
        assert own.outcome[0] == walked.outcome[row]


STANDARD = "/go/src/net/http/server.go"
#: Functions of a program, by the letters that stacks are written with below.
LETTERS = {
    "p": function("runtime.gopark", 48),
    "c": function("runtime.chanrecv1", 32),
    "z": function("time.Sleep", 32, file="/go/src/runtime/time.go"),
    "G": function("runtime.GC", 32),
    "l": function("sync.(*Mutex).lockSlow", 64, file="/go/src/sync/mutex.go"),
    "L": function("sync.(*Mutex).Lock", 32, file="/go/src/sync/mutex.go"),
    "s": function("net/http.(*conn).serve", 400, file=STANDARD),
    "r": function("net/http.(*conn).readRequest", 400, file=STANDARD),
    "w": FunctionSpec("main.(*T).Lock", SIZE, pc_table([(SIZE, 32)]), func_id=22),
    "g": function("main.(*T).String", 32, file="<autogenerated>"),
    "u": function("main.worker", 96),
    "v": function("net.example/x.Handle", 96, file="/home/me/handle.go"),
    "e": function("runtime.example/x.Run", 96, file="/home/me/run.go"),
    "C": function("main._Cfunc_read", 32, file="_cgo_gotypes.go"),
    "x": function("runtime.goexit", 0, TOP_FRAME),
}


@pytest.mark.parametrize("top", [False, True])
@pytest.mark.parametrize(
    ("stack", "where", "call"),
    [
        ("pcux", "u", None),
        ("pclLux", "u", "L"),
        ("plLvux", "v", "L"),
        ("pzux", "u", "z"),
        ("Gux", "u", "G"),
        ("ux", "u", None),
        ("zvx", "v", "z"),
        ("plLex", "e", "L"),
        ("pcrsx", "s", "r"),
        ("pcsx", "s", None),
        ("plLrswx", "s", "r"),
        ("plLwux", "u", "L"),
        ("plLgux", "u", "L"),
        ("plLuwsx", "u", "L"),
        ("pCux", "u", "C"),
        ("pcpx", None, None),
        ("pwx", None, None),
        ("urx", "u", None),
        ("plLrurx", "u", "r"),
    ],
)
def test_where_a_stack_waits_and_what_it_called(
    stack: str, where: str | None, call: str | None, top: bool
) -> None:
    program = Program("amd64", list(LETTERS.values()))
    names = [LETTERS[letter].name for letter in stack]
    walked = program.walk(program.pc(names[0]), program.stack_of(names), top=top)
    found = [program.frame_name(number) for number in (walked.where[0], walked.call[0])]
    assert found == [letter and LETTERS[letter].name for letter in (where, call)]
    users = [at for at, letter in enumerate(stack) if letter in "uve"]
    assert len(program.names(walked)) == (users[0] + 1 if top and users else len(stack))


def test_users_code_is_found_among_the_frames_that_are_left_out_of_a_deep_stack() -> None:
    program = Program("amd64", list(LETTERS.values()))
    deep = "p" + "lL" * KEPT_FRAMES + "v" + "rs" * KEPT_FRAMES + "x"
    names = [LETTERS[letter].name for letter in deep]
    walked = program.walk(program.pc(names[0]), program.stack_of(names))
    assert walked.outcome[0] == TRUNCATED
    assert program.frame_name(walked.where[0]) == "net.example/x.Handle"
    assert program.frame_name(walked.call[0]) == "sync.(*Mutex).Lock"
