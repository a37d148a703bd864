"""A heap profile: which calls allocated memory, as the Go runtime sampled it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from spyglass.model import Frame, Problem, Process
from spyglass.site_profile import SiteProfile, ValueKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AsOf", "HeapProfile", "Sites"]

#: gc: as of the last collection that is complete, which is what the program's own profile shows; now: with what was
#: allocated and freed since then.
AsOf = Literal["gc", "now"]

#: The values of Go's own (``runtime/pprof/protomem.go``).
_KINDS = (
    ValueKind("alloc_objects", "count"), ValueKind("alloc_space", "bytes"),
    ValueKind("inuse_objects", "count"), ValueKind("inuse_space", "bytes"),
)  # fmt: skip
_REMARKS = {
    "gc": "as of the last complete garbage collection, as the program's own profile",
    "now": "as of now: with what was allocated and freed since the last garbage collections",
}


@dataclass(frozen=True, slots=True)
class Sites:
    """Sampled allocations of one stack and size are one row.

    =============  ======  ===========================================================
    column         dtype   meaning
    =============  ======  ===========================================================
    stack          int32   index into the stacks of the profile
    where          int32   frame of the innermost call that is the user's code, else of the outermost of the
                           standard library's; `spyglass.model.NONE` if there is none
    object_bytes   int64   the size of each of these objects
    allocs         int64   how many of them were sampled when they were allocated
    frees          int64   how many of those have been freed
    =============  ======  ===========================================================
    """

    stack: NDArray[np.int32]
    where: NDArray[np.int32]
    object_bytes: NDArray[np.int64]
    allocs: NDArray[np.int64]
    frees: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stack)


@dataclass(frozen=True, slots=True)
class HeapProfile:
    """The allocation samples of a process.

    `rate_bytes`: one sample for so many allocated bytes, on the average (``runtime.MemProfileRate``); 0: the program
    does not sample, and `why_not` says why if that is known. `collections`: how many there had been. Stacks are
    stored as in `spyglass.profile.Profile`, each innermost frame first.
    """

    process: Process
    taken_at: datetime
    as_of: AsOf
    rate_bytes: int
    collections: int
    sites: Sites
    frames: tuple[Frame, ...]
    stack_offsets: NDArray[np.int64]
    stack_frames: NDArray[np.int32]
    why_not: str | None = None
    problems: tuple[Problem, ...] = ()

    def stack(self, index: int) -> tuple[Frame, ...]:
        """The frames of stack `index`, innermost first."""
        low, high = self.stack_offsets[index], self.stack_offsets[index + 1]
        return tuple(self.frames[i] for i in self.stack_frames[low:high])

    def by_site(self) -> SiteProfile:
        """The same in the form that is written to files and compared."""
        columns = (*self.allocated(), *self.in_use())
        return SiteProfile(
            kind="heap", process=self.process, taken_at=self.taken_at, kinds=_KINDS,
            amounts=np.stack(columns, axis=1), stack=self.sites.stack,
            object_bytes=self.sites.object_bytes, frames=self.frames,
            stack_offsets=self.stack_offsets, stack_frames=self.stack_frames,
            period_kind=ValueKind("space", "bytes"), period=self.rate_bytes,
            remark=f"heap {_REMARKS[self.as_of]}", problems=self.problems,
        )  # fmt: skip

    def allocated(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many objects, and bytes, each site has allocated since the program started: what the samples
        stand for."""
        return self._scaled(self.sites.allocs)

    def in_use(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many objects, and bytes, that each site allocated are not freed."""
        return self._scaled(self.sites.allocs - self.sites.frees)

    def _scaled(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What `counts` samples stand for (``runtime/pprof/protomem.go: scaleHeapSample``): an object is
        sampled with the probability 1 - exp(-size / rate)."""
        sizes = self.sites.object_bytes.astype(np.float64)
        scale = np.ones(len(sizes))
        if self.rate_bytes > 1:
            scale = 1 / (1 - np.exp(-np.maximum(sizes, 1) / self.rate_bytes))
        scale[sizes == 0] = 0
        objects = np.trunc(counts * scale).astype(np.int64)
        return objects, np.trunc(counts * sizes * scale).astype(np.int64)
