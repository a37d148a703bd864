"""Go's maps up to 1.23, many at once: ``map[string]string`` alone is needed, for pprof labels.

Knowledge: runtime/map.go (``hmap``, ``bmap``, ``evacuate``), the same in Go 1.13 to 1.23; the shape of a
bucket is the compiler's (cmd/compile/internal/reflectdata/reflect.go: ``MapBucketType``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.memory.base import Memory

__all__ = ["Pairs", "read_maps", "runs"]

#: ``bmap`` with what follows it for strings as keys and values, each a pointer and a length.
_BUCKET = np.dtype(
    [
        ("tophash", "u1", 8),
        ("keys", "<u8", (8, 2)),
        ("values", "<u8", (8, 2)),
        ("overflow", "<u8"),
    ]
)
#: ``minTopHash``: below it a cell is empty, or was evacuated to the new buckets.
_MIN_TOP_HASH = 5
#: ``sameSizeGrow``: there are as many old buckets as new ones, not half as many.
_SAME_SIZE_GROW = 8
#: No more than 2 to this many buckets of a map are read; they hold over 400 entries.
_MAX_BITS = 6
#: A map whose buckets overflow into longer chains would long have grown.
_MAX_CHAIN = 16
_WILD_COUNT, _WILD_BITS = 1 << 32, 40


@dataclass(frozen=True, slots=True)
class Pairs:
    """Keys and values of many sets, those of one set behind each other.

    `owner` (int64, ascending) tells whose each pair is; `words` (uint64, shape (pairs, 4)) are pointer
    and length of its key and of its value. For each set `ok` (bool) tells whether it is plausible, and
    `cut` whether there is more of it than was read.
    """

    owner: NDArray[np.int64]
    words: NDArray[np.uint64]
    ok: NDArray[np.bool_]
    cut: NDArray[np.bool_]


def runs(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 to n-1 for each n of `lengths`, one run behind the other."""
    total = int(lengths.sum())
    return np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def read_maps(
    memory: Memory, hmap: np.dtype[Any], pointers: NDArray[np.uint64], limit: int
) -> Pairs:
    """The maps that the words at `pointers` point to, at most `limit` pairs of each."""
    variables = memory.gather(pointers, 8)
    heads = variables.words(1)[:, 0]
    ok = variables.ok & (heads % 8 == 0)
    some = np.flatnonzero(ok & (heads != 0))
    found = memory.gather(heads[some], hmap.itemsize)
    rows = found.rows(hmap)
    sensible = found.ok & _sensible(rows)
    ok[some] = sensible
    some, rows = some[sensible], rows[sensible]
    count = np.zeros(len(pointers), np.int64)
    count[some] = rows["count"]
    cut = (count > limit) & ok
    cut[some] |= rows["B"] > _MAX_BITS
    owner, words, broken = _cells(memory, *_buckets(some, rows))
    ok[broken] = False
    ok &= cut | (np.bincount(owner, minlength=len(pointers)) == count)
    kept = runs(np.bincount(owner, minlength=len(pointers))) < limit
    return Pairs(owner[kept], words[kept], ok, cut)


def _sensible(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which `rows` can be an ``hmap``."""
    aligned = (rows["buckets"] % 8 == 0) & (rows["oldbuckets"] % 8 == 0)
    good: NDArray[np.bool_] = (
        aligned
        & (rows["count"] >= 0)
        & (rows["count"] < _WILD_COUNT)
        & (rows["B"] < _WILD_BITS)
        & ((rows["buckets"] != 0) | (rows["count"] == 0))
    )
    return good


def _buckets(
    owner: NDArray[np.int64], rows: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The addresses of the first bucket of every chain, and whose each is.

    While a map grows its entries are in the old buckets or in the new ones, never in both.
    """
    bits = rows["B"].astype(np.int64)
    old_bits = np.where(rows["flags"] & _SAME_SIZE_GROW, bits, np.maximum(bits - 1, 0))
    first = np.concatenate([rows["buckets"], rows["oldbuckets"]]).astype(np.uint64)
    many = 1 << np.minimum(np.concatenate([bits, old_bits]), _MAX_BITS)
    many[first == 0] = 0
    steps = (runs(many) * _BUCKET.itemsize).astype(np.uint64)
    return np.repeat(np.concatenate([owner, owner]), many), np.repeat(first, many) + steps


def _cells(
    memory: Memory, owner: NDArray[np.int64], address: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """The entries of the buckets at `address` and of their overflow buckets.

    Owner and words as in `Pairs`, and the owners of chains that cannot be read or do not end.
    """
    owners, words = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.uint64)]
    broken = [np.zeros(0, np.int64)]
    for _ in range(_MAX_CHAIN):
        if not len(owner):
            break
        found = memory.gather(address, _BUCKET.itemsize)
        rows = found.rows(_BUCKET)
        good = found.ok & (rows["overflow"] % 8 == 0)
        broken.append(owner[~good])
        owner, rows = owner[good], rows[good]
        bucket, cell = np.nonzero(rows["tophash"] >= _MIN_TOP_HASH)
        owners.append(owner[bucket])
        pairs = (rows["keys"][bucket, cell], rows["values"][bucket, cell])
        words.append(np.concatenate(pairs, axis=1))
        goes_on = rows["overflow"] != 0
        owner, address = owner[goes_on], rows["overflow"][goes_on]
    broken.append(owner)
    flat = np.concatenate(owners)
    order = np.argsort(flat, kind="stable")
    return flat[order], np.concatenate(words)[order], np.concatenate(broken)
