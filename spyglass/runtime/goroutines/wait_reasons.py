"""The names of wait reasons: the program's own, ``runtime.waitReasonStrings`` (runtime2.go).

They are renumbered from one Go version to the next, so no list of them is kept here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.errors import SpyglassError
from spyglass.model import NONE, Goroutines

if TYPE_CHECKING:
    from spyglass.runtime.context import Runtime

__all__ = ["named_reasons"]


def named_reasons(runtime: Runtime, goroutines: Goroutines) -> tuple[tuple[str, ...], Goroutines]:
    """The target's names of the reasons in use, and the column with reasons without a name cleared."""
    used = distinct(goroutines.wait_reason[goroutines.wait_reason >= 0])
    words = [""] * (int(used[-1]) + 1 if len(used) else 0)
    missing = []
    for reason in used.tolist():
        try:
            words[reason] = runtime.memory.string(
                runtime.address("waitReasonStrings") + 16 * reason, 64
            )
        except SpyglassError:
            missing.append(reason)
    if missing:
        runtime.problem(
            "unknown", "wait reasons", f"the names of {len(missing)} of them could not be found"
        )
    named = np.array([*(bool(word) for word in words), False], np.bool_)
    column = np.where(named[goroutines.wait_reason], goroutines.wait_reason, NONE).astype(np.int16)
    return tuple(words), replace(goroutines, wait_reason=column)
