"""Which objects of the heap refer to which: all words of spans that hold pointers, read once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.runtime.goroutines.prefetch import has_processor_to_spare, prefetched
from spyglass.runtime.heap.spans import UNUSED_NUMBERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory
    from spyglass.runtime.heap.spans import ObjectNumbers

__all__ = ["References", "read_references"]

_WORD_BYTES = 8
#: How much is read and examined at a time: fits into the cache of a processor.
_PIECE_BYTES = 1 << 21
#: How many pieces are read between two calls of `progress`.
_PIECES_BETWEEN = 16


@dataclass(frozen=True, slots=True)
class References:
    """The objects that each object refers to: those of object i are
    ``targets[offsets[i]:offsets[i + 1]]`` (both uint32).

    `read_bytes`: of spans that hold pointers; `complete`: these were all.
    """

    offsets: NDArray[np.uint32]
    targets: NDArray[np.uint32]
    read_bytes: int
    complete: bool


class _Piece(NamedTuple):
    """Ranges of equal size, `size` bytes each, one after the other the memory of objects of
    `object_words` words; the first word is word `skip` of object `first`."""

    first: int
    skip: int
    object_words: int
    addresses: NDArray[np.uint64]
    size: int


def read_references(
    memory: Memory,
    numbers: ObjectNumbers,
    hidden: NDArray[np.uint64],
    limit_bytes: int,
    progress: Callable[[float], None] | None = None,
    until: float = float("inf"),
) -> References:
    """Read all words of the objects of `numbers` that may hold pointers, up to `limit_bytes` of them, and until that
    moment of ``time.monotonic``.

    A word that points into an object is a reference to it, whatever its type, except those at the
    addresses `hidden` (ascending). The memory of the result is 4 bytes for each object and each
    reference.
    """
    pieces, complete = _pieces(numbers, limit_bytes)
    total = sum(piece.size * len(piece.addresses) for piece in pieces)
    counts = np.zeros(len(numbers) + 1, np.uint32)
    targets = np.empty(total // _WORD_BYTES, np.uint32)  # pages are taken as they are written
    used = read_bytes = 0
    words = prefetched(
        partial(_words, memory), pieces, memory.takes_threads and has_processor_to_spare()
    )
    for number, (piece, (table, ok)) in enumerate(zip(pieces, words, strict=True)):
        complete &= bool(ok.all())
        _hide(piece, table, hidden)
        at, objects = numbers.find(table.reshape(-1))
        _count(counts, piece, at)
        targets[used : used + len(objects)] = objects
        used += len(objects)
        read_bytes += table.nbytes
        if number % _PIECES_BETWEEN == 0:
            if progress is not None:
                progress(read_bytes / total)
            if time.monotonic() > until:
                complete &= number + 1 == len(pieces)
                break
    words.close()
    offsets = np.cumsum(counts, dtype=np.uint32)
    return References(offsets, targets[:used], read_bytes, complete)


def _count(counts: NDArray[np.uint32], piece: _Piece, at: NDArray[np.intp]) -> None:
    """Add to `counts`, from the second on, that there are references at the words `at` of `piece`."""
    ranges, width = len(piece.addresses), piece.size // _WORD_BYTES
    objects = -(-(piece.skip + width) // piece.object_words)
    if piece.skip:
        at = at + piece.skip
    found = np.bincount(at // piece.object_words, minlength=ranges * objects)
    row = objects + UNUSED_NUMBERS
    part = counts[piece.first + 1 : piece.first + 1 + ranges * row]
    part.reshape(ranges, row)[:, :objects] += found.reshape(ranges, objects).astype(np.uint32)


def _pieces(numbers: ObjectNumbers, limit_bytes: int) -> tuple[list[_Piece], bool]:
    """What is to be read, in the order of the objects, and whether that is all."""
    spans = numbers.spans
    size = spans.object_bytes * spans.count
    changes = (np.diff(size) != 0) | (np.diff(spans.object_bytes) != 0)
    changes |= np.diff(spans.pointers)
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(spans)]
    pieces: list[_Piece] = []
    left = limit_bytes
    for begin, end in pairwise(borders):
        if begin == end or not spans.pointers[begin]:
            continue
        for piece in _pieces_of(numbers, begin, end):
            left -= piece.size * len(piece.addresses)
            if left < 0:
                return pieces, False
            pieces.append(piece)
    return pieces, True


def _pieces_of(numbers: ObjectNumbers, begin: int, end: int) -> list[_Piece]:
    """The pieces of the spans from `begin` to `end`, which have equal objects."""
    spans = numbers.spans
    object_words = int(spans.object_bytes[begin]) // _WORD_BYTES
    size = int(spans.object_bytes[begin] * spans.count[begin])
    if size <= _PIECE_BYTES:
        step = _PIECE_BYTES // size
        return [
            _Piece(
                int(numbers.first[row]),
                0,
                object_words,
                spans.start[row : min(row + step, end)],
                size,
            )
            for row in range(begin, end, step)
        ]
    pieces = []
    for row in range(begin, end):
        for offset in range(0, size, _PIECE_BYTES):
            first, skip = divmod(offset // _WORD_BYTES, object_words)
            address = spans.start[row : row + 1] + np.uint64(offset)
            length = min(_PIECE_BYTES, size - offset)
            pieces.append(
                _Piece(int(numbers.first[row]) + first, skip, object_words, address, length)
            )
    return pieces


def _words(memory: Memory, piece: _Piece) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The words of `piece`, a row for each range, 0 where it could not be read, and which could be."""
    sizes = np.full(len(piece.addresses), piece.size, np.uint64)
    gathered = memory.gather_in_order(piece.addresses, sizes)
    width = piece.size // _WORD_BYTES
    flat = gathered.buffer.view(np.uint64)
    in_order = gathered.offsets == np.arange(len(sizes)) * piece.size
    if in_order.all() and flat.flags.writeable and len(flat) >= width * len(sizes):
        table = flat[: width * len(sizes)].reshape(len(sizes), width)
    else:
        table = gathered.words(width)
    if not gathered.ok.all():
        table[~gathered.ok] = 0
    return table, gathered.ok


def _hide(piece: _Piece, table: NDArray[np.uint64], hidden: NDArray[np.uint64]) -> None:
    """Clear the words of `table` that are at the addresses `hidden`."""
    begin = np.searchsorted(hidden, piece.addresses)
    end = np.searchsorted(hidden, piece.addresses + np.uint64(piece.size))
    for row in np.flatnonzero(end > begin).tolist():
        offsets = hidden[begin[row] : end[row]] - piece.addresses[row]
        table[row, (offsets >> np.uint64(3)).astype(np.int64)] = 0
