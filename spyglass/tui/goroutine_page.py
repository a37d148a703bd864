"""The page of one goroutine: its state, labels, what it waits on, stack and creator."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from spyglass.analysis.shown_frames import shown_frames
from spyglass.model import NONE, QUALITIES, Frame, Goroutine, Snapshot
from spyglass.render.cropping import function_in, location_in
from spyglass.tui.cell_values import function_text, labels_text, place
from spyglass.tui.layout import Style
from spyglass.tui.page_base import LinesPage
from spyglass.words.states import DOUBTFUL, state_words
from spyglass.words.units import duration

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model
    from spyglass.tui.wait_texts import WaitTexts

__all__ = ["GoroutinePage"]

_INDENT = "    "


class GoroutinePage(LinesPage):
    """The page of the goroutine that the level is of. Lines that name another goroutine lead to its page."""

    def __init__(self, model: Model, style: Style) -> None:
        self._links: dict[int, int] = {}
        super().__init__(model, style, self._all_lines(model, style))
        self.selectable = bool(self._links)
        if self._links and model.level.selected is None:
            model.level.at = min(self._links)

    def key(self, number: int) -> Hashable:
        """The goroutine that a line leads to, with the number of the line; the number alone if it leads nowhere."""
        return (self._links[number], number) if number in self._links else number

    def _all_lines(self, model: Model, style: Style) -> list[Text]:
        snapshot, goid = model.snapshot, model.level.of
        assert snapshot is not None
        assert isinstance(goid, int)
        rows = np.flatnonzero(snapshot.goroutines.id == np.uint64(goid))
        if not len(rows):
            return [Text(f"goroutine {goid} has ended", "yellow")]
        row = int(rows[0])
        g = snapshot.goroutine(row)
        state = style.text(_state(g, model.seen_waiting_ns(row)))
        lines = [Text.assemble((f"goroutine {g.id}", "bold"), f" [{state}]")]
        if g.labels:
            lines.append(Text(style.text(labels_text(g))))
        lines += self._waits(model.waits, goid, len(lines), style)
        lines += _frames(snapshot, row, model.runtime_frames, style)
        return lines + _creation(g, style)

    def _waits(
        self, waits: WaitTexts | None, goroutine: int, begin: int, style: Style
    ) -> list[Text]:
        """What it waits for and holds, from line `begin` on; notes which lines lead to other goroutines."""
        if waits is None:
            return []
        verbs = ("waits for", *["or for"] * len(waits.waits_of(goroutine)))
        texts = zip(verbs, waits.waits_of(goroutine), strict=False)
        lines = [Text(style.text(f"{verb} {text}"), "cyan") for verb, text in texts]
        for link in (*waits.holders_of(goroutine), *waits.waiters_for(goroutine)):
            self._links[begin + len(lines)] = link.goroutine
            at = "" if link.where is None else f" at {_name(link.where, style, 60)}"
            lines.append(Text(f"{_INDENT}{style.text(link.text)}{at}{link.how}", "cyan"))
            if link.does:
                lines.append(Text(f"{_INDENT * 2}{style.text(link.does)}", "cyan"))
        verdict = waits.verdict(goroutine)
        if verdict is not None and verdict.verdict not in ("waits", "unknown"):
            word = verdict.verdict.replace("_", " ")
            lines.append(Text(style.text(f"{word}: {verdict.because}"), "yellow"))
        return lines


def _creation(g: Goroutine, style: Style) -> list[Text]:
    if g.created_by is None:
        return []
    by = f" in goroutine {g.creator_id}" if g.creator_id is not None else ""
    return [Text(f"created by {_name(g.created_by, style, 40)}{by}"), _at(g.created_by, style)]


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
