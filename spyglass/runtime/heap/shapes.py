"""Which types objects of up to 512 bytes can have: those of that size with pointers at the same places.

An object may be one value of a type, or several of them, one after the other, behind a slice.

Knowledge: ``runtime/mbitmap.go`` (``heapBits``, ``spanHeapBitsRange``, ``writeHeapBitsSmall``), since Go 1.22: a span of
such objects ends with a bit for each of its words, which says whether that is a pointer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.runtime.heap.classes import CLASS_SIZES
from spyglass.runtime.heap.spans import PAGE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.heap.descriptors import Descriptors
    from spyglass.runtime.heap.spans import Spans

__all__ = ["MAX_SHAPED_BYTES", "Candidates", "bitmap_offset", "counted", "masks_of"]

#: ``MinSizeForMallocHeader`` (``internal/runtime/gc/malloc.go``; malloc.go before 1.25): larger ones begin with their type.
MAX_SHAPED_BYTES = 512
_WORD_BITS = 64
_BITMAP_BYTES = PAGE_BYTES // 8 // 8
#: ``spanInlineMarkBits`` (mgcmark_greenteagc.go), which lies behind the bitmap of objects of 16 bytes and more.
_MARKS_BYTES = 128
_MARKED_FROM_BYTES = 16
#: Masks of so many words are counted in an array.
_COUNTED_WORDS = 16


def bitmap_offset(spans: Spans) -> int | None:
    """How far before the end of a span its bitmap ends, for objects of 16 bytes and more; None if that is not known, or
    there is none.

    How many objects a span has tells it, in most size classes.
    """
    rows = spans.pointers & (spans.pages == 1) & (spans.object_bytes >= _MARKED_FROM_BYTES)
    rows &= spans.object_bytes <= MAX_SHAPED_BYTES
    size, count = spans.object_bytes[rows], spans.count[rows]
    plain = (PAGE_BYTES - _BITMAP_BYTES) // size
    marked = (PAGE_BYTES - _BITMAP_BYTES - _MARKS_BYTES) // size
    tells = plain != marked
    for expected, offset in ((plain, 0), (marked, _MARKS_BYTES)):
        if tells.any() and (count[tells] == expected[tells]).all():
            return offset
    return None


def masks_of(memory: Memory, spans: Spans, offset: int) -> NDArray[np.uint64]:
    """Which words of each object of `spans` are pointers: a bit for each word, shape (spans, objects), 0 where it cannot be
    read. The spans have one page, and equal objects of up to 512 bytes. `offset`: as `bitmap_offset`."""
    words, count = int(spans.object_bytes[0]) // 8, int(spans.count[0])
    behind = _BITMAP_BYTES + (offset if words * 8 >= _MARKED_FROM_BYTES else 0)
    gathered = memory.gather(spans.end - np.uint64(behind), _BITMAP_BYTES)
    bitmap = gathered.words(_BITMAP_BYTES // 8)
    bitmap = np.concatenate([bitmap, np.zeros((len(spans), 1), np.uint64)], axis=1)
    bitmap[~gathered.ok] = 0
    first = np.arange(count) * words
    lane, shift = first // _WORD_BITS, (first % _WORD_BITS).astype(np.uint64)
    masks: NDArray[np.uint64] = bitmap[:, lane] >> shift
    # Shifting by 64 is not defined: in two steps.
    masks |= bitmap[:, lane + 1] << (np.uint64(_WORD_BITS - 1) - shift) << np.uint64(1)
    masks &= np.uint64((1 << words) - 1)
    return masks


def counted(masks: NDArray[np.uint64], words: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct `masks`, of so many `words`, and how often each occurs."""
    if words <= _COUNTED_WORDS:
        counts = np.bincount(masks.view(np.int64), minlength=1 << words)
        found = np.flatnonzero(counts)
        return found.astype(np.uint64), counts[found]
    ordered = np.sort(masks)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[: len(ordered)]
    return ordered[first], np.diff(np.append(first, len(ordered)))


@dataclass(frozen=True, slots=True)
class Candidates:
    """What objects of any shape can be. A row, ascending by `object_bytes` (int64) and `mask` (uint64): `values` (int64) of
    one of the types whose rows of the descriptors are ``types[first:first + count]`` (all int64)."""

    object_bytes: NDArray[np.int64]
    mask: NDArray[np.uint64]
    values: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    types: NDArray[np.int64]

    @classmethod
    def of(cls, types: Descriptors) -> Candidates:
        """All shapes that objects of `types` with pointers can have. Types of one size and mask go together."""
        rows = np.flatnonzero((types.mask != 0) & (types.size <= MAX_SHAPED_BYTES))
        rows = rows[np.lexsort((types.mask[rows], types.size[rows]))]
        size, mask = types.size[rows].astype(np.int64), types.mask[rows]
        begins = np.ones(len(rows), np.bool_)
        begins[1:] = (np.diff(size) != 0) | (np.diff(mask) != 0)
        first = np.flatnonzero(begins)
        count = np.diff(np.append(first, len(rows)))
        at, masks, values = _repeated(mask[first], size[first])
        sizes = np.array(CLASS_SIZES, np.int64)
        object_bytes = sizes[np.searchsorted(sizes, size[first][at] * values)]
        order = np.lexsort((masks, object_bytes))
        at = at[order]
        return cls(object_bytes[order], masks[order], values[order], first[at], count[at], rows)

    def find(self, object_bytes: int, mask: int) -> list[tuple[NDArray[np.int64], int]]:
        """What an object of that shape can be: rows of descriptors, and how many values of one of these types."""
        low, high = np.searchsorted(self.object_bytes, [object_bytes, object_bytes + 1]).tolist()
        begin, end = (
            low + int(np.searchsorted(self.mask[low:high], np.uint64(mask), side))
            for side in ("left", "right")
        )
        return [
            (self.types[self.first[row] : self.first[row] + self.count[row]], int(self.values[row]))
            for row in range(begin, end)
        ]


def _repeated(
    mask: NDArray[np.uint64], size: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.uint64], NDArray[np.int64]]:
    """All numbers of values of types with `mask` and `size` that fit: which type, the mask of so many, the number."""
    at, whole = np.arange(len(size)), mask
    found, many = [(at, whole, np.ones(len(at), np.int64))], 1
    while len(at):
        fits = (many + 1) * size[at] <= MAX_SHAPED_BYTES
        at, whole = at[fits], whole[fits]
        whole = whole | mask[at] << (many * size[at] // 8).astype(np.uint64)
        many += 1
        found.append((at, whole, np.full(len(at), many)))
    types, masks, values = zip(*found, strict=True)
    return np.concatenate(types), np.concatenate(masks), np.concatenate(values)
