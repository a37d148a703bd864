"""The stacks of a profile for formats that have nothing but frames: what else is to be shown becomes a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.analysis.profile_groups import NOT_ON_GOROUTINES, sample_groups
from spyglass.columns import combined, distinct
from spyglass.export.pseudo_frames import NO_STACK, WholeStacks, pseudo_frame
from spyglass.model import NONE, Frame
from spyglass.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StackFunctions", "SummedRows", "profile_stacks", "stack_functions", "summed"]

#: States whose stack says all there is: no leaf is added for them.
_RUNNING = ("running", *NOT_ON_GOROUTINES)


@dataclass(frozen=True, slots=True)
class SummedRows:
    """Samples that are equal in some columns, the longest time first.

    `rows` (int64) are the first rows of each; `counts` and `values_ns` (int64) are the sums of all.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    values_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StackFunctions:
    """The functions on stacks, whatever the line. `firsts`: a frame of each function; `of_calls` (int64): the
    function of each of `WholeStacks.stack_frames`, an index into `firsts`."""

    firsts: tuple[Frame, ...]
    of_calls: NDArray[np.int64]


def profile_stacks(profile: Profile, by: Sequence[str] = ()) -> WholeStacks:
    """The different stacks of the samples of `profile`, without what Go's profiles leave out.

    Each has a root frame for each of `by` (`spyglass.analysis.profile_groups.sample_groups`), the first
    outermost. In a profile of waits the state of a goroutine that does not run is the innermost frame, in
    brackets, in place of the runtime's frames that Go's traceback hides.
    """
    groups = [sample_groups(profile, each) for each in by]
    states = _state_leaves(profile)
    stacks = profile.samples.stack.astype(np.int64)
    columns = (stacks, states, *(group.of_rows for group in groups))
    rows, of_rows = _different(combined(*columns))
    real = len(profile.frames)
    names = [NO_STACK, *(f"[{state}]" for state in profile.states)]
    roots: list[NDArray[np.int64]] = []
    for group in reversed(groups):
        roots.append(group.of_rows[rows] + real + len(names))
        names += group.names
    frames, offsets = _assembled(profile, stacks[rows], states[rows], roots)
    return WholeStacks(
        frames=(*profile.frames, *map(pseudo_frame, names)),
        real=real,
        offsets=offsets,
        stack_frames=frames,
        of_rows=of_rows,
    )


def stack_functions(whole: WholeStacks) -> StackFunctions:
    """The functions on the stacks of `whole`; two files that have a function of one name are two functions."""
    used = distinct(whole.stack_frames)
    numbers: dict[tuple[str, str | None], int] = {}
    firsts: list[Frame] = []
    of_frames = np.zeros(len(whole.frames), np.int64)
    for index in used.tolist():
        frame = whole.frames[index]
        key = (frame.function, frame.file)
        if key not in numbers:
            numbers[key] = len(firsts)
            firsts.append(frame)
        of_frames[index] = numbers[key]
    return StackFunctions(tuple(firsts), of_frames[whole.stack_frames])


def summed(profile: Profile, *columns: NDArray[Any]) -> SummedRows:
    """The samples of `profile` summed where all `columns` are equal."""
    rows, of_rows = _different(combined(*columns))
    counts, values_ns = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    np.add.at(counts, of_rows, profile.samples.count)
    np.add.at(values_ns, of_rows, profile.samples.value_ns)
    order = np.argsort(-values_ns, kind="stable")
    return SummedRows(rows[order], counts[order], values_ns[order])


def _different(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each different key, and for each row the number of its key."""
    order = np.argsort(keys, kind="stable")
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[order][1:] != keys[order][:-1]
    of_rows = np.empty(len(keys), np.int64)
    of_rows[order] = np.cumsum(is_first) - 1
    return order[is_first].astype(np.int64), of_rows


def _state_leaves(profile: Profile) -> NDArray[np.int64]:
    """The state that each row has a frame for, `NONE` where it has none: waits, and what has no stack
    because it is on no goroutine."""
    states = profile.samples.state.astype(np.int64)
    is_running = np.array([*(each in _RUNNING for each in profile.states), True], np.bool_)
    is_elsewhere = np.array(
        [*(each in NOT_ON_GOROUTINES for each in profile.states), False], np.bool_
    )
    is_shown = is_elsewhere[states] & (_lengths(profile, profile.samples.stack) == 0)
    if profile.mode != "cpu":
        is_shown |= ~is_running[states]
    return np.where(is_shown, states, NONE)


def _lengths(profile: Profile, stacks: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers of frames of `stacks`; 0 for `NONE`."""
    lengths = np.append(np.diff(profile.stack_offsets), 0)
    found: NDArray[np.int64] = lengths[np.maximum(stacks, NONE)]
    return found


def _assembled(
    profile: Profile,
    stacks: NDArray[np.int64],
    states: NDArray[np.int64],
    roots: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Frames and offsets of `stacks`, each with the leaf of its state and its `roots`, innermost first."""
    real = len(profile.frames)
    frames, owner = _calls(profile, stacks, states != NONE)
    every = np.arange(len(stacks))
    empty = every[(np.bincount(owner, minlength=len(stacks)) == 0) & (states == NONE)]
    waiting = every[states != NONE]
    parts = [
        (real + 1 + states[waiting], waiting),
        (np.full(len(empty), real), empty),
        (frames, owner),
        *((root, every) for root in roots),
    ]
    owners = np.concatenate([each for _, each in parts])
    order = np.argsort(owners, kind="stable")
    found = np.concatenate([each for each, _ in parts])[order].astype(np.int32)
    ends = np.cumsum(np.bincount(owners, minlength=len(stacks)))
    return found, np.concatenate([[0], ends]).astype(np.int64)


def _calls(
    profile: Profile, stacks: NDArray[np.int64], waits: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The frames of `stacks` that a profile has, and the index in `stacks` that each belongs to.

    Of stacks in `waits` the innermost frames that Go's traceback hides are left out, unless those are all.
    """
    low, lengths = profile.stack_offsets[stacks], _lengths(profile, stacks)
    owner = np.repeat(np.arange(len(stacks)), lengths)
    begins = np.cumsum(lengths) - lengths
    steps = np.arange(len(owner)) - begins[owner]
    frames = profile.stack_frames[low[owner] + steps].astype(np.int64)
    kept = np.array([is_in_profile(each) for each in profile.frames], np.bool_)[frames]
    hidden = np.array([each.hidden for each in profile.frames], np.bool_)[frames]
    shown_before = np.cumsum(~hidden)
    at_begin = np.concatenate([[0], shown_before])[begins][owner] if len(owner) else shown_before
    some_shown = np.bincount(owner[~hidden], minlength=len(stacks)) > 0
    is_wait = hidden & (shown_before == at_begin) & waits[owner] & some_shown[owner]
    kept &= ~is_wait
    return frames[kept], owner[kept]
