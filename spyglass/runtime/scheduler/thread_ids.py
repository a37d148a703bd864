"""Whose thread is whose in a core that has other ids of them than the process had.

The runtime notes the ids that its threads see themselves (``os_linux.go: minit``), and so does the
kernel in the cores that it writes. A debugger notes those that it sees: of a container's threads, from
outside, these are others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spyglass.runtime.context import Runtime
    from spyglass.runtime.scheduler.sched import Ms
    from spyglass.threads import Registers

__all__ = ["ids_by_stacks"]

#: The goroutines of an M on whose stacks its thread can be.
_OWN_STACKS = ("g0", "gsignal", "curg")


def ids_by_stacks(
    runtime: Runtime, ms: Ms, registers: Mapping[int, Registers]
) -> dict[int, int] | None:
    """The ids in `registers` by those that the process saw, as their stack pointers tell; None if they
    are the same."""
    if not len(ms.rows) or not all(runtime.layouts.has("m", name) for name in _OWN_STACKS):
        return None
    pointers = np.concatenate([ms.rows[name].astype(np.uint64) for name in _OWN_STACKS])
    owners = np.tile(np.arange(len(ms.rows)), len(_OWN_STACKS))
    there = (pointers != 0) & (pointers % 8 == 0)
    dtype = runtime.layouts["g"]
    gathered = runtime.memory.gather(pointers[there], dtype.itemsize)
    stacks = gathered.rows(dtype)["stack"][gathered.ok]
    order = np.argsort(stacks["lo"], kind="stable")
    low, high = stacks["lo"][order], stacks["hi"][order]
    owners = owners[there][gathered.ok][order]
    tids, sps = list(registers), np.array([each.sp for each in registers.values()], np.uint64)
    at = np.searchsorted(low, sps, side="right") - 1
    found: dict[int, int] = {}
    for tid, sp, row in zip(tids, sps.tolist(), at.tolist(), strict=True):
        if row >= 0 and sp < int(high[row]):
            found[int(ms.rows["procid"][owners[row]])] = tid
    found.pop(0, None)  # of an M that has no thread yet
    others = sum(own != tid for own, tid in found.items())
    return found if others > len(found) // 2 else None
