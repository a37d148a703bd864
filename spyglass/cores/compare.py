"""Which goroutines differ between two snapshots of one moment."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import Goroutines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Snapshot

__all__ = ["differing"]

#: Columns that tell which goroutine it is, how long it has waited, how far it is trusted, and how often it
#: stopped: one that is back where it was has not changed; and the size of its stack, which collections change.
_NOT_COMPARED = frozenset({"id", "waiting_ns", "printed_ns", "quality", "stops", "stack_bytes"})


def differing(one: Snapshot, other: Snapshot) -> NDArray[np.uint64]:
    """The ids (uint64) of goroutines of `other` that `one` does not have, or has otherwise.

    What they do, where, since when they exist and on which M counts; how far each is trusted, how
    long it has waited, and how often it stopped, does not.
    """
    ids = other.goroutines.id
    if not len(one.goroutines):
        return ids
    order = np.argsort(one.goroutines.id, kind="stable")
    at = np.searchsorted(one.goroutines.id, ids, sorter=order)
    rows = order[np.minimum(at, len(order) - 1)]
    same = one.goroutines.id[rows] == ids
    numbers: dict[Hashable, int] = {}
    # One column at a time: a million goroutines have eight megabytes in each.
    for ours, theirs in zip(_meanings(one, numbers), _meanings(other, numbers), strict=True):
        same &= ours[rows] == theirs
    different: NDArray[np.uint64] = ids[~same]
    return different


def _meanings(snapshot: Snapshot, numbers: dict[Hashable, int]) -> Iterator[NDArray[Any]]:
    """Columns of all goroutines: the same number means the same in every snapshot that has `numbers`."""
    frames = _numbered(snapshot.frames, numbers)
    flat = frames[snapshot.stack_frames]
    cuts = pairwise(snapshot.stack_offsets.tolist())
    meanings = {
        "frames": frames,
        "stacks": _numbered((flat[low:high].tobytes() for low, high in cuts), numbers),
        "wait_reasons": _numbered(snapshot.wait_reasons, numbers),
        "label_sets": _numbered(
            (tuple(sorted(each.items())) for each in snapshot.label_sets), numbers
        ),
    }
    for name, column in Goroutines.columns().items():
        if name not in _NOT_COMPARED:
            values = getattr(snapshot.goroutines, name)
            known = values if column.index_of is None else meanings[column.index_of][values]
            yield np.where(values < 0, values, known) if column.index_of else known


def _numbered(things: Iterable[Hashable], numbers: dict[Hashable, int]) -> NDArray[np.int64]:
    """The number of each of `things`, equal ones having the same, and -1 for none at index -1."""
    return np.array([*(numbers.setdefault(thing, len(numbers)) for thing in things), -1], np.int64)
