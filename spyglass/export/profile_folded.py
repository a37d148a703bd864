"""A profile as folded stacks, one line for each different stack: ``main.main;main.serve 40404040``.

The input of flamegraph.pl, inferno and speedscope: frames from the outermost to the innermost with
semicolons between them, a space, and the time in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from spyglass.export.folded import folded_name, write_lines
from spyglass.export.profile_stacks import profile_stacks, summed
from spyglass.profile import Profile

__all__ = ["write_folded"]


def write_folded(profile: Profile, stream: BinaryIO, *, by: Sequence[str] = ()) -> None:
    """Write the stacks of `profile` to `stream`, the longest time first; each has a root frame for each
    of `by`."""
    whole = profile_stacks(profile, by)
    found = summed(profile, whole.of_rows)
    names = [folded_name(frame) for frame in whole.frames]
    offsets, numbers = whole.offsets.tolist(), whole.stack_frames.tolist()
    times: dict[str, int] = {}
    stacks = whole.of_rows[found.rows].tolist()
    for stack, value_ns in zip(stacks, found.values_ns.tolist(), strict=True):
        frames = reversed(numbers[offsets[stack] : offsets[stack + 1]])
        line = ";".join(map(names.__getitem__, frames))
        times[line] = times.get(line, 0) + value_ns
    write_lines(times, stream)
