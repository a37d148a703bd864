"""Which functions and variables are looked at for locks, and for how long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from spyglass.binary.lock_facts import CallFacts, FlowResult
from spyglass.runtime.stacks.symbolizer import Entry
from spyglass.runtime.waiting.deferred import _frame_at
from spyglass.runtime.waiting.lock_code import LockCode
from spyglass.runtime.waiting.lock_frames import LockCall, LockFrames, LockStacks, _memory_beside
from tests.image import ImageMemory
from tests.made_program import Program

PAGE = 1 << 12


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 100, 12345])
def test_memory_is_found_as_far_as_it_goes(pages: int) -> None:
    begin = 1 << 32
    memory = ImageMemory({begin: bytes((1 + pages) * PAGE)})
    assert _memory_beside(memory, begin, PAGE) == pages * PAGE
    assert _memory_beside(memory, begin + pages * PAGE, -PAGE) == pages * PAGE


def test_no_more_memory_is_looked_for_than_is_examined() -> None:
    memory = ImageMemory({0: bytes(1 << 27)})
    assert _memory_beside(memory, 0, PAGE) == (1 << 26) - PAGE
    assert _memory_beside(memory, PAGE, -PAGE) == PAGE


@pytest.mark.parametrize(("above", "arch"), [(8, "amd64"), (0, "arm64")])
def test_a_deferred_call_is_of_the_function_that_made_it(above: int, arch: str) -> None:
    """It knows the sp of that function, at which what it calls begins, on arm64 at that very address."""
    sps = [0x1000, 0x1040, 0x1100]  # of three functions, the innermost first
    bases = [sp - above for sp in [*sps[1:], 0x1200]]
    frames: LockFrames = LockFrames.of(
        3, row=np.zeros(3, np.int64), base=np.array(bases, np.uint64), depth=np.arange(3)
    )
    found = _frame_at(frames, np.zeros(4, np.intp), np.array([*sps, 0x1200], np.uint64))
    assert found.tolist() == [0, 1, 2, -1], arch


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_frames_lie_where_their_return_addresses_are(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beyond a call that a signal handler faked."""
    program = Program(arch)
    calls = ["runtime.asyncPreempt", "main.worker", "main.recurse", "runtime.goexit"]
    raw = program.stack_of(calls)
    walked = program.walk(program.pc(calls[0]), raw)
    monkeypatch.setattr(LockStacks, "_call", lambda *arguments: 0)
    stacks = object.__new__(LockStacks)
    stacks.link, stacks.calls = program.links, [cast(Any, SimpleNamespace(matters=True))]
    planned = stacks._make_plan(program.tree, int(walked.node[0]))
    assert planned is not None
    words = np.frombuffer(raw, "<u8")
    for each, name in zip(planned[:-1], calls, strict=False):
        place = each.slot - (program.frame_bytes(name) // 8 if program.links else 0)
        assert words[place] == each.returns_to, name


def test_behind_a_call_nothing_is_known_of_it() -> None:
    """A function that a signal stops as it comes back from a call has released what that releases."""
    facts = CallFacts([], [], lost=False, arguments={})
    stacks = object.__new__(LockStacks)
    known = SimpleNamespace(flow_so_far=lambda function: FlowResult({0x1000: facts}))
    stacks.code = cast(LockCode, known)
    call = LockCall(0x1000, Entry.CALL, cast(Any, None), 4, (), may_lock=True, matters=True)
    assert stacks.facts(call) is facts
    assert stacks.facts(call._replace(entered=Entry.INJECTED_CALL)) is None
    assert stacks.facts(call._replace(pc=0x1001)) is None


def test_names_have_a_part_of_the_work_of_holders() -> None:
    code = LockCode(cast(Any, None), cast(Any, None), "amd64", in_registers=True)
    code.allow_work(1.0)
    assert code.work_left()
    code._work = 90_000
    assert not code.work_left()
    assert code.work_left(1.0)
    code._work = 100_000
    assert not code.work_left(1.0)
    code.allow_work(1.0)
    assert code.work_left()
