"""``spyglass dump --group``: a block of lines for each group of goroutines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len
from rich.text import Text

from spyglass.analysis.counts import by_line, by_state
from spyglass.analysis.group_by import LABEL
from spyglass.analysis.shown_frames import shown_frames
from spyglass.escape import visible
from spyglass.model import NONE, UNREAD, Frame, Snapshot
from spyglass.render.cropping import function_in, tail_in
from spyglass.render.process_sections import counted
from spyglass.render.sections import LABEL_WIDTH, fact, section
from spyglass.words.calls import CALL_MARK, START_MARK, call_text, place_text
from spyglass.words.states import DOUBTFUL
from spyglass.words.units import UNKNOWN, count, duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["group_lines", "stack_lines"]

#: How many distinct ids, states and places of a group are shown.
_IDS_SHOWN, _STATES_SHOWN, _PLACES_SHOWN = 5, 5, 3

_INDENT = " " * LABEL_WIDTH


def group_lines(
    snapshot: Snapshot,
    groups: Sequence[NDArray[np.int64]],
    by: str,
    *,
    width: int | None = None,
    runtime_frames: bool = False,
) -> Iterator[Text]:
    """A block of lines for each of `groups` (arrays of rows), which were grouped `by`, and an empty line
    after each; no line is longer than `width` cells of a terminal."""
    blocks = _Blocks(snapshot, by, width, runtime_frames)
    for rows in groups:
        for line in blocks.of(rows):
            if width is not None:
                line.truncate(width, overflow="ellipsis")
            yield line
        yield Text()


def stack_lines(snapshot: Snapshot, row: int, width: int | None = None) -> Iterator[Text]:
    """The stack of goroutine `row` and its creator, indented like the lines of a section."""
    for line in _Blocks(snapshot, "stack", width, runtime_frames=False).stack_of(row):
        if width is not None:
            line.truncate(width, overflow="ellipsis")
        yield line


class _Blocks:
    """Makes the blocks of lines of groups of goroutines."""

    def __init__(
        self, snapshot: Snapshot, by: str, width: int | None, runtime_frames: bool
    ) -> None:
        self._snapshot = snapshot
        self._by = by
        self._width = width
        self._room = None if width is None else max(width - LABEL_WIDTH, 1)
        self._runtime_frames = runtime_frames

    def of(self, rows: NDArray[np.int64]) -> Iterator[Text]:
        """The block of `rows`."""
        g = self._snapshot.goroutines
        yield from section(count(len(rows)), list(self._facts(rows)), self._width)
        if self._by == "stack":
            yield from self._stack(int(rows[0]))
        elif self._by == "creator":
            yield from self._places("created by", g.creator[rows[:1]])
        if self._by != "stack":
            yield from self._places("at", g.where[rows])
            yield from self._places("in", g.call[rows])
        if self._by != "creator":
            yield from self._places("created by", g.creator[rows])

    def stack_of(self, row: int) -> Iterator[Text]:
        """The stack of `row` and its creator."""
        yield from self._stack(row)
        yield from self._places("created by", self._snapshot.goroutines.creator[[row]])

    def _facts(self, rows: NDArray[np.int64]) -> Iterator[Text]:
        """The title of the group (not for a stack), and the states, waits and ids of its goroutines."""
        g = self._snapshot.goroutines
        if self._by != "stack":
            yield Text(self._title(int(rows[0])), "bold")
        if self._by != "state":
            yield from _states(self._snapshot, rows)
        waits = g.waiting_ns[rows][g.waiting_ns[rows] >= 0]
        if len(waits):
            shortest, longest = (duration(int(wait)) for wait in (waits.min(), waits.max()))
            yield fact("waiting", shortest if shortest == longest else f"{shortest} to {longest}")
        if doubtful := int(np.isin(g.quality[rows], DOUBTFUL).sum()):
            yield fact("doubtful", count(doubtful), "yellow")
        ids = ", ".join(map(str, g.id[rows[:_IDS_SHOWN]].tolist()))
        yield fact(
            "ids" if len(rows) > 1 else "id", ids + (", …" if len(rows) > _IDS_SHOWN else "")
        )

    def _title(self, row: int) -> str:
        """The title of the group that `row` is in: the value that its goroutines share."""
        snapshot, g = self._snapshot, self._snapshot.goroutines
        if self._by.startswith(LABEL):
            return _label(snapshot, int(g.labels[row]), self._by.removeprefix(LABEL))
        if self._by == "state":
            return visible(next(iter(by_state(snapshot, np.array([row])))))
        if self._by == "creator":
            creator = snapshot.frame(int(g.creator[row]))
            return call_text(creator) if creator else "no creator"
        where, start = snapshot.frame(int(g.where[row])), snapshot.frame(int(g.start[row]))
        if where is not None:
            call = snapshot.frame(int(g.call[row]))
            return call_text(where) + (CALL_MARK + call_text(call) if call else "")
        return call_text(start) + START_MARK if start else UNKNOWN

    def _stack(self, row: int) -> Iterator[Text]:
        """The stack of `row`; if it is not known, its start function."""
        snapshot, g = self._snapshot, self._snapshot.goroutines
        stack = int(g.stack[row])
        if stack == NONE:
            yield Text(f"{_INDENT}stack not known", "dim")
            yield from self._places("started in", g.start[[row]])
            return
        omitted = snapshot.elided.get(stack, (0, 0))[1]
        for number in shown_frames(snapshot, stack, runtime_frames=self._runtime_frames):
            frame = snapshot.frame(number)
            if frame is None:
                yield Text(f"{_INDENT}...{count(omitted)} frames elided...", "dim")
            else:
                yield Text(_INDENT + self._fitted(function_in, call_text(frame)))
                yield Text(f"{_INDENT}    {self._fitted(tail_in, place_text(frame), 4)}", "dim")

    def _places(self, what: str, frames: NDArray[np.int32]) -> Iterator[Text]:
        """The most frequent lines of code among `frames`, with their number if they are not all the same."""
        places = by_line(self._snapshot, frames)
        for frame, number in list(places.items())[:_PLACES_SHOWN]:
            often = "" if number == len(frames) else f" ({count(number)})"
            yield self._place(f"{what} ", frame, often)
        if (more := len(places) - _PLACES_SHOWN) > 0:
            yield Text(f"{_INDENT}{what} {count(more)} more place{'s' if more > 1 else ''}", "dim")

    def _place(self, what: str, frame: Frame, often: str) -> Text:
        """`what`, function, place and `often` on a line; both names are shortened so as to keep their ends."""
        place, other = place_text(frame), len(what) + len(" ") + len(often)
        kept = 0 if self._room is None else min(cell_len(place), self._room * 2 // 5)
        function = self._fitted(function_in, call_text(frame), other + kept)
        place = self._fitted(tail_in, place, other + cell_len(function))
        return Text.assemble(_INDENT, (what, "dim"), function, (f" {place}", "dim"), often)

    def _fitted(self, fit: Callable[[str, int], str], text: str, before: int = 0) -> str:
        """`text` shortened to the room after `before` cells."""
        return text if self._room is None else fit(text, max(self._room - before, 1))


def _states(snapshot: Snapshot, rows: NDArray[np.int64]) -> list[Text]:
    states = list(by_state(snapshot, rows).items())
    if len(states) == 1:
        return [Text(visible(states[0][0]))]
    if len(states) > _STATES_SHOWN:
        others = sum(number for _, number in states[_STATES_SHOWN:])
        states = [*states[:_STATES_SHOWN], ("others", others)]
    return counted(states)


def _label(snapshot: Snapshot, labels: int, key: str) -> str:
    if labels == UNREAD:
        return "unreadable labels"
    value = snapshot.label_sets[labels].get(key) if labels >= 0 else None
    return f"(no label {visible(key)})" if value is None else f"{visible(key)}={visible(value)}"
