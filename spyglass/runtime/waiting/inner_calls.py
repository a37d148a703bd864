"""What the innermost functions of stacks tell, once for each different stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from spyglass.columns import numbered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.runtime.waiting.population import Population

__all__ = ["DEPTH", "inner_nodes", "told_by_calls"]

T = TypeVar("T")

#: Pcs from gopark to the method that waits, with no call inlined.
DEPTH = 10


def told_by_calls(
    population: Population, rows: NDArray[np.int64], tell: Callable[[Iterator[str]], T]
) -> tuple[list[T], NDArray[np.int64]]:
    """What `tell` says of the functions on the stacks of the goroutines `rows`, the innermost first: its
    answers, and for each goroutine which of them is its.

    It is asked once for each different beginning of a stack; of a goroutine without a stack there are no
    functions.
    """
    inner, which = inner_nodes(population, rows)
    return [tell(each) for each in _functions(population.tree, inner.max(axis=1))], which


def inner_nodes(
    population: Population, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different beginnings of the stacks of the goroutines `rows` as nodes, an array of shape (n, `DEPTH`), the
    innermost first, 0 for no more; and for each goroutine which of them is its."""
    nodes, which = numbered(population.nodes[rows])
    inner = population.tree.innermost(nodes, DEPTH)
    different, same = numbered(inner.max(axis=1))  # a node comes after those further in
    one = np.zeros(len(different), np.int64)
    one[same] = np.arange(len(same))
    return inner[one], same[which]


def _functions(tree: StackTree, nodes: NDArray[np.int64]) -> Iterator[Iterator[str]]:
    """The functions of each of the stacks that end at `nodes`, the innermost first."""
    is_stack = nodes > tree.SAMPLED
    paths = tree.paths(nodes[is_stack])
    frames, known = paths.frames.tolist(), tree.code.frames
    ends = np.zeros(len(nodes) + 1, np.int64)
    ends[1:][is_stack] = paths.offsets[1:]
    np.maximum.accumulate(ends, out=ends)
    for begin, end in pairwise(ends.tolist()):
        yield (known[frame].function for frame in frames[begin:end])
