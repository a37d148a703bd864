"""Filter the samples of a profile: by goroutine, state, functions on their stacks, and labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.columns import numbered
from spyglass.model import NONE
from spyglass.profile import Profile, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SampleFilter", "chosen"]


@dataclass(frozen=True, slots=True)
class SampleFilter:
    """Conditions of a sample, which are ANDed; an empty one or None is no condition.

    `ids`: its goroutine is proven to be one of them. `states`: one of them is a part of its state, without
    case. `function`: found in the name of a function on its stack. `labels`: it has all of them.
    """

    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    function: re.Pattern[str] | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return self != SampleFilter()


def chosen(profile: Profile, wanted: SampleFilter) -> Profile:
    """`profile` with only the samples that are `wanted`, and with only what these refer to.

    The same object if there are no conditions.
    """
    if not wanted:
        return profile
    rows = np.flatnonzero(_matching(profile, wanted))
    samples = Samples(**{name: getattr(profile.samples, name)[rows] for name in Samples.__slots__})
    before = profile.chosen_from
    return _compact(
        replace(
            profile,
            samples=samples,
            chosen_from=int(profile.samples.count.sum()) if before is None else before,
        )
    )


def _matching(profile: Profile, wanted: SampleFilter) -> NDArray[np.bool_]:
    samples = profile.samples
    matches = np.ones(len(samples), np.bool_)
    if wanted.ids:
        matches &= np.isin(samples.goroutine, np.array(wanted.ids, np.int64))
    if wanted.states:
        parts = [state.casefold() for state in wanted.states]
        found = [any(part in state.casefold() for part in parts) for state in profile.states]
        matches &= _at(found, samples.state)
    if wanted.function:
        matches &= _at(_through(profile, wanted.function), samples.stack)
    if wanted.labels:
        sets = profile.label_sets
        found = [all(labels.get(key) == value for key, value in wanted.labels) for labels in sets]
        matches &= _at(found, samples.labels)
    return matches


def _at(answers: list[bool], indices: NDArray[Any]) -> NDArray[np.bool_]:
    """The answer at each index; no for a negative one."""
    found: NDArray[np.bool_] = np.array([*answers, False], np.bool_)[np.maximum(indices, NONE)]
    return found


def _through(profile: Profile, pattern: re.Pattern[str]) -> list[bool]:
    """For each stack, whether `pattern` is found in the name of a function on it."""
    known = {
        name: bool(pattern.search(name)) for name in {each.function for each in profile.frames}
    }
    named = np.array([known[frame.function] for frame in profile.frames], np.bool_)
    before = np.concatenate([[0], np.cumsum(named[profile.stack_frames])])
    found: list[bool] = (np.diff(before[profile.stack_offsets]) > 0).tolist()
    return found


def _compact(profile: Profile) -> Profile:
    """`profile` without stacks, frames and labels that no sample refers to."""
    samples = profile.samples
    stacks, stack_column = _renumbered(samples.stack)
    labels, label_column = _renumbered(samples.labels)
    offsets, calls = profile.stack_offsets, profile.stack_frames
    parts = [calls[offsets[each] : offsets[each + 1]] for each in stacks.tolist()]
    used, numbers = numbered(np.concatenate([np.zeros(0, np.int32), *parts]))
    return replace(
        profile,
        samples=replace(samples, stack=stack_column, labels=label_column),
        frames=tuple(profile.frames[each] for each in used.tolist()),
        stack_offsets=np.cumsum([0, *map(len, parts)]).astype(np.int64),
        stack_frames=numbers.astype(np.int32),
        label_sets=tuple(profile.label_sets[each] for each in labels.tolist()),
    )


def _renumbered(column: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The indices that are in `column`, and `column` as indices of these; `NONE` stays."""
    used, numbers = numbered(np.maximum(column, NONE))
    first = int(len(used) > 0 and used[0] == NONE)
    return used[first:], (numbers - first).astype(np.int32)
