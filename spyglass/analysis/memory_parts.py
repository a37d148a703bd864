"""The account of memory as it is shown: its parts, and the goroutines with the largest stacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.grouped import grouped
from spyglass.analysis.selection import selected
from spyglass.columns import combined
from spyglass.memory_account import MemoryAccount, Part
from spyglass.words.states import state_at

if TYPE_CHECKING:
    from spyglass.model import Frame, Snapshot

__all__ = [
    "PART_WORDS",
    "ObjectShares",
    "ShownPart",
    "StackGroup",
    "object_shares",
    "shown_parts",
    "stack_groups",
]

#: The parts in words, in the order in which they are shown.
PART_WORDS: dict[Part, str] = {
    "go_heap_objects": "Go heap: objects",
    "go_heap_unused": "Go heap: unused slots in spans",
    "go_heap_free": "Go heap: free and kept",
    "go_arenas": "Go heap and stacks",
    "go_stacks": "goroutine stacks",
    "go_metadata": "the Go runtime's own",
    "binary": "program file and variables",
    "c": "C and other anonymous memory",
    "thread_stacks": "thread stacks",
    "files": "mapped files",
    "shared": "shared memory and tmpfs",
    "other": "other",
}


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A part of resident memory in `words`; `doubtful_bytes`: so many of its bytes may be of another part."""

    words: str
    bytes: int
    doubtful_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StackGroup:
    """Goroutines in one state at one place: how many, and the sizes of their stacks, summed up."""

    goroutines: int
    stack_bytes: int
    state: str
    where: Frame | None


@dataclass(frozen=True, slots=True)
class ObjectShares:
    """Resident objects in bytes: that the last collection found `live`, that were `allocated` since, and that are garbage, but
    not `unswept` yet (the runtime frees spans one by one, before it allocates from them: ``runtime/mgcsweep.go``)."""

    live: int
    allocated: int
    unswept: int


def object_shares(account: MemoryAccount) -> ObjectShares | None:
    """What the resident objects are; None if it is not known.

    Which pages they are on is not known: their shares of all objects are taken.
    """
    live, now = account.go.heap_live_bytes, account.go.heap_now_bytes
    if live is None or not now:
        return None
    resident = account.part("go_heap_objects")
    every = max(now, account.go.classes.get("heap/objects") or 0, resident)
    alive = round(resident * min(live, now) / every)
    allocated = round(resident * max(now - live, 0) / every)
    return ObjectShares(alive, allocated, max(resident - alive - allocated, 0))


def shown_parts(account: MemoryAccount) -> list[ShownPart]:
    """The parts that are not empty. Objects are told apart by what the last collection found of them, and free heap
    by whether the kernel may take it."""
    found: list[ShownPart] = []
    known = {each.part: each for each in account.resident if each.bytes}
    for name, words in PART_WORDS.items():
        part = known.get(name)
        if part is None:
            continue
        shares = object_shares(account) if name == "go_heap_objects" else None
        if shares is not None:
            found += _shown_objects(shares, part.doubtful_bytes)
            continue
        rest = part.bytes
        if part.lazy_free_bytes:
            rest -= part.lazy_free_bytes
            lazy = "Go heap: freed, the kernel may take it" if name == "go_heap_free" else words
            found.append(ShownPart(f"{lazy} (LazyFree)", part.lazy_free_bytes))
        if rest:
            found.append(ShownPart(words, rest, part.doubtful_bytes))
    return found


def _shown_objects(shares: ObjectShares, doubtful_bytes: int) -> list[ShownPart]:
    """The objects; what is doubtful of them is said of the largest share."""
    rows = [
        (shares.live, "Go heap: live at the last collection"),
        (shares.allocated, "Go heap: allocated since"),
        (shares.unswept, "Go heap: garbage, not swept yet"),
    ]
    largest = max(rows)
    return [
        ShownPart(words, size, doubtful_bytes if (size, words) == largest else 0)
        for size, words in rows
        if size
    ]


def stack_groups(snapshot: Snapshot) -> list[StackGroup]:
    """The user's goroutines by state and place, those with the most stack first; empty if stacks are not known."""
    g, rows = snapshot.goroutines, selected(snapshot.goroutines)
    rows = rows[g.stack_bytes[rows] > 0]
    found = grouped(rows, combined(g.status[rows], g.wait_reason[rows], g.where[rows]))
    sums = found.reduced(np.add, g.stack_bytes).tolist()
    groups = [
        StackGroup(
            len(some),
            total,
            state_at(snapshot, int(g.status[some[0]]), int(g.wait_reason[some[0]])),
            snapshot.frame(int(g.where[some[0]])),
        )
        for some, total in zip(found, sums, strict=True)
    ]
    return sorted(groups, key=lambda each: -each.stack_bytes)
