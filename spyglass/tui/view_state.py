"""The state of the view as data, independent of the terminal and of the source of snapshots."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spyglass.analysis.counts import by_status
from spyglass.analysis.same_process import is_same_process
from spyglass.analysis.selection import selected
from spyglass.model import Snapshot
from spyglass.tui.feed import Event, Failure, Tick
from spyglass.tui.group_rows import GroupRow, Growth, Question, group_rows
from spyglass.tui.history import History
from spyglass.tui.query import Query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GROUPINGS", "Level", "Model"]

#: What goroutines can be grouped by, besides the labels that they have.
GROUPINGS = ("function", "stack", "creator", "state")

#: Up to this number of goroutines, whole stacks are always read: it takes 10 ms.
FEW = 2000

#: Columns that are sorted in descending order first.
_NUMBERS = ("mark", "count", "change", "since", "wait", "queue")

Counts = Mapping[Hashable, int]


@dataclass
class Level:
    """One of the stacked pages: its `kind`, and the key of the group or goroutine it is `of`.

    `selected`: the key of the selected row, `at`: its number, `top`: the number of the first visible
    row.
    """

    kind: str
    of: Hashable = None
    title: str = ""
    selected: Hashable = None
    at: int = 0
    top: int = 0


class Model:
    """The last ticks, the question that the view answers from them, and the open pages.

    `sort`: for each kind of page the name of a column (`spyglass.tui.pages`), and whether the order is
    descending.
    """

    def __init__(self, by: str = "function", query: Query | None = None) -> None:
        self.question = Question(by, query or Query())
        self.tick: Tick | None = None
        self.previous: Snapshot | None = None
        self.baseline: Snapshot | None = None
        self.problem: str | None = None
        self.ended: str | None = None
        self.message = ""
        self.history = History()
        self.rows: list[GroupRow] = []
        self.levels = [Level("groups")]
        self.sort = {
            "groups": ("count", True),
            "goroutines": ("wait", True),
            "threads": ("tid", False),
        }
        self.runtime_frames = False
        self._growth = Growth()
        self._counted: list[tuple[Snapshot, Counts]] = []

    @property
    def snapshot(self) -> Snapshot | None:
        """The shown snapshot."""
        return None if self.tick is None else self.tick.snapshot

    @property
    def level(self) -> Level:
        """The current page."""
        return self.levels[-1]

    @property
    def needs_stacks(self) -> bool:
        """Whether to read whole stacks: because they are few, or because the page needs them.

        Few stacks are always read, so that they can still be shown after the process has ended.
        """
        if self.snapshot is not None and len(self.snapshot.goroutines) <= FEW:
            return True
        return self.question.needs_stacks or any(level.kind == "stack" for level in self.levels)

    def note(self, event: Event) -> None:
        """Take the next event of the feed; after a failure the last snapshot stays."""
        if isinstance(event, Failure):
            self.problem = None if event.ended else event.message
            self.ended = event.message if event.ended else None
            self.message = ""
            return
        self.problem = self.ended = None
        self._start_anew_if_other(event)
        self.previous = event.previous or self.snapshot
        self.tick = event
        self.baseline = self.baseline or event.snapshot
        self.history.note(_figures(event))
        self._answer(advance=True)

    def ask(self, question: Question) -> None:
        """Answer another question from the same ticks."""
        self.question = question
        self._growth, self._counted = Growth(), []
        del self.levels[1:]
        self._answer(advance=True)

    def group_by(self, by: str) -> None:
        """Group goroutines by something else."""
        if by != self.question.by:
            self.levels[0].selected, self.levels[0].top = None, 0
            self.ask(replace(self.question, by=by))

    def groupings(self) -> list[str]:
        """All groupings, with those by label."""
        keys = {
            key for labels in (self.snapshot.label_sets if self.snapshot else ()) for key in labels
        }
        return [*GROUPINGS, *(f"label:{key}" for key in sorted(keys))]

    def set_baseline(self) -> None:
        """Make the shown snapshot the baseline of changes."""
        self.baseline = self.snapshot
        self._answer()

    def open_selected(self) -> None:
        """Open the selected row: the goroutines of a group, the stack of a goroutine."""
        key, kind = self.level.selected, self.level.kind
        if kind == "groups" and (group := self.group(key)) is not None:
            where = group.where[0]
            name = where.function.rpartition("/")[2] if where else "?"
            self.levels.append(Level("goroutines", key, name))
        elif kind == "goroutines" and isinstance(key, int):
            self.levels.append(Level("stack", key, f"goroutine {key}"))
        elif kind == "threads" and self.snapshot is not None:
            found = [each.goroutine for each in self.snapshot.threads if each.tid == key]
            if found and found[0] is not None:
                self.levels.append(Level("stack", found[0], f"goroutine {found[0]}"))

    def toggle(self, kind: str) -> None:
        """Open a page of this kind, or close it if it is open."""
        if self.level.kind == kind:
            self.levels.pop()
        else:
            self.levels.append(Level(kind))

    def sort_by(self, name: str) -> None:
        """Sort the page by column `name`, numbers in descending order; again: reverse the order."""
        kind = self.level.kind
        if kind not in self.sort:
            return
        if self.sort[kind][0] == name:
            self.invert()
        else:
            self.sort[kind] = (name, name in _NUMBERS)

    def invert(self) -> None:
        """Reverse the order of the page."""
        kind = self.level.kind
        if kind in self.sort:
            name, descending = self.sort[kind]
            self.sort[kind] = (name, not descending)

    def group(self, key: Hashable) -> GroupRow | None:
        """The group with `key`; None if it has no goroutines any more."""
        return next((row for row in self.rows if row.key == key), None)

    def _start_anew_if_other(self, tick: Tick) -> None:
        if self.snapshot is None:
            return
        if tick.position is not None:  # a series, in which the user may go back
            shown = self.tick.position if self.tick and self.tick.position else tick.position
            if tick.position[0] != shown[0] + 1:
                self.history, self._growth = History(), Growth()
        elif not is_same_process(self.snapshot, tick.snapshot):
            self.baseline = self.tick = None
            self.history, self._growth = History(), Growth()

    def _answer(self, *, advance: bool = False) -> None:
        if self.snapshot is None:
            return
        found = group_rows(self.snapshot, self.question)
        counts = _sizes(found)
        if advance:
            self._growth.note(counts)
            self._remember(self.snapshot, counts)
        before, base = self._counts(self.previous), self._counts(self.baseline)
        self.rows = [
            GroupRow(
                key,
                self.snapshot,
                rows,
                None if before is None else len(rows) - before.get(key, 0),
                None if base is None else len(rows) - base.get(key, 0),
                self._growth.is_growing(key),
            )
            for key, rows in found.items()
        ]

    def _counts(self, snapshot: Snapshot | None) -> Counts | None:
        """The number of goroutines of each group in `snapshot`; None if it lacks the stacks for that."""
        if snapshot is None:
            return None
        if (
            self.question.needs_stacks
            and not len(snapshot.stack_frames)
            and len(snapshot.goroutines)
        ):
            return None
        for counted, counts in self._counted:
            if counted is snapshot:
                return counts
        return self._remember(snapshot, _sizes(group_rows(snapshot, self.question)))

    def _remember(self, snapshot: Snapshot, counts: Counts) -> Counts:
        """Keep the counts of the compared snapshots, so that each is counted once."""
        compared = (self.snapshot, self.previous, self.baseline)
        kept = [each for each in self._counted if any(each[0] is one for one in compared)]
        self._counted = [*kept, (snapshot, counts)]
        return counts


def _sizes(groups: Mapping[Hashable, NDArray[np.int64]]) -> Counts:
    return {key: len(rows) for key, rows in groups.items()}


def _figures(tick: Tick) -> dict[str, float | None]:
    snapshot = tick.snapshot
    rows = selected(snapshot.goroutines)
    statuses = {
        f"status {name}": float(number) for name, number in by_status(snapshot, rows).items()
    }
    return statuses | {
        "cpu": tick.cpu_percent,
        "rss": snapshot.process.rss_bytes,
        "threads": float(len(snapshot.threads)),
        "goroutines": float(len(rows)),
        "heap": snapshot.memory.heap_in_use_bytes,
        "goal": snapshot.memory.heap_goal_bytes,
        "gc": snapshot.memory.gc_count,
        "pause": snapshot.memory.last_gc_pause_ns,
    }
