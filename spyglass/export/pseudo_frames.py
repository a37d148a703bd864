"""Whole stacks for formats that have nothing but frames: what is missing in a stack becomes a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.grouped import grouped
from spyglass.analysis.selection import selected
from spyglass.columns import combined
from spyglass.model import NONE, Frame, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NO_STACK", "WholeStacks", "counted", "pseudo_frame", "whole_stacks"]

#: The name of the frame of a goroutine whose stack is not known.
NO_STACK = "[no stack]"


@dataclass(frozen=True, slots=True)
class WholeStacks:
    """Stacks as in `Snapshot` and in `Profile`, with pseudo frames; goroutines without a stack have one of
    their own.

    `frames`: those of the snapshot, then pseudo frames from `real` on, whose names are in brackets and
    whose pc is 0. `offsets` (int64, one more than there are stacks) cuts `stack_frames` (int32 indices
    into `frames`) into stacks, each innermost frame first. `of_rows` (int64): the stack of each
    goroutine, or of each row of the samples.
    """

    frames: tuple[Frame, ...]
    real: int
    offsets: NDArray[np.int64]
    stack_frames: NDArray[np.int32]
    of_rows: NDArray[np.int64]


def whole_stacks(snapshot: Snapshot) -> WholeStacks:
    """The stacks of `snapshot`, with a pseudo frame where frames of a deep stack were left out, and, if
    there are goroutines without a stack, a last one that only says so."""
    real, offsets = len(snapshot.frames), snapshot.stack_offsets
    gaps = sorted(snapshot.elided.items())
    elided = [pseudo_frame(f"[{count} frames elided]") for _, (_, count) in gaps]
    places = np.array([offsets[stack] + after for stack, (after, _) in gaps], np.int64)
    inserted = np.arange(real, real + len(gaps), dtype=np.int32)
    stack_frames = np.insert(snapshot.stack_frames, places, inserted)
    longer = np.zeros(len(offsets), np.int64)
    longer[[stack + 1 for stack, _ in gaps]] = 1
    whole = offsets + np.cumsum(longer)
    stacks = snapshot.goroutines.stack.astype(np.int64)
    if (stacks == NONE).any():
        whole = np.append(whole, whole[-1] + 1)
        stack_frames = np.append(stack_frames, np.int32(real + len(gaps)))
    return WholeStacks(
        frames=(*snapshot.frames, *elided, pseudo_frame(NO_STACK)),
        real=real,
        offsets=whole,
        stack_frames=stack_frames,
        of_rows=np.where(stacks == NONE, len(offsets) - 1, stacks),
    )


def counted(
    snapshot: Snapshot, *columns: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many goroutines that are not dead are equal in `columns`, and the row of the first of them;
    the largest number first."""
    rows = selected(snapshot.goroutines, system=True)
    found = grouped(rows, combined(*(column[rows] for column in columns)))
    counts = np.diff(np.append(found.firsts, len(rows)))
    return counts[found.ranked], found.rows[found.firsts[found.ranked]]


def pseudo_frame(name: str) -> Frame:
    """A frame that is no call; `name` is in brackets, or cannot be the name of a function."""
    return Frame(name, None, None, 0)
