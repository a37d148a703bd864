"""A heap, block or mutex profile as folded stacks: ``main.main;main.serve 40404040``, outermost frame first."""

from __future__ import annotations

from collections import defaultdict
from typing import BinaryIO

from spyglass.export.folded import folded_name, write_lines
from spyglass.export.site_stacks import site_stacks
from spyglass.site_profile import SiteProfile

__all__ = ["write_folded"]


def write_folded(profile: SiteProfile, stream: BinaryIO) -> None:
    """Write the bytes in use, or the time of waits, of each stack of `profile`, the largest first."""
    whole = site_stacks(profile)
    names = [folded_name(frame) for frame in whole.frames]
    offsets, numbers = whole.offsets.tolist(), whole.stack_frames.tolist()
    sums: dict[str, int] = defaultdict(int)
    values = profile.amounts[:, profile.main_kind].tolist()
    for stack, value in zip(whole.of_rows.tolist(), values, strict=True):
        if value:
            frames = reversed(numbers[offsets[stack] : offsets[stack + 1]])
            sums[";".join(map(names.__getitem__, frames))] += value
    write_lines(sums, stream)
