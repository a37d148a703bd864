"""Who called a function without a frame: code made by hand, and that of Go's runtime for arm64."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spyglass
from spyglass.binary.call_edges import CallEdges
from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.pclntab import Function, FunctionTable
from spyglass.model import Thread
from spyglass.runtime.scheduler.thread_stacks import ThreadStacks
from spyglass.runtime.stacks.leaf_callers import LeafCallers
from spyglass.runtime.stacks.symbolizer import Symbolizer
from spyglass.threads import Registers
from tests.image import ImageMemory
from tests.pclntab_writer import FunctionSpec, pc_table, write_table
from tests.saved_cores import SavedCore, lasting
from tests.support import MATRIX, Flavour, toolchain
from tests.unit.test_code_flow import Program

TEXT, SP, SIZE = 0x400000, 0xC000000000, 0x100
LEAF, CALLER, OUTER = TEXT, TEXT + SIZE, TEXT + 2 * SIZE
FRAMES = {"main.leaf": 0, "main.caller": 80, "main.outer": 64}
#: Where the caller returns to: behind the first instruction of `OUTER`.
BACK = OUTER + 4
NOP, RET = 0xD503201F, 0xD65F03C0
#: str xzr, [sp, #24]; add x0, sp, #56; str x0, [sp, #24]; str x1, [x2]; br x16; blr x16.
STORE_0, ADDRESS, STORE, STORE_ANYWHERE = 0xF9000FFF, 0x9100E3E0, 0xF9000FE0, 0xF9000041
JUMP_ANYWHERE, CALL_ANYTHING = 0xD61F0200, 0xD63F0200


def call(at: int, target: int) -> int:
    """The instruction BL at `at`."""
    return 0x94000000 | (target - at) // 4 & 0x3FFFFFF


def jump(words: int) -> int:
    """The instruction B, so many words on."""
    return 0x14000000 | words & 0x3FFFFFF


class Made:
    """A leaf, its caller with the code `words` (None: a call of the leaf), and what calls that with `outer`."""

    def __init__(self, words: Sequence[int | None], outer: int = call(OUTER, CALLER)) -> None:
        specs = [FunctionSpec(name, SIZE, pc_table([(SIZE, n)])) for name, n in FRAMES.items()]
        self.code = Symbolizer(
            FunctionTable(memoryview(write_table(specs)), TEXT), InlineTrees(self._read, None)
        )
        body = [
            call(CALLER + 4 * at, LEAF) if word is None else word for at, word in enumerate(words)
        ]
        self._text = ImageMemory({TEXT: _code([RET]) + _code(body) + _code([outer])})
        self.backs = [CALLER + 4 * at + 4 for at, word in enumerate(words) if word is None]

    def _read(self, address: int, size: int) -> bytes:
        return self._text.read(address, size)

    def link(self, third: int = 0, back: int = BACK, pc: int = LEAF + 4) -> int:
        """What is found with `third` in the frame at sp + 24."""
        stack = struct.pack("<10Q", back, 1, 2, third, 0, 5, 6, 7, 8, 9)
        callers = LeafCallers(ImageMemory({SP: stack}), self.code)
        return callers.link(Registers(tid=1, pc=pc, sp=SP, bp=0, g=0))


def _code(words: Sequence[int]) -> bytes:
    filled = [*words, *[NOP] * (SIZE // 4 - len(words))]
    return struct.pack(f"<{len(filled)}I", *filled)


def test_the_only_call_is_it() -> None:
    made = Made([NOP, None, RET])
    assert made.link() == made.backs[0]


def test_of_two_calls_it_is_the_one_whose_arguments_are_there() -> None:
    made = Made([STORE_0, None, RET, ADDRESS, STORE, None, RET])
    assert made.link(0) == made.backs[0]
    assert made.link(SP + 56) == made.backs[1]
    assert made.link(SP + 48) == 0


@pytest.mark.parametrize(
    "words",
    [
        [None, None],
        [STORE_0, None, RET, STORE_0, None],
        [STORE_0, STORE_ANYWHERE, None, RET, ADDRESS, STORE, STORE_ANYWHERE, None],
        [STORE_0, jump(2), STORE_0, None, RET, ADDRESS, jump(2), STORE, None],
        [STORE_0, None, JUMP_ANYWHERE, ADDRESS, STORE, None],
        [],
    ],
    ids=["two", "the same", "overwritten", "jumps between", "jumps anywhere", "none"],
)
def test_without_a_certain_one_it_is_not_known(words: list[int | None]) -> None:
    assert [Made(words).link(third) for third in (0, SP + 56)] == [0, 0]


def test_the_caller_must_be_one_that_was_called() -> None:
    assert Made([None], outer=CALL_ANYTHING).link() == 0
    assert Made([None], outer=call(OUTER, CALLER + 4)).link() == 0
    assert Made([None], outer=call(OUTER, TEXT - 0x1000)).link() == 0
    for back in (0, 2, 4, TEXT, (1 << 64) - 1):
        assert Made([None]).link(back=back) == 0


def test_a_function_with_a_frame_has_saved_it() -> None:
    assert Made([None]).link(pc=CALLER + 4) == 0
    assert Made([None]).link(pc=TEXT - 4) == 0


def test_code_may_be_anything() -> None:
    source = random.Random(1)
    for _ in range(30):
        words = [source.choice([None, source.getrandbits(32), STORE_0]) for _ in range(60)]
        made = Made(words)
        assert made.link(source.getrandbits(64)) in (0, *made.backs)


def test_stacks_of_threads_that_sleep_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core in which the link registers are not known: where it is found, all is as with them. (Cores of the tests
    have no code to find it in.)"""
    links: dict[int, int] = {}

    def forgetful(self: ThreadStacks, thread: Thread, registers: Registers) -> Thread:
        links[registers.tid] = registers.lr
        return original(self, thread, replace(registers, lr=0))

    original = ThreadStacks.of
    monkeypatch.setattr(ThreadStacks, "of", forgetful)
    monkeypatch.setattr(LeafCallers, "link", lambda _, registers: links[registers.tid])
    saved = SavedCore.unpack("go1.27-arm64", tmp_path)
    with spyglass.open_core(str(saved.core), str(saved.exe)) as process:
        snapshot = process.snapshot(thread_stacks=True)
    assert lasting(snapshot) == saved.expected


@pytest.mark.go
@pytest.mark.matrix
@pytest.mark.parametrize("minor", MATRIX)
def test_the_timeout_of_futex_tells_where_futexsleep_called_it(minor: str) -> None:
    program = Program("locks", minor, Flavour.ARM64)
    code = Symbolizer(program.functions, program.code.trees)
    leaf, caller = (program.functions.named(f"runtime.{name}") for name in ("futex", "futexsleep"))
    assert leaf is not None
    assert caller is not None
    back = _behind_a_call(program, caller)
    source = (toolchain(minor).parents[1] / "src/runtime/os_linux.go").read_text().splitlines()
    found = {}
    for timeout in (0, *range(SP + 40, SP + 80, 8)):
        # futex(addr, op, val, timeout, addr2, val3): sys_linux_arm64.s has the places of its arguments.
        stack = struct.pack("<10Q", back, 1, 2, timeout, 0, 0, 6, 7, 8, 9)
        registers = Registers(tid=1, pc=leaf.entry + 0x20, sp=SP, bp=0, g=0)
        link = LeafCallers(ImageMemory({SP: stack}), code).link(registers)
        if link:
            frame = code.frames[code.calls(link)[0]]
            assert frame.function == "runtime.futexsleep"
            assert frame.line is not None
            found[timeout != 0] = source[frame.line - 1]
    assert "val, nil, nil, 0)" in found[False]
    assert "&ts" in found[True]


def _behind_a_call(program: Program, called: Function) -> int:
    """Where a call of `called` returns to."""
    edges = CallEdges(program.functions, program.executable.read, "arm64")
    outer = program.functions.function(int(edges.callers_of(np.array([called.index]))[0]))
    raw = program.executable.read(outer.entry, outer.end - outer.entry)
    places = range(outer.entry, outer.end, 4)
    words = [word for (word,) in struct.iter_unpack("<I", raw)]
    return 4 + next(
        at for at, word in zip(places, words, strict=True) if word == call(at, called.entry)
    )
