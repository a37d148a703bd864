"""Heap profiles made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from spyglass.model import Frame
from spyglass.site_profile import SiteProfile, ValueKind
from tests.snapshots import PROCESS, frame

__all__ = ["HEAP", "make_sites"]

MAIN, SERVE = frame("main.main", line=30), frame("example.com/shop.(*Server).serve", line=12)
REPEAT, CACHE = frame("strings.Repeat", line=600), frame("example.com/shop.(*cache).add", line=40)
_KINDS = (
    ValueKind("alloc_objects", "count"), ValueKind("alloc_space", "bytes"),
    ValueKind("inuse_objects", "count"), ValueKind("inuse_space", "bytes"),
)  # fmt: skip


def make_sites(
    rows: Sequence[tuple[tuple[Frame, ...], int, tuple[int, int, int, int]]], **fields: Any
) -> SiteProfile:
    """A heap profile of `rows`: stack, innermost frame first, size of objects, and the four numbers."""
    frames = list(dict.fromkeys(each for stack, _, _ in rows for each in stack))
    stacks = list(dict.fromkeys(stack for stack, _, _ in rows))
    given: dict[str, Any] = {
        "kind": "heap",
        "process": PROCESS,
        "taken_at": datetime(2026, 11, 22, 4, 0, tzinfo=UTC),
        "kinds": _KINDS,
        "amounts": np.array([numbers for _, _, numbers in rows], np.int64).reshape(-1, 4),
        "stack": np.array([stacks.index(stack) for stack, _, _ in rows], np.int32),
        "object_bytes": np.array([size for _, size, _ in rows], np.int64),
        "frames": tuple(frames),
        "stack_offsets": np.cumsum([0, *map(len, stacks)]).astype(np.int64),
        "stack_frames": np.array([frames.index(f) for stack in stacks for f in stack], np.int32),
        "period_kind": ValueKind("space", "bytes"),
        "period": 512 << 10,
        "remark": "heap as of now",
    }
    return SiteProfile(**given | fields)


#: 3 MiB in use by a cache, 512 KiB by the server itself.
HEAP = make_sites(
    [
        ((REPEAT, CACHE, SERVE, MAIN), 1024, (4000, 4 << 20, 3072, 3 << 20)),
        ((SERVE, MAIN), 512 << 10, (2, 1 << 20, 1, 512 << 10)),
        ((SERVE, MAIN), 64, (8000, 512_000, 0, 0)),
    ]
)
