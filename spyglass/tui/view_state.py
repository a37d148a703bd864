"""The state of the view as data, independent of the terminal and of the source of snapshots."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len

from spyglass.analysis.counts import by_status
from spyglass.analysis.findings import Finding, findings
from spyglass.analysis.same_process import is_same_process
from spyglass.analysis.selection import selected
from spyglass.model import NONE, MemoryStats, Snapshot
from spyglass.tui.differences import differences
from spyglass.tui.feed import Event, Failure, Tick
from spyglass.tui.group_rows import GroupRow, Question, group_rows, label_value, states_of
from spyglass.tui.growth import Counts, Growth, Recent
from spyglass.tui.history import History
from spyglass.tui.leaks import LeakRates
from spyglass.tui.query import Query
from spyglass.tui.sampled import FunctionTime, GoroutineTimes, Sampled
from spyglass.tui.sightings import Sightings
from spyglass.words.units import UNKNOWN, count, signed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.wait_texts import WaitTexts

__all__ = ["GROUPINGS", "Level", "Model"]

#: What goroutines can be grouped by, besides the labels that they have.
GROUPINGS = ("function", "stack", "creator", "state")

#: Up to this number of goroutines, whole stacks are always read: it takes 10 ms.
FEW = 2000

#: Columns that are sorted in descending order first.
_NUMBERS = ("mark", "count", "change", "since", "wait", "median", "queue", "cpu", "self", "total")


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
    descending. `gap_ns`: the time from the previous tick to this one. `seen_ns`: how long each goroutine was
    seen waiting (`spyglass.tui.sightings`). `findings_shown`: the largest number of lines that findings took.
    `widest`: the largest width in cells that each column of
    groups needed since the last question. `compares`: whether there is, or will be, a previous snapshot.
    `shows_waits`: what goroutines wait on is read and shown. `shows_cpu`: the processor time of goroutines is sampled
    and shown. `message`, or `error`: the effect of the last key.
    """

    def __init__(self, by: str = "function", query: Query | None = None) -> None:
        self.question = Question(by, query or Query())
        self.problem: str | None = None
        self.ended: str | None = None
        self.message = self.error = ""
        self.rows: list[GroupRow] = []
        self.widest: dict[str, int] = {}
        self.levels = [Level("groups")]
        self.sort = {
            "groups": ("count", True),
            "goroutines": ("wait", True),
            "threads": ("cpu", True),
            "cpu": ("self", True),
        }
        self.runtime_frames = False
        self.shows_waits = self.shows_cpu = False
        self.compares = True
        self._wait_texts: tuple[Snapshot, WaitTexts] | None = None
        self._counted: list[tuple[Snapshot, Counts]] = []
        self._differences: dict[Hashable, str] | None = None
        self._start_anew()

    def _start_anew(self) -> None:
        """Forget what is known of a process."""
        self.tick: Tick | None = None
        self.previous: Snapshot | None = None
        self.baseline: Snapshot | None = None
        self.gap_ns: int | None = None
        self.is_start_base = True
        self.seen_ns: NDArray[np.int64] | None = None
        self.goroutine_times: GoroutineTimes | None = None
        self._functions: tuple[Sampled, Query, list[FunctionTime]] | None = None
        self.findings: Sequence[Finding] = ()
        self.findings_shown = 0
        self._leak_rates = LeakRates()
        self.history = History()
        self._position = 0
        self._growth, self._recent, self._sightings = Growth(), Recent(), Sightings()

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
        if self.shows_waits:  # holders are found in them
            return True
        return self.question.needs_stacks or any(level.kind == "stack" for level in self.levels)

    @property
    def samples_cpu(self) -> bool:
        """Whether to sample processor time: because it is shown."""
        return self.shows_cpu or any(level.kind == "cpu" for level in self.levels)

    @property
    def sampled(self) -> Sampled | None:
        """Where the processor time of the last seconds went; None if it is not sampled."""
        return self.tick.sampled if self.tick is not None and self.samples_cpu else None

    @property
    def functions(self) -> Sequence[FunctionTime]:
        """The processor time of functions in the samples that match the filter."""
        sampled, query = self.sampled, self.question.query
        if sampled is None or self.snapshot is None:
            return ()
        known = self._functions
        if known is None or known[0] is not sampled or known[1] is not query:
            found = sampled.matching(query, self.snapshot).functions()
            known = self._functions = sampled, query, found
        return known[2]

    def note(self, event: Event) -> None:
        """Take the next event of the feed; after a failure the last snapshot stays."""
        if isinstance(event, Failure):
            self.problem = None if event.ended else event.message
            self.ended = event.message if event.ended else None
            self.message = self.error = ""
            return
        self.problem = self.ended = None
        if event.position is None and not self._is_same_process(event.snapshot):
            self._start_anew()
        self._position = event.position[0] if event.position else self._position + 1
        self.compares &= event.pause_ns is not None or event.position is not None
        self.gap_ns = self._gap_ns(event)
        self.previous = event.previous or self.snapshot
        self.tick = event
        self.baseline = self.baseline or event.snapshot
        self.findings = self._leak_rates.added(findings(event.snapshot), event.snapshot.taken_at)
        self.history.note(self._position, _figures(event))
        self.goroutine_times = None
        if event.sampled is not None and event.sampled.parts:
            self.goroutine_times = event.sampled.by_goroutine(event.snapshot)
        self._recent.note(self._position, event.snapshot)
        if event.pause_ns is not None:
            self.seen_ns = self._sightings.note(event.snapshot, event.began_ns, event.took_ns)
        self._answer(advance=True)

    def ask(self, question: Question) -> None:
        """Answer another question from the same ticks."""
        self.question = question
        self._counted, self.widest = [], {}
        of_functions = [level for level in self.levels if level.kind in ("cpu", "function")]
        self.levels[1:] = of_functions
        self._growth = Growth()
        for position, snapshot in self._recent.shown[:-1]:
            if self._can_answer(snapshot):
                self._growth.note(position, _sizes(group_rows(snapshot, question)))
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

    def show_cpu(self, shown: bool) -> None:
        """Show or hide the processor time of groups and goroutines."""
        self.shows_cpu = shown
        self._answer()

    def set_baseline(self) -> None:
        """Make the shown snapshot the baseline of changes."""
        self.baseline, self.is_start_base = self.snapshot, False
        self._answer()

    def open_selected(self) -> None:
        """Open the selected row: the goroutines of a group, the stack of a goroutine."""
        key, kind = self.level.selected, self.level.kind
        if kind == "groups" and (group := self.group(key)) is not None:
            self.levels.append(Level("goroutines", key, self.name_of(group)))
        elif kind == "goroutines" and isinstance(key, int):
            self.levels.append(Level("stack", key, f"goroutine {key}"))
        elif kind == "threads" and self.snapshot is not None:
            found = [each.goroutine for each in self.snapshot.threads if each.tid == key]
            if found and found[0] is not None:
                self.levels.append(Level("stack", found[0], f"goroutine {found[0]}"))
        elif kind == "cpu" and isinstance(key, str):
            self.levels.append(Level("function", key, key.rpartition("/")[2]))
        elif kind == "stack" and isinstance(key, tuple):  # a holder (`spyglass.tui.goroutine_page`)
            self.levels.append(Level("stack", key[0], f"goroutine {key[0]}"))

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
            self._to_first_row()

    def invert(self) -> None:
        """Reverse the order of the page."""
        kind = self.level.kind
        if kind in self.sort:
            name, descending = self.sort[kind]
            self.sort[kind] = (name, not descending)
            self._to_first_row()

    def _to_first_row(self) -> None:
        self.level.selected, self.level.at, self.level.top = None, 0, 0

    def group(self, key: Hashable) -> GroupRow | None:
        """The group with `key`; None if it has no goroutines any more."""
        return next((row for row in self.rows if row.key == key), None)

    @property
    def differences(self) -> Mapping[Hashable, str]:
        """What tells apart groups of stacks whose rows look the same, by their keys."""
        if self._differences is None:
            self._differences = {}
            if self.snapshot is not None and self.question.by == "stack":
                self._differences = differences(self.snapshot, self.rows)
        return self._differences

    @property
    def thread_cpu(self) -> Mapping[int, float]:
        """The processor time of threads, by their ids, in percent since the previous tick, as far as known."""
        use = self.snapshot.cpu if self.snapshot is not None else None
        if self.snapshot is None or use is None or not use.window_ns:
            return {}
        return {
            thread.tid: thread.recent_cpu_ns * 100 / use.window_ns
            for thread in self.snapshot.threads
            if thread.recent_cpu_ns is not None
        }

    @property
    def waits(self) -> WaitTexts | None:
        """What goroutines wait on; None if it is not shown, or not known."""
        snapshot = self.snapshot
        if not self.shows_waits or snapshot is None or snapshot.waits is None:
            return None
        if self._wait_texts is None or self._wait_texts[0] is not snapshot:
            from spyglass.tui.wait_texts import WaitTexts

            self._wait_texts = snapshot, WaitTexts(snapshot, snapshot.waits)
        return self._wait_texts[1]

    def name_of(self, group: GroupRow) -> str:
        """What the goroutines of `group` have in common, in a few words."""
        by = self.question.by
        if by == "state":
            return str(group.key)
        if by.startswith("label:"):
            return label_value(by, group.key)
        frame = group.creator if by == "creator" else group.where[0]
        return frame.function.rpartition("/")[2] if frame else UNKNOWN

    def outside_groups(self, times: GoroutineTimes) -> dict[str, float]:
        """What of `times`, which are of the shown snapshot, is in none of the groups: the time in ns by what it is of."""
        assert self.snapshot is not None
        of_rows, system = times.of_rows_ns, self.snapshot.goroutines.system
        in_groups = sum(float(of_rows[row.rows].sum()) for row in self.rows)
        of_runtime = 0.0 if self.question.system else float(of_rows[system].sum())
        return {
            "not on a goroutine": times.elsewhere_ns,
            "runtime goroutines": of_runtime,
            "goroutine not known": times.unknown_ns,
            "ended": times.ended_ns,
            "filtered out": float(round(of_rows.sum() - in_groups - of_runtime)),
        }

    def percent_of(self, rows: NDArray[np.int64]) -> float | None:
        """The processor time of the goroutines in `rows` in percent of one processor; None if it is not known."""
        sampled = self.sampled
        if sampled is None or self.goroutine_times is None or not self.shows_cpu:
            return None
        return sampled.percent(float(self.goroutine_times.of_rows_ns[rows].sum()))

    def seen_waiting_ns(self, row: int) -> int | None:
        """How long goroutine `row` of the snapshot was seen waiting, in ns; None: it was not."""
        seen_ns = NONE if self.seen_ns is None else int(self.seen_ns[row])
        return None if seen_ns == NONE else seen_ns

    def _is_same_process(self, snapshot: Snapshot) -> bool:
        return self.snapshot is None or is_same_process(self.snapshot, snapshot)

    def _gap_ns(self, tick: Tick) -> int | None:
        """The time between the starts of `tick` and of the one before it; None: not known."""
        if tick.previous is not None:
            seconds = (tick.snapshot.taken_at - tick.previous.taken_at).total_seconds()
            return int(seconds * 1e9)
        if self.tick is None or tick.position is not None:
            return None
        return tick.began_ns - self.tick.began_ns

    def _answer(self, *, advance: bool = False) -> None:
        if self.snapshot is None:
            return
        found = group_rows(self.snapshot, self.question)
        counts = _sizes(found)
        if advance:
            self._growth.note(self._position, counts)
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
                self.seen_ns,
                self.percent_of(rows),
            )
            for key, rows in found.items()
        ]
        self._differences = None
        self._widen()

    def _widen(self) -> None:
        """Note how wide the columns have to be, so that no figure and no state is cut off."""
        if self.snapshot is None or not self.rows:
            return
        states = states_of(self.snapshot, np.concatenate([row.rows for row in self.rows]))
        changes = [row.change or 0 for row in self.rows]
        since = [row.since or 0 for row in self.rows]
        for name, texts in (
            ("state", states),
            ("count", [count(self.rows[0].count)]),
            ("change", map(signed, (min(changes), max(changes)))),
            ("since", map(signed, (min(since), max(since)))),
        ):
            self.widest[name] = max(self.widest.get(name, 0), *map(cell_len, texts))

    def _can_answer(self, snapshot: Snapshot) -> bool:
        """Whether `snapshot` has the stacks that the question is about."""
        has_stacks = len(snapshot.stack_frames) > 0 or not len(snapshot.goroutines)
        return has_stacks or not self.question.needs_stacks

    def _counts(self, snapshot: Snapshot | None) -> Counts | None:
        """The number of goroutines of each group in `snapshot`; None if it lacks the stacks for that."""
        if snapshot is None or not self._can_answer(snapshot):
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
        "kept": _kept(snapshot.memory),
        "stacks": snapshot.memory.stacks_in_use_bytes,
        "limit": snapshot.process.memory_limit_bytes,
        "gomemlimit": snapshot.memory.memory_limit_bytes,
        "goal": snapshot.memory.heap_goal_bytes,
        "gc": snapshot.memory.gc_count,
        "pause": snapshot.memory.last_gc_pause_ns,
    }


def _kept(memory: MemoryStats) -> float | None:
    """The memory of the heap that is free and was not returned to the kernel."""
    idle, released = memory.heap_idle_bytes, memory.heap_released_bytes
    return None if idle is None or released is None else max(idle - released, 0)
