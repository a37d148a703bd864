"""Names shortened to a width. The end of a name is kept: that is where names differ."""

from __future__ import annotations

from rich.cells import cell_len, get_character_cell_size

from spyglass.words.calls import CALL_MARK

__all__ = ["cropped", "function_and_call_in", "function_in", "location_in", "tail_in"]

_ELLIPSIS = "…"
#: A call is left out of a cell rather than shown in fewer cells.
_MIN_CALL_WIDTH = 10


def cropped(text: str, width: int) -> str:
    """The beginning of `text` in at most `width` cells of a terminal."""
    if cell_len(text) <= width:
        return text
    return _taken(text, width - 1) + _ELLIPSIS if width > 0 else ""


def tail_in(text: str, width: int) -> str:
    """The end of `text` in at most `width` cells of a terminal."""
    if cell_len(text) <= width:
        return text
    return _ELLIPSIS + _taken(text[::-1], width - 1)[::-1] if width > 0 else ""


def function_in(name: str, width: int) -> str:
    """A function's name in at most `width` cells: all of it, or from its package's name on, or its end.

    ``github.com/prometheus/prometheus/scrape.(*scrapeLoop).run``, ``scrape.(*scrapeLoop).run``,
    ``…crapeLoop).run``.
    """
    if cell_len(name) <= width:
        return name
    path, bracket, arguments = name.partition("[")  # of a generic function
    return tail_in(path.rpartition("/")[2] + bracket + arguments, width)


def function_and_call_in(text: str, width: int) -> str:
    """``main.report in sync.(*Mutex).Lock`` in at most `width` cells: the call is shortened first."""
    function, mark, call = text.partition(CALL_MARK)
    function = function_in(function, width)
    room = width - cell_len(function) - len(mark)
    return (
        function + mark + function_in(call, room) if mark and room >= _MIN_CALL_WIDTH else function
    )


def location_in(location: str, width: int) -> str:
    """``/src/prometheus/scrape/scrape.go:1371`` in at most `width` cells.

    ``scrape/scrape.go:1371``, ``scrape.go:1371``, ``…pe.go:1371``.
    """
    *directories, file = location.split("/")
    both = "/".join([*directories[-1:], file])
    return both if cell_len(both) <= width else tail_in(file, width)


def _taken(text: str, width: int) -> str:
    """The longest prefix of `text` that is at most `width` cells wide."""
    for index, character in enumerate(text):
        width -= get_character_cell_size(character)
        if width < 0:
            return text[:index]
    return text
