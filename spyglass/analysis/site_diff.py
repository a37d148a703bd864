"""Two heap, block or mutex profiles compared: what grew, by the place in the user's code."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.site_places import site_places
from spyglass.errors import BadDataError
from spyglass.model import NONE
from spyglass.site_profile import SiteProfile, ValueKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Amounts", "SiteChange", "SiteDifference", "deviations", "site_difference"]

#: A change of fewer standard deviations may be chance.
_SURE_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """What of each kind there was `before` and `after`. `deviation`: the standard deviation of the change of the main
    kind, from the numbers of samples alone; 0: everything was counted."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    deviation: float

    def change(self, kind: int) -> int:
        """How much more there is of the kind with this number."""
        return self.after[kind] - self.before[kind]

    @property
    def is_sure(self) -> bool:
        """Whether the main kind has changed by more than the chance of sampling explains."""
        return abs(self.change(-1)) > _SURE_DEVIATIONS * self.deviation


@dataclass(frozen=True, slots=True)
class SiteChange:
    """What changed at one place: `function` and `call` as `where` and `call` of `SitePlace`."""

    function: str
    call: str | None
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class SiteDifference:
    """What changed from profile `before` to `after`: in all, and at each of `sites`, the largest change first. `kinds`:
    what numbers are of; the last is the main one."""

    before: SiteProfile
    after: SiteProfile
    kinds: tuple[ValueKind, ...]
    whole: Amounts
    sites: tuple[SiteChange, ...]


def site_difference(before: SiteProfile, after: SiteProfile) -> SiteDifference:
    """What changed from `before` to `after`. Raises `BadDataError` if they have not the same main kind of values."""
    kinds = tuple(each for each in after.kinds if each in before.kinds)
    if before.kinds[-1] != after.kinds[-1]:
        names = " and ".join("/".join(each.kinds[-1]) for each in (before, after))
        raise BadDataError(f"the profiles are of {names}")
    module = after.process.module or before.process.module
    sums: dict[tuple[str, str | None], NDArray[np.float64]] = defaultdict(
        lambda: np.zeros((2, len(kinds) + 1))
    )
    for side, profile in enumerate((before, after)):
        for key, row in _by_place(profile, kinds, module).items():
            sums[key][side] += row
    changes = [SiteChange(*key, _amounts(rows)) for key, rows in sums.items()]
    changes.sort(key=lambda each: (-abs(each.amounts.change(-1)), each.function, each.call or ""))
    total = sum(sums.values(), np.zeros((2, len(kinds) + 1)))
    return SiteDifference(before, after, kinds, _amounts(total), tuple(changes))


def _by_place(
    profile: SiteProfile, kinds: tuple[ValueKind, ...], module: str | None
) -> dict[tuple[str, str | None], NDArray[np.float64]]:
    """For each place the sums of `kinds`, and the variance of the last."""
    places = site_places(profile, module)
    columns = [profile.kinds.index(each) for each in kinds]
    rows = np.column_stack([profile.amounts[:, columns], deviations(profile) ** 2])
    sums: dict[tuple[str, str | None], NDArray[np.float64]] = defaultdict(
        lambda: np.zeros(len(kinds) + 1)
    )
    for stack, row in zip(profile.stack.tolist(), rows, strict=True):
        sums[places[stack][:2]] += row
    return sums


def deviations(profile: SiteProfile) -> NDArray[np.float64]:
    """The standard deviation of the main number of each site, from the number of its samples.

    An object of a size is sampled with the probability p = 1 - exp(-size / period): n samples stand for n / p objects, and
    the variance of that is n (1 - p) / p².
    """
    values = profile.amounts[:, profile.main_kind].astype(np.float64)
    sizes = profile.object_bytes.astype(np.float64)
    sampled = (profile.object_bytes != NONE) & (sizes > 0) & (profile.period > 1)
    found = np.zeros(len(values))
    each = sizes[sampled]
    p = 1 - np.exp(-each / profile.period)
    found[sampled] = np.sqrt(np.maximum(values[sampled], 0) * each * (1 - p) / p)
    return found


def _amounts(rows: NDArray[np.float64]) -> Amounts:
    before, after = ([int(each) for each in row[:-1]] for row in rows.tolist())
    return Amounts(tuple(before), tuple(after), float(rows[:, -1].sum()) ** 0.5)
