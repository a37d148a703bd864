"""A profile of what happened since a program started, counted by stack: allocations, waits for channels and locks.

It is what heap, block and mutex profiles have in common, whoever wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from spyglass.model import Frame, Problem, Process

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SiteKind", "SiteProfile", "ValueKind"]

#: heap: what was allocated; block: how long goroutines waited; mutex: how long others waited for a lock that was held;
#: contention: one of these two, which a file of Go's does not say.
SiteKind = Literal["heap", "block", "mutex", "contention"]


class ValueKind(NamedTuple):
    """What a number of a site is: its name and unit, as ``go tool pprof`` shows them."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """The sites of a program.

    `amounts` (int64, shape (sites, kinds)) are numbers of each of `kinds`; `stack` (int32) is the index of each site's
    stack, `object_bytes` (int64) the size of its objects, `spyglass.model.NONE` where it has none. Stacks are stored as
    in `spyglass.profile.Profile`, each innermost frame first. `period`: one sample for so many of `period_kind` on the
    average; 0: not known. `remark`: how old it is, or what it lacks. `taken_at`: None if it does not say so.
    """

    kind: SiteKind
    process: Process
    taken_at: datetime | None
    kinds: tuple[ValueKind, ...]
    amounts: NDArray[np.int64]
    stack: NDArray[np.int32]
    object_bytes: NDArray[np.int64]
    frames: tuple[Frame, ...]
    stack_offsets: NDArray[np.int64]
    stack_frames: NDArray[np.int32]
    period_kind: ValueKind
    period: int
    remark: str | None = None
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.stack)

    @property
    def main_kind(self) -> int:
        """The number of the kind of value that says most: bytes in use, or the time of waits; the last one."""
        return len(self.kinds) - 1

    def frames_of(self, index: int) -> list[int]:
        """The numbers of the frames of stack `index`, innermost first."""
        found: list[int] = self.stack_frames[
            self.stack_offsets[index] : self.stack_offsets[index + 1]
        ].tolist()
        return found
