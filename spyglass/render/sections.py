"""Lines of facts under a label: ``memory      heap in use 12.3 MiB  idle 4.0 MiB``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.words.units import UNKNOWN

__all__ = ["GAP", "LABEL_WIDTH", "fact", "labelled", "section"]

LABEL_WIDTH = 11
GAP = "  "


def fact(name: str, value: str, style: str = "") -> Text:
    """`name` and `value`; an unknown value is highlighted."""
    return Text.assemble((f"{name} ", "dim"), (value, "yellow" if value == UNKNOWN else style))


def section(label: str, facts: Sequence[Text], width: int | None) -> Iterator[Text]:
    """`facts` after `label`, wrapped to lines of `width` cells; None: one line."""
    line, is_empty = labelled(label), True
    for each in facts:
        if width is not None:
            each = each.copy()
            each.truncate(max(width - LABEL_WIDTH, 1), overflow="ellipsis")
            if not is_empty and line.cell_len + len(GAP) + each.cell_len > width:
                yield line
                line, is_empty = labelled(""), True
        line = line if is_empty else line.append(GAP)
        line.append_text(each)
        is_empty = False
    if not is_empty:
        yield line


def labelled(label: str) -> Text:
    """The beginning of a line of the section `label`; an empty label: of a continuation line."""
    return Text.assemble((label.ljust(LABEL_WIDTH), "bold cyan"))
