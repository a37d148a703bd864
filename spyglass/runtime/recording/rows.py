"""The samples of a recording, folded while it runs: equal ones are one row, so that memory stays flat."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered, offsets_of
from spyglass.model import NONE, Frame
from spyglass.profile import Samples
from spyglass.runtime.stacks.key_index import KeyIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree

__all__ = ["Rows", "Stacks"]

#: Limits of a recording: beyond them goroutines are no longer told apart, and stacks no longer kept.
_MAX_ROWS = 1 << 19
_MAX_STACKS = 1 << 18
#: The same of the frames of all stacks, 4 bytes each: a program that calls itself very deep has another
#: stack in every sample.
_MAX_STACK_FRAMES = 1 << 25
_FRAME_BYTES = array("i").itemsize
_FEW_ROWS, _PLACES_PER_ROW = 1 << 10, 4
_ROW = np.dtype([
    ("stack", "<i4"), ("goroutine", "<i8"), ("labels", "<i4"), ("state", "<i2"), ("thread", "<i4"),
    ("count", "<i8"), ("value_ns", "<f8"),
])  # fmt: skip
#: The key of a row is the sum of products with these: random, so that a target cannot choose rows of one key.
_FACTORS = np.frombuffer(os.urandom(8 * 5), np.uint64) | np.uint64(1)
#: The bottom of every goroutine's stack; profiles of Go leave it out (``runtime/pprof/proto.go``).
_BOTTOM = "runtime.goexit"
_TOO_MANY = Frame("[other stacks]", None, None, 0)


class Rows:
    """Counts and times by row: what samples have in common, a number for each of `FIELDS`.

    38 bytes a row, and as many in the index: a recording of hours has hundreds of thousands. `folded`: whether goroutines are no longer told
    apart.
    """

    FIELDS = ("stack", "goroutine", "labels", "state", "thread")

    def __init__(self) -> None:
        self._index = KeyIndex(_FEW_ROWS, _PLACES_PER_ROW)
        #: From number 1 on, with room for more.
        self._rows = np.zeros(_FEW_ROWS, _ROW)
        self._count = 1
        self.folded = False

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count - 1

    def add(self, rows: NDArray[np.int64], counts: ArrayLike, values_ns: ArrayLike) -> None:
        """Count for each of `rows` (shape (n, fields)) its one of `counts` samples of `values_ns` in all (shape (n,),
        or one for all)."""
        numbers = self._numbers(rows)
        if (rest := numbers == 0).any():
            self.folded = True
            rows = rows[rest]
            rows[:, [self.FIELDS.index(name) for name in ("goroutine", "labels", "thread")]] = NONE
            numbers[rest] = self._numbers(rows, _MAX_ROWS + _MAX_STACKS)
        np.add.at(self._rows["count"], numbers, counts)
        np.add.at(self._rows["value_ns"], numbers, values_ns)

    def _numbers(self, rows: NDArray[np.int64], limit: int | None = None) -> NDArray[np.int64]:
        """The numbers of `rows`, new ones as long as there are fewer than `limit` (`_MAX_ROWS`); 0 for all others."""
        # That two of a million rows have one key has a probability of 1 to 10 millions.
        keys = (rows.astype(np.uint64) * _FACTORS).sum(axis=1, dtype=np.uint64) >> np.uint64(1)
        numbers, missing = self._index.find(keys)
        if len(missing):
            new, which = numbered(keys[missing])
            first = np.empty(len(new), np.intp)
            first[which[::-1]] = np.arange(len(which))[::-1]
            order = np.argsort(first)[: max((limit or _MAX_ROWS) - len(self), 0)]
            found = np.zeros(len(new), np.int64)
            found[order] = self._count + np.arange(len(order))
            self._append(new[order], rows[missing[first[order]]])
            numbers[missing] = found[which]
        return numbers

    def _append(self, keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        first, self._count = self._count, self._count + len(keys)
        while self._count > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        for number, name in enumerate(self.FIELDS):
            self._rows[name][first : self._count] = rows[:, number]
        self._index.add(keys, first)

    def labels(self) -> NDArray[np.int32]:
        """The column `labels`."""
        return self._rows["labels"][1 : self._count].copy()

    def samples(self, labels: NDArray[np.int32]) -> Samples:
        """The rows as columns, with `labels` instead of theirs."""
        rows = self._rows[1 : self._count]
        return Samples(
            stack=rows["stack"].copy(),
            count=rows["count"].copy(),
            value_ns=np.rint(rows["value_ns"]).astype(np.int64),
            goroutine=rows["goroutine"].copy(),
            labels=labels,
            state=rows["state"].copy(),
            thread=rows["thread"].astype(np.int64),
        )


class Stacks:
    """The distinct stacks of a recording, as Go's profiles have them: without wrappers that the compiler made
    and without the bottom."""

    def __init__(self) -> None:
        self._frames: dict[Frame, int] = {}
        #: By the numbers of its frames (int32): a tuple would take twice as much.
        self._stacks: dict[bytes, int] = {}
        self._stack_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more stacks, and no more frames, are kept."""
        too_large = self._stack_bytes >= _FRAME_BYTES * _MAX_STACK_FRAMES
        return too_large or len(self._stacks) >= _MAX_STACKS

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
            found.append(self._add(native + [each for each in numbers if each >= 0]))
        return found

    def of_frames(self, frames: Iterable[Frame]) -> int:
        """The number of the stack with `frames`, the innermost first."""
        return self._add(map(self._number, frames))

    def _add(self, frames: Iterable[int]) -> int:
        """The number of the stack with these `frames`."""
        stack = array("i", frames).tobytes()
        number = self._stacks.get(stack)
        if number is None:
            if self.is_full:
                stack = array("i", [self._number(_TOO_MANY)]).tobytes()
            else:
                self._stack_bytes += len(stack)
            number = self._stacks.setdefault(stack, len(self._stacks))
        return number

    def columns(self) -> tuple[tuple[Frame, ...], NDArray[np.int64], NDArray[np.int32]]:
        """`Profile.frames`, `stack_offsets` and `stack_frames`."""
        sizes = np.fromiter(map(len, self._stacks), np.int64, len(self._stacks)) // _FRAME_BYTES
        return (
            tuple(self._frames),
            offsets_of(sizes),
            np.frombuffer(b"".join(self._stacks), np.int32),
        )

    def _shown(self, tree: StackTree, number: int) -> int:
        frame = tree.code.frames[number]
        if frame.function == _BOTTOM or tree.code.is_generated(number):
            return NONE
        return self._number(frame)

    def _number(self, frame: Frame) -> int:
        number = self._frames.get(frame)
        if number is None:
            frame = _TOO_MANY if self.is_full else frame  # a stack with it is not kept
            number = self._frames.setdefault(frame, len(self._frames))
        return number
