"""Findings at the top of the screen, a line for each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from spyglass.analysis.findings import NOTHING, Finding
from spyglass.render.cropping import cropped, function_in
from spyglass.render.findings import SEVERITY_STYLES
from spyglass.tui.layout import Style
from spyglass.words.units import plural

__all__ = ["findings_lines"]

_LABEL_WIDTH = 9
#: Less of a function's name is not worth the cells.
_MIN_NAME_WIDTH = 8


def findings_lines(
    found: Sequence[Finding], style: Style, limit: int | None = None
) -> Sequence[Text]:
    """The first `limit` of `found`, the most severe first; findings that are only "info" are left out."""
    serious = [finding for finding in found if finding.severity != "info"]
    if not serious:
        notes = f"  {plural(len(found), 'note')} (f)" if found else ""
        return [Text.assemble((NOTHING, "green"), (notes, "dim"))]
    return [_line(finding, style) for finding in serious[:limit]]


def _line(finding: Finding, style: Style) -> Text:
    label = Text(finding.severity.ljust(_LABEL_WIDTH), SEVERITY_STYLES[finding.severity])
    text = style.text(finding.title)
    if style.width is not None:
        room = max(style.width - _LABEL_WIDTH, 1)
        text = _fitted(text, [*map(style.text, finding.functions)], room)
        text = style.sign(text, text.replace("…", "~"))
    return Text.assemble(label, text, no_wrap=True, end="")


def _fitted(text: str, functions: Sequence[str], room: int) -> str:
    """`text` in at most `room` cells: the end of a function that it names is kept, as far as possible."""
    for function in functions:
        if cell_len(text) > room:
            text = _with_end_of(text, function, room)
    return cropped(text, room)


def _with_end_of(text: str, function: str, room: int) -> str:
    before, found, after = text.partition(function)
    if not found:
        return text
    left = room - cell_len(before) - (1 if after else 0)
    return before + function_in(function, max(left, _MIN_NAME_WIDTH)) + after
