"""A program made by hand: a few functions, and stacks of calls of them in memory made of bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from spyglass.binary.inline_trees import InlineTrees
from spyglass.binary.pclntab import TOP_FRAME, FunctionTable
from spyglass.runtime.stacks.stack_tree import StackTree
from spyglass.runtime.stacks.symbolizer import Symbolizer
from spyglass.runtime.stacks.unwinder import Unwinder
from spyglass.runtime.stacks.walks import Cursors, Walked
from tests.image import ImageMemory
from tests.pclntab_writer import FunctionSpec, pc_table, write_table

__all__ = ["FUNCTIONS", "LOW", "SIZE", "TEXT", "Program", "function"]

#: What a signal handler makes another function call.
_FAKED = ("runtime.asyncPreempt", "runtime.sigpanic")
TEXT, LOW = 0x400000, 0xC000000000
SIZE = 0x100


def function(name: str, frame_bytes: int, flags: int = 0, file: str | None = None) -> FunctionSpec:
    """A function that reserves its frame at once."""
    return FunctionSpec(name, SIZE, pc_table([(SIZE, frame_bytes)]), flags=flags, file=file)


FUNCTIONS = [
    FunctionSpec("runtime.wrapper", SIZE, pc_table([(SIZE, 0)]), func_id=22),
    function("runtime.goexit", 0, TOP_FRAME),
    function("runtime.gopark", 48),
    function("runtime.chanrecv1", 32),
    function("main.worker", 96),
    function("main.recurse", 16),
    function("main.large", 0x30000),
    function("main.leaf", 0),
    function("runtime.asyncPreempt", 256),
]


class Program:
    """A program on `arch` with these functions, and stacks in its memory."""

    def __init__(self, arch: str, functions: Sequence[FunctionSpec] = FUNCTIONS) -> None:
        self.links = arch == "arm64"
        table = FunctionTable(memoryview(write_table(functions)), TEXT)
        self.code = Symbolizer(table, InlineTrees(lambda address, size: bytes(size), None))
        self.tree = StackTree(self.code, TEXT)
        self.memory = ImageMemory({})
        self.unwinder = Unwinder(self.memory, self.tree, self.links)

    def pc(self, name: str, offset: int = 0x20) -> int:
        found = self.code.functions.named(name)
        assert found is not None
        return found.entry + offset

    def frame_bytes(self, name: str) -> int:
        found = self.code.functions.named(name)
        assert found is not None
        size = self.code.functions.frame_size(found, found.entry)
        assert size is not None
        return size

    def stack_of(self, names: Sequence[str], top_bytes: bytes = b"") -> bytes:
        """The stack of calls, the innermost first: of each its frame and where it returns to.

        amd64: the return address lies above the frame. arm64: it is the first word of the frame, if there is one; a
        signal handler that fakes a call leaves the link register, where what was interrupted returns to, and a word
        for alignment (``runtime/signal_arm64.go: preparePanic, pushCall``).
        """
        raw = top_bytes
        for name, caller, outer in zip_longest(names[:-1], names[1:], names[2:]):
            back, size = self._packed(caller), self.frame_bytes(name)
            junk = b"\xee" * size
            if not self.links:
                raw += junk + back
                continue
            raw += back[:size] + junk[8:]
            if name in _FAKED and outer:
                raw += self._packed(outer) + b"\xee" * 8
        return raw + bytes(32)

    def _packed(self, caller: str) -> bytes:
        return struct.pack("<Q", self.pc(caller))

    def walk(
        self, pc: int, raw: bytes, *, lr: int = 0, low: int = LOW, top: bool = False, root: int = 0
    ) -> Walked:
        self.memory.segments = {low: raw}
        cursors = Cursors(*(np.array([n], np.uint64) for n in (pc, low, low + len(raw), lr)))
        return self.unwinder.walk(cursors, top, root)

    def frame_name(self, number: int) -> str | None:
        """The function of frame `number`, None for none."""
        return self.code.frames[number].function if number >= 0 else None

    def names(self, walked: Walked) -> list[str]:
        frames, _ = self.tree.frames(int(walked.node[0]))
        return [self.code.frames[number].function for number in frames]
