"""Lower bounds of waits, from what Go notes and from the ends of collections."""

from __future__ import annotations

import numpy as np
import pytest

from spyglass.model import NONE
from spyglass.runtime.goroutines.waits import lower_bounds

MS = 1_000_000
NOW = 100_000 * MS


def bounds(since_ms: list[int | None], ends_ms: list[int]) -> list[int | None]:
    """The bounds in ms of goroutines with these ``waitsince``, after collections that ended so."""
    printed = np.array([NONE if s is None else NOW - s * MS for s in since_ms], np.int64)
    found = lower_bounds(printed, NOW, np.array(ends_ms, np.int64) * MS)
    return [None if each == NONE else each // MS for each in found.tolist()]


def test_a_wait_is_counted_from_the_end_of_the_next_collection() -> None:
    ends = [10_001, 20_001, 30_001]
    assert bounds([10_000], ends) == [100_000 - 20_001]
    assert bounds([20_000], ends) == [100_000 - 30_001]


def test_of_the_last_collection_nothing_is_known_yet() -> None:
    """One is marking now, and has noted it."""
    assert bounds([30_000], [10_001, 20_001, 30_001]) == [None]


def test_what_is_not_known_stays_so() -> None:
    assert bounds([None, 10_000], [10_001, 20_001]) == [None, 79_999]
    assert bounds([], []) == []
    unknown = lower_bounds(np.array([5], np.int64), None, np.array([1], np.int64))
    assert unknown.tolist() == [NONE]


def test_a_ring_that_has_forgotten_helps_nothing() -> None:
    """What is next in it may be the collection before, or clocks may have been set."""
    assert bounds([10_000], [20_001, 30_001]) == [None]
    assert bounds([10_000], [9_000, 20_001, 30_001]) == [None]


@pytest.mark.parametrize("late_ms", [0, 499, 501])
def test_a_mark_termination_is_short(late_ms: int) -> None:
    known = bounds([10_000], [10_000 + late_ms, 20_000])
    assert known == [80_000 if late_ms < 500 else None]


def test_what_was_noted_later_is_of_a_later_collection() -> None:
    assert bounds([10_000, 20_000, 30_000], []) == [80_000, 70_000, None]
    assert bounds([10_000, 10_000, 40_000], [10_001, 50_000]) == [60_000, 60_000, None]


def test_no_bound_is_more_than_what_go_prints() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        starts = np.sort(random.integers(1, 90_000, 8))
        since = random.choice(starts, 20).tolist()
        for found, one in zip(bounds(since, (starts + 1).tolist()), since, strict=True):
            assert found is None or found <= 100_000 - one


def test_ends_in_the_future_are_no_bounds() -> None:
    assert bounds([10_000], [10_001, 200_000]) == [None]
