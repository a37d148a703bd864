"""The stacks of a heap, block or mutex profile for formats that have nothing but frames."""

from __future__ import annotations

import numpy as np

from spyglass.analysis.profile_frames import is_in_profile
from spyglass.export.pseudo_frames import NO_STACK, WholeStacks, pseudo_frame
from spyglass.site_profile import SiteProfile

__all__ = ["site_stacks"]


def site_stacks(profile: SiteProfile) -> WholeStacks:
    """The stacks of `profile` without what Go's profiles leave out; one without frames has one that says so."""
    real, lengths = len(profile.frames), np.diff(profile.stack_offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    kept = np.array([is_in_profile(each) for each in profile.frames], np.bool_)[
        profile.stack_frames
    ]
    counts = np.bincount(owner[kept], minlength=len(lengths))
    empty = np.flatnonzero(counts == 0)
    owners = np.concatenate([owner[kept], empty])
    frames = np.concatenate([profile.stack_frames[kept], np.full(len(empty), real, np.int32)])
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.maximum(counts, 1))
    return WholeStacks(
        frames=(*profile.frames, pseudo_frame(NO_STACK)),
        real=real,
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        stack_frames=frames[order].astype(np.int32),
        of_rows=profile.stack.astype(np.int64),
    )
