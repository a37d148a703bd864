"""Which objects of the heap the stacks of goroutines refer to.

As ``runtime/mgcmark.go: scanstack``: live words of frames, objects on the stack that these point to, and
records of deferred calls. Of a stack without a plan, every word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spyglass.columns import among, distinct, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.heap.spans import ObjectNumbers
    from spyglass.runtime.waiting.live_words import StackPlans

__all__ = ["StackPointers", "Stacks", "read_stack_pointers"]

#: Bytes of stacks that are held at a time, and of one stack.
_BATCH_BYTES = 1 << 25
_MAX_STACK_BYTES = 1 << 28
#: Deferred calls of one goroutine that are followed. Their records have no more words than this.
_MAX_DEFERS = 1 << 10
_MAX_DEFER_WORDS = 64
_MAX_DEFERRED_WORDS = 1 << 24
_ROW_SHIFT = np.uint64(32)
_OBJECT = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Stacks:
    """Stacks to look at, a row for each.

    `low`, `high` (uint64): from the innermost sp to the end. `defers` (uint64): the first record of a
    deferred call, 0 for none. `plan` (int64): which of the plans tells their live words, -1 for none.
    """

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    defers: NDArray[np.uint64]
    plan: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.low)

    def select(self, rows: NDArray[np.intp] | slice) -> Stacks:
        """The stacks `rows`."""
        return Stacks(self.low[rows], self.high[rows], self.defers[rows], self.plan[rows].copy())


class StackPointers(NamedTuple):
    """The objects that stacks refer to: of stack i ``objects[offsets[i]:offsets[i + 1]]`` (uint32), each
    once; `ok` (bool): it could be read."""

    offsets: NDArray[np.int64]
    objects: NDArray[np.uint32]
    ok: NDArray[np.bool_]

    @classmethod
    def of(cls, keys: list[NDArray[np.uint64]], ok: NDArray[np.bool_]) -> StackPointers:
        """Those of `keys`: the number of a stack in the high half, that of an object in the low half."""
        every = distinct(np.concatenate(keys)) if keys else np.zeros(0, np.uint64)
        row = (every >> _ROW_SHIFT).astype(np.int64)
        offsets = np.searchsorted(row, np.arange(len(ok) + 1))
        return cls(offsets, (every & _OBJECT).astype(np.uint32), ok)

    def with_more(self, rows: NDArray[np.int64], objects: NDArray[np.uint32]) -> StackPointers:
        """These, and `objects` for the stacks `rows`."""
        own = np.repeat(np.arange(len(self.ok)), np.diff(self.offsets))
        return self.of([_keys(own, self.objects), _keys(rows, objects)], self.ok)


def _keys(rows: NDArray[np.int64], objects: NDArray[Any]) -> NDArray[np.uint64]:
    keys: NDArray[np.uint64] = rows.astype(np.uint64) << _ROW_SHIFT | objects.astype(np.uint64)
    return keys


def read_stack_pointers(
    runtime: Runtime, stacks: Stacks, plans: StackPlans, numbers: ObjectNumbers
) -> StackPointers:
    """The objects of `numbers` that `stacks` refer to."""
    ok = np.zeros(len(stacks), np.bool_)
    keys = []
    for part in _parts(stacks):
        found = _Words.read(runtime.memory, stacks.select(part), plans)
        ok[part] = found.ok
        rows, words = found.live()
        defer_rows, defer_words = _deferred(runtime, stacks.defers[part])
        rows, words = np.concatenate([rows, defer_rows]), np.concatenate([words, defer_words])
        while len(rows):
            at, objects = numbers.find(words)
            keys.append(distinct(_keys(rows[at] + part.start, objects)))
            rows, words = found.behind(rows, words)
    return StackPointers.of(keys, ok)


def _parts(stacks: Stacks) -> Iterator[slice]:
    """Slices of rows whose stacks are read together."""
    ends = np.cumsum(_sizes(stacks).astype(np.int64))
    begin = 0
    while begin < len(stacks):
        done = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, done + _BATCH_BYTES)), begin + 1)
        yield slice(begin, end)
        begin = end


def _sizes(stacks: Stacks) -> NDArray[np.uint64]:
    """How much of each is read, in bytes: none of one that cannot be a stack."""
    sizes = stacks.high - stacks.low
    return np.where((stacks.high > stacks.low) & (sizes <= _MAX_STACK_BYTES), sizes, np.uint64(0))


@dataclass(slots=True)
class _Words:
    """Words of some stacks. `first`, `size` (int64): those of each, in `words`. `seen`: which objects on
    stacks were looked at."""

    stacks: Stacks
    plans: StackPlans
    words: NDArray[np.uint64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    ok: NDArray[np.bool_]
    seen: NDArray[np.uint64]

    @classmethod
    def read(cls, memory: Memory, stacks: Stacks, plans: StackPlans) -> _Words:
        sizes = _sizes(stacks)
        gathered = memory.gather(stacks.low, sizes)
        ok = gathered.ok & (sizes > 0)
        size = np.where(ok, sizes >> np.uint64(3), np.uint64(0)).astype(np.int64)
        words = gathered.buffer[: len(gathered.buffer) & ~7].view(np.uint64)
        found = cls(stacks, plans, words, gathered.offsets >> 3, size, ok, np.zeros(0, np.uint64))
        stacks.plan[found.others()] = -1
        return found

    def others(self) -> NDArray[np.int64]:
        """Stacks that are not those that were planned for: their return addresses are others. Up to Go 1.16 a
        goroutine that waits again, called from elsewhere, may look as before."""
        plan, plans = self.stacks.plan, self.plans
        planned = np.flatnonzero((plan >= 0) & (self.size > 0))
        begin = plans.return_offsets[plan[planned]]
        count = plans.return_offsets[plan[planned] + 1] - begin
        rows, at = np.repeat(planned, count), ranges(begin, count)
        slots, pcs = plans.return_slots[at], plans.return_pcs[at]
        inside = slots < self.size[rows]
        same = inside.copy()
        same[inside] = self.words[self.first[rows[inside]] + slots[inside]] == pcs[inside]
        return rows[~same]

    def live(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The live words of all stacks, and the rows that they are of."""
        plan, plans = self.stacks.plan, self.plans
        planned = np.flatnonzero((plan >= 0) & (self.size > 0))
        begin = plans.word_offsets[plan[planned]]
        count = plans.word_offsets[plan[planned] + 1] - begin
        rows, slots = np.repeat(planned, count), plans.words[ranges(begin, count)]
        inside = slots < self.size[rows]
        rows, slots = rows[inside], slots[inside]
        others = np.flatnonzero((plan < 0) & (self.size > 0))
        at = np.concatenate(
            [self.first[rows] + slots, ranges(self.first[others], self.size[others])]
        )
        return np.concatenate([rows, np.repeat(others, self.size[others])]), self.words[at]

    def behind(
        self, rows: NDArray[np.int64], words: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The words of the objects on stacks that `words` of the stacks `rows` point into, and that were
        not looked at before; the rows that they are of."""
        inside = (words >= self.stacks.low[rows]) & (words < self.stacks.high[rows])
        inside &= self.stacks.plan[rows] >= 0
        rows, words = rows[inside], words[inside]
        slot = ((words - self.stacks.low[rows]) >> np.uint64(3)).astype(np.int64)
        number = self._object_at(self.stacks.plan[rows], slot)
        rows, number = rows[number >= 0], number[number >= 0]
        keys = distinct(_keys(rows, number))
        keys = keys[~among(keys, self.seen)]
        self.seen = np.concatenate([self.seen, keys])
        rows, number = (keys >> _ROW_SHIFT).astype(np.int64), (keys & _OBJECT).astype(np.int64)
        begin = self.plans.begins[number]
        count = np.clip(self.size[rows] - begin, 0, self.plans.sizes[number])
        at = ranges(self.first[rows] + begin, count)
        return np.repeat(rows, count), self.words[at]

    def _object_at(self, plan: NDArray[np.int64], slot: NDArray[np.int64]) -> NDArray[np.int64]:
        """The object that word `slot` of a stack with `plan` is in, -1 for none."""
        plans = self.plans
        if not len(plans.begins):
            return np.full(len(slot), -1, np.int64)
        owner = np.repeat(np.arange(len(plans.known)), np.diff(plans.object_offsets))
        key = plan << 32 | slot
        at = np.searchsorted(owner << 32 | plans.begins, key, side="right") - 1
        object_at = np.maximum(at, 0)
        within = slot - plans.begins[object_at]
        good = (at >= 0) & (owner[object_at] == plan) & (within < plans.sizes[object_at])
        return np.where(good, at, -1)


def _deferred(
    runtime: Runtime, defers: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The words of the records of deferred calls, and their addresses; the rows that they are of.

    Records may be on the stack or in the heap, in turns (``runtime2.go: _defer``).
    """
    if "_defer" not in runtime.layouts:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    dtype = runtime.layouts["_defer"]
    width = min(-(-dtype.itemsize // 8), _MAX_DEFER_WORDS)
    rows = np.flatnonzero(defers != 0)
    address = defers[rows]
    all_rows: list[NDArray[np.int64]] = []
    all_words: list[NDArray[np.uint64]] = []
    for _ in range(_MAX_DEFERS):
        aligned = (address != 0) & (address % np.uint64(8) == 0)
        rows, address = rows[aligned], address[aligned]
        if not len(rows) or sum(len(words) for words in all_words) > _MAX_DEFERRED_WORDS:
            break
        all_rows.append(rows)
        all_words.append(address)
        gathered = runtime.memory.gather(address, 8 * width)
        rows, words = rows[gathered.ok], gathered.words(width)[gathered.ok]
        records = np.ascontiguousarray(words).view(np.uint8)[:, : dtype.itemsize]
        record = np.ascontiguousarray(records).view(dtype).reshape(-1)
        behind_rows, behind = _arguments(runtime, record, address[gathered.ok], rows)
        all_rows += [np.repeat(rows, width), behind_rows]
        all_words += [words.reshape(-1), behind]
        address = record["link"].astype(np.uint64)
    if not all_rows:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return np.concatenate(all_rows), np.concatenate(all_words)


def _arguments(
    runtime: Runtime, record: NDArray[np.void], address: NDArray[np.uint64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Up to Go 1.17: the arguments of deferred calls, which follow their records."""
    if "siz" not in (record.dtype.names or ()) or not (record["siz"] > 0).any():
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    some = np.flatnonzero(record["siz"] > 0)
    begin = address[some] + np.uint64(-(-record.dtype.itemsize // 8) * 8)
    gathered = runtime.memory.gather(begin, 8 * _MAX_DEFER_WORDS)
    count = np.minimum(-(-record["siz"][some].astype(np.int64) // 8), _MAX_DEFER_WORDS)
    inside = gathered.ok[:, None] & (np.arange(_MAX_DEFER_WORDS) < count[:, None])
    which, _ = np.nonzero(inside)
    return rows[some][which], gathered.words(_MAX_DEFER_WORDS)[inside]
