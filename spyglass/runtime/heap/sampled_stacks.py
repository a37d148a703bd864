"""The stacks of sampled events as frames.

Knowledge: ``runtime/symtab.go`` (``Frames.Next``, ``expandFinalInlineFrame``), ``runtime/traceback.go``
(``tracebackPCs``), ``runtime/mprof.go`` (``fpTracebackPartialExpand``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Frame
    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["SampledStacks"]


class SampledStacks:
    """Stacks of sampled return addresses as frames, each innermost first. Frames at the innermost end whose functions
    begin with one of `without` are left out, unless nothing else is in the stack."""

    def __init__(self, code: Symbolizer, without: tuple[str, ...] = ()) -> None:
        self._code = code
        self._without = without
        self._numbers: dict[tuple[int, ...], int] = {}

    def add_all(
        self, addresses: NDArray[np.uint64], offsets: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """The number of each stack of return addresses that `offsets` cut."""
        found = [
            self._add(addresses[low:high].tolist()) for low, high in pairwise(offsets.tolist())
        ]
        return np.array(found, np.int32)

    def _add(self, addresses: list[int]) -> int:
        """The number of the stack with return `addresses`.

        An address stands for the innermost call at it. The calls that this one is inlined in have addresses of their
        own behind it, or, where frame pointers were followed (since Go 1.23), or at the end of the stack, none.
        """
        calls = [each for address in addresses if (each := self._code.calls(address))]
        frames: list[int] = []
        for own, following in pairwise([*calls, ()]):
            frames.append(own[0])
            for outer in own[1:]:
                if following and self._is_same_call(outer, following[0]):
                    break
                frames.append(outer)
        return self._numbers.setdefault(tuple(self._shown(frames)), len(self._numbers))

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """``stack_offsets`` and ``stack_frames`` of a profile."""
        sizes = np.fromiter(map(len, self._numbers), np.int64, len(self._numbers))
        flat = [frame for stack in self._numbers for frame in stack]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return offsets, np.array(flat, np.int32)

    def where(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Where in the user's code the stacks `numbers` are, as `spyglass.heap_profile.Sites.where`."""
        found = [self._code.where(frames).frame for frames in self._numbers]
        return np.array([found[number] for number in numbers.tolist()], np.int32)

    def _is_same_call(self, one: int, other: int) -> bool:
        a, b = self._frame(one), self._frame(other)
        return (a.function, a.file, a.line) == (b.function, b.file, b.line)

    def _shown(self, frames: list[int]) -> list[int]:
        frames = [each for each in frames if self._frame(each).function != "runtime.goexit"]
        for at, each in enumerate(frames):
            if not self._frame(each).function.startswith(self._without):
                return frames[at:]
        return frames

    def _frame(self, number: int) -> Frame:
        return self._code.frames[number]
