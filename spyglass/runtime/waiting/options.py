"""What is read of waits, and when: what a snapshot without waits needs of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.model import Frame, Goroutines
    from spyglass.threads import Registers

__all__ = ["DEFAULT_HEAP_LIMIT_BYTES", "Moment", "WaitOptions"]

DEFAULT_HEAP_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """What is read of waits beside the objects that goroutines wait on.

    `holders`: who holds the contended locks. `heap`: which goroutines nothing can wake, for which the heap
    is marked, up to `heap_limit_bytes` of spans that hold pointers. `code_seconds`: for how long
    functions are followed through their machine code, to know which locks they have taken, on a usual processor: a slower
    one takes longer, and finds the same. `progress` is called with the part of
    the heap that was marked, from 0 to 1. Of more than `max_goroutines` no waits are read at all; None: however
    many there are. `when`: decides from the goroutines, their wait reasons and frames (as in a `Snapshot`)
    whether waits are worth reading; None: they are. `beside_locks`: tells from the same which goroutines are of interest
    (a mask): of all others it is only read which locks they wait for, and what those wait on that hold them. None: what all
    of them wait on.
    """

    holders: bool = True
    heap: bool = True
    heap_limit_bytes: int = DEFAULT_HEAP_LIMIT_BYTES
    code_seconds: float = 2.0
    progress: Callable[[float], None] | None = None
    max_goroutines: int | None = None
    when: Callable[[Goroutines, tuple[str, ...], Sequence[Frame]], bool] | None = None
    beside_locks: (
        Callable[[Goroutines, tuple[str, ...], Sequence[Frame]], NDArray[np.bool_]] | None
    ) = None

    @classmethod
    def of_summary(cls, **chosen: Any) -> WaitOptions:
        """Of a summary, which is not to take a fifth longer where goroutines wait for locks: beside what is `chosen`, no heap,
        little code, and no waits of so many goroutines that reading them takes longer than all else."""
        return cls(heap=False, code_seconds=0.014, max_goroutines=10_000, **chosen)


class Moment(NamedTuple):
    """When goroutines were read.

    `now_ns`: the clock of ``nanotime``, None if it is not known. `registers`: those of threads that were
    read, by thread id. `exact`: the process is stopped, or a core, so nothing can move. `moved`: ids of
    goroutines that moved while a core was made.
    """

    now_ns: int | None
    registers: Mapping[int, Registers]
    exact: bool
    moved: frozenset[int]
