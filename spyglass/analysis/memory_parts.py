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

__all__ = ["PART_WORDS", "ShownPart", "StackGroup", "live_bytes", "shown_parts", "stack_groups"]

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


def live_bytes(account: MemoryAccount) -> int | None:
    """How much of the resident objects the last collection found alive, at most; None if it is not known.

    Which pages they are on is not known: their share of the heap is taken.
    """
    live, now = account.go.heap_live_bytes, account.go.heap_now_bytes
    if live is None or not now:
        return None
    return round(account.part("go_heap_objects") * min(live / now, 1))


def shown_parts(account: MemoryAccount) -> list[ShownPart]:
    """The parts that are not empty. Objects are told apart by whether the last collection found them alive, and free heap
    by whether the kernel may take it."""
    found: list[ShownPart] = []
    known = {each.part: each for each in account.resident if each.bytes}
    for name, words in PART_WORDS.items():
        part, live = known.get(name), live_bytes(account)
        if part is None:
            continue
        rest, doubtful = part.bytes, part.doubtful_bytes
        if name == "go_heap_objects" and live is not None:
            found.append(ShownPart("Go heap: live at the last collection", live, doubtful))
            words, rest, doubtful = "Go heap: allocated since", rest - live, 0
        if part.lazy_free_bytes:
            rest -= part.lazy_free_bytes
            lazy = "Go heap: freed, the kernel may take it" if name == "go_heap_free" else words
            found.append(ShownPart(f"{lazy} (LazyFree)", part.lazy_free_bytes))
        if rest:
            found.append(ShownPart(words, rest, doubtful))
    return found


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
