"""Stacks as one tree: what they have in common is in it once, the outermost call at the root."""

from __future__ import annotations

from collections.abc import Iterable

from spyglass.model import NONE

__all__ = ["CallTree"]


class CallTree:
    """Nodes are numbered; number 0 is the root, and a parent's number is lower than its children's.

    `parents` and `calls` say for each node which one it is called from, and which call it is: the number
    of a place in the code, or of whatever the caller counts as one. Both are `NONE` for the root.
    """

    def __init__(self) -> None:
        self.parents: list[int] = [NONE]
        self.calls: list[int] = [NONE]
        self._children: dict[tuple[int, int], int] = {}

    def leaf(self, calls: Iterable[int]) -> int:
        """The node of the last of `calls`, the outermost of which comes first; made where need be."""
        node, children = 0, self._children
        for call in calls:
            child = children.get((node, call))
            if child is None:
                child = children[node, call] = len(self.parents)
                self.parents.append(node)
                self.calls.append(call)
            node = child
        return node
