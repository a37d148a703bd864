"""The goroutines of a snapshot in groups: one state, one stack, one creator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spyglass.analysis.grouped import grouped
from spyglass.analysis.selection import selected
from spyglass.columns import combined
from spyglass.fleet.texts import clean
from spyglass.model import NONE, STATUSES, Snapshot
from spyglass.words.states import DOUBTFUL, state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_verdicts import WaitVerdicts

__all__ = ["FrameColumns", "group_columns", "stuck_of"]


class FrameColumns:
    """The frames of a snapshot as Arrow columns, of which rows are taken by their indices."""

    def __init__(self, snapshot: Snapshot) -> None:
        frames = snapshot.frames
        self.function = pa.array([clean(each.function) for each in frames], pa.string())
        self.file = pa.array([clean(each.file) for each in frames], pa.string())
        self.line = pa.array([each.line for each in frames], pa.int32())

    def taken(self, column: str, indices: NDArray[Any]) -> pa.Array:
        """The values of `column` for frame `indices`; null where an index is negative."""
        rows = pa.array(indices.astype(np.int64), mask=indices < 0)
        return getattr(self, column).take(rows)


def group_columns(
    snapshot: Snapshot, frames: FrameColumns, names: dict[int, str], known: WaitVerdicts | None
) -> dict[str, Any]:
    """The columns of the table `groups` but those of the process; the largest group first.

    `names`: of stacks (`spyglass.fleet.stack_ids`). Groups are of the user's goroutines.
    """
    g = snapshot.goroutines
    rows = selected(g)
    numbers = {name: at for at, name in enumerate(dict.fromkeys(names.values()))}
    number_of = np.full(len(snapshot.stack_offsets), NONE, np.int64)
    for each, name in names.items():
        number_of[each] = numbers[name]
    stack = np.where(g.stack[rows] != NONE, number_of[g.stack[rows]], NONE)
    keys = combined(g.status[rows], g.wait_reason[rows], stack, g.where[rows], g.start[rows], g.creator[rows])  # fmt: skip
    found = grouped(rows, keys)
    first = found.rows[found.firsts][found.ranked]
    stuck, looked_at = stuck_of(snapshot, known)
    judged = found.reduced(np.add, looked_at)
    counts = np.diff(np.append(found.firsts, len(found.rows)))[found.ranked]
    waits = found.reduced(np.maximum, g.waiting_ns)
    return {
        "count": counts,
        "status": [STATUSES[each] for each in g.status[first].tolist()],
        "state": _states(snapshot, first),
        "longest_wait_ns": pa.array(waits, mask=waits < 0),
        "doubtful": found.reduced(np.add, np.isin(g.quality, DOUBTFUL)),
        "stuck": pa.array(found.reduced(np.add, stuck), mask=judged == 0),
        "function": frames.taken("function", g.where[first]),
        "file": frames.taken("file", g.where[first]),
        "line": frames.taken("line", g.where[first]),
        "call": frames.taken("function", g.call[first]),
        "start_function": frames.taken("function", g.start[first]),
        "creator_function": frames.taken("function", g.creator[first]),
        "creator_file": frames.taken("file", g.creator[first]),
        "creator_line": frames.taken("line", g.creator[first]),
        "stack_id": [names.get(each) for each in g.stack[first].tolist()],
    }


def stuck_of(
    snapshot: Snapshot, known: WaitVerdicts | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each goroutine whether nothing can wake it, and whether that was looked at."""
    ids = snapshot.goroutines.id
    if known is None or not len(known.ids):
        nothing = np.zeros(len(ids), np.bool_)
        return nothing, nothing
    at = np.minimum(np.searchsorted(known.ids, ids), len(known.ids) - 1)
    is_known = known.ids[at] == ids
    return is_known & (known.stuck[at] == 1), is_known & (known.stuck[at] >= 0)


def _states(snapshot: Snapshot, rows: NDArray[np.int64]) -> list[str | None]:
    g = snapshot.goroutines
    pairs = zip(g.status[rows].tolist(), g.wait_reason[rows].tolist(), strict=True)
    return [clean(state_at(snapshot, status, reason)) for status, reason in pairs]
