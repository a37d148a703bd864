"""Which locks a function holds where, by its machine code: programs of fixtures/programs, and made code."""

from __future__ import annotations

import random
from itertools import count as count_from

import numpy as np
import pytest

from fixtures.fetch import find_program
from spyglass.binary.call_edges import CallEdges, may_call_pointers, numbers_anywhere
from spyglass.binary.code_flow import analyse
from spyglass.binary.executable import Executable
from spyglass.binary.flow_state import HELD, KEPT
from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.instructions import Do, Instruction, processor
from spyglass.binary.lock_facts import READ, WRITE, Code, Effect, LockFact
from spyglass.binary.open_defers import _FUNCDATA, DeferForm, open_defers
from spyglass.binary.pclntab import FunctionTable, find_pclntab
from spyglass.runtime.discovery.layouts import candidate_layouts
from spyglass.runtime.waiting.lock_code import LockCode
from spyglass.runtime.waiting.lock_frames import defer_form
from tests.support import ENDS, MATRIX, Flavour, build
from tests.unit.test_pclntab import finished

pytestmark = [pytest.mark.go, pytest.mark.matrix]


class Program:
    """An executable that is not run."""

    def __init__(self, name: str, minor: str, flavour: Flavour) -> None:
        self.executable = Executable.open(str(build(name, minor, flavour)))
        place = find_pclntab(self.executable)
        assert place is not None
        text = self.executable.symbol("runtime.text")
        assert text is not None
        raw = self.executable.image.read(place.offset, place.size)
        self.functions = FunctionTable(memoryview(raw), text)
        trees = InlineTrees(self.executable.read, self._gofunc())
        arch = self.executable.arch
        self.in_registers = int(minor.partition(".")[2]) >= (18 if arch == "arm64" else 17)
        self.code = LockCode(self.functions, trees, arch, self.in_registers)

    def _gofunc(self) -> int | None:
        for name in ("go:func.*", "go.func.*"):
            address = self.executable.symbol(name)
            if address is not None:
                return address
        return None

    def at_call(self, function: str, called: str) -> list[list[LockFact]]:
        """The locks at each of the calls of `called` in `function`."""
        caller, callee = self.functions.named(function), self.functions.named(called)
        assert caller is not None
        assert callee is not None
        raw = self.executable.read(caller.entry, caller.end - caller.entry)
        result = self.code.flow(caller)
        assert result.complete
        return [
            result.calls[each.end].locks
            for each in processor(self.executable.arch).decode(raw, caller.entry)
            if each.do == Do.CALL and each.target == callee.entry and each.end in result.calls
        ]


@pytest.fixture(scope="module", params=MATRIX)
def minor_(request: pytest.FixtureRequest) -> str:
    minor: str = request.param
    return minor


@pytest.fixture(scope="module", params=[Flavour.EXE, Flavour.ARM64])
def program(request: pytest.FixtureRequest, minor_: str) -> Program:
    return Program("locks", minor_, request.param)


def masks(facts: list[LockFact], mode: int = WRITE) -> list[int]:
    return [fact.mask for fact in facts if fact.mode == mode and fact.mask != KEPT]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("main.explicit", [HELD]),
        ("main.deferred", [HELD]),
        ("main.(*pool).hold", [HELD]),
        ("main.somePaths", [HELD | KEPT]),
        ("main.localCopy", [HELD]),
        ("main.earlyReturn", [HELD]),
        ("main.holdGlobal", [HELD]),
        ("main.holdEmbedded", [HELD]),
        ("main.afterwards", []),
        ("main.earlyUnlock", []),
        ("main.afterHelpers", []),
        ("main.refersOnly", []),
        ("main.inLoop", []),
        ("main.unlocksMeanwhile", []),
    ],
)
def test_locks_are_held_where_the_source_says(
    program: Program, function: str, expected: list[int]
) -> None:
    (facts,) = program.at_call(function, "main.park")
    assert masks(facts) == expected


def test_calls_are_those_that_the_disassembler_sees(program: Program) -> None:
    arch, functions = program.executable.arch, program.functions
    edges = CallEdges(functions, program.executable.read, arch)
    assert (np.diff(edges._at) > 0).all()
    callers: dict[int, set[int]] = {}
    numbers = [
        each
        for each in range(len(functions))
        if functions.function(each).name[:5] in ("main.", "sync.")
    ]
    for number in numbers:
        function = functions.function(number)
        raw = program.executable.read(function.entry, function.end - function.entry)
        calls = [each for each in processor(arch).decode(raw, function.entry) if each.do == Do.CALL]
        called = {functions.at(each.target) for each in calls if each.target}
        found = {
            each.index
            for each in called
            if each is not None and each.entry in {c.target for c in calls}
        }
        assert found <= set(edges.called_by(function).tolist()), function.name
        for each in found:
            callers.setdefault(each, set()).add(number)
        if any(not each.target for each in calls):
            assert may_call_pointers(raw, arch), function.name
    assert len(callers) > 50
    for number, expected in callers.items():
        assert expected <= set(edges.callers_of(np.array([number])).tolist())
    # Few are seen that are none: bytes within an instruction.
    seen = sum(
        may_call_pointers(program.executable.read(f.entry, f.end - f.entry), arch)
        for f in map(functions.function, numbers)
    )
    assert seen < len(numbers) / 2


def test_readers_hold_for_reading(program: Program) -> None:
    (facts,) = program.at_call("main.(*pool).read", "main.park")
    assert masks(facts, READ) == [HELD]
    assert masks(facts) == []


def test_a_lock_is_not_held_while_it_is_waited_for(program: Program) -> None:
    slow = "sync.(*Mutex).lockSlow"
    if program.functions.named(slow) is None:
        slow = "internal/sync.(*Mutex).lockSlow"
    for function in ("main.explicit", "main.tooEarly"):
        for facts in program.at_call(function, slow):
            assert masks(facts) == []
    first, second = sorted(
        (masks(facts) for facts in program.at_call("main.selfDeadlock", slow)), key=len
    )
    assert (first, second) == ([], [HELD])


def test_helpers_take_and_release_for_their_callers(program: Program) -> None:
    for name, taken in (("lock", True), ("unlock", False)):
        function = program.functions.named(f"main.(*pool).{name}")
        assert function is not None
        effects = program.code.effects(function.entry)
        assert effects is not None
        offset = effects[0].offset
        assert Effect(0, 24, WRITE, taken, direct=False) in effects, (name, offset)


def test_open_coded_defers_are_found(program: Program) -> None:
    minor = program.executable.path.partition("-go1.")[2].partition(".")[0]
    old = not program.in_registers
    form = DeferForm(arguments=old, slots=int(minor) >= 22)
    trees, functions = program.code.trees, program.functions
    for name, count in (("main.deferred", 1), ("main.manyDefers", 0), ("main.explicit", 0)):
        function = functions.named(name)
        assert function is not None
        found = open_defers(functions, trees, function, form)
        assert len({each.bit for each in found}) >= count
        assert bool(found) == bool(count)
        for each in found[:count]:
            assert each.bits < 0
            assert each.closure < 0


@pytest.mark.parametrize("name", ["esbuild-0.1.26", "buildifier-4.2.5", "buildifier-7.1.2"])
def test_open_coded_defers_of_finished_programs_are_found(name: str) -> None:
    """Go 1.17 writes them as Go 1.14 does, also where arguments are in registers; Go 1.20 does not."""
    real = finished(name)
    layouts = next(candidate_layouts(f"go{find_program(name).go}", "amd64", None, None, None))
    index = _FUNCDATA[real.trees.indices(real.table).funcdata]
    functions = [real.table.function(number) for number in range(len(real.table))]
    some = [each for each in functions if real.trees.funcdata(real.table, each, index) is not None]
    assert len(some) > 30
    for each in some:
        found = open_defers(real.table, real.trees, each, defer_form(layouts))
        assert found, each.name
        assert all(one.closure < 0 and one.bits < 0 for one in found), each.name


@pytest.mark.parametrize(("word", "size"), [(0xAD0087E0, 32), (0xA90107E0, 16), (0x3D8007E0, 16)])
def test_pairs_of_long_registers_write_32_bytes(word: int, size: int) -> None:
    """``stp q0, q1, [sp, #16]``, which Go writes since 1.26; ``stp x0, x1``; ``str q0``."""
    decoded = list(processor("arm64").decode(word.to_bytes(4, "little"), 0x1000))
    stores = [each for each in decoded if each.do == Do.STORE]
    assert [each.offset for each in stores][:1] == [16]
    assert max(each.offset + each.size for each in stores) == 16 + size


def test_a_slow_processor_finds_the_same(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, not time; and only so much is done."""
    monkeypatch.setattr("time.thread_time", count_from(0, 1000).__next__)
    named = [program.functions.named(f"main.{name}") for name in ("explicit", "earlyReturn")]
    for seconds, complete in ((2.0, [True, True]), (0.0001, [False, False])):
        arch = program.executable.arch
        code = LockCode(program.functions, program.code.trees, arch, program.in_registers)
        code.allow_work(seconds)
        assert [code.flow(each).complete for each in named if each] == complete


@pytest.mark.parametrize("minor_", ENDS, indirect=True)
@pytest.mark.slow
def test_with_little_work_left_functions_are_unknown_or_right(program: Program) -> None:
    """What a function does is not said without what the functions do that it calls."""
    functions = program.functions
    every = [functions.function(index) for index in range(len(functions))]
    own = [each for each in every if each.name.startswith("main.") and program.code.may_lock(each)]
    assert len(own) > 20
    cut_off = 0
    for function in own:
        code = LockCode(
            functions, program.code.trees, program.executable.arch, program.in_registers
        )
        whole = code.flow(function)
        assert whole.complete
        for seconds in (code._work / 100_000 * part for part in (0.3, 0.6, 0.9, 1.1, 1.5)):
            code = LockCode(
                functions, program.code.trees, program.executable.arch, program.in_registers
            )
            code.allow_work(seconds)
            found = code.flow(function)
            assert not found.complete or found == whole
            cut_off += not found.complete
            code.allow_work()
            assert code.flow(function) == whole
    assert cut_off > len(own)


def test_functions_of_earlier_readings_leave_room(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spyglass.runtime.waiting.lock_code._MAX_FLOWS", 1)
    named = [program.functions.named(f"main.{name}") for name in ("explicit", "earlyReturn")]
    arch = program.executable.arch
    code = LockCode(program.functions, program.code.trees, arch, program.in_registers)
    assert [code.flow(each).complete for each in named if each] == [True, False]
    code.allow_work()
    assert [code.flow(each).complete for each in named[::-1] if each] == [True, False]


class _Nothing:
    """No function has an effect on locks."""

    def effects(self, entry: int) -> list[Effect] | None:
        return None

    def returned(self, entry: int) -> int | None:
        return None

    def ends(self, entry: int) -> bool:
        return False

    def keeps(self, entry: int) -> tuple[str, ...] | None:
        return None

    def area(self, entry: int) -> int:
        return 0


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_any_bytes_are_code_without_harm(arch: str) -> None:
    random_ = random.Random(1)
    for size in (1, 2, 3, 100, 4096):
        for _ in range(20):
            decoded = processor(arch).decode(random_.randbytes(size), 0x1000)
            if decoded:
                analyse(Code(decoded, processor(arch), True, 0x1000, _Nothing()))


def test_very_much_code_is_not_followed() -> None:
    endless = [Instruction(at, at + 1, Do.BRANCH, target=0) for at in range(1 << 15)]
    assert not analyse(Code(endless, processor("amd64"), True, 0, _Nothing())).complete


def test_paths_that_meet_without_end_are_left() -> None:
    """Each branch goes to every other: what is known changes at most so often."""
    count = 400
    code = []
    for at in range(count):
        code.append(
            Instruction(2 * at, 2 * at + 1, Do.MOVE, reg=f"r{at % 8 + 8}", base="rax", offset=at)
        )
        code.append(Instruction(2 * at + 1, 2 * at + 2, Do.BRANCH, target=2 * ((at * 7) % count)))
    analyse(Code(code, processor("amd64"), True, 0, _Nothing()))


def test_numbers_are_read_from_every_byte() -> None:
    code = bytes(range(250, 256)) + b"\0"
    every = [int.from_bytes(code[at : at + 4], "little", signed=True) for at in range(4)]
    assert numbers_anywhere(code).tolist() == every
    assert [len(numbers_anywhere(code[:size])) for size in range(5)] == [0, 0, 0, 0, 1]
