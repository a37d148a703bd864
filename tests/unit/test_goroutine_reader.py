"""Goroutines that change while they are read: what is shown is of one moment, or marked as doubtful.

The memory is scripted: before each piece of it is read, the test may change what is there, as a
goroutine on another processor would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from spyglass.model import QUALITIES
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import Layouts, candidate_layouts
from spyglass.runtime.goroutines.decode import RUNNING, SYSCALL, WAITING
from spyglass.runtime.goroutines.goroutine_reader import Reader
from spyglass.runtime.scheduler.thread_registers import Threads
from spyglass.runtime.stacks import unwinder
from tests.image import ImageMemory
from tests.made_program import FUNCTIONS, Program, function
from tests.support import many_seeds

G, M, STACKS = 0xC000100000, 0xC000800000, 0xC010000000
#: How much of the memory is read at once, as far as the script is concerned.
PIECE_BYTES = 64
STACK_BYTES, LARGE_STACK_BYTES = 0x400, 0x40000
PARKED = ["runtime.gopark", "runtime.chanrecv1", "main.worker", "runtime.goexit"]
#: A version that counts how often a goroutine stops.
COUNTING = "go1.21"


@dataclass(frozen=True)
class State:
    """What a goroutine does: its wait reason, and the calls on its stack, innermost first."""

    reason: int = 14
    calls: Sequence[str] = tuple(PARKED)
    status: int = WAITING


def stack_at(i: int) -> int:
    return STACKS + i * LARGE_STACK_BYTES


class ScriptedMemory(ImageMemory):
    """Calls `script` with an address before the piece there is read."""

    def __init__(self) -> None:
        super().__init__({})
        self.script: Callable[[int], None] = lambda address: None

    def read(self, address: int, size: int) -> bytes:
        raw = b""
        for begin in range(0, max(size, 1), PIECE_BYTES):
            self.script(address + begin)
            raw += super().read(address + begin, min(PIECE_BYTES, size - begin))
        return raw


class World:
    """Goroutines in scripted memory, laid out as a Go version does."""

    def __init__(self, version: str = COUNTING, count: int = 1) -> None:
        functions = [*FUNCTIONS, function("main.other", 96), function("main.third", 96)]
        self.program = Program("amd64", functions)
        self.layouts: Layouts = next(candidate_layouts(version, "amd64", None, None, None))
        self.version = version
        self.memory = ScriptedMemory()
        self.stops = [0] * count
        for i in range(count):
            self.park(i, State())

    def g_address(self, i: int) -> int:
        return G + i * 0x1000

    def park(self, i: int, state: State, *, stops: int = 1, **fields: Any) -> None:
        """Goroutine `i` stops in `state`, having stopped `stops` times since it last did."""
        self.stops[i] += stops
        size = LARGE_STACK_BYTES if "main.large" in state.calls else STACK_BYTES
        low, high = stack_at(i), stack_at(i) + size
        raw = self.program.stack_of(state.calls)
        self.memory.place(low, bytes(size - len(raw)) + raw)
        row: Any = np.zeros(1, self.layouts["g"])
        row["stack"]["lo"], row["stack"]["hi"] = low, high
        row["sched"]["pc"] = self.program.pc(state.calls[0])
        row["sched"]["sp"] = high - len(raw)
        row["goid"], row["atomicstatus"], row["waitreason"] = i + 1, state.status, state.reason
        if "trackingSeq" in row.dtype.names:
            row["trackingSeq"] = self.stops[i] & 0xFF
        for name, value in fields.items():
            row[name] = value
        self.memory.place(self.g_address(i), row.tobytes() + bytes(8))

    def call(self, state: State, tick: int, m: int = M) -> None:
        """Goroutine 0 is in a system call, which its M, whose address is `m`, has given number `tick`."""
        row: Any = np.zeros(1, self.layouts["m"])
        row["syscalltick"] = tick
        self.memory.place(m, row.tobytes() + bytes(8))
        sp = stack_at(0) + STACK_BYTES - len(self.program.stack_of(state.calls))
        pc = self.program.pc(state.calls[0])
        in_call = replace(state, status=SYSCALL)
        self.park(0, in_call, stops=0, syscallpc=pc, syscallsp=sp, m=m)

    def reader(self) -> Reader:
        runtime = Runtime(
            self.memory, self.layouts, {}, self.program.code.functions, "amd64", self.version
        )
        return Reader(runtime, self.program.tree, None, Threads({}, denied="not allowed"))

    def read(self, reader: Reader | None = None) -> Seen:
        reader = reader or self.reader()
        pointers = np.array([self.g_address(i) for i in range(len(self.stops))], np.uint64)
        read = reader.read(pointers, top_only=False)
        columns, nodes = read.columns, read.node
        names = [self._names(int(node)) for node in nodes]
        problems = [(each.kind, each.subject, each.detail) for each in reader.runtime.problems]
        qualities = [QUALITIES[number] for number in columns.quality]
        statuses, reasons = columns.status.tolist(), columns.wait_reason.tolist()
        return Seen(qualities, statuses, reasons, names, problems)

    def _names(self, node: int) -> list[str]:
        frames, _ = self.program.tree.frames(node)
        return [self.program.code.frames[number].function for number in frames]


@dataclass(frozen=True)
class Seen:
    """What a reader says of the goroutines of a world."""

    qualities: list[str]
    statuses: list[int]
    reasons: list[int]
    stacks: list[list[str]]
    problems: list[tuple[str, str, str]]


STATES = [
    State(reason, ("runtime.gopark", call, caller, "runtime.goexit"))
    for reason, (call, caller) in enumerate(
        [
            ("main.worker", "main.other"),
            ("main.other", "main.third"),
            ("main.third", "main.worker"),
            ("main.other", "main.worker"),
        ],
        start=1,
    )
]
#: Of these more is read than a capture holds: the frame of main.large is larger.
LARGE = [
    State(reason, ("runtime.gopark", "main.large", call, "runtime.goexit"))
    for reason, call in enumerate(["main.other", "main.third"], start=1)
]
OTHER = State(reason=15, calls=("runtime.gopark", "main.other", "main.worker", "runtime.goexit"))


def at_read(number: int, wanted: range, change: Callable[[], None]) -> Callable[[int], None]:
    """Make `change` before the read number `number` of an address in `wanted`."""
    left = [number]

    def script(address: int) -> None:
        if address in wanted:
            left[0] -= 1
            if left[0] == 0:
                change()

    return script


def stack_range(i: int = 0) -> range:
    return range(stack_at(i), stack_at(i) + STACK_BYTES)


def test_how_many_deep_stacks_are_walked_is_counted_anew_by_each_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = ["runtime.gopark", *["main.recurse"] * 20, "runtime.goexit"]
    monkeypatch.setattr(unwinder, "KEPT_FRAMES", 10)
    monkeypatch.setattr(unwinder, "_MAX_DEEP_FRAMES", 20)
    world = World()
    world.park(0, State(calls=calls))
    reader = world.reader()
    first = world.read(reader)
    assert first.problems[0][0] == "truncated"
    for _ in range(3):
        reader.runtime.problems.clear()
        assert world.read(reader) == first


def test_a_goroutine_that_does_not_move_is_stable() -> None:
    seen = World().read()
    assert (seen.qualities, seen.stacks, seen.problems) == (["stable"], [PARKED], [])


def test_a_goroutine_that_moves_once_is_read_again() -> None:
    world = World(count=2)
    world.memory.script = at_read(1, stack_range(), lambda: world.park(0, OTHER))
    seen = world.read()
    assert seen.qualities == ["moved", "stable"]
    assert seen.stacks == [list(OTHER.calls), PARKED]
    assert seen.reasons == [15, 14]
    assert seen.problems == []


@pytest.mark.parametrize("stops", [1, 2, 128, 255, 257, 511])
def test_a_goroutine_that_comes_back_to_the_same_place_has_moved(stops: int) -> None:
    """Even though its registers, its status and its stack are where they were."""
    world = World()
    before = State(calls=("runtime.gopark", "main.third", "main.worker", "runtime.goexit"))
    world.park(0, before)
    world.memory.script = at_read(1, stack_range(), lambda: world.park(0, State(), stops=stops))
    seen = world.read()
    assert (seen.qualities, seen.stacks) == (["moved"], [PARKED])


def test_a_goroutine_that_moves_at_every_read_is_torn() -> None:
    world = World()
    states = STATES[:2]
    world.park(0, states[0])

    def move(address: int) -> None:
        if address in stack_range():
            states.reverse()
            world.park(0, states[0])

    world.memory.script = move
    seen = world.read()
    assert seen.qualities == ["torn"]
    [(kind, subject, detail)] = seen.problems
    assert (kind, subject) == ("torn", "goroutine 1")
    assert detail.startswith("moved while it was read")


def test_a_goroutine_whose_stack_cannot_be_read_is_unreadable() -> None:
    world = World()
    del world.memory.segments[STACKS]
    seen = world.read()
    assert (seen.qualities, seen.stacks) == (["unreadable"], [[]])
    assert seen.problems == [("unreadable", "goroutine 1", "its stack could not be read")]


def test_a_goroutine_that_runs_has_no_stack_and_a_problem() -> None:
    world = World()
    world.park(0, State(status=RUNNING))
    seen = world.read()
    assert seen.stacks == [[]]
    assert seen.problems == [("unreadable", "running goroutines", "not allowed")]


def test_a_goroutine_that_runs_on_and_off_is_torn_and_the_refusal_is_said() -> None:
    """It runs when it is read, and stops anew whenever its stack is: a sample would have caught it."""
    world = World()
    world.park(0, State(status=RUNNING))
    states = STATES[:2]
    reads = [0]

    def run_on_and_off(address: int) -> None:
        if address == world.g_address(0):
            reads[0] += 1
        if address in stack_range() or reads[0] == 4:
            states.reverse()
            world.park(0, states[0])

    world.memory.script = run_on_and_off
    seen = world.read()
    assert (seen.qualities, seen.statuses) == (["torn"], [WAITING])
    assert ("unreadable", "running goroutines", "not allowed") in seen.problems
    assert [kind for kind, _, _ in seen.problems].count("torn") == 1


def test_a_goroutine_in_a_system_call_is_where_it_made_it() -> None:
    world = World()
    world.park(0, State(status=SYSCALL))
    high = STACKS + STACK_BYTES
    sp = high - len(world.program.stack_of(PARKED))
    world.park(0, State(status=SYSCALL), syscallpc=world.program.pc(PARKED[0]), syscallsp=sp)
    seen = world.read()
    assert (seen.qualities, seen.stacks, seen.problems) == (["stable"], [PARKED], [])


def test_a_system_call_of_which_nothing_is_recorded_is_a_problem() -> None:
    world = World()
    world.park(0, State(status=SYSCALL))
    seen = world.read()
    assert (seen.qualities, seen.stacks) == (["unreadable"], [[]])
    assert seen.problems == [("unreadable", "goroutine 1", "its stack could not be read")]


@many_seeds(40)
@pytest.mark.parametrize("rarely", [40, 200, 1000])
def test_what_is_called_stable_or_moved_is_of_one_moment(seed: int, rarely: int) -> None:
    """All stop at the same pc and sp, so that only the count of stops tells one from another; which
    wait reason goes with which stack shows whether two moments were mixed."""
    chance = random.Random(seed)
    world = World(count=8)
    now = [chance.choice(STATES) for _ in range(8)]
    was: list[set[State]] = [{state} for state in now]
    for i, state in enumerate(now):
        world.park(i, state)

    def move(address: int) -> None:
        if chance.randrange(rarely) == 0:
            i = chance.randrange(8)
            now[i] = chance.choice(STATES)
            was[i].add(now[i])
            world.park(i, now[i], stops=chance.randrange(1, 256))

    world.memory.script = move
    seen = world.read()
    for i, quality in enumerate(seen.qualities):
        if quality in ("stable", "moved"):
            assert (seen.reasons[i], tuple(seen.stacks[i])) in {
                (state.reason, state.calls) for state in was[i]
            }
        if quality == "stable":
            assert seen.reasons[i] == now[i].reason or len(was[i]) > 1
    unsure = [each for each in seen.qualities if each in ("torn", "unreadable")]
    assert len(seen.problems) == len(unsure) or len(unsure) > 3


@pytest.mark.parametrize(
    "version", ["go1.13", pytest.param("go1.15", marks=pytest.mark.slow), COUNTING]
)
def test_one_move_at_any_moment_is_never_mixed_with_what_was_before(version: str) -> None:
    """Also without a count of stops: then both readings of a stack must agree."""
    alike = replace(STATES[1], reason=STATES[0].reason)
    for before, after in ((STATES[0], STATES[1]), (STATES[0], alike), (LARGE[0], LARGE[1])):
        for moment in range(1, 20_000, 1 if before in STATES else 7):
            world = World(version)
            world.park(0, before)
            reads = move_at(world, moment, after)
            seen = world.read()
            if reads() < moment:
                break
            assert seen.qualities[0] in ("stable", "moved"), moment
            shown = (seen.reasons[0], tuple(seen.stacks[0]))
            assert shown in {(each.reason, each.calls) for each in (before, after)}, moment
        assert moment > 10


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_a_stack_that_is_larger_than_what_is_read_at_first_is_of_one_moment(reads: int) -> None:
    """It moves when the ``g`` was read twice, and what lies behind the large frame was not."""
    world = World()
    world.park(0, LARGE[0])
    behind = range(stack_at(0) + LARGE_STACK_BYTES - 0x200, stack_at(0) + LARGE_STACK_BYTES)
    world.memory.script = at_read(reads, behind, lambda: world.park(0, LARGE[1]))
    seen = world.read()
    assert (seen.reasons[0], tuple(seen.stacks[0])) in {(s.reason, s.calls) for s in LARGE}


@many_seeds(40)
@pytest.mark.parametrize("rarely", [8, 30])
def test_system_calls_one_after_the_other_are_never_mixed(seed: int, rarely: int) -> None:
    """Since Go 1.26 the goroutine's own count does not tell one from the next, that of its M does."""
    chance = random.Random(seed)
    world = World("go1.27")
    calls = {chance.choice(STATES).calls}
    ticks = [0]

    def call(address: int) -> None:
        if chance.randrange(rarely) == 0:
            state = chance.choice(STATES)
            calls.add(state.calls)
            ticks[0] += 1
            world.call(state, ticks[0])

    world.call(State(calls=next(iter(calls))), 0)
    world.memory.script = call
    seen = world.read()
    assert seen.qualities == ["torn"] or tuple(seen.stacks[0]) in calls


def test_a_system_call_on_another_thread_is_read_again() -> None:
    world = World("go1.27")
    world.call(STATES[0], 1)
    world.memory.script = at_read(1, stack_range(), lambda: world.call(STATES[1], 1, m=M + 0x1000))
    seen = world.read()
    assert seen.qualities[0] in ("stable", "moved")
    assert seen.stacks == [list(STATES[1].calls)]


@many_seeds(60)
@pytest.mark.parametrize(
    ("version", "rarely"), [("go1.15", 60), (COUNTING, 60), (COUNTING, 20), (COUNTING, 6)]
)
def test_a_goroutine_that_runs_now_and_then_has_no_stack_of_another_moment(
    seed: int, version: str, rarely: int
) -> None:
    chance = random.Random(seed)
    world = World(version)
    states = [*STATES, State(status=RUNNING), State(status=RUNNING)]
    was = {State(status=RUNNING)}
    world.park(0, State(status=RUNNING))

    def move(address: int) -> None:
        if chance.randrange(rarely) == 0:
            state = chance.choice(states)
            was.add(state)
            world.park(0, state)

    world.memory.script = move
    seen = world.read()
    if seen.statuses == [RUNNING]:
        assert seen.stacks == [[]]
    elif seen.qualities != ["torn"]:
        assert (seen.reasons[0], tuple(seen.stacks[0])) in {(s.reason, s.calls) for s in was}
    assert seen.problems or seen.qualities[0] in ("stable", "moved")


def move_at(world: World, moment: int, state: State) -> Callable[[], int]:
    """Let goroutine 0 stop in `state` before that read of its memory; how many reads there were."""
    count = [0]

    def move(address: int) -> None:
        count[0] += 1
        if count[0] == moment:
            world.park(0, state)

    world.memory.script = move
    return lambda: count[0]
