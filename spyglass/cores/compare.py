"""Which goroutines are not the same in two snapshots of one moment."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.model import Snapshot

__all__ = ["differing"]


def differing(one: Snapshot, other: Snapshot) -> NDArray[np.uint64]:
    """The ids of goroutines of `other` that `one` does not have, or has otherwise.

    What they do, where, since when they exist and on which M counts; how far each is trusted, and how
    long it has waited, does not.
    """
    numbers: dict[Hashable, int] = {}
    ours, theirs = (_meanings(snapshot, numbers) for snapshot in (one, other))
    at = np.minimum(np.searchsorted(ours[:, 0], theirs[:, 0]), len(ours) - 1)
    same = (ours[at] == theirs).all(axis=1) if len(ours) else np.zeros(len(theirs), np.bool_)
    different: NDArray[np.uint64] = theirs[~same, 0].astype(np.uint64)
    return different


def _meanings(snapshot: Snapshot, numbers: dict[Hashable, int]) -> NDArray[np.int64]:
    """A row of numbers for each goroutine, by its id: the same number means the same."""
    g = snapshot.goroutines
    frames = _numbered(snapshot.frames, numbers)
    cuts = zip(
        snapshot.stack_offsets[:-1].tolist(), snapshot.stack_offsets[1:].tolist(), strict=True
    )
    flat = frames[snapshot.stack_frames]
    stacks = _numbered((flat[low:high].tobytes() for low, high in cuts), numbers)
    reasons = _numbered(snapshot.wait_reasons, numbers)
    labels = _numbered((tuple(sorted(each.items())) for each in snapshot.label_sets), numbers)
    columns: list[NDArray[Any]] = [
        g.id, g.status, g.creator_id, g.m, g.locked, reasons[g.wait_reason], stacks[g.stack],
        frames[g.where], frames[g.start], frames[g.creator], np.where(g.labels < 0, g.labels, labels[g.labels]),
    ]  # fmt: skip
    rows = np.stack([column.astype(np.int64) for column in columns], axis=1)
    ordered: NDArray[np.int64] = rows[np.argsort(rows[:, 0], kind="stable")]
    return ordered


def _numbered(things: Iterable[Hashable], numbers: dict[Hashable, int]) -> NDArray[np.int64]:
    """The number of each of `things`, equal ones having the same, and -1 for none at index -1."""
    return np.array([*(numbers.setdefault(thing, len(numbers)) for thing in things), -1], np.int64)
