"""``spyglass dump --group``: a block for each cluster of goroutines, which says what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from spyglass.analysis.clusters import LABEL
from spyglass.analysis.counts import by_line, by_state
from spyglass.analysis.stacks import shown_frames
from spyglass.model import NONE, QUALITIES, UNREAD, Snapshot
from spyglass.render.facts import counted
from spyglass.render.sections import LABEL_WIDTH, fact, section
from spyglass.render.text import UNKNOWN, count, duration, visible
from spyglass.render.traceback import call_text, place_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cluster_lines"]

#: So many of what differs within a cluster are named.
_IDS_SHOWN, _STATES_SHOWN, _PLACES_SHOWN = 5, 5, 3

_INDENT = " " * LABEL_WIDTH
_DOUBTFUL = [QUALITIES.index("torn"), QUALITIES.index("unreadable")]


def cluster_lines(
    snapshot: Snapshot,
    clusters: Sequence[NDArray[np.int64]],
    by: str,
    *,
    width: int | None = None,
    runtime_frames: bool = False,
) -> Iterator[Text]:
    """The blocks of `clusters`, which `by` tells apart, with an empty line behind each."""
    for rows in clusters:
        yield from section(count(len(rows)), list(_facts(snapshot, rows, by)), width)
        if by == "stack":
            yield from _stack(snapshot, int(rows[0]), runtime_frames)
        else:
            yield from _places(snapshot, "at", snapshot.goroutines.where[rows])
        if by != "creator":
            yield from _places(snapshot, "created by", snapshot.goroutines.creator[rows])
        yield Text()


def _facts(snapshot: Snapshot, rows: NDArray[np.int64], by: str) -> Iterator[Text]:
    """What they share, unless that is a stack; their states, waits and ids."""
    if by != "stack":
        yield Text(_title(snapshot, int(rows[0]), by), "bold")
    if by != "state":
        yield from _states(snapshot, rows)
    g = snapshot.goroutines
    waits = g.waiting_ns[rows][g.waiting_ns[rows] >= 0]
    if len(waits):
        shortest, longest = (duration(int(wait)) for wait in (waits.min(), waits.max()))
        yield fact("waiting", shortest if shortest == longest else f"{shortest} to {longest}")
    if doubtful := int(np.isin(g.quality[rows], _DOUBTFUL).sum()):
        yield fact("doubtful", count(doubtful), "yellow")
    ids = ", ".join(map(str, g.id[rows[:_IDS_SHOWN]].tolist()))
    yield fact("ids" if len(rows) > 1 else "id", ids + (", …" if len(rows) > _IDS_SHOWN else ""))


def _states(snapshot: Snapshot, rows: NDArray[np.int64]) -> list[Text]:
    states = list(by_state(snapshot, rows).items())
    if len(states) == 1:
        return [Text(visible(states[0][0]))]
    if len(states) > _STATES_SHOWN:
        others = sum(number for _, number in states[_STATES_SHOWN:])
        states = [*states[:_STATES_SHOWN], ("others", others)]
    return counted(states)


def _title(snapshot: Snapshot, row: int, by: str) -> str:
    """What a cluster of which `row` is one has in common, in words."""
    g = snapshot.goroutines
    if by.startswith(LABEL):
        return _label(snapshot, int(g.labels[row]), by.removeprefix(LABEL))
    if by == "state":
        return visible(next(iter(by_state(snapshot, np.array([row])))))
    if by == "creator":
        frame = snapshot.frame(int(g.creator[row]))
        return f"{call_text(frame)} {place_text(frame)}" if frame else "no creator"
    where, start = snapshot.frame(int(g.where[row])), snapshot.frame(int(g.start[row]))
    if where is not None:
        return call_text(where)
    return f"{call_text(start)} (start)" if start else UNKNOWN


def _label(snapshot: Snapshot, labels: int, key: str) -> str:
    if labels == UNREAD:
        return "labels that could not be read"
    value = snapshot.label_sets[labels].get(key) if labels >= 0 else None
    return f"without {visible(key)}" if value is None else f"{visible(key)}={visible(value)}"


def _stack(snapshot: Snapshot, row: int, runtime_frames: bool) -> Iterator[Text]:
    """The stack of `row`; if it is not known, where that goroutine began."""
    g = snapshot.goroutines
    stack = int(g.stack[row])
    if stack == NONE:
        yield Text(f"{_INDENT}stack not known", "dim")
        yield from _places(snapshot, "started in", g.start[[row]])
        return
    omitted = snapshot.elided.get(stack, (0, 0))[1]
    for number in shown_frames(snapshot, stack, runtime_frames=runtime_frames):
        frame = snapshot.frame(number)
        if frame is None:
            yield Text(f"{_INDENT}...{count(omitted)} frames elided...", "dim")
        else:
            yield Text(f"{_INDENT}{call_text(frame)}")
            yield Text(f"{_INDENT}    {place_text(frame)}", "dim")


def _places(snapshot: Snapshot, what: str, frames: NDArray[np.int32]) -> Iterator[Text]:
    """The most frequent lines of code among `frames`, with how often if that is not always."""
    places = by_line(snapshot, frames)
    for frame, number in list(places.items())[:_PLACES_SHOWN]:
        line = Text.assemble(
            _INDENT, (f"{what} ", "dim"), call_text(frame), (f" {place_text(frame)}", "dim")
        )
        yield line if number == len(frames) else line.append(f" ({count(number)})")
    if len(places) > _PLACES_SHOWN:
        yield Text(f"{_INDENT}{what} {count(len(places) - _PLACES_SHOWN)} more places", "dim")
