"""The problems of a snapshot (parts that are missing or doubtful) as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.escape import visible
from spyglass.model import Problem
from spyglass.render.cropping import cropped
from spyglass.render.view_options import View
from spyglass.words.units import count, plural

__all__ = ["problem_lines"]

_SHOWN = 3


def problem_lines(problems: Sequence[Problem], view: View) -> Iterator[Text]:
    """The first problems and their number; all of them with `View.debug`."""
    lines = [visible(f"{each.kind}: {each.subject}: {each.detail}") for each in problems]
    shown = len(lines) if view.debug else min(len(lines), _SHOWN)
    total = plural(len(lines), "problem")
    if lines:
        more = f", {count(len(lines) - shown)} more with --debug" if shown < len(lines) else ""
        lines = [*lines[:shown], total + more]
    for line in lines:
        yield Text(line if view.width is None else cropped(line, view.width), "yellow")
