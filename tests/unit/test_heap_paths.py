"""Shortest ways through heaps made by hand, compared with a plain search, and made to harm."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from spyglass.runtime.heap.paths import NO_PARENT, ROOT, find_paths
from spyglass.runtime.heap.references import References

NEVER = float("inf")


def references(targets: list[list[int]]) -> References:
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.uint32)
    flat = np.array([each for row in targets for each in row], np.uint32)
    return References(offsets, flat, 0, True)


def plain_distances(targets: list[list[int]], begin: list[int]) -> dict[int, int]:
    found, work = dict.fromkeys(begin, 1), list(begin)
    for one in work:
        for target in targets[one]:
            if target not in found:
                found[target] = found[one] + 1
                work.append(target)
    return found


@pytest.mark.parametrize(("count", "degree"), [(50, 1), (3000, 1), (3000, 2), (1000, 300)])
def test_ways_are_the_shortest(count: int, degree: int) -> None:
    chance = np.random.default_rng(count + degree)
    targets = [
        chance.integers(0, count, chance.integers(0, degree + 1)).tolist() for _ in range(count)
    ]
    begin = chance.integers(0, count, 3).tolist()
    every = np.arange(count, dtype=np.uint32)
    paths = find_paths(references(targets), np.array(begin, np.uint32), every, NEVER)
    distances = plain_distances(targets, begin)
    assert set(np.flatnonzero(paths.reached(every)).tolist()) == set(distances)
    reached = np.array(sorted(distances), np.uint32)
    heads = paths.heads(reached).tolist()
    for number, head in zip(reached.tolist(), heads, strict=True):
        path = paths.path(number)
        assert (path[0], path[-1]) == (head, number)
        assert head in begin
        assert all(after in targets[before] for before, after in pairwise(path))
        assert len(path) == distances[number]


def test_circles_and_long_lists_end() -> None:
    count = 200_000
    targets = [[(number + 1) % count, number] for number in range(count)]
    last = np.array([count - 1], np.uint32)
    paths = find_paths(references(targets), np.array([0], np.uint32), last, NEVER)
    assert paths.complete
    assert paths.path(count - 1) == list(range(count))
    assert paths.heads(last).tolist() == [0]
    assert paths.parent[0] == ROOT


def test_the_search_ends_when_all_are_reached_or_the_time_is_up() -> None:
    targets = [[number + 1] for number in range(999)] + [[]]
    wanted = np.array([0], np.uint32)
    roots = np.array([0], np.uint32)
    assert (find_paths(references(targets), roots, wanted, NEVER).parent != NO_PARENT).sum() == 1
    paths = find_paths(references(targets), roots, np.array([999], np.uint32), time.monotonic())
    assert not paths.complete
    assert paths.parent[999] == NO_PARENT


def test_no_way_leads_through_what_is_free() -> None:
    targets = [[1, 2], [3], [4], [], [3], []]
    three = np.array([3], np.uint32)
    free = np.array([1, 5], np.uint32)
    paths = find_paths(references(targets), np.array([0, 5], np.uint32), three, NEVER, free)
    assert paths.path(3) == [0, 2, 4, 3]
    assert not paths.reached(free).any()
