"""What the view shows, as data: nothing here knows of a terminal, or where snapshots come from."""

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

#: What goroutines can be grouped by; labels that there are come behind.
GROUPINGS = ("function", "stack", "creator", "state")

#: So many goroutines are read with their whole stacks in a hundredth of a second.
FEW = 2000

#: Columns whose highest values are of interest.
_NUMBERS = ("mark", "count", "change", "since", "wait", "queue")

Counts = Mapping[Hashable, int]


@dataclass
class Level:
    """One of the pages that lie upon each other: of what `kind`, and which group or goroutine it is of.

    `selected`: the key of the row that is selected, `at`: the number it had, `top`: of the first line
    that is seen.
    """

    kind: str
    of: Hashable = None
    title: str = ""
    selected: Hashable = None
    at: int = 0
    top: int = 0


class Model:
    """The last ticks, the question that is asked of them, and which page is open.

    `sort` is the name of a column (`spyglass.tui.pages`), for each kind of page.
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
        """What is shown."""
        return None if self.tick is None else self.tick.snapshot

    @property
    def level(self) -> Level:
        """The page that is on top."""
        return self.levels[-1]

    @property
    def needs_stacks(self) -> bool:
        """Whether whole stacks are to be read: it is little work, or what is shown needs them.

        Where they are read always, they are there when the process has ended.
        """
        if self.snapshot is not None and len(self.snapshot.goroutines) <= FEW:
            return True
        return self.question.needs_stacks or any(level.kind == "stack" for level in self.levels)

    def note(self, event: Event) -> None:
        """What the feed tells next; the last picture stays when that is a failure."""
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
        """Show something else of the same ticks."""
        self.question = question
        self._growth, self._counted = Growth(), []
        del self.levels[1:]
        self._answer(advance=True)

    def group_by(self, by: str) -> None:
        """Put other goroutines together."""
        if by != self.question.by:
            self.levels[0].selected, self.levels[0].top = None, 0
            self.ask(replace(self.question, by=by))

    def groupings(self) -> list[str]:
        """What there is to group by."""
        keys = {
            key for labels in (self.snapshot.label_sets if self.snapshot else ()) for key in labels
        }
        return [*GROUPINGS, *(f"label:{key}" for key in sorted(keys))]

    def set_baseline(self) -> None:
        """Compare with now from now on."""
        self.baseline = self.snapshot
        self._answer()

    def open_selected(self) -> None:
        """Go from a group to its goroutines, from one of these to its stack."""
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
        """Open a page of that kind, or close it."""
        if self.level.kind == kind:
            self.levels.pop()
        else:
            self.levels.append(Level(kind))

    def sort_by(self, name: str) -> None:
        """Sort the page by a column, numbers from the highest; again: the other way round."""
        kind = self.level.kind
        if kind not in self.sort:
            return
        if self.sort[kind][0] == name:
            self.invert()
        else:
            self.sort[kind] = (name, name in _NUMBERS)

    def invert(self) -> None:
        """Turn the order of the page around."""
        kind = self.level.kind
        if kind in self.sort:
            name, descending = self.sort[kind]
            self.sort[kind] = (name, not descending)

    def group(self, key: Hashable) -> GroupRow | None:
        """The group that `key` tells from others; None if it has no goroutine any more."""
        return next((row for row in self.rows if row.key == key), None)

    def _start_anew_if_other(self, tick: Tick) -> None:
        if self.snapshot is None:
            return
        if tick.position is not None:  # a series, in which one may go back
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
        """How many goroutines each group had in `snapshot`; None if that cannot be known of it."""
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
        """Keep the counts of what is compared, so that each snapshot is counted once."""
        compared = (self.snapshot, self.previous, self.baseline)
        kept = [each for each in self._counted if any(each[0] is one for one in compared)]
        self._counted = [*kept, (snapshot, counts)]
        return counts


def _sizes(groups: Mapping[Hashable, NDArray[np.int64]]) -> Counts:
    return {key: len(rows) for key, rows in groups.items()}


def _figures(tick: Tick) -> dict[str, float | None]:
    snapshot = tick.snapshot
    rows = selected(snapshot.goroutines, system=True)
    statuses = {
        f"status {name}": float(number) for name, number in by_status(snapshot, rows).items()
    }
    return statuses | {
        "cpu": tick.cpu_percent,
        "rss": snapshot.process.rss_bytes,
        "threads": float(len(snapshot.threads)),
        "goroutines": snapshot.scheduler.goroutines,
        "heap": snapshot.memory.heap_in_use_bytes,
        "goal": snapshot.memory.heap_goal_bytes,
        "gc": snapshot.memory.gc_count,
        "pause": snapshot.memory.last_gc_pause_ns,
    }
