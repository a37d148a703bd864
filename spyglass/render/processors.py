"""The Ps of the scheduler: a line for each, or several side by side where lines are few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.escape import visible
from spyglass.model import Processor
from spyglass.render.sections import LABEL_WIDTH, labelled
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.words.states import state_colour
from spyglass.words.units import count

__all__ = ["processor_lines"]

_BLOCK_GAP = 3


def processor_lines(
    processors: Sequence[Processor], width: int | None, room: int, *, styled: bool
) -> Iterator[Text]:
    """A table of `processors` in at most `room` lines, side by side within `width` if need be.

    If there is still no room for all, idle ones are left out first, and the last line counts them.
    """
    if not processors:
        return
    if width is None or len(processors) < room:
        yield from _beside_label(_side_by_side(processors, 1, styled), width)
        return
    block_width = max(line.cell_len for line in _side_by_side(processors, 1, styled))
    blocks = max((width - LABEL_WIDTH + _BLOCK_GAP) // (block_width + _BLOCK_GAP), 1)
    most = max(room - 1, 1) * blocks
    if len(processors) <= most:
        yield from _beside_label(_side_by_side(processors, blocks, styled), width)
        return
    busiest = sorted(processors, key=lambda p: (p.status == "idle", p.id))
    shown = max(room - 2, 1) * blocks
    lines = _side_by_side(sorted(busiest[:shown], key=lambda p: p.id), blocks, styled)
    lines.append(Text(_left_out(busiest[shown:]), "dim"))
    yield from _beside_label(lines, width)


def _left_out(processors: Sequence[Processor]) -> str:
    states = Counter(visible(processor.status) for processor in processors).most_common()
    words = ", ".join(f"{number} {status}" for status, number in states)
    return f"… and {count(len(processors))} more ({words}); --all shows them"


def _beside_label(lines: Sequence[Text], width: int | None) -> Iterator[Text]:
    for number, line in enumerate(lines):
        whole = labelled("" if number else "Ps").append_text(line)
        if width is not None:
            whole.truncate(width, overflow="ellipsis")
        yield whole


def _side_by_side(processors: Sequence[Processor], blocks: int, styled: bool) -> list[Text]:
    """The table cut into `blocks` side by side, each with its own titles."""
    title, *rows = table(_columns(processors), None, styled=styled)
    height = -(-len(rows) // blocks)
    columns = [[title, *rows[first : first + height]] for first in range(0, len(rows), height)]
    width = max(line.cell_len for line in (title, *rows)) + _BLOCK_GAP
    lines = []
    for number in range(height + 1):
        line = Text()
        for column in columns:
            if number < len(column):
                line.append_text(column[number])
                line.pad_right(width - column[number].cell_len)
        line.rstrip()
        lines.append(line)
    return lines


def _columns(processors: Sequence[Processor]) -> list[Column]:
    def numbers(title: str, values: Iterator[int | None]) -> Column:
        return Column(title, ["-" if value is None else str(value) for value in values], right=True)

    return [
        numbers("P", (p.id for p in processors)),
        Column("status", [visible(p.status) for p in processors], style=_style),
        numbers("schedtick", (p.schedtick for p in processors)),
        numbers("syscalltick", (p.syscalltick for p in processors)),
        numbers("queue", (p.run_queue for p in processors)),
        numbers("M", (p.m for p in processors)),
        numbers("thread", (p.tid for p in processors)),
    ]


def _style(status: str) -> str:
    return "dim" if status == "idle" else state_colour(status) or "green"
