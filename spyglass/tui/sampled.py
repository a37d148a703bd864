"""Where the processor time of the last seconds went: by function, by goroutine, by stack."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.analysis.filters import Filter, matching
from spyglass.analysis.profile_filter import SampleFilter, chosen
from spyglass.analysis.profile_frames import is_in_profile
from spyglass.analysis.profile_functions import function_times
from spyglass.analysis.profile_groups import NOT_ON_GOROUTINES
from spyglass.analysis.selection import selected
from spyglass.columns import distinct, numbered
from spyglass.model import NONE, Snapshot
from spyglass.profile import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.tui.query import Query

__all__ = ["FunctionTime", "GoroutineTimes", "Sampled", "Stack"]

#: The names of the functions on a stack, the innermost first.
Stack = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FunctionTime:
    """The time of one function: in itself, and with what it calls; `of_parts`: the latter in each part."""

    name: str
    self_ns: int
    total_ns: int
    of_parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GoroutineTimes:
    """The time of the goroutines of a snapshot, each proven to be its own, and the rest of the time.

    `of_rows_ns` (float64): of each goroutine. `ended_ns`: of goroutines that are not in the snapshot. `unknown_ns`:
    on a goroutine, but on which is not known. `elsewhere_ns`: on none: the scheduler, the collector, C.
    """

    of_rows_ns: NDArray[np.float64]
    ended_ns: float
    unknown_ns: float
    elsewhere_ns: float


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Profiles of processor time, one behind the other: the `parts` of a window that moves. None yet if there are no
    parts. `refused`: why there will be none."""

    parts: tuple[Profile, ...] = ()
    refused: str | None = None

    @property
    def window_ns(self) -> int:
        """How long the parts took."""
        return sum(part.duration_ns for part in self.parts)

    @property
    def used_ns(self) -> int:
        """What the process used meanwhile, as the kernel accounts it."""
        return sum(part.account.cpu_used_ns or 0 for part in self.parts)

    @property
    def sampled_ns(self) -> int:
        """What the samples stand for."""
        return sum(part.account.cpu_sampled_ns for part in self.parts)

    @property
    def coverage(self) -> float | None:
        """The share of the used time that the samples stand for; None if it used none."""
        return self.sampled_ns / self.used_ns if self.used_ns else None

    @property
    def known(self) -> float | None:
        """The share of the samples on goroutines whose goroutine is known; None if there are none."""
        known = sum(part.account.goroutine_known or 0 for part in self.parts)
        of_all = known + sum(part.account.goroutine_unknown or 0 for part in self.parts)
        return known / of_all if of_all else None

    @property
    def lost(self) -> int:
        """Samples that the kernel dropped."""
        return sum(part.account.lost or 0 for part in self.parts)

    def percent(self, time_ns: float) -> float:
        """A time as a percentage of one processor during the window."""
        return time_ns * 100 / max(self.window_ns, 1)

    def matching(self, query: Query, snapshot: Snapshot) -> Sampled:
        """Only the samples that match `query`: its states, functions and labels are those of samples, its creator
        that of goroutines of `snapshot`."""
        wanted = SampleFilter((), query.states, query.function, query.labels)
        if query.creator is not None:
            wanted = replace(wanted, ids=self._created_by(query.creator, snapshot))
        return replace(self, parts=tuple(chosen(part, wanted) for part in self.parts))

    def through(self, function: str) -> Sampled:
        """Only the samples with `function` on their stacks."""
        wanted = SampleFilter(function=re.compile(rf"\A{re.escape(function)}\Z"))
        return replace(self, parts=tuple(chosen(part, wanted) for part in self.parts))

    def functions(self) -> list[FunctionTime]:
        """The times of all functions on the stacks, the longest in itself first."""
        own: Counter[str] = Counter()
        total: dict[str, list[int]] = {}
        for number, part in enumerate(self.parts):
            times = function_times(part)
            rows = zip(times.names, times.self_ns.tolist(), times.total_ns.tolist(), strict=True)
            for name, self_ns, total_ns in rows:
                own[name] += self_ns
                total.setdefault(name, [0] * len(self.parts))[number] = total_ns
        found = [
            FunctionTime(name, own[name], sum(each), tuple(each)) for name, each in total.items()
        ]
        return sorted(found, key=lambda each: (-each.self_ns, -each.total_ns, each.name))

    def by_goroutine(self, snapshot: Snapshot) -> GoroutineTimes:
        """The times of the goroutines of `snapshot`, and of what is not in it."""
        goid, time_ns = self._column("goroutine"), self._column("value_ns").astype(np.float64)
        known = goid != NONE
        ids, which = numbered(goid[known])
        sums = np.bincount(which, time_ns[known], len(ids))
        of_rows = np.zeros(len(snapshot.goroutines))
        rows = selected(snapshot.goroutines, system=True)
        if len(ids):
            there = snapshot.goroutines.id[rows].astype(np.int64)
            at = np.minimum(np.searchsorted(ids, there), len(ids) - 1)
            found = ids[at] == there
            of_rows[rows[found]] = sums[at[found]]
        elsewhere = np.concatenate([np.zeros(0, np.bool_), *map(_is_elsewhere, self.parts)])
        return GoroutineTimes(
            of_rows,
            max(float(sums.sum() - of_rows.sum()), 0.0),
            float(time_ns[~known & ~elsewhere].sum()),
            float(time_ns[~known & elsewhere].sum()),
        )

    def callers_of(self, function: str) -> Counter[Stack]:
        """The time by the stacks that `function` is on, from there outwards."""
        times: Counter[Stack] = Counter()
        for part in self.parts:
            of_stacks = np.zeros(len(part.stack_offsets) - 1, np.int64)
            np.add.at(of_stacks, part.samples.stack, part.samples.value_ns)
            for stack in np.flatnonzero(of_stacks).tolist():
                names = tuple(each.function for each in part.stack(stack) if is_in_profile(each))
                if function in names:
                    times[names[names.index(function) :]] += int(of_stacks[stack])
        return times

    def _created_by(self, creator: re.Pattern[str], snapshot: Snapshot) -> tuple[int, ...]:
        """The ids of sampled goroutines that were created by a function matching `creator`; 0 is no goroutine's."""
        rows = selected(snapshot.goroutines, system=True)
        ids = snapshot.goroutines.id[matching(snapshot, rows, Filter(creator=creator))]
        sampled = distinct(self._column("goroutine"))
        return 0, *sampled[np.isin(sampled, ids.astype(np.int64))].tolist()

    def _column(self, name: str) -> NDArray[Any]:
        """A column of the samples of all parts."""
        columns = [getattr(part.samples, name) for part in self.parts]
        return np.concatenate([np.zeros(0, np.int64), *columns])


def _is_elsewhere(part: Profile) -> NDArray[np.bool_]:
    """Which rows of the samples are on no goroutine's stack."""
    numbers = [number for number, word in enumerate(part.states) if word in NOT_ON_GOROUTINES]
    found: NDArray[np.bool_] = np.isin(part.samples.state, numbers)
    return found
