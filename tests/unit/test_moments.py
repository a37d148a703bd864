"""Where return addresses are on a stack, compared with the stack itself: they tell whether a goroutine has moved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from spyglass.runtime.waiting.moments import _returns
from tests.made_program import FUNCTIONS, Program, function

WAITS = ["runtime.gopark", "runtime.chanrecv1", "main.worker"]
PANICS = [*WAITS, "runtime.gopanic", "runtime.sigpanic"]


def found_at(arch: str, calls: list[str]) -> list[tuple[str, bool]]:
    """The functions whose return addresses are looked for on the stack, and whether they are there."""
    panic = [function(f"runtime.{name}", 80) for name in ("gopanic", "sigpanic")]
    program = Program(arch, [*FUNCTIONS, *panic])
    raw = program.stack_of(calls)
    walked = program.walk(program.pc(calls[0]), raw)
    assert program.names(walked) == calls
    population = SimpleNamespace(
        tree=program.tree, nodes=walked.node, runtime=SimpleNamespace(arch=arch)
    )
    slots, pcs = _returns(cast(Any, population), np.zeros(1, np.int64))
    words = np.frombuffer(raw, "<u8")
    places = zip(calls, slots[0].tolist(), pcs[0].tolist(), strict=False)
    return [(name, bool(words[slot] == pc)) for name, slot, pc in places if slot >= 0]


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("inner", [WAITS, PANICS], ids=["waits", "waits while it panics"])
def test_return_addresses_are_where_they_are_looked_for(arch: str, inner: list[str]) -> None:
    calls = [*inner, "main.worker", "main.recurse"]
    assert found_at(arch, [*calls, "runtime.goexit"]) == [(name, True) for name in calls]


def test_of_a_function_without_a_frame_none_is_looked_for() -> None:
    found = found_at("arm64", [*PANICS, "main.leaf", "main.recurse", "runtime.goexit"])
    assert found == [(name, True) for name in [*PANICS, "main.recurse"]]
