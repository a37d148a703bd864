"""Graphs of waits as inline SVG: a column of boxes with arrows, which needs no script and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spyglass.analysis.wait_drawing import Drawing, Edge, Node
from spyglass.report.markup import Markup, element, joined

__all__ = ["knot_svg"]

#: In px: the drawing, its margin on the left, the room for arrows beside the boxes, and each of these.
_WIDTH, _LEFT, _LANES, _LANE = 340, 2, 46, 11
_LINE, _PADDING, _GAP, _SMALL_GAP = 16, 8, 38, 12
#: The characters of a box's line in a monospaced font of 12 px.
_CHARACTERS = (_WIDTH - _LEFT - _LANES - 2 * _PADDING) // 7
_MAX_LANES = (_LANES - 6) // _LANE


@dataclass(frozen=True, slots=True)
class _Box:
    """A node and where it is: its upper and lower edge in px."""

    node: Node
    top: int
    bottom: int

    @property
    def middle(self) -> int:
        return (self.top + self.bottom) // 2


def knot_svg(drawing: Drawing, title: str) -> Markup:
    """`drawing`, whose text is escaped already; `title` is what a screen reader says of it."""
    boxes = _boxes(drawing)
    height = max((box.bottom for box in boxes.values()), default=0) + 1
    arrows = joined(*_arrows(drawing, boxes))
    return element(
        "svg", arrows, *map(_box, boxes.values()), class_="knot", role="img", aria_label=title,
        width=str(_WIDTH), height=str(height), viewBox=f"0 0 {_WIDTH} {height}",
    )  # fmt: skip


def _boxes(drawing: Drawing) -> dict[str, _Box]:
    """The boxes by the names of their nodes, one below the other, with room for an arrow where there is one."""
    nodes = _in_order(drawing)
    arrows = {(edge.source, edge.target) for edge in drawing.edges}
    boxes, at = {}, 1
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        bottom = at + 2 * _PADDING + _LINE * len(node.lines)
        boxes[node.name] = _Box(node, at, bottom)
        leads_on = following is not None and (node.name, following.name) in arrows
        at = bottom + (_GAP if leads_on else _SMALL_GAP)
    return boxes


def _in_order(drawing: Drawing) -> list[Node]:
    """The nodes from those that wait to what they hang on; of a circle, from the first goroutine on."""
    targets: dict[str, list[str]] = {}
    sources: dict[str, list[str]] = {}
    for edge in drawing.edges:
        targets.setdefault(edge.source, []).append(edge.target)
        sources.setdefault(edge.target, []).append(edge.source)
    starts = [name for name in drawing.nodes if name not in sources]
    goroutines = [name for name, node in drawing.nodes.items() if node.kind != "object"]
    order: dict[str, None] = {}
    for start in (*starts, *goroutines, *drawing.nodes):
        left = [start]
        while left:
            name = left.pop()
            if name in order:
                continue
            # Who waits for the same comes before it, if nothing leads there.
            order |= dict.fromkeys(each for each in sources.get(name, ()) if each not in sources)
            order[name] = None
            left += reversed(targets.get(name, ()))
    return [drawing.nodes[name] for name in order]


def _box(box: _Box) -> Markup:
    node, width = box.node, _WIDTH - _LEFT - _LANES
    shape = element(
        "rect", x=str(_LEFT), y=str(box.top), width=str(width), height=str(box.bottom - box.top),
        rx="4" if node.kind == "object" else "14",
    )  # fmt: skip
    lines = [
        element(
            "text", _shortened(line), x=str(_LEFT + _PADDING + 4),
            y=str(box.top + _PADDING + _LINE * number + 12), class_="first" if not number else None,
        )
        for number, line in enumerate(node.lines)
    ]  # fmt: skip
    stuck = " is-stuck" if node.is_stuck else ""
    whole = element("title", " ".join(node.lines))
    return element("g", whole, shape, *lines, class_=f"{node.kind}{stuck}")


def _arrows(drawing: Drawing, boxes: dict[str, _Box]) -> Iterator[Markup]:
    """An arrow down from a box to the next one; beside the boxes to another, each in a lane of its own."""
    places = {name: number for number, name in enumerate(boxes)}
    lane = 0
    for edge in drawing.edges:
        source, target = boxes[edge.source], boxes[edge.target]
        if places[edge.target] == places[edge.source] + 1:
            yield from _down(edge, source, target)
        else:
            yield from _beside(edge, source, target, lane % _MAX_LANES)
            lane += 1


def _down(edge: Edge, source: _Box, target: _Box) -> Iterator[Markup]:
    x, tip = 24, target.top - 1
    yield _line(edge, f"M{x} {source.bottom}V{tip - 4}")
    yield element("path", d=f"M{x} {tip}l-4 -7h8z", class_="tip")
    yield element(
        "text", edge.label, x=str(x + 12), y=str(source.bottom + _GAP // 2 + 4), class_="label"
    )


def _beside(edge: Edge, source: _Box, target: _Box, lane: int) -> Iterator[Markup]:
    right = _WIDTH - _LANES
    x, tip = right + 12 + lane * _LANE, right + 1
    begin, end = source.middle + 4, target.middle - 4
    bend = 6 if end > begin else -6
    path = f"M{right} {begin}H{x - 6}Q{x} {begin} {x} {begin + bend}V{end - bend}Q{x} {end} {x - 6} {end}H{tip + 4}"
    yield _line(edge, path)
    yield element("path", d=f"M{tip} {end}l7 -4v8z", class_="tip")


def _line(edge: Edge, path: str) -> Markup:
    title = element("title", edge.label)
    return element(
        "path", title, d=path, class_="arrow" if edge.is_certain else "arrow is-doubtful"
    )


def _shortened(text: str) -> str:
    """`text` in a line of a box: the end of a name is kept, that is where names differ."""
    if len(text) <= _CHARACTERS:
        return text
    short = text.rpartition("/")[2]
    return short if len(short) <= _CHARACTERS else f"…{short[1 - _CHARACTERS :]}"
