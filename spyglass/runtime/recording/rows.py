"""The samples of a recording, folded while it runs: equal ones are one row, so that memory stays flat."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.model import NONE, Frame
from spyglass.profile import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree

__all__ = ["Row", "Rows", "Stacks"]

#: Limits of a recording: beyond them goroutines are no longer told apart, and stacks no longer kept.
_MAX_ROWS = 1 << 19
_MAX_STACKS = 1 << 18
#: The bottom of every goroutine's stack; profiles of Go leave it out (``runtime/pprof/proto.go``).
_BOTTOM = "runtime.goexit"
_TOO_MANY = Frame("[other stacks]", None, None, 0)


class Row(NamedTuple):
    """What samples of one row have in common: columns of `Samples`."""

    stack: int
    goroutine: int
    labels: int
    state: int
    thread: int


class Rows:
    """Counts and times by row. `folded`: whether goroutines are no longer told apart."""

    def __init__(self) -> None:
        self._rows: dict[Row, list[float]] = {}
        self.folded = False

    def add(self, row: Row, count: int, value_ns: float) -> None:
        """Count `count` samples of `value_ns` in all."""
        entry = self._rows.get(row)
        if entry is None:
            if len(self._rows) >= _MAX_ROWS:
                self.folded = True
                row = row._replace(goroutine=NONE, labels=NONE, thread=NONE)
            entry = self._rows.setdefault(row, [0, 0.0])
        entry[0] += count
        entry[1] += value_ns

    def labels(self) -> NDArray[np.int32]:
        """The column `labels`."""
        return np.array([row.labels for row in self._rows], np.int32)

    def samples(self, labels: NDArray[np.int32]) -> Samples:
        """The rows as columns, with `labels` instead of theirs."""
        keys = np.array(list(self._rows), np.int64).reshape(-1, len(Row._fields))
        values = np.array(list(self._rows.values()), np.float64).reshape(-1, 2)
        return Samples(
            stack=keys[:, 0].astype(np.int32),
            count=np.rint(values[:, 0]).astype(np.int64),
            value_ns=np.rint(values[:, 1]).astype(np.int64),
            goroutine=keys[:, 1],
            labels=labels,
            state=keys[:, 3].astype(np.int16),
            thread=keys[:, 4],
        )


class Stacks:
    """The distinct stacks of a recording, as Go's profiles have them: without wrappers that the compiler made
    and without the bottom."""

    def __init__(self) -> None:
        self._frames: dict[Frame, int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}

    def of_nodes(
        self, tree: StackTree, nodes: NDArray[np.int64], inner: Iterable[Sequence[Frame]]
    ) -> list[int]:
        """The numbers of the stacks that end at `nodes` of `tree`, with the frames that each called, its one of
        `inner`."""
        offsets, frames, _ = tree.paths(nodes)
        shown = {number: self._shown(tree, number) for number in set(frames.tolist())}
        found = []
        bounds = zip(inner, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        for called, begin, end in bounds:
            numbers = [shown[number] for number in frames[begin:end].tolist()]
            native = [self._number(frame) for frame in called]
            found.append(self.add(tuple(native + [each for each in numbers if each >= 0])))
        return found

    def of_frames(self, frames: Iterable[Frame]) -> int:
        """The number of the stack with `frames`, the innermost first."""
        return self.add(tuple(map(self._number, frames)))

    def add(self, frames: tuple[int, ...]) -> int:
        """The number of the stack with these `frames`."""
        number = self._stacks.get(frames)
        if number is None:
            if len(self._stacks) >= _MAX_STACKS:
                frames = (self._number(_TOO_MANY),)
            number = self._stacks.setdefault(frames, len(self._stacks))
        return number

    def columns(self) -> tuple[tuple[Frame, ...], NDArray[np.int64], NDArray[np.int32]]:
        """`Profile.frames`, `stack_offsets` and `stack_frames`."""
        sizes = np.fromiter(map(len, self._stacks), np.int64, len(self._stacks))
        flat = [number for stack in self._stacks for number in stack]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return tuple(self._frames), offsets, np.array(flat, np.int32)

    def _shown(self, tree: StackTree, number: int) -> int:
        frame = tree.code.frames[number]
        if frame.function == _BOTTOM or tree.code.is_generated(number):
            return NONE
        return self._number(frame)

    def _number(self, frame: Frame) -> int:
        return self._frames.setdefault(frame, len(self._frames))
