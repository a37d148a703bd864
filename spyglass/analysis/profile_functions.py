"""The time that a profile says of each function: in itself, and with what it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.columns import distinct
from spyglass.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FunctionTimes", "function_times"]


@dataclass(frozen=True, slots=True)
class FunctionTimes:
    """For each function of `names`: `self_ns`, in itself; `total_ns`, with what it calls (int64)."""

    names: tuple[str, ...]
    self_ns: NDArray[np.int64]
    total_ns: NDArray[np.int64]


def function_times(profile: Profile) -> FunctionTimes:
    """The times of the functions on the stacks of `profile`; a recursive one is counted once."""
    names, of_frames = _names(profile)
    offsets = profile.stack_offsets
    stacks = np.zeros(len(offsets) - 1, np.int64)
    with_stack = profile.samples.stack >= 0
    np.add.at(stacks, profile.samples.stack[with_stack], profile.samples.value_ns[with_stack])
    owner = np.repeat(np.arange(len(stacks)), np.diff(offsets))
    calls = of_frames[profile.stack_frames]
    owner, calls = owner[calls >= 0], calls[calls >= 0]
    self_ns, total_ns = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    is_innermost = np.ones(len(owner), np.bool_)
    is_innermost[1:] = owner[1:] != owner[:-1]
    np.add.at(self_ns, calls[is_innermost], stacks[owner[is_innermost]])
    pairs = distinct(owner * max(len(names), 1) + calls)
    np.add.at(total_ns, pairs % max(len(names), 1), stacks[pairs // max(len(names), 1)])
    return FunctionTimes(names, self_ns, total_ns)


def _names(profile: Profile) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names of the functions, and the number of the name of each frame; -1 for what a profile leaves out."""
    numbers: dict[str, int] = {}
    of_frames = [
        numbers.setdefault(frame.function, len(numbers)) if is_in_profile(frame) else -1
        for frame in profile.frames
    ]
    return tuple(numbers), np.array(of_frames, np.int64)
