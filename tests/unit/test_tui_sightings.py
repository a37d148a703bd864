"""How long goroutines were seen waiting: only what was seen at every tick."""

from __future__ import annotations

import numpy as np
import pytest

from spyglass.model import NONE
from spyglass.tui.sightings import Sightings
from tests.snapshots import Row, frame, make_snapshot

A, B = frame("main.a", line=1), frame("main.b", line=2)
SECOND = 1_000_000_000
WAITS = Row(7, wait_reason="select", where=A, stops=200)


def seen(*ticks: list[Row]) -> list[int]:
    """What is seen at the last of `ticks`, one a second, each of which took 0.1 s."""
    sightings, found = Sightings(), np.zeros(0, np.int64)
    for number, rows in enumerate(ticks):
        found = sightings.note(make_snapshot(rows), number * SECOND, SECOND // 10)
    return found.tolist()


def test_it_is_the_time_from_the_end_of_the_second_tick_to_the_begin_of_the_last_but_one() -> None:
    assert seen(*[[WAITS]] * 4) == [900_000_000]
    assert seen(*[[WAITS]] * 13) == [9_900_000_000]


def test_a_tick_too_many_at_each_end_makes_it_no_longer_than_the_wait() -> None:
    """It waits from the second tick to the fifth, and stops 256 times before and after."""
    assert seen(*[[WAITS]] * 6) == [2_900_000_000]


def test_three_ticks_are_not_enough() -> None:
    assert seen(*[[WAITS]] * 3) == [NONE]


@pytest.mark.parametrize(
    "other",
    [
        Row(7, wait_reason="select", where=A, stops=201),
        Row(7, wait_reason="select", where=B, stops=200),
        Row(7, wait_reason="chan send", where=A, stops=200),
        Row(7, "running", where=A, stops=200),
        Row(7, wait_reason="select", where=A, stops=200, quality="torn"),
        Row(7, wait_reason="select", where=A, stops=None),
        Row(8, wait_reason="select", where=A, stops=200),
    ],
)
def test_one_tick_at_which_it_was_otherwise_ends_it(other: Row) -> None:
    ticks = [[WAITS]] * 4 + [[other]] + [[WAITS]] * 3
    assert seen(*ticks) == [NONE]
    assert seen(*ticks, [WAITS]) == [900_000_000]


def test_without_a_count_of_stops_nothing_is_seen() -> None:
    assert seen(*[[Row(7, wait_reason="select", where=A)]] * 9) == [NONE]


@pytest.mark.parametrize("reason", ["coroutine", "coroutine (durable)"])
def test_a_coroutine_that_waits_for_its_turn_is_not_seen(reason: str) -> None:
    assert seen(*[[Row(7, wait_reason=reason, where=A, stops=200)]] * 9) == [NONE]


def test_goroutines_are_told_apart_by_their_ids() -> None:
    others = [Row(n, "running", where=B, stops=n % 256) for n in (90, 3, 50)]
    ticks = [[WAITS, *others], [*others, WAITS], [WAITS], [others[0], WAITS, others[1]]]
    assert seen(*ticks) == [NONE, 900_000_000, NONE]
    assert seen(*ticks, []) == []
