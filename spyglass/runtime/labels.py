"""pprof labels: what ``g.labels`` points at, decoded once for each distinct set.

``runtime/pprof.SetGoroutineLabels`` stores a pointer to a ``labelMap``, which nobody writes to afterwards
and goroutines share. Since Go 1.24 it is a slice of keys and values (runtime/pprof/label.go, since 1.26
with internal/runtime/pprof/label.Set inside), before it was a ``map[string]string``. The same release
replaced the map that `spyglass.runtime.maps` reads, ``runtime.hmap``: a program has it, or the slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import Gathered, Memory
from spyglass.memory.ranges import spread
from spyglass.model import NONE, UNREAD
from spyglass.runtime.maps import Pairs, read_maps, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["LabelReader"]

#: More labels, and longer keys and values, are cut off, which a problem says.
_MAX_LABELS = 256
_MAX_TEXT_BYTES = 1 << 12
#: All labels of a snapshot together: what is beyond is not read.
_MAX_BYTES = 1 << 30
_MAX_SETS = 1 << 20
#: Sets, and texts, that are read at a time.
_BATCH_SETS = 1 << 12
_BATCH_TEXTS = 1 << 16
#: A length that no string has, and a pointer that no program has (48 bits are the user's).
_WILD_LENGTH, _WILD_POINTER = 1 << 32, 1 << 48
#: Enough for a length up to `_MAX_TEXT_BYTES`.
_LENGTH_BITS = np.uint64(13)
_HEADER_BYTES, _LABEL_BYTES, _LABEL_WORDS = 24, 32, 4


class LabelReader:
    """Reads the labels of goroutines of one process; equal sets get one number, whoever has them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._memory = _Rationed(runtime.memory, _MAX_BYTES)
        self._sets: list[Mapping[str, str]] = []
        self._numbers: dict[tuple[bool, tuple[tuple[str, str], ...]], int] = {}
        self._cut: list[bool] = []

    def read(self, pointers: NDArray[np.uint64]) -> NDArray[np.int32]:
        """For each ``g.labels`` the number of its set; `NONE` without labels, `UNREAD` if in vain.

        Whoever calls this looks afterwards whether the goroutine still has the pointer: a set that
        nobody has any more may be something else by now.
        """
        column = np.full(len(pointers), NONE, np.int32)
        some = np.flatnonzero(pointers)
        if len(some):
            unique, inverse = np.unique(pointers[some], return_inverse=True)
            column[some] = self._numbers_of(unique)[inverse]
        return column

    def finish(
        self, column: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Mapping[str, str], ...]]:
        """What `read` gave for all goroutines, and the sets that they have: numbered anew, without
        those that nobody has any more. Notes what is missing.
        """
        held = np.bincount(column - UNREAD, minlength=len(self._sets) - UNREAD)
        used = held[-UNREAD:]
        self._report(int(held[0]), int(used[np.array(self._cut, np.bool_)].sum()))
        numbers = np.concatenate([[UNREAD, NONE], np.cumsum(used > 0) - 1]).astype(np.int32)
        sets = tuple(self._sets[number] for number in np.flatnonzero(used).tolist())
        return numbers[column - UNREAD], sets

    def _report(self, unread: int, cut: int) -> None:
        if unread:
            detail = f"those of {unread} goroutines could not be read or make no sense"
            self._runtime.problem("unreadable", "labels", detail)
        if cut:
            detail = f"{cut} goroutines have more of them, or longer ones, than are shown"
            self._runtime.problem("truncated", "labels", detail)

    def _numbers_of(self, pointers: NDArray[np.uint64]) -> NDArray[np.int32]:
        batches = range(0, len(pointers), _BATCH_SETS)
        return np.concatenate([self._batch(pointers[at : at + _BATCH_SETS]) for at in batches])

    def _batch(self, pointers: NDArray[np.uint64]) -> NDArray[np.int32]:
        numbers = np.full(len(pointers), UNREAD, np.int32)
        aligned = np.flatnonzero(pointers % 8 == 0)
        pairs = self._pairs(pointers[aligned])
        texts, which, lost = self._texts(pairs.words)
        pairs.ok[pairs.owner[lost]] = False
        too_long = (pairs.words[:, 1::2] > _MAX_TEXT_BYTES).any(axis=1)
        pairs.cut[pairs.owner[too_long]] = True
        numbers[aligned] = self._interned(pairs, texts, which)
        return numbers

    def _pairs(self, pointers: NDArray[np.uint64]) -> Pairs:
        layouts = self._runtime.layouts
        if "hmap" in layouts:
            return read_maps(self._memory, layouts["hmap"], pointers, _MAX_LABELS)
        return read_lists(self._memory, pointers)

    def _texts(
        self, words: NDArray[np.uint64]
    ) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
        """The distinct texts of `words` (see `Pairs`), which of them key and value of each label are,
        shape (n, 2), and whether one of the two could not be read."""
        pointers, lengths = words.reshape(-1, 2).T
        sizes = np.minimum(lengths, np.uint64(_MAX_TEXT_BYTES))
        wild = (lengths >= _WILD_LENGTH) | (pointers >= _WILD_POINTER) & (sizes > 0)
        wanted = np.where(wild | (sizes == 0), 0, pointers << _LENGTH_BITS | sizes)
        unique, which = np.unique(wanted, return_inverse=True)
        texts: list[str] = []
        ok = []
        for begin in range(0, len(unique), _BATCH_TEXTS):
            some = unique[begin : begin + _BATCH_TEXTS]
            found = self._memory.gather(
                some >> _LENGTH_BITS, some & np.uint64((1 << int(_LENGTH_BITS)) - 1)
            )
            texts += _decoded(found, (some & np.uint64(8191)).astype(np.int64))
            ok.append(found.ok)
        lost = wild | ~np.concatenate([*ok, np.zeros(0, np.bool_)])[which]
        return texts, which.reshape(-1, 2), lost.reshape(-1, 2).any(axis=1)

    def _interned(
        self, pairs: Pairs, texts: list[str], which: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """The number of each set of `pairs`."""
        keys, values = ([texts[i] for i in column] for column in which.T.tolist())
        ends = np.cumsum(np.bincount(pairs.owner, minlength=len(pairs.ok))).tolist()
        numbers, begin = [], 0
        for end, ok, cut in zip(ends, pairs.ok.tolist(), pairs.cut.tolist(), strict=True):
            content = tuple(sorted(zip(keys[begin:end], values[begin:end], strict=True)))
            numbers.append(self._number(cut, content) if ok else UNREAD)
            begin = end
        return np.array(numbers, np.int32)

    def _number(self, cut: bool, content: tuple[tuple[str, str], ...]) -> int:
        if not content:
            return NONE
        number = self._numbers.get((cut, content))
        if number is None:
            if len(self._sets) >= _MAX_SETS:
                return UNREAD
            number = self._numbers[cut, content] = len(self._sets)
            self._sets.append(dict(content))
            self._cut.append(cut)
        return number


def read_lists(memory: Memory, pointers: NDArray[np.uint64]) -> Pairs:
    """The slices of labels at `pointers`."""
    header = memory.gather(pointers, _HEADER_BYTES)
    first, count, capacity = header.words(3).T
    ok = header.ok & (count <= capacity) & (capacity < _WILD_LENGTH)
    ok &= (first % 8 == 0) & ((first != 0) | (count == 0))
    some = np.flatnonzero(ok & (count > 0))
    shown = np.minimum(count[some], _MAX_LABELS).astype(np.int64)
    items = memory.gather(first[some], (shown * _LABEL_BYTES).astype(np.uint64))
    ok[some] = items.ok
    shown[~items.ok] = 0
    at = np.repeat(items.offsets >> 3, shown) + _LABEL_WORDS * runs(shown)
    words = items.buffer.view(np.uint64)[at[:, None] + np.arange(_LABEL_WORDS)]
    return Pairs(np.repeat(some, shown), words, ok, ok & (count > _MAX_LABELS))


def _decoded(found: Gathered, sizes: NDArray[np.int64]) -> list[str]:
    raw = found.buffer.tobytes()
    begins = found.offsets
    return [
        raw[begin:end].decode("utf-8", "backslashreplace")
        for begin, end in zip(begins.tolist(), (begins + sizes).tolist(), strict=True)
    ]


class _Rationed(Memory):
    """`memory` until `room` bytes were gathered: from then on nothing can be read."""

    def __init__(self, memory: Memory, room: int) -> None:
        self._memory = memory
        self._room = room

    def read(self, address: int, size: int) -> bytes:
        if size > self._room:
            raise MemoryFault(address, size)
        self._room -= size
        return self._memory.read(address, size)

    def gather(self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64] | int) -> Gathered:
        need = int(spread(sizes, len(addresses)).sum())
        if need <= self._room:
            self._room -= need
            try:
                return self._memory.gather(addresses, sizes)
            except BadDataError:
                pass
        nowhere = np.zeros(len(addresses), np.int64)
        return Gathered(np.zeros(8, np.uint8), nowhere, np.zeros(len(addresses), np.bool_))
