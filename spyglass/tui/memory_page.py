"""The page of memory over time: what the Go runtime accounts for, stacked, with resident memory and the limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.tui.layout import Style
from spyglass.words.units import size

if TYPE_CHECKING:
    from spyglass.tui.view_state import Model

__all__ = ["FIGURES", "memory_lines"]

#: The layers of the chart from the bottom up: figure, words, sign, the same in ASCII, colour.
_LAYERS = (
    ("heap", "heap in use", "█", "#", "green"),
    ("kept", "heap free, not returned", "▒", "+", "yellow"),
    ("stacks", "stacks", "░", ".", "blue"),
)
#: Beside them: lines of resident memory and of the limit.
_RSS, _LIMIT = ("━", "=", "bold magenta"), ("┄", "-", "red")
FIGURES = tuple(layer[0] for layer in _LAYERS)
_ROWS, _LABEL, _WIDTH = 12, 12, 80
#: A limit far above all else is not drawn: the rest would be a line.
_NEAR = 2

_Figures = Mapping[str, float | None]


def memory_lines(model: Model, style: Style) -> Sequence[Text]:
    """The chart of the last refreshes, the latest on the right, and what its signs mean."""
    width = max((style.width or _WIDTH) - _LABEL, 1)
    past = model.history.figures()[-width:]
    limit = _limit(past[-1]) if past else None
    top = max([*map(_height, past), 1.0])
    if limit is not None and limit <= _NEAR * top:
        top = max(top, limit)
    lines = list(_chart(past, top, limit, style))
    return [*lines, Text(), *_legend(past[-1] if past else {}, limit, style)]


def _height(figures: _Figures) -> float:
    layers = sum(figures.get(name) or 0.0 for name in FIGURES)
    return max(layers, figures.get("rss") or 0.0)


def _limit(figures: _Figures) -> float | None:
    """The smallest known limit: of the control group, or GOMEMLIMIT."""
    known = [each for each in (figures.get("limit"), figures.get("gomemlimit")) if each is not None]
    return min(known, default=None)


def _chart(
    past: Sequence[_Figures], top: float, limit: float | None, style: Style
) -> Iterator[Text]:
    for row in range(_ROWS, 0, -1):
        label = size(int(top * row / _ROWS)) if row in (_ROWS, _ROWS // 2) else ""
        line = Text(f"{label:>{_LABEL - 2}} {style.sign('│', '|')}", no_wrap=True, end="")
        for figures in past:
            sign, ascii_sign, colour = _cell(figures, row, top, limit)
            line.append(style.sign(sign, ascii_sign), colour)
        yield line


def _cell(figures: _Figures, row: int, top: float, limit: float | None) -> tuple[str, str, str]:
    """What is drawn in `row` (1: the lowest) of a column: two signs and a colour."""
    low, high = top * (row - 1) / _ROWS, top * row / _ROWS
    if low < (figures.get("rss") or 0.0) <= high:
        return _RSS
    reached = 0.0
    for name, _, sign, ascii_sign, colour in _LAYERS:
        reached += figures.get(name) or 0.0
        if (low + high) / 2 <= reached:
            return sign, ascii_sign, colour
    return _LIMIT if limit is not None and low < limit <= high else (" ", " ", "")


def _legend(now: _Figures, limit: float | None, style: Style) -> Iterator[Text]:
    for name, words, sign, ascii_sign, colour in reversed(_LAYERS):
        yield _entry((sign, ascii_sign, colour), words, now.get(name), style)
    yield _entry(_RSS, "resident memory", now.get("rss"), style)
    if limit is not None:
        which = "control group" if limit == now.get("limit") else "GOMEMLIMIT"
        yield _entry(_LIMIT, f"limit ({which})", limit, style)
    else:
        yield Text("no limit is known")
    yield Text()
    yield Text(
        "The layers are what the Go runtime accounts for, of which not all is resident.", "dim"
    )
    yield Text("spyglass memory says what resident memory is of.", "dim")


def _entry(signs: tuple[str, str, str], words: str, amount: float | None, style: Style) -> Text:
    text = Text(style.sign(signs[0], signs[1]), signs[2])
    return text.append(f" {words} {size(None if amount is None else int(amount))}", "default")
