"""The sites of a heap profile, those of one place together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from spyglass.heap_profile import HeapProfile
from spyglass.model import NONE, Frame

__all__ = ["HeapSite", "heap_sites"]


@dataclass(frozen=True, slots=True)
class HeapSite:
    """What was allocated by calls from one place. `where`: the user's code; None: there is none on the stacks.
    `call`: what it called, None if it allocated itself. `in_use_bytes`, `in_use_objects`: what is not freed;
    `allocated_bytes`: since the program started. All are what the samples stand for."""

    where: Frame | None
    call: str | None
    in_use_bytes: int
    in_use_objects: int
    allocated_bytes: int


def heap_sites(profile: HeapProfile) -> list[HeapSite]:
    """The sites of `profile` by place and what was called there, the one with most bytes in use first."""
    sites = profile.sites
    sums: dict[tuple[int, str | None], list[int]] = defaultdict(lambda: [0, 0, 0])
    objects, in_use = profile.in_use()
    columns = zip(
        sites.stack.tolist(), sites.where.tolist(), in_use.tolist(), objects.tolist(),
        profile.allocated()[1].tolist(), strict=True,
    )  # fmt: skip
    for stack, where, *values in columns:
        key = where, _call(profile, stack, where)
        sums[key] = [before + more for before, more in zip(sums[key], values, strict=True)]
    found = [
        HeapSite(profile.frames[where] if where != NONE else None, call, *values)
        for (where, call), values in sums.items()
    ]
    return sorted(found, key=lambda site: (-site.in_use_bytes, -site.allocated_bytes))


def _call(profile: HeapProfile, stack: int, where: int) -> str | None:
    """The function that frame `where` of `stack` called."""
    low, high = profile.stack_offsets[stack], profile.stack_offsets[stack + 1]
    frames = profile.stack_frames[low:high].tolist()
    at = frames.index(where) if where in frames else len(frames)
    return profile.frames[frames[at - 1]].function if 0 < at else None
