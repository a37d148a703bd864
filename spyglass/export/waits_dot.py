"""What goroutines wait on as a graph in Graphviz's language (graphviz.org/doc/info/lang.html)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from spyglass.analysis.wait_drawing import Drawing, Edge, Node, drawing
from spyglass.analysis.wait_groups import wait_groups
from spyglass.wait_graph import KINDS

if TYPE_CHECKING:
    from spyglass.analysis.wait_view import WaitView

__all__ = ["write_dot"]

#: Groups of waits that are drawn, the largest; no more can be seen.
_MAX_GROUPS = 500
_RUNTIME = KINDS.index("runtime")
_SHAPES = {"goroutine": "ellipse", "goroutines": "ellipse", "object": "box"}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})


def write_dot(view: WaitView, stream: BinaryIO) -> None:
    """Write the waits of the goroutines that were chosen, and of those that they hang on; not the waits of the
    runtime's own."""
    groups = [each for each in wait_groups(view, view.goroutines) if each.kind != _RUNTIME]
    made = drawing(view, groups[:_MAX_GROUPS])
    left_out = max(len(groups) - _MAX_GROUPS, 0)
    stream.writelines(line.encode() + b"\n" for line in _lines(made, left_out))


def _lines(made: Drawing, left_out: int) -> Iterator[str]:
    yield "digraph waits {"
    yield "  rankdir=LR;"
    yield '  node [fontname="sans-serif", fontsize=11];'
    yield '  edge [fontname="sans-serif", fontsize=9];'
    if left_out:
        yield f"  // {left_out} smaller groups are left out"
    yield from map(_node, made.nodes.values())
    yield from map(_edge, made.edges)
    yield "}"


def _node(node: Node) -> str:
    attributes = f"label={_quoted(*node.lines)}, shape={_SHAPES[node.kind]}"
    if node.kind == "goroutines":
        attributes += ", peripheries=2"
    if node.is_stuck:
        attributes += ", color=red"
    return f"  {node.name} [{attributes}];"


def _edge(edge: Edge) -> str:
    style = "" if edge.is_certain else ", style=dashed"
    return f"  {edge.source} -> {edge.target} [label={_quoted(edge.label)}{style}];"


def _quoted(*lines: str) -> str:
    return '"' + "\\n".join(line.translate(_ESCAPES) for line in lines) + '"'
