"""The stacks of sampled events as frames.

Knowledge: ``runtime/symtab.go`` (``Frames.Next``, ``FuncForPC``, ``expandFinalInlineFrame``), ``runtime/traceback.go``
(``tracebackPCs``), ``runtime/mprof.go`` (``fpTracebackPartialExpand``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import offsets_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Frame
    from spyglass.runtime.stacks.symbolizer import Symbolizer

__all__ = ["SampledStacks"]


class SampledStacks:
    """Stacks of sampled return addresses as frames, each innermost first. Addresses at the innermost end where the code of
    functions is whose names begin with one of `without` are left out, unless nothing else is in the stack
    (``runtime/pprof/protomem.go: writeHeapProto``)."""

    def __init__(self, code: Symbolizer, without: tuple[str, ...] = ()) -> None:
        self._code = code
        self._without = without
        self._left_out: dict[int, bool] = {}
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
        """The number of the stack with return `addresses`."""
        shown = self._frames_at(addresses[self._begin(addresses) :]) or self._frames_at(addresses)
        return self._numbers.setdefault(tuple(shown), len(self._numbers))

    def _begin(self, addresses: list[int]) -> int:
        """How many addresses at the innermost end are left out."""
        if self._without:
            for at, address in enumerate(addresses):
                if not self._is_left_out(address):
                    return at
        return 0

    def _is_left_out(self, address: int) -> bool:
        """By the function at the return address itself, as `writeHeapProto` asks: what is inlined behind the call counts."""
        known = self._left_out.get(address)
        if known is None:
            name = self._code.function_at(address)
            known = self._left_out[address] = name.startswith(self._without)
        return known

    def _frames_at(self, addresses: list[int]) -> list[int]:
        """The frames of a stack with return `addresses`.

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
        return [each for each in frames if self._is_in_profile(each)]

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """``stack_offsets`` and ``stack_frames`` of a profile."""
        sizes = np.fromiter(map(len, self._numbers), np.int64, len(self._numbers))
        flat = [frame for stack in self._numbers for frame in stack]
        return offsets_of(sizes), np.array(flat, np.int32)

    def where(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Where in the user's code the stacks `numbers` are, as `spyglass.heap_profile.Sites.where`."""
        found = [self._code.where(frames).frame for frames in self._numbers]
        return np.array([found[number] for number in numbers.tolist()], np.int32)

    def _is_same_call(self, one: int, other: int) -> bool:
        a, b = self._frame(one), self._frame(other)
        return (a.function, a.file, a.line) == (b.function, b.file, b.line)

    def _is_in_profile(self, number: int) -> bool:
        """As `spyglass.analysis.profile_frames.is_in_profile`, with what the function tables know of wrappers: the
        compiler's own in the runtime have had names of their own since Go 1.21 only."""
        frame = self._frame(number)
        is_wrapper = frame.hidden and self._code.is_generated(number)
        return frame.function != "runtime.goexit" and not is_wrapper

    def _frame(self, number: int) -> Frame:
        return self._code.frames[number]
