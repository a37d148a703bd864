"""Columns of numbers, compared with what Python's own sets and lists make of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spyglass.columns import among, combined, distinct, numbered, offsets_of


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


@pytest.mark.parametrize("bits", [2, 7, 31, 62])
def test_rows_have_one_number_if_all_their_columns_are_equal(bits: int) -> None:
    chance = random.Random(bits)
    few = [chance.randrange(-2, 1 << bits) for _ in range(3)]
    rows = [tuple(chance.choice(few) for _ in range(6)) for _ in range(300)]
    numbers = combined(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))
    pairs = set(zip(numbers.tolist(), rows, strict=True))
    assert len(pairs) == len(set(rows)) == len(set(numbers.tolist()))


def test_columns_of_small_numbers_are_combined_as_they_are() -> None:
    numbers = combined(np.array([True, False]), np.array([255, 0], np.uint8), np.array([-1, -2]))
    assert numbers.tolist() == [511 * 3 + 1, 0]
    assert combined(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("sizes", [[], [0], [3], [2, 0, 1]])
def test_offsets_cut_into_parts_of_these_sizes(sizes: list[int]) -> None:
    found = offsets_of(np.array(sizes, np.int32))
    assert found.dtype == np.int64
    assert found[0] == 0
    assert np.diff(found).tolist() == sizes
