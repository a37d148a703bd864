"""Match the threads of a core whose ids are of another pid namespace than those in the runtime.

The runtime records the ids of the process's own namespace (``os_linux.go: minit``), and so does the
kernel in a core. A debugger on the host that makes a core of a container's process records the
host's ids.
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

#: Fields of an M: the gs on whose stacks its thread can run.
_OWN_STACKS = ("g0", "gsignal", "curg")


def ids_by_stacks(
    runtime: Runtime, ms: Ms, registers: Mapping[int, Registers]
) -> dict[int, int] | None:
    """The thread ids in `registers` by the ids that the runtime recorded, matched by stack pointer; None if
    they are the same ids."""
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
    found.pop(0, None)  # an M without a thread yet
    others = sum(own != tid for own, tid in found.items())
    return found if others > len(found) // 2 else None
