"""A filter of goroutines as a user gives it: conditions, whether the runtime's own are included, how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spyglass.errors import NoMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.analysis.filters import Filter
    from spyglass.model import Snapshot

__all__ = ["GoroutineFilter"]


@dataclass(frozen=True)
class GoroutineFilter:
    """The `criteria` of goroutines, whether `system` goroutines are included (None: not given), and the
    maximum number of goroutines, groups or rows."""

    criteria: Filter
    system: bool | None
    limit: int | None

    def includes_system(self, default: bool = False) -> bool:
        """Whether system goroutines are included; `default`: if the user did not say. One chosen by id is."""
        if self.system is None:
            return default or bool(self.criteria.ids)
        return self.system

    def rows(self, snapshot: Snapshot, *, system: bool) -> NDArray[np.int64]:
        """The matching goroutines (int64); `system`: include system goroutines by default."""
        from spyglass.analysis.filters import matching
        from spyglass.analysis.selection import selected

        rows = selected(snapshot.goroutines, system=self.includes_system(system))
        return matching(snapshot, rows, self.criteria)

    def require_match(self, snapshot: Snapshot, matched: int, *, system: bool) -> None:
        """Raise `NoMatch`, which says why, if there are criteria and `matched`, the number of `rows`, is 0."""
        if matched or not self.criteria:
            return
        from spyglass.analysis.filters import matching
        from spyglass.analysis.no_match import no_match
        from spyglass.analysis.selection import selected

        rows = selected(snapshot.goroutines, system=self.includes_system(system))
        every = selected(snapshot.goroutines, system=True)
        hidden = len(matching(snapshot, every, self.criteria))
        hint = (
            f"--system includes runtime goroutines, of which {hidden:,} match" if hidden else None
        )
        raise NoMatch(no_match(snapshot, rows, self.criteria), hint)

    def part(self, snapshot: Snapshot, *, system: bool, limit: int | None = None) -> Snapshot:
        """`snapshot` with only the first `limit` of `rows`; the same object if those are all."""
        from spyglass.analysis.subset import part

        return part(snapshot, self.rows(snapshot, system=system)[:limit])
