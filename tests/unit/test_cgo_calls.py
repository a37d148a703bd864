"""Whose a sample in C is, told from memory made by hand."""

from __future__ import annotations

import struct
import time
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from spyglass.binary.pclntab import FunctionTable
from spyglass.runtime.context import Runtime
from spyglass.runtime.discovery.layouts import Layouts
from spyglass.runtime.goroutines.decode import RUNNING, SYSCALL
from spyglass.runtime.recording.cgo_calls import CgoCalls
from tests.image import ImageMemory

TID, PROCID, GOID, NUMBER = 77, 7, 42, 1000
ALLM, M, G, STACK, HIGH = 0x100, 0x1000, 0x2000, 0x8000, 0x9000
SP, PC = 0x8F00, 0x400000
M_TYPE = np.dtype([(name, "<u8") for name in ("curg", "ncgocall", "procid", "alllink")])
G_TYPE = np.dtype(
    [("stack", [("lo", "<u8"), ("hi", "<u8")])]
    + [(name, "<u8") for name in ("goid", "m", "atomicstatus", "syscallsp", "syscallpc", "labels")]
)
M_WORDS = {"curg": G, "ncgocall": NUMBER, "procid": PROCID, "alllink": 0}
G_WORDS = {
    "low": STACK, "high": HIGH, "goid": GOID, "m": M, "status": SYSCALL, "sp": SP, "pc": PC, "labels": 0x70,
}  # fmt: skip


class Program:
    """One thread that is in a call of C."""

    def __init__(self) -> None:
        self.memory = ImageMemory({ALLM: struct.pack("<Q", M), STACK: bytes(range(256)) * 16})
        self.put()
        names = {PC: "runtime.cgocall"}
        functions = SimpleNamespace(at=lambda pc: SimpleNamespace(name=names.get(pc, "main.f")))
        runtime = Runtime(
            self.memory, Layouts("made", {"m": M_TYPE, "g": G_TYPE}, {}), {"allm": ALLM},
            cast(FunctionTable, functions), "amd64", "go1.27",
        )  # fmt: skip
        self.calls = CgoCalls(runtime, lambda: {PROCID: TID})

    def put(self, **words: int) -> None:
        """Let `words` of the ``m`` or the ``g`` be so, all others as at first."""
        m = {name: words.get(name, value) for name, value in M_WORDS.items()}
        g = {name: words.get(name, value) for name, value in G_WORDS.items()}
        self.memory.place(M, struct.pack("<4Q", *m.values()))
        self.memory.place(G, struct.pack("<8Q", *g.values()))

    def goid(self, tid: int = TID, time_ns: int | None = None) -> int | None:
        """Whose a sample of now is."""
        found = self.calls.at(tid, time.monotonic_ns() if time_ns is None else time_ns)
        return found[0].goid if found else None


def test_a_call_that_was_seen_before_the_sample_and_is_seen_behind_it_has_its_goroutine() -> None:
    program = Program()
    assert program.goid() is None
    assert program.goid() == GOID
    found = program.calls.at(TID, time.monotonic_ns())
    assert found is not None
    call, stack = found
    assert (call.sp, call.pc, call.high, call.labels) == (SP, PC, HIGH, 0x70)
    assert stack == (bytes(range(256)) * 16)[SP - STACK :]


@pytest.mark.parametrize(
    "changed", ["ncgocall", "goid", "sp", "high"], ids=lambda name: f"another {name}"
)
def test_a_call_that_differs_is_another(changed: str) -> None:
    program = Program()
    program.goid()
    program.put(**{changed: {**M_WORDS, **G_WORDS}[changed] - 8})
    assert program.goid() is None
    assert program.goid() is not None


@pytest.mark.parametrize(
    "words",
    [
        {"status": RUNNING}, {"m": M + 8}, {"pc": PC + 1}, {"sp": HIGH}, {"sp": STACK - 8}, {"sp": SP + 1},
        {"curg": 0}, {"curg": 1}, {"curg": 0x70000000}, {"procid": PROCID + 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_in_c_is_no_call(words: dict[str, int]) -> None:
    program = Program()
    program.goid()
    program.put(**words)
    assert [program.goid() for _ in range(3)] == [None] * 3
    program.put()
    assert program.goid() is None
    assert program.goid() == GOID


def test_a_sample_from_before_the_call_was_seen_is_nobodys() -> None:
    program = Program()
    before_ns = time.monotonic_ns()
    program.goid()
    assert program.goid(time_ns=before_ns) is None
    assert program.goid() == GOID
    assert program.goid(tid=TID + 1) is None


def test_without_the_count_of_calls_nothing_is_known() -> None:
    program = Program()
    layouts = Layouts("made", {"m": M_TYPE[["curg", "procid", "alllink"]], "g": G_TYPE}, {})
    runtime = SimpleNamespace(layouts=layouts, memory=program.memory)
    calls = CgoCalls(cast(Runtime, runtime), lambda: None)
    assert [calls.at(TID, time.monotonic_ns()) for _ in range(3)] == [None] * 3
