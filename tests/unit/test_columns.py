"""Columns of numbers, compared with what Python's own sets and lists make of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spyglass.columns import among, distinct, numbered


@pytest.mark.parametrize("seed", range(10))
def test_they_are_what_sets_make_of_them(seed: int) -> None:
    chance = random.Random(seed)
    values, others = (
        [chance.randrange(1 << chance.choice([3, 64])) for _ in range(chance.randrange(40))]
        for _ in range(2)
    )
    column, other = np.array(values, np.uint64), np.array(others, np.uint64)
    assert distinct(column).tolist() == sorted(set(values))
    different, places = numbered(column)
    assert different[places].tolist() == values
    assert among(column, other).tolist() == [value in others for value in values]
