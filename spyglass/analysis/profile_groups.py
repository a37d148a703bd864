"""The samples of a profile in groups: by goroutine, thread, state, or the value of a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import numbered
from spyglass.errors import SpyglassError
from spyglass.model import NONE
from spyglass.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NOT_ON_GOROUTINES", "SampleGroups", "is_grouping", "sample_groups"]

#: States of samples that are on no goroutine: on the scheduler's stack, and in C.
NOT_ON_GOROUTINES = ("g0", "C")
_LABEL = "label:"
_NOT_KNOWN = "[goroutine not known]"


@dataclass(frozen=True, slots=True)
class SampleGroups:
    """`of_rows` (int64): the group of each row of the samples, an index into `names`."""

    names: tuple[str, ...]
    of_rows: NDArray[np.int64]


def is_grouping(by: str) -> bool:
    """Whether `by` is goroutine, thread, state, or label:KEY."""
    return by in ("goroutine", "thread", "state") or (by.startswith(_LABEL) and by != _LABEL)


def sample_groups(profile: Profile, by: str) -> SampleGroups:
    """The samples of `profile` grouped by "goroutine", "thread", "state" or "label:KEY".

    Names of groups that are not known are in brackets. Raises `SpyglassError` for another `by`.
    """
    samples = profile.samples
    if not is_grouping(by):
        raise SpyglassError(f"{by!r} is not goroutine, thread, state or label:KEY")
    if by == "state":
        return SampleGroups(profile.states, samples.state.astype(np.int64))
    if by == "thread":
        return _numbered(samples.thread, "thread", "[no thread]")
    if by == "goroutine":
        found = _numbered(samples.goroutine, "goroutine", _NOT_KNOWN)
        return _with_states(profile, found, samples.goroutine == NONE)
    found = _labels(profile, by.removeprefix(_LABEL))
    return _with_states(profile, found, samples.goroutine == NONE)


def _numbered(column: NDArray[np.int64], word: str, none: str) -> SampleGroups:
    different, of_rows = numbered(column)
    names = (none if each == NONE else f"{word} {each}" for each in different.tolist())
    return SampleGroups(tuple(names), of_rows)


def _labels(profile: Profile, key: str) -> SampleGroups:
    """The values of label `key`; rows without labels whose goroutine is not known have their own group."""
    values = sorted({labels[key] for labels in profile.label_sets if key in labels})
    names = (*(f"{key}={value}" for value in values), f"[no {key}]", _NOT_KNOWN)
    numbers = {value: number for number, value in enumerate(values)}
    of_sets = [
        numbers[labels[key]] if key in labels else len(values) for labels in profile.label_sets
    ]
    samples = profile.samples
    of_rows = np.array([*of_sets, len(values)], np.int64)[np.maximum(samples.labels, NONE)]
    is_unknown = (samples.labels == NONE) & (samples.goroutine == NONE)
    return SampleGroups(names, np.where(is_unknown, len(values) + 1, of_rows))


def _with_states(
    profile: Profile, found: SampleGroups, is_unknown: NDArray[np.bool_]
) -> SampleGroups:
    """`found`, but unknown rows on no goroutine are grouped by their state: they have no goroutine."""
    of_rows, names = found.of_rows.copy(), list(found.names)
    for state in NOT_ON_GOROUTINES:
        if state in profile.states:
            rows = is_unknown & (profile.samples.state == profile.states.index(state))
            of_rows[rows] = len(names)
            names.append(f"[{state}]")
    return SampleGroups(tuple(names), of_rows)
