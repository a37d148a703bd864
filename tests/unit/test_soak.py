"""The measures of `make soak`: what it calls growth, and what it calls late."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from tests.soak.latency import Pairs
from tests.soak.slopes import Measured, slope, without_steps

SECONDS = [float(each) for each in range(1200)]


def measured(descriptors: list[float]) -> Measured:
    return Measured(seconds=SECONDS[: len(descriptors)], descriptors=descriptors)


def test_a_slope_is_per_minute_and_has_an_error() -> None:
    noise = np.random.default_rng(1).normal(0, 5, len(SECONDS))
    per_minute, error = slope(SECONDS, [*(np.array(SECONDS) / 60 * 3 + noise)])
    assert per_minute == pytest.approx(3, abs=4 * error)
    assert 0 < error < 0.5


def test_what_grows_in_the_second_half_is_found() -> None:
    growth = measured([each / 60 for each in SECONDS]).certain_growth("descriptors", 0.5, 3)
    assert growth == pytest.approx(10, rel=0.05)  # one in a minute, ten minutes


def test_what_grows_in_the_beginning_only_has_not_grown() -> None:
    values = [min(each, 500.0) for each in SECONDS]
    assert measured(values).certain_growth("descriptors", 0.5, 3) == pytest.approx(0, abs=1e-6)


def test_tables_that_are_doubled_are_no_growth() -> None:
    values = [100.0 + 8 * (each > 700) + 2 * (each > 900) for each in SECONDS]
    growth = partial(measured(values).certain_growth, "descriptors", 0.5, 3)
    assert growth() > 4
    assert growth(4, 9) == pytest.approx(0)
    assert growth(1, 9) > 0.5
    assert growth(4, 2) > 1


def test_a_leak_is_growth_beside_steps() -> None:
    values = [each / 60 + 8 * (each > 700) for each in SECONDS]
    growth = measured(values).certain_growth("descriptors", 0.5, 3, 4, 9)
    assert growth == pytest.approx(8, rel=0.15)  # without 4 of 20 half minutes


def test_only_what_stays_is_a_step() -> None:
    means = np.array([1.0, 9.0, 1.0, 5.0, 6.0])
    assert without_steps(means, 2, 9).tolist() == [1, 9, 1, 5, 6]
    means = np.array([1.0, 2.0, 1.0, 5.0, 6.0])
    assert without_steps(means, 1, 9).tolist() == [1, 2, 1, 1, 2]
    assert without_steps(means, 1, 3).tolist() == [1, 2, 1, 5, 5]


def test_what_goes_up_and_down_has_not_certainly_grown() -> None:
    values = [*(np.random.default_rng(2).normal(100, 30, len(SECONDS)))]
    assert measured(values).certain_growth("descriptors", 0.5, 3) < 2


def test_a_short_time_says_nothing() -> None:
    growth = measured(SECONDS[:200]).certain_growth("descriptors", 0.5, 3)
    assert math.isnan(growth)


def test_what_two_feel_of_a_busy_host_is_not_in_the_excess_of_one() -> None:
    pairs = Pairs()
    for busy in (1.0, 5.0, 20.0):
        pairs.add(
            {"recorded": [busy + 3.0] * 30, "beside": [busy] * 30},
            {"recorded": [0.5] * 30, "beside": [0.5] * 30},
        )
    assert pairs.difference("beside")[0] == pytest.approx(26 / 3 - 0.5)
    assert pairs.excess("recorded", "beside") == pytest.approx((3.0, 0.0))
    assert len(pairs.lines()) == 3


def test_a_period_with_few_measurements_does_not_count() -> None:
    pairs = Pairs()
    pairs.add({"requests": [1.0] * 30}, {"requests": [1.0]})
    assert not pairs.with_us
