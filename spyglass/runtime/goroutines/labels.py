"""pprof labels: what ``g.labels`` points at, decoded once for each distinct set.

``runtime/pprof.SetGoroutineLabels`` stores a pointer to a ``labelMap``, which is not changed
afterwards, and goroutines share. Since Go 1.24 it is a slice of keys and values (runtime/pprof/label.go, since 1.26
with internal/runtime/pprof/label.Set inside), before it was a ``map[string]string``. The same release
replaced the map that `spyglass.runtime.goroutines.hmap` reads, ``runtime.hmap``: a program has it, or the slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import BadDataError, MemoryFault
from spyglass.memory.base import Gathered, Memory
from spyglass.memory.ranges import spread
from spyglass.model import NONE, UNREAD
from spyglass.runtime.goroutines.hmap import Pairs, read_maps, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["LabelReader"]

#: More labels, and longer keys and values, are cut off, which a problem says.
_MAX_LABELS = 256
_MAX_TEXT_BYTES = 1 << 12
#: All labels of a reading together, and all texts and sets that are kept of all readings: what is beyond is not read.
_MAX_BYTES = 1 << 29
_MAX_SETS = 1 << 20
#: Sets, and texts, that are read at a time.
_BATCH_SETS = 1 << 12
_BATCH_TEXTS = 1 << 16
#: A length that no string has, and a pointer that no program has (48 bits are the user's).
_WILD_LENGTH, _WILD_POINTER = 1 << 32, 1 << 48
#: Enough for a length up to `_MAX_TEXT_BYTES`.
_LENGTH_BITS = np.uint64(13)
#: A label is the number of its key and, in the lower half, that of its value.
_HALF_BITS = 32
_HEADER_BYTES, _LABEL_BYTES, _LABEL_WORDS = 24, 32, 4


class LabelReader:
    """Reads the labels of goroutines of one process; equal sets have one number.

    A `spyglass.runtime.goroutines.side_readers.SideReader`.
    """

    column = "labels"
    g_fields = ("labels",)
    unread = UNREAD

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._memory = _Rationed(runtime.memory, _MAX_BYTES)
        self._texts: dict[str, int] = {}
        # A set is known by its labels in ascending order, each the numbers of two texts in 8 bytes,
        # and by whether there is more of it.
        self._sets: dict[tuple[bytes, bool], int] = {}
        self._kept_bytes = 0

    @property
    def set_count(self) -> int:
        """How many distinct sets were read."""
        return len(self._sets)

    def renew(self) -> None:
        """Begin another reading of the process: what may be read is counted anew."""
        self._memory = _Rationed(self._runtime.memory, _MAX_BYTES)

    def read(self, rows: NDArray[Any]) -> NDArray[np.int32]:
        """For each ``g`` of `rows` the number of its set of labels; `NONE` without labels, `UNREAD` if
        they cannot be read.

        The caller checks afterwards whether the goroutine moved: a set that no goroutine uses any
        longer may have been overwritten.
        """
        return self.sets_at(rows["labels"])

    def sets_at(self, pointers: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The number of the set that each ``g.labels`` of `pointers` points at."""
        column = np.full(len(pointers), NONE, np.int32)
        some = np.flatnonzero(pointers)
        if len(some):
            unique, inverse = numbered(pointers[some])
            begins = range(0, len(unique), _BATCH_SETS)
            batches = [self._batch(unique[at : at + _BATCH_SETS]) for at in begins]
            column[some] = np.concatenate(batches)[inverse]
        return column

    def finish(self, column: NDArray[np.int32]) -> tuple[NDArray[np.int32], Mapping[str, Any]]:
        """`column`, which holds what `read` gave for all goroutines, and `Snapshot.label_sets`.

        Sets that no goroutine uses are dropped, the others renumbered. Reports what is missing.
        """
        held = np.bincount(column - UNREAD, minlength=len(self._sets) - UNREAD)
        unread, counts = int(held[0]), held[-UNREAD:]
        known = list(zip(self._sets, counts.tolist(), strict=True))
        self._report(unread, sum(count for (_, cut), count in known if cut))
        numbers = np.concatenate([[UNREAD, NONE], np.cumsum(counts > 0) - 1]).astype(np.int32)
        sets = [labels for (labels, _), count in known if count]
        return numbers[column - UNREAD], {"label_sets": tuple(self._spelled_out(sets))}

    def _report(self, unread: int, cut: int) -> None:
        if unread:
            detail = f"those of {unread} goroutines could not be read, are implausible, or changed meanwhile"
            self._runtime.problem("unreadable", "labels", detail)
        if cut:
            detail = f"{cut} goroutines have more of them, or longer ones, than are shown"
            self._runtime.problem("truncated", "labels", detail)

    def _spelled_out(self, sets: list[bytes]) -> Iterator[Mapping[str, str]]:
        texts = list(self._texts)
        sizes = [len(labels) // 8 for labels in sets]
        owner = np.repeat(np.arange(len(sets)), sizes)
        keys, values = _halves(np.frombuffer(b"".join(sets), np.int64))
        names, which = numbered(keys)
        alphabetical = sorted(range(len(names)), key=[texts[i] for i in names.tolist()].__getitem__)
        order = np.lexsort((np.argsort(alphabetical)[which], owner))
        pairs = zip(keys[order].tolist(), values[order].tolist(), strict=True)
        for size in sizes:
            yield {texts[key]: texts[value] for key, value in islice(pairs, size)}

    def _batch(self, pointers: NDArray[np.uint64]) -> NDArray[np.int32]:
        numbers = np.full(len(pointers), UNREAD, np.int32)
        aligned = np.flatnonzero(pointers % 8 == 0)
        pairs = self._pairs(pointers[aligned])
        labels, lost = self._labels(pairs.words)
        pairs.ok[pairs.owner[lost]] = False
        too_long = (pairs.words[:, 1::2] > _MAX_TEXT_BYTES).any(axis=1)
        pairs.cut[pairs.owner[too_long]] = True
        numbers[aligned] = self._set_numbers(pairs, labels)
        return numbers

    def _pairs(self, pointers: NDArray[np.uint64]) -> Pairs:
        layouts = self._runtime.layouts
        if "hmap" in layouts:
            return read_maps(self._memory, layouts["hmap"], pointers, _MAX_LABELS)
        return read_lists(self._memory, pointers)

    def _labels(self, words: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Each label of `words` (see `Pairs`) as the numbers of two texts in one, and which of them
        could not be read."""
        pointers, lengths = words.reshape(-1, 2).T
        sizes = np.minimum(lengths, np.uint64(_MAX_TEXT_BYTES))
        wild = (lengths >= _WILD_LENGTH) | (pointers >= _WILD_POINTER) & (sizes > 0)
        wanted = np.where(wild | (sizes == 0), 0, pointers << _LENGTH_BITS | sizes)
        unique, which = numbered(wanted)
        begins = range(0, len(unique), _BATCH_TEXTS)
        batches = [self._text_numbers(unique[at : at + _BATCH_TEXTS]) for at in begins]
        numbers = np.concatenate([np.zeros(0, np.int64), *batches])[which].reshape(-1, 2)
        lost = (wild.reshape(-1, 2) | (numbers == UNREAD)).any(axis=1)
        return numbers[:, 0] << _HALF_BITS | numbers[:, 1], lost

    def _text_numbers(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The numbers of texts, each `wanted` as a pointer and a length in one; `UNREAD` if that fails."""
        sizes = wanted & ((np.uint64(1) << _LENGTH_BITS) - np.uint64(1))
        found = self._memory.gather(wanted >> _LENGTH_BITS, sizes)
        ok = found.ok | (sizes == 0)
        ends = found.offsets + np.where(ok, sizes, 0).astype(np.int64)
        decoded = _decoded(found.buffer.tobytes(), found.offsets.tolist(), ends.tolist())
        texts, before = self._texts, len(self._texts)
        if self._kept_bytes < _MAX_BYTES:
            numbers = [texts.setdefault(text, len(texts)) for text in decoded]
            self._kept_bytes += sum(map(len, islice(reversed(texts), len(texts) - before)))
        else:
            numbers = [texts.get(text, UNREAD) for text in decoded]
        return np.where(ok, np.array(numbers, np.int64), UNREAD)

    def _set_numbers(self, pairs: Pairs, labels: NDArray[np.int64]) -> NDArray[np.int32]:
        """The number of each set of `pairs`, whose labels are `labels`."""
        raw = labels[np.lexsort((labels, pairs.owner))].tobytes()
        counts = np.bincount(pairs.owner, minlength=len(pairs.ok))
        some = np.flatnonzero(pairs.ok & (counts > 0))
        ends = np.cumsum(counts) * labels.itemsize
        begins = ends - counts * labels.itemsize
        columns = (begins[some].tolist(), ends[some].tolist(), pairs.cut[some].tolist())
        numbers = np.where(pairs.ok, NONE, UNREAD).astype(np.int32)
        sets, before = self._sets, len(self._sets)
        if len(sets) + len(some) <= _MAX_SETS and self._kept_bytes < _MAX_BYTES:
            found = [
                sets.setdefault((raw[begin:end], cut), len(sets))
                for begin, end, cut in zip(*columns, strict=True)
            ]
            new = islice(reversed(sets), len(sets) - before)
            self._kept_bytes += sum(len(labels) for labels, _ in new)
        else:
            found = [
                self._number(raw[begin:end], cut) for begin, end, cut in zip(*columns, strict=True)
            ]
        numbers[some] = found
        return numbers

    def _number(self, labels: bytes, cut: bool) -> int:
        """The number of a set when there is no room for many more."""
        if len(self._sets) >= _MAX_SETS or self._kept_bytes >= _MAX_BYTES:
            return self._sets.get((labels, cut), UNREAD)
        return self._sets.setdefault((labels, cut), len(self._sets))


def _decoded(raw: bytes, begins: list[int], ends: list[int]) -> Iterator[str]:
    """The texts that `raw` holds from `begins` to `ends`."""
    characters = raw.decode("latin-1")  # at once, for the many that are ASCII
    for begin, end in zip(begins, ends, strict=True):
        text = characters[begin:end]
        yield text if text.isascii() else raw[begin:end].decode("utf-8", "backslashreplace")


def _halves(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return labels >> _HALF_BITS, labels & ((1 << _HALF_BITS) - 1)


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
