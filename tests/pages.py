"""Report pages taken apart: their elements, and what their data says of each goroutine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate
from typing import Any

from spyglass.model import NONE, Snapshot
from spyglass.report.page import report

__all__ = ["Element", "Page", "goroutines_of", "page_of", "stack_of"]

_VOID = {"meta", "input", "br", "img", "link"}


@dataclass
class Element:
    """One element with all the text in it."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Page:
    """The elements of a page, in the order they begin."""

    text: str
    elements: list[Element] = field(default_factory=list)

    def all(self, name: str, **attributes: str) -> list[Element]:
        """The elements with this `name` and these `attributes`."""
        return [
            element
            for element in self.elements
            if element.name == name and attributes.items() <= element.attributes.items()
        ]

    def one(self, name: str, **attributes: str) -> Element:
        """The only element with this `name` and these `attributes`."""
        (element,) = self.all(name, **attributes)
        return element

    @property
    def data(self) -> dict[str, Any]:
        """The data of its script."""
        data: dict[str, Any] = json.loads(self.one("script", id="spyglass-report").text)
        return data


def page_of(snapshot: Snapshot) -> Page:
    """The report of `snapshot`, taken apart as a browser would."""
    text = "".join(report(snapshot))
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert not parser.open, [element.name for element in parser.open]
    return Page(text, parser.elements)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def goroutines_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goroutine of a page's data with what its cell says of it, in words."""
    ids = data["goroutines"]["ids"]
    ids = [int(each) for each in ids] if ids and isinstance(ids[0], str) else [*accumulate(ids)]
    waits = _waits(data["goroutines"]["waits"])
    cells = data["cells"]
    found: list[dict[str, Any]] = []
    for number, count in enumerate(cells["count"]):
        cell = {name: column[number] for name, column in cells.items()}
        for _ in range(count):
            row = len(found)
            found.append({"id": ids[row], "waiting_ns": waits[row], **_in_words(data, cell)})
    assert len(found) == len(ids) == len(waits)
    return found


def _waits(runs: dict[str, list[int]]) -> list[int]:
    pairs = zip(runs["value"], runs["length"], strict=True)
    return [runs["values"][value] for value, length in pairs for _ in range(length)]


def _in_words(data: dict[str, Any], cell: dict[str, int]) -> dict[str, Any]:
    strings = data["strings"]
    words = {
        name: strings[cell[name]] if cell[name] != NONE else None
        for name in ("status", "reason", "state", "quality")
    }
    return cell | words | {name: stack_of(data, name, cell[name]) for name in ("shown", "all")}


def stack_of(data: dict[str, Any], tree: str, node: int) -> list[tuple[str, str | None, int]]:
    """The stack that ends at `node`, innermost first, each frame its function, file and line."""
    parents, places = data["trees"][tree]["parent"], data["trees"][tree]["place"]
    stack = []
    while node:
        stack.append(_place(data, places[node]))
        assert parents[node] < node
        node = parents[node]
    return stack


def _place(data: dict[str, Any], place: int) -> tuple[str, str | None, int]:
    columns, strings = data["places"], data["strings"]
    file = columns["file"][place]
    return (
        strings[columns["function"][place]],
        strings[file] if file != NONE else None,
        columns["line"][place],
    )
