"""The labels of goroutines while they run: read at every sample, because their memory is used again.

A set of labels does not change, but after a collection its memory may hold another. What was read of a set is
therefore kept with its bytes, which are compared each time; only new sets are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.memory.base import Gathered, Memory
from spyglass.memory.ranges import spread
from spyglass.model import NONE, UNREAD
from spyglass.runtime.goroutines.labels import LabelReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["RecordedLabels"]

#: Sets that are kept with their bytes, and sets of one recording: later ones are not decoded.
_KEPT = 1 << 12
_MAX_SETS = 1 << 17


class RecordedLabels:
    """Numbers for sets of labels by what ``g.labels`` points at."""

    def __init__(self, runtime: Runtime) -> None:
        self._noting = _Noting(runtime.memory)
        self._reader = LabelReader(replace(runtime, memory=self._noting))
        self._kept: dict[int, _Kept] = {}

    def number(self, pointer: int, still: Callable[[], bool]) -> int:
        """The number of the set at `pointer` now: `NONE` for nil, `UNREAD` if it cannot be read.

        `still`: whether a goroutine has these labels; called behind the read of a set that is new.
        """
        if not pointer:
            return NONE
        kept = self._kept.get(pointer)
        if kept is not None and kept.is_there():
            return kept.number
        number = self._decoded(pointer)
        if not still():
            self._kept.pop(pointer, None)
            return UNREAD
        return number

    def named(
        self, column: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Mapping[str, str], ...]]:
        """`column` of numbers renumbered, and the sets of labels that its values are indices of."""
        numbers, fields = self._reader.finish(column)
        return numbers, fields["label_sets"]

    def _decoded(self, pointer: int) -> int:
        if self._reader.set_count >= _MAX_SETS:
            return UNREAD
        self._noting.clear()
        self._reader.renew()
        number = int(self._reader.sets_at(np.array([pointer], np.uint64))[0])
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        if number != UNREAD:
            self._kept[pointer] = self._noting.kept(number)
        return number


class _Kept(NamedTuple):
    """The number of a set, what reads it again, and what was there."""

    number: int
    read: Callable[[], bytes | None]
    content: bytes

    def is_there(self) -> bool:
        """Whether the same is there now."""
        return self.read() == self.content


class _Noting(Memory):
    """`memory`, and what was read of it since `clear`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self._ranges: list[tuple[int, int]] = []
        self._content: list[bytes] = []

    def kept(self, number: int) -> _Kept:
        """What was read, for the set `number`."""
        return _Kept(number, self._memory.reader(self._ranges), b"".join(self._content))

    def read(self, address: int, size: int) -> bytes:
        content = self._memory.read(address, size)
        self._note(address, content)
        return content

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        found = self._memory.gather(addresses, sizes)
        every = spread(sizes, len(addresses)).tolist()
        for address, size, at in zip(
            addresses.tolist(), every, found.offsets.tolist(), strict=True
        ):
            self._note(address, found.buffer[at : at + size].tobytes())
        return found

    def _note(self, address: int, content: bytes) -> None:
        if content:
            self._ranges.append((address, len(content)))
            self._content.append(content)
