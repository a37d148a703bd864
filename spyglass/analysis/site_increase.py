"""What was added to the sites of a program from one profile to a later one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spyglass.site_profile import SiteProfile

__all__ = ["increase"]


def increase(
    before: SiteProfile, after: SiteProfile, kinds: Sequence[int] | None = None
) -> SiteProfile:
    """`after` with what is new since `before` of these `kinds`, by number (None: all); sites without anything are left out.

    Sites are never removed (``runtime/mprof.go``: `stkbucket`). Amounts are uint64, as two's complement where a number became
    smaller (profile.proto: int64).
    """
    chosen = list(range(len(after.kinds)) if kinds is None else kinds)
    known = {key: row for row, key in enumerate(_keys(before))}
    amounts = after.amounts.copy()
    for row, key in enumerate(_keys(after)):
        if key in known:
            amounts[row, chosen] -= before.amounts[known[key], chosen]
    changed = np.flatnonzero(amounts.any(axis=1))
    return replace(
        after, amounts=amounts[changed].view(np.uint64), stack=after.stack[changed],
        object_bytes=after.object_bytes[changed],
    )  # fmt: skip


def _keys(profile: SiteProfile) -> Iterator[tuple[Any, ...]]:
    """What tells the sites apart: the places on the stack, and the size of objects."""
    places = [(frame.function, frame.pc) for frame in profile.frames]
    for stack, size in zip(profile.stack.tolist(), profile.object_bytes.tolist(), strict=True):
        yield size, *(places[each] for each in profile.frames_of(stack))
