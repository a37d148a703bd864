"""HTML of the report as a tree in JSON: the page builds elements of it, so that no text is ever read as HTML in the browser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

__all__ = ["elements"]

#: An element: its name, its attributes, and its children. A text is a string.
Node = str | list[Any]

_VOID = frozenset({"br", "hr", "img", "input"})
#: `HTMLParser` makes names of attributes lower case, which SVG does not take.
_NAMES = {"viewbox": "viewBox"}


def elements(markup: str) -> list[Node]:
    """The elements and texts of `markup`, well-formed HTML of `spyglass.report`; white space between elements is left out."""
    tree = _Tree()
    tree.feed(markup)
    tree.close()
    return tree.top


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.top: list[Node] = []
        self._open: list[list[Any]] = [self.top]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {_NAMES.get(name, name): value or "" for name, value in attrs}
        made = [tag, attributes]
        self._open[-1].append(made)
        if tag not in _VOID:
            self._open.append(made)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID and self._open.pop()[0] != tag:
            raise ValueError(f"</{tag}> ends no element")

    def handle_data(self, data: str) -> None:
        if not data.isspace() or "\n" not in data:
            self._open[-1].append(data)
