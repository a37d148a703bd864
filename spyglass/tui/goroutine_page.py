"""The page of one goroutine: its state, labels, stack and creator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from spyglass.analysis.shown_frames import shown_frames
from spyglass.model import NONE, QUALITIES, Frame, Goroutine, Snapshot
from spyglass.render.cropping import function_in, location_in
from spyglass.tui.cell_values import function_text, labels_text, place
from spyglass.tui.layout import Style
from spyglass.words.states import DOUBTFUL, state_words
from spyglass.words.units import duration

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["stack_lines"]

_INDENT = "    "


def stack_lines(model: Model, style: Style) -> list[Text]:
    """The lines of the open page."""
    snapshot, goid = model.snapshot, model.level.of
    assert snapshot is not None
    assert isinstance(goid, int)
    rows = np.flatnonzero(snapshot.goroutines.id == np.uint64(goid))
    if not len(rows):
        return [Text(f"goroutine {goid} has ended", "yellow")]
    row = int(rows[0])
    g = snapshot.goroutine(row)
    lines = [
        Text.assemble(
            (f"goroutine {g.id}", "bold"), f" [{style.text(_state(g, model.seen_waiting_ns(row)))}]"
        )
    ]
    if g.labels:
        lines.append(Text(style.text(labels_text(g))))
    lines += _frames(snapshot, row, model.runtime_frames, style)
    if g.created_by is not None:
        by = f" in goroutine {g.creator_id}" if g.creator_id is not None else ""
        lines.append(Text(f"created by {_name(g.created_by, style, 40)}{by}"))
        lines.append(_at(g.created_by, style))
    return lines


def _frames(snapshot: Snapshot, row: int, runtime_frames: bool, style: Style) -> list[Text]:
    stack = int(snapshot.goroutines.stack[row])
    if stack == NONE:
        taken = len(snapshot.stack_frames) > 0
        words = "stack not known" if taken else "the stack was not read yet; Space reads it"
        return [Text(words, "dim"), *_start(snapshot, row, style)]
    lines = []
    for number in shown_frames(snapshot, stack, runtime_frames=runtime_frames):
        if number == NONE:
            lines.append(Text(f"... {snapshot.elided[stack][1]:,} frames elided", "dim"))
            continue
        frame = snapshot.frames[number]
        lines.append(Text(_name(frame, style), "dim" if frame.hidden else "bold"))
        lines.append(_at(frame, style))
    return lines


def _start(snapshot: Snapshot, row: int, style: Style) -> list[Text]:
    """The start function, which is known even without a stack."""
    start = snapshot.frame(int(snapshot.goroutines.start[row]))
    if start is None:
        return []
    return [Text(f"started in {_name(start, style, 40)}"), _at(start, style)]


def _name(frame: Frame, style: Style, less: int = 0) -> str:
    name = function_text(frame, style)
    return name if style.width is None else function_in(name, max(style.width - less, 20))


def _at(frame: Frame, style: Style) -> Text:
    where = place(frame, style)
    if style.width is not None and len(where) > style.width - len(_INDENT):
        where = location_in(where, style.width - len(_INDENT))
    return Text(_INDENT + where, "dim")


def _state(g: Goroutine, seen_ns: int | None) -> str:
    parts = [state_words(g.status, g.wait_reason)]
    parts += [f"{duration(g.waiting_ns)} at least"] if g.waiting_ns is not None else []
    if seen_ns is not None and seen_ns > (g.waiting_ns or 0):
        parts.append(f"seen at each refresh for {duration(seen_ns)}")
    parts += [f"m={g.m}"] if g.m is not None else []
    parts += ["locked to thread"] if g.locked_to_thread else []
    parts += [g.quality] if QUALITIES.index(g.quality) in DOUBTFUL else []
    return ", ".join(parts)
