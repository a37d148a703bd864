"""Which words of stacks hold live pointers, for each distinct stack once."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spyglass.binary.stack_maps import StackMaps
from spyglass.runtime.stacks.symbolizer import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spyglass.binary.stack_maps import FrameMap
    from spyglass.runtime.stacks.stack_tree import PathFrame, StackTree

__all__ = ["LiveWords", "StackPlans"]

#: Distinct stacks that are planned; of others every word may be a pointer. Words of them all.
_MAX_PLANS = 1 << 15
_MAX_WORDS = 1 << 22
#: What interrupted a frame in the middle: its registers and words are described nowhere.
_INTERRUPTED = Entry.TRAP | Entry.INJECTED_CALL


class StackPlans(NamedTuple):
    """What to look at in stacks that end at some nodes, in words from the innermost sp.

    `known` (bool): it is known; of the others every word may be a pointer. Words of stack i:
    ``words[word_offsets[i]:word_offsets[i + 1]]``. Objects on stack i, which are looked at if a pointer points into them,
    in ascending order: ``begins`` and ``sizes``, from ``object_offsets[i]`` to ``object_offsets[i + 1]``. Where
    stack i has return addresses, and which: ``return_slots`` and ``return_pcs`` (uint64), from
    ``return_offsets[i]`` to ``return_offsets[i + 1]``; a stack with others is not the one that is planned for. All
    others int64.
    """

    known: NDArray[np.bool_]
    word_offsets: NDArray[np.int64]
    words: NDArray[np.int64]
    object_offsets: NDArray[np.int64]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    return_offsets: NDArray[np.int64]
    return_slots: NDArray[np.int64]
    return_pcs: NDArray[np.uint64]


class LiveWords:
    """Finds the words of stacks of `tree` that hold live pointers, as the garbage collector does."""

    def __init__(self, tree: StackTree, link_register: bool) -> None:
        self._tree = tree
        self._link_register = link_register
        self._maps = StackMaps(tree.code.functions, tree.code.trees, link_register)
        self._known: dict[int, _Stack | None] = {}
        self._words = 0

    def plans(self, nodes: NDArray[np.int64]) -> StackPlans:
        """The plans of stacks that end at `nodes`, which are distinct."""
        found = [self._stack_at(node) for node in nodes.tolist()]
        some = [stack or _Stack([], [], []) for stack in found]
        return StackPlans(
            np.array([stack is not None for stack in found], np.bool_),
            _offsets(len(stack.words) for stack in some),
            np.array([word for stack in some for word in stack.words], np.int64),
            _offsets(len(stack.objects) for stack in some),
            np.array([begin for stack in some for begin, _ in stack.objects], np.int64),
            np.array([size for stack in some for _, size in stack.objects], np.int64),
            _offsets(len(stack.returns) for stack in some),
            np.array([slot for stack in some for slot, _ in stack.returns], np.int64),
            np.array([pc for stack in some for _, pc in stack.returns], np.uint64),
        )

    def _stack_at(self, node: int) -> _Stack | None:
        """The live words of a stack that ends at `node`; None if they are not known."""
        if node in self._known:
            return self._known[node]
        if len(self._known) >= _MAX_PLANS or self._words >= _MAX_WORDS:
            return None
        stack = self._known[node] = self._stack(self._tree.path_frames(node))
        self._words += len(stack.words) if stack is not None else 0
        return stack

    def _stack(self, frames: list[PathFrame]) -> _Stack | None:
        """The live words of a stack of `frames`, the innermost first; None if they are not known.

        As ``runtime/mgcmark.go: scanstack, scanframeworker``.
        """
        stack, base = _Stack([], [], []), 0
        called_unknown = False
        for frame, caller in zip_longest(frames, frames[1:]):
            if frame.entered & _INTERRUPTED and self._link_register:
                return None  # the handler made room on the stack: what is where is not known
            known = self._frame_map(frame)
            # Arguments of a function without a map are in its caller's frame.
            if known is None or called_unknown:
                stack.words.extend(range(base, base + frame.words))
            if known is not None:
                stack.words.extend(base + word for word in known.live)
                stack.objects.extend((base + begin, words) for begin, words in known.objects)
            called_unknown = known is None
            if caller is not None and (frame.words or not self._link_register):
                slot = base if self._link_register else base + frame.words
                stack.returns.append((slot, caller.pc))
            base += frame.words + (not self._link_register)
        stack.objects.sort()
        return stack if frames else None

    def _frame_map(self, frame: PathFrame) -> FrameMap | None:
        function = self._tree.code.functions.at(frame.pc)
        if function is None or frame.entered & _INTERRUPTED:
            return None
        return self._maps.at(function, frame.pc)


class _Stack(NamedTuple):
    """Live words, objects (begin, words), and return addresses (where, pc), from the innermost sp."""

    words: list[int]
    objects: list[tuple[int, int]]
    returns: list[tuple[int, int]]


def _offsets(counts: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *counts], dtype=np.int64)
