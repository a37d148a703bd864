"""Two profiles compared: what takes more time in each second of recording, by function."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spyglass.analysis.profile_functions import function_times
from spyglass.profile import Profile, Samples

__all__ = ["FunctionChange", "ProfileDifference", "TimeChange", "merged", "profile_difference"]


#: A change of fewer standard deviations may be chance.
_SURE_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True)
class TimeChange:
    """A time before and after in seconds for each second of recording: 1.0 is one processor, or one goroutine, all
    the time. `deviation`: the standard deviation of the change, from the numbers of samples alone."""

    before: float
    after: float
    deviation: float

    @property
    def change(self) -> float:
        """How much more it is."""
        return self.after - self.before

    @property
    def is_sure(self) -> bool:
        """Whether the change is more than the chance of sampling explains."""
        return abs(self.change) > _SURE_DEVIATIONS * self.deviation


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """The time of one function in `itself`, and in `total` with what it calls."""

    function: str
    itself: TimeChange
    total: TimeChange

    @property
    def is_sure(self) -> bool:
        """Whether one of the changes is more than the chance of sampling explains."""
        return self.itself.is_sure or self.total.is_sure


@dataclass(frozen=True, slots=True)
class ProfileDifference:
    """What changed from profile `before` to `after`: the `whole` time, and `functions`, the one with the largest
    change of the time in itself first."""

    before: Profile
    after: Profile
    whole: TimeChange
    functions: tuple[FunctionChange, ...]


def profile_difference(before: Profile, after: Profile) -> ProfileDifference:
    """What changed from `before` to `after`, per second of each recording."""
    old, new = _times(before), _times(after)
    nothing = (0, 0)
    changes = []
    for name in dict.fromkeys([*old, *new]):
        pairs = zip(old.get(name, nothing), new.get(name, nothing), strict=True)
        itself, total = (_change(before, after, *pair) for pair in pairs)
        changes.append(FunctionChange(name, itself, total))
    changes.sort(
        key=lambda each: (-abs(each.itself.change), -abs(each.total.change), each.function)
    )
    sums = (sum(each.samples.value_ns.tolist()) for each in (before, after))
    return ProfileDifference(before, after, _change(before, after, *sums), tuple(changes))


def _change(before: Profile, after: Profile, old_ns: int, new_ns: int) -> TimeChange:
    rates, variance = [], 0.0
    for profile, time_ns in ((before, old_ns), (after, new_ns)):
        seconds_ns = max(profile.duration_ns, 1)
        rates.append(time_ns / seconds_ns)
        # Samples are counts, whose variance is their number (Poisson).
        variance += max(time_ns, profile.period_ns) * profile.period_ns / seconds_ns**2
    return TimeChange(rates[0], rates[1], variance**0.5)


def _times(profile: Profile) -> dict[str, tuple[int, int]]:
    """The times of each function, in itself and in total, in ns."""
    times = function_times(profile)
    values = zip(times.self_ns.tolist(), times.total_ns.tolist(), strict=True)
    return dict(zip(times.names, values, strict=True))


def merged(before: Profile, after: Profile) -> Profile:
    """The samples of both, those of `before` first, as one profile; all else is that of `after`."""
    old, new = before.samples, after.samples
    shifts = {
        "stack": len(before.stack_offsets) - 1,
        "labels": len(before.label_sets),
        "state": len(before.states),
    }
    columns: dict[str, Any] = {}
    for name in Samples.__slots__:
        column = getattr(new, name)
        if name in shifts:
            column = np.where(column >= 0, column + shifts[name], column).astype(column.dtype)
        columns[name] = np.concatenate([getattr(old, name), column])
    later = after.stack_offsets[1:] + before.stack_offsets[-1]
    calls = after.stack_frames + np.int32(len(before.frames))
    return replace(
        after,
        samples=Samples(**columns),
        frames=(*before.frames, *after.frames),
        stack_offsets=np.concatenate([before.stack_offsets, later]),
        stack_frames=np.concatenate([before.stack_frames, calls]),
        states=(*before.states, *after.states),
        label_sets=(*before.label_sets, *after.label_sets),
    )
