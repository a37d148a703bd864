"""Profiles built from rows, for tests of what is made out of profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spyglass.model import NONE, Frame
from spyglass.profile import Account, Profile, Samples
from tests.snapshots import PROCESS, TAKEN_AT, frame

__all__ = ["ACCOUNT", "EXIT", "SHOP", "SampleRow", "make_profile"]

EXIT = Frame("runtime.goexit", "/go/asm_amd64.s", 1700, 0x70001, hidden=True, offset=1)
MAIN, SERVE = frame("main.main", line=30), frame("example.com/shop.(*Server).serve", line=7)
HASH, SORT = frame("crypto/sha256.block", line=3), frame("sort.Slice", line=9)
LESS = Frame("example.com/shop.byPrice", "/src/shop/sort.go", 12, 0x51234, inlined=True)
MALLOC = Frame("runtime.mallocgc", "/go/malloc.go", 1000, 0x60000, hidden=True, offset=64)

ACCOUNT = Account(
    samples=100, lost=2, throttled=1, cut=0, goroutine_known=90, goroutine_unknown=6,
    cpu_used_ns=1_020_000_000, cpu_sampled_ns=1_010_101_000, threads_seen=9, threads_missed=0,
    own_cpu_ns=42_000_000,
)  # fmt: skip


@dataclass(frozen=True)
class SampleRow:
    """One row of the samples, with what its columns are indices of."""

    stack: tuple[Frame, ...]
    value_ns: int
    count: int = 1
    goroutine: int = NONE
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str = "running"
    thread: int = NONE


def make_profile(rows: Sequence[SampleRow], **changes: Any) -> Profile:
    """The profile of `rows`."""
    frames = list(dict.fromkeys(each for row in rows for each in row.stack))
    stacks = list(dict.fromkeys(row.stack for row in rows))
    states = list(dict.fromkeys(row.state for row in rows))
    sets = list(dict.fromkeys(tuple(row.labels.items()) for row in rows if row.labels))
    of_labels = [sets.index(tuple(row.labels.items())) if row.labels else NONE for row in rows]
    calls = [frames.index(each) for stack in stacks for each in stack]
    values: dict[str, Any] = {
        "mode": "cpu", "process": PROCESS, "started_at": TAKEN_AT, "duration_ns": 10 * 10**9, "rate_hz": 99.0,
        "account": ACCOUNT, "frames": tuple(frames), "states": tuple(states),
        "stack_offsets": np.cumsum([0, *map(len, stacks)]).astype(np.int64),
        "stack_frames": np.array(calls, np.int32), "label_sets": tuple(map(dict, sets)),
        "samples": Samples(
            stack=np.array([stacks.index(row.stack) for row in rows], np.int32),
            count=np.array([row.count for row in rows], np.int64),
            value_ns=np.array([row.value_ns for row in rows], np.int64),
            goroutine=np.array([row.goroutine for row in rows], np.int64),
            labels=np.array(of_labels, np.int32),
            state=np.array([states.index(row.state) for row in rows], np.int16),
            thread=np.array([row.thread for row in rows], np.int64),
        ),
    }  # fmt: skip
    return Profile(**(values | changes))


MS = 1_000_000
#: Two goroutines of two tenants on two threads, the collector, and C.
SHOP = make_profile(
    [
        SampleRow((HASH, SERVE, MAIN, EXIT), 400 * MS, 40, 7, {"tenant": "blue"}, thread=11),
        SampleRow((LESS, SORT, SERVE, MAIN, EXIT), 250 * MS, 25, 8, {"tenant": "red"}, thread=12),
        SampleRow((MALLOC, SERVE, MAIN, EXIT), 100 * MS, 10, 8, {"tenant": "red"}, thread=11),
        SampleRow((MALLOC, SERVE, MAIN, EXIT), 60 * MS, 6, thread=11),
        SampleRow((HASH, SERVE, MAIN, EXIT), 40 * MS, 4, 9, thread=12),
        SampleRow((frame("runtime.schedule"),), 100 * MS, 10, state="g0", thread=12),
        SampleRow((), 50 * MS + 1, 5, state="C", thread=13),
    ]
)
